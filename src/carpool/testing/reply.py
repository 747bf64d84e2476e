"""One line of a script: what a scripted agent does when it is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec import UNSET, Struct

from ..mailbox import Mailbox
from ..runtime import Runtime
from ..types import AgentSpec, TokenAccounting

__all__ = ["Act", "Line", "Reply", "Script"]

Act = Callable[[AgentSpec, str, Runtime, Mailbox], Awaitable[str | None]]


class _Worded(Struct, frozen=True):
    answer: str | Callable[[AgentSpec, str], str] = "ok"


class Reply(_Worded, frozen=True, kw_only=True):
    """What happens in one call, in this order: spend, wait, act, raise or return.

    - ``answer``: the text, or a function of spec and task that makes it
    - ``spends``: goes on the bill as soon as the call begins, as with a provider who bills what was sent, whatever
      becomes of the call
    - ``reports``: what the output says that it spent; left out, the truth; ``None``, nothing; or any object, for
      a report that is none
    - ``model_calls``: instead of ``spends``: each is reserved on the agent's lease, waited for, billed and
      charged. A reservation that is refused ends the work: what there is by then is returned
    - ``reserves=False``: charge the model calls without asking first
    - ``after_s``: seconds to wait, for each model call; ``0.0`` yields to the loop once, ``None`` never yields
    - ``hangs``: wait for ever instead
    - ``swallows``: so many cancellations are caught. After each it waits anew; after the last it goes on as if it
      had waited. One that hangs, and is cancelled less often than it swallows, never ends
    - ``does``: an async function of the runner's four arguments, called after the wait; a text that it returns
      is the answer
    - ``raises``: an error, or a class of one, raised instead of returning. ``asyncio.CancelledError`` is a runner
      that cancels itself
    - ``returns``: any object, returned instead of an output
    """

    spends: TokenAccounting | None = None
    reports: Any = UNSET
    model_calls: Sequence[TokenAccounting] = ()
    reserves: bool = True
    after_s: float | None = 0.0
    hangs: bool = False
    swallows: int = 0
    does: Act | None = None
    raises: BaseException | type[BaseException] | None = None
    returns: Any = UNSET


Line = Reply | str
Script = Mapping[str, Line | Sequence[Line] | Callable[[AgentSpec, str], Line]]
"""By agent name or role: a reply, replies in order of the agent's calls (the last one repeats), or a function."""
