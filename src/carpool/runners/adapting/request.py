"""A model call that is about to be made: whose price it has, how much it may generate, and how much it sends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec

from ...types import TokenAccounting
from ..model.sizes import InputSize, without_surrogates
from ..model.worst_case import worst_case
from ..prices import ModelPrice

__all__ = ["Request", "json_of"]

TOKENS_PER_FILE = 1_600
"""What a picture, a sound or a file is thought to weigh: a full-size picture, as Anthropic documents it."""

_FILES = ("audio", "document", "file", "image", "media", "video")


class Request:
    """A call of ``model`` (``"provider:name"``). What it sends is added piece by piece.

    ``clamps`` says that ``most``, what may be generated, is only sent once it is known how much of it fits. ``earlier``
    is a request that this one goes on from, and that the provider has counted: only what came since is estimated then.
    """

    def __init__(self, model: str, price: ModelPrice | None, margin: float, most: int, *, clamps: bool) -> None:
        self.model = model
        self.price = price
        self.most = most
        self.clamps = clamps
        self.counted: int | None = None  # the input, as the provider says
        self.earlier: Request | None = None
        self._margin = margin
        self._frames: list[str] = []
        self._tools: list[str] = []
        self._messages: list[str] = []
        self._files = 0
        self._size: InputSize | None = None

    def add_frame(self, text: str) -> None:
        """What is the same for many requests: instructions, a schema for the output."""
        self._frames.append(without_surrogates(text))

    def add_tools(self, schemas: Iterable[str]) -> None:
        self._tools += map(without_surrogates, schemas)

    def add(self, message: Any) -> None:
        """A message, of whatever form: all the texts in it, and how many pictures and files."""
        texts: list[str] = []
        self._files += _texts_of(message, texts)
        self._messages.append(without_surrogates("\n".join(texts)))

    def add_files(self, count: int) -> None:
        self._files += count

    def goes_on_from(self, other: Request) -> bool:
        """Whether this is the same conversation, and later."""
        return (
            self.model == other.model
            and self._frames == other._frames
            and self._tools == other._tools
            and len(self._messages) >= len(other._messages)
            and self._messages[: len(other._messages)] == other._messages
        )

    def at_most(self) -> int:
        """Tokens of input; quick."""
        return self._sized().at_most() + self._weight_of_files()

    def expected(self) -> int:
        """Tokens of input; close."""
        return self._sized().expected() + self._weight_of_files()

    def worst(self, output: int) -> TokenAccounting:
        """What it costs at most with so much output."""
        return worst_case(self.price, self.expected(), output, writes_cache=True)

    def reported(
        self, given: int, made: int, read: int, written: int, *, kept_an_hour: int = 0, said: bool
    ) -> TokenAccounting | None:
        """What a provider says that the call has used: input, output, and of the input what was read from a cache or
        written to it. ``None`` where that can't be true, so that it says nothing; ``said``: there was an answer."""
        if given <= 0 or made < 0 or (made == 0 and said):
            return None
        self.counted = given
        tokens = TokenAccounting(
            input_tokens=given,
            output_tokens=made,
            cache_read_tokens=min(max(read, 0), given),
            cache_write_tokens=min(max(written, 0), given),
            priced=self.price is not None,
        )
        return tokens if self.price is None else self.price.costed(tokens, kept_an_hour)

    def _sized(self) -> InputSize:
        if self._size is None:
            self._size = size = InputSize(self._margin)
            for frame in self._frames:
                size.add_frame(frame)
            size.add_tools(self._tools)
            known = 0 if self.earlier is None else len(self.earlier._messages)
            for message in self._messages[:known]:
                size.add(message)
            if self.earlier is not None and self.earlier.counted is not None:
                size.counted(self.earlier.counted, 0)
            for message in self._messages[known:]:
                size.add(message)
        return self._size

    def _weight_of_files(self) -> int:
        known = 0 if self.earlier is None else self.earlier._files
        return max(0, self._files - known) * TOKENS_PER_FILE


def json_of(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def _texts_of(value: Any, texts: list[str]) -> int:
    """Add all texts in ``value``; returns how many files are in it."""
    if isinstance(value, str):
        texts.append(value)
        return 0
    if isinstance(value, Mapping):
        fields = cast("Mapping[Any, Any]", value)
        kind = str(fields.get("type", ""))
        if any(word in kind for word in _FILES):
            return 1
        return sum(_texts_of(each, texts) for each in fields.values())
    if isinstance(value, Sequence):
        return sum(_texts_of(each, texts) for each in cast("Sequence[Any]", value))
    if value is not None:
        texts.append(str(value))
    return 0
