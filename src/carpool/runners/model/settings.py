"""What an agent's metadata asks of its model: temperature, length, thinking and the rest, checked before a call."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, cast

from msgspec import Struct

from ...errors import ConfigError
from ...types import AgentSpec

__all__ = ["METADATA_KEY", "AskedSettings", "settings_of"]

METADATA_KEY = "model_settings"

_OURS = {
    "max_retries": "every attempt has to pass the budget; ModelRunner(retries=…) says how many there may be",
    "tool_choice": "the runner decides when tools are offered",
    "request_timeout": "use ModelRunner(call_timeout_s=…) or the agent's timeout_s",
    "first_event_timeout": "use ModelRunner(call_timeout_s=…) or the agent's timeout_s",
    "openai_native_tools": "the agent's tools are its runtime's tools",
    "openai_background": "an answer that comes later can't be paid for now",
    "openai_previous_response_id": "what a request reads has to be known before it is paid for",
    "openai_conversation_id": "what a request reads has to be known before it is paid for",
}
_PROVIDERS = (
    "anthropic_", "bedrock_", "cerebras_", "cohere_", "google_", "groq_", "huggingface_", "mistral_", "openai_",
    "openrouter_", "xai_",
)  # fmt: skip
_LIMITS = {"max_completion_tokens", "max_output_tokens", "max_tokens", "n", "stream"}  # of a request's body


class AskedSettings(Struct, frozen=True):
    """``values`` go to the client library as they are; ``max_tokens`` is clamped call by call."""

    values: dict[str, Any]
    max_tokens: int


def settings_of(spec: AgentSpec, defaults: Mapping[str, Any], max_tokens: int) -> AskedSettings:
    """The runner's ``defaults``, and over them ``spec.metadata["model_settings"]``.

    The keys are those of Pydantic AI's ``ModelSettings``, and a provider's own with its name before them
    (``openai_reasoning_effort``). ``cache_control`` asks the provider to cache, where it has to be asked.

    :raises ConfigError: for a key that there is none of, or one by which a limit could be got around.
    """
    own = spec.metadata.get(METADATA_KEY, {})
    if not isinstance(own, Mapping):
        raise ConfigError(f"agent {spec.name!r}: metadata[{METADATA_KEY!r}] is a mapping, not {own!r}")
    values: dict[str, Any] = {**defaults, **cast("Mapping[str, Any]", own)}
    _check(spec.name, values)
    asked = values.pop("max_tokens", max_tokens)
    if type(asked) is not int or asked < 1:
        raise ConfigError(f"agent {spec.name!r}: max_tokens must be a whole number above 0, not {asked!r}")
    if spec.cache_control:
        values.setdefault("cache", True)
    return AskedSettings(values=values, max_tokens=asked)


def _check(agent: str, values: Mapping[str, Any]) -> None:
    if not values:
        return
    from pydantic_ai.settings import ModelSettings

    known = set(ModelSettings.__annotations__)
    for key in values:
        if key in _OURS:
            raise ConfigError(f"agent {agent!r}: {key} can't be set: {_OURS[key]}")
        if key not in known and not key.startswith(_PROVIDERS):
            hint = "".join(f"; did you mean {near!r}?" for near in get_close_matches(key, known, 1))
            raise ConfigError(f"agent {agent!r}: there is no model setting {key!r}{hint}")
    body = values.get("extra_body")
    if isinstance(body, Mapping) and (around := _LIMITS & set(cast("Mapping[str, Any]", body))):
        raise ConfigError(f"agent {agent!r}: extra_body can't have {', '.join(sorted(around))}: the budget limits that")
