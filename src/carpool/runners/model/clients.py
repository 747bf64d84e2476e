"""The clients behind ``spec.model``: made when first asked for, one set for each event loop, closed with it.

The libraries take a second or two to load, so that is done in a thread. Their own retries are off.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import anyio

from ...errors import ConfigError
from .loop_end import close_idle

if TYPE_CHECKING:
    from ssl import SSLContext

    from httpx2 import AsyncClient
    from pydantic_ai.models import Model

__all__ = ["Clients", "Connected"]

_CONNECTIONS = 1_000
_CONNECT_S = 10.0
_OPENAI = ("openai", "openai-chat", "openai-responses")
_KEYS = {"anthropic": "ANTHROPIC_API_KEY", **dict.fromkeys(_OPENAI, "OPENAI_API_KEY")}


class Connected:
    """A model that can be called: ``name`` as the spec has it; ``base_url`` only where it is not the provider's own;
    ``settings`` are those that turn off the client's retries, where the client itself has not."""

    __slots__ = ("base_url", "model", "name", "settings")

    def __init__(self, name: str, model: Model[Any], base_url: str | None, settings: dict[str, Any]) -> None:
        self.name = name
        self.model = model
        self.base_url = base_url
        self.settings = settings


class Clients:
    """``base_urls`` and ``api_keys`` by provider; ``models`` are ready-made ones of Pydantic AI, by any name."""

    def __init__(
        self, base_urls: Mapping[str, str], api_keys: Mapping[str, str], models: Mapping[str, Model[Any]]
    ) -> None:
        """:raises ConfigError: for a base URL that no request can be sent to."""
        for provider, url in base_urls.items():
            _refuse_unless_url(provider, url)
        self._base_urls = dict(base_urls)
        self._api_keys = dict(api_keys)
        self._models = dict(models)
        self._homes: WeakKeyDictionary[Any, _Home] = WeakKeyDictionary()

    async def connect(self, name: str) -> Connected:
        """The model ``name`` in this event loop.

        :raises ConfigError: without the extra, for an unknown provider, or without a key.
        """
        from anyio.lowlevel import current_token

        loop = current_token().native_token
        home = self._homes.get(loop)
        if home is None:
            home = self._homes[loop] = _Home()
            home.stack.callback(self._homes.pop, loop, None)  # what is open here knows its loop, and would keep it
            await home.keep()
        found = home.connected.get(name)
        return found if found is not None else await self._make(home, name)

    async def aclose(self) -> None:
        """Close what is open in this event loop."""
        from anyio.lowlevel import current_token

        home = self._homes.get(current_token().native_token)
        if home is not None:
            await home.aclose()

    async def _make(self, home: _Home, name: str) -> Connected:
        async with home.lock:  # many agents ask for the same model at once
            if name not in home.connected:
                made = self._ready(name)
                if made is not None:
                    home.stack.push_async_callback(close_idle, made.model)  # its client may not be the model's to close
                made = made or await self._in_a_thread(home, name)
                await home.stack.enter_async_context(made.model)
                home.connected[name] = made
            return home.connected[name]

    def _ready(self, name: str) -> Connected | None:
        model = self._models.get(name)
        if model is None:
            return None
        return Connected(name, model, getattr(model, "base_url", None), _without_retries(model))

    async def _in_a_thread(self, home: _Home, name: str) -> Connected:
        """Made where importing and reading certificates stops nobody."""
        from anyio import to_thread

        if home.http is None:
            home.http = await to_thread.run_sync(_http_client, abandon_on_cancel=True)
            home.stack.push_async_callback(home.http.aclose)
        return await to_thread.run_sync(self._model, name, home.http, abandon_on_cancel=True)

    def _model(self, name: str, http: AsyncClient) -> Connected:
        provider, colon, model = name.partition(":")
        if not colon or not provider or not model:
            raise ConfigError(f"model {name!r}: give the provider before a colon, as in 'openai:{name.strip(':')}'")
        base_url = self._base_urls.get(provider)
        if provider == "anthropic":
            return Connected(name, self._anthropic(model, base_url, http), base_url, {})
        if provider in _OPENAI:
            return Connected(name, self._openai(provider, model, base_url, http), base_url, {})
        if base_url is not None:
            return Connected(name, self._compatible(provider, model, base_url, http), base_url, {})
        inferred = _inferred(name, provider)
        return Connected(name, inferred, None, _without_retries(inferred))

    def _openai(self, provider: str, name: str, base_url: str | None, http: AsyncClient) -> Model[Any]:
        from openai import AsyncOpenAI
        from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
        from pydantic_ai.providers.openai import OpenAIProvider

        key = self._key(provider, needed=base_url is None)
        client = AsyncOpenAI(api_key=key, base_url=base_url, http_client=http, max_retries=0)
        kind = OpenAIResponsesModel if provider == "openai-responses" else OpenAIChatModel
        return kind(name, provider=OpenAIProvider(openai_client=client))

    def _compatible(self, provider: str, name: str, base_url: str, http: AsyncClient) -> Model[Any]:
        from openai import AsyncOpenAI
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.profiles.openai import OpenAIModelProfile
        from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

        key = self._api_keys.get(provider, _NO_KEY)
        client = AsyncOpenAI(api_key=key, base_url=base_url, http_client=http, max_retries=0)
        # The older name of the limit is the one that servers other than OpenAI's all know.
        profile = OpenAIModelProfile(openai_chat_supports_max_completion_tokens=False)
        served = OpenAICompatibleProvider(provider, openai_client=client)
        return OpenAIChatModel(name, provider=served, profile=profile)

    def _anthropic(self, name: str, base_url: str | None, http: AsyncClient) -> Model[Any]:
        from anthropic import AsyncAnthropic
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        key = self._key("anthropic", needed=base_url is None)
        client = AsyncAnthropic(api_key=key, base_url=base_url, http_client=http, max_retries=0)
        return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=client))

    def _key(self, provider: str, *, needed: bool) -> str:
        key = self._api_keys.get(provider) or os.environ.get(_KEYS[provider])
        if key or not needed:
            return key or _NO_KEY
        raise ConfigError(f"{provider} needs an API key: set {_KEYS[provider]}, or give ModelRunner(api_key=…)")


class _Home:
    """What belongs to one event loop."""

    def __init__(self) -> None:
        self.connected: dict[str, Connected] = {}
        self.lock = anyio.Lock()
        self.http: AsyncClient | None = None
        self.stack = AsyncExitStack()
        self._keeper = _close_with_the_loop(self.stack)

    async def keep(self) -> None:
        """Have the loop close everything when it ends: it closes the async generators that are still open."""
        await anext(self._keeper)

    async def aclose(self) -> None:
        await self._keeper.aclose()


async def _close_with_the_loop(stack: AsyncExitStack) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await stack.aclose()


def _refuse_unless_url(provider: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half an address in brackets
        is_one = False
    if not is_one or any(char.isspace() or not char.isprintable() for char in url):
        example = f"http://{url}" if "://" not in url and url[:1].isalnum() else "http://localhost:8000/v1"
        raise ConfigError(
            f"base_url of {provider!r} is {url!r}; it begins with http:// or https://, then comes the host, "
            f"as in {example!r}"
        )


_NO_KEY = "none"  # the clients want some text, also for servers that ask for no key


def _http_client() -> AsyncClient:
    try:
        import httpx2
        import pydantic_ai.models  # noqa: F401 # pyright: ignore[reportUnusedImport] - here, in a thread, not later
    except ImportError:
        raise ConfigError("ModelRunner needs the extra models: pip install 'carpool[models]'") from None
    return httpx2.AsyncClient(
        verify=_certificates(),
        # The time for an answer is the runner's; to wait for a free connection costs nothing.
        timeout=httpx2.Timeout(None, connect=_CONNECT_S),
        limits=httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
    )


@cache
def _certificates() -> SSLContext:
    """Read once: it takes longer than all else about a client."""
    import httpx2

    return httpx2.create_ssl_context()


def _inferred(name: str, provider: str) -> Model[Any]:
    from pydantic_ai.exceptions import UserError
    from pydantic_ai.models import infer_model

    try:
        return infer_model(name)
    except (UserError, ImportError) as error:
        hint = f"; for a server that speaks OpenAI's protocol give ModelRunner(base_url={{{provider!r}: …}})"
        raise ConfigError(f"model {name!r}: {error}{hint}") from error


def _without_retries(model: Model[Any]) -> dict[str, Any]:
    return {} if "max_retries" in type(model).unsupported_settings else {"max_retries": 0}
