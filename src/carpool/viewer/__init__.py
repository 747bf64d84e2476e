"""Runs in the browser: a page served on this machine alone, and a single file that opens offline."""

__all__: list[str] = []
