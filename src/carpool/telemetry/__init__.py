"""Runs as OpenTelemetry spans and metrics, in the GenAI conventions: a fold over the event log, live or stored."""

from __future__ import annotations

from .watching import Telemetry, export, instrument

__all__ = ["Telemetry", "export", "instrument"]
