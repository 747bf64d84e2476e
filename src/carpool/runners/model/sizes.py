"""How much input a request is, before it is sent: at most, at once; or more closely, at a price.

No byte-level tokenizer makes more tokens of a text than it has bytes: that is the bound that costs nothing, and it is
about four times too high for English. The closer one is ``estimate_tokens`` times a margin. By default that margin is
4/3: on eleven kinds of text the estimate was at most 24 % below o200k_base's count (``carpool.tokens``), and
1 / 0.76 is a little less. Other vocabularies count otherwise; raise ``input_margin`` for one that makes more of a text.

On top comes what providers add: 8 tokens for each message, 16 for each tool and tool call, 32 for a request, and 400
where there are tools (Anthropic documents up to 346 for its own words about them). From the second turn on it is what
the provider itself has counted for the turns before, plus what is new.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil

from ...tokens import estimate_tokens

__all__ = ["InputSize", "without_surrogates"]

_PER_MESSAGE = 8
_PER_TOOL = 16
_PER_REQUEST = 32
_WITH_TOOLS = 400
_MOST_BYTES_PER_TOKEN = 8

_estimate_again = lru_cache(maxsize=256)(estimate_tokens)  # the same instructions and tools, agent after agent


def without_surrogates(text: str) -> str:
    """``text`` as UTF-8 can have it: halves of characters, as models and programs emit them, become ``?``."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


class InputSize:
    """The size of a conversation, as it grows."""

    __slots__ = ("_all_bytes", "_base", "_bytes", "_estimate", "_fixed", "_margin", "_pending")

    def __init__(self, margin: float) -> None:
        self._margin = margin
        self._base = 0  # what the provider has counted; all below is what came since
        self._fixed = _PER_REQUEST
        self._bytes = 0
        self._estimate = 0
        self._pending: list[str] = []  # not estimated yet
        self._all_bytes = 0

    def add_frame(self, text: str) -> None:
        """Something that is the same for many agents: instructions, an output schema."""
        self._bytes += len(text.encode())
        self._estimate += _estimate_again(text)
        self._fixed += _PER_MESSAGE

    def add_tools(self, schemas: list[str]) -> None:
        for schema in schemas:
            self._bytes += len(schema.encode())
            self._estimate += _estimate_again(schema)
        self._fixed += _PER_TOOL * len(schemas) + (_WITH_TOOLS if schemas else 0)

    def add(self, text: str) -> None:
        """A message of this conversation."""
        self._bytes += len(text.encode())
        self._pending.append(text)
        self._fixed += _PER_MESSAGE

    def counted(self, tokens: int, tool_calls: int) -> None:
        """The provider says that all there is now is so many tokens, an answer with so many tool calls at its end.
        It is believed, down to a token for 8 bytes; what it adds when the answer is sent back comes on top."""
        self._all_bytes += self._bytes
        self._base = max(tokens, self._all_bytes // _MOST_BYTES_PER_TOKEN)
        self._bytes = self._estimate = 0
        self._fixed = _PER_MESSAGE + _PER_TOOL * tool_calls
        self._pending.clear()

    def at_most(self) -> int:
        """Sure, and quick."""
        return self._base + self._bytes + self._fixed

    def expected(self) -> int:
        """Close: takes up to 0.3 ms for 1,000 characters that were not estimated yet."""
        for text in self._pending:
            self._estimate += estimate_tokens(text)
        self._pending.clear()
        return self._base + ceil(self._estimate * self._margin) + self._fixed
