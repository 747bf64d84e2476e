"""The memory of one run: which call is which, what is given out again, what runs again and what must not.

A completed call is given out once. One that was lost, has failed or was cancelled is run again under the same key;
one that was in flight when its process died, again and again, gets a last chance alone, since it may only have been
there, and is refused as poison after that. What is asked for anew gets the next number among the calls with its
content.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from ..clock import utc_now
from ..content import content_digest, original, spec_digest
from ..errors import JournalError
from ..recall import Attempt, Call, Ending, Past, Recalled
from .history import Fate, History
from .records import Approved, Ended, Entry, SpecUsed, Started
from .stakes import Stakes

if TYPE_CHECKING:
    from ..events import RunFinished

__all__ = ["RUNS_AGAIN_AT_MOST", "Recollection", "Remembering"]

RUNS_AGAIN_AT_MOST = 3
"""How often a call is run again that was in flight when its process died."""

_DIGITS = 32  # of the digest in a key: 128 bits


class Remembering:
    """A memory that can be recalled from, and not written to."""

    def __init__(self, history: History) -> None:
        history.lose()
        self.past: Sequence[Past] = history.past
        self._approvals = Counter(history.approvals)
        self._by_content: dict[str, deque[Fate]] = {}
        self._numbers: Counter[str] = Counter()
        for fate in history.fates.values():
            self._by_content.setdefault(fate.digest, deque()).append(fate)
            # Not how many there are: one before it may have been asked for, and never started.
            self._numbers[fate.digest] = max(self._numbers[fate.digest], fate.number)

    async def recall(self, call: Call, *, settled: bool = False) -> Recalled:
        spec = spec_digest(call.spec)
        digest = content_digest(spec, call.task, call.roles)[:_DIGITS]
        fate = self._take(digest, settled)
        if fate is None:
            self._numbers[digest] += 1
            return Recalled(key=f"{digest}-{self._numbers[digest]}", spec=spec)
        if (fate.status == "completed" or settled) and fate.output is not None and fate.ended is not None:
            return Recalled(
                key=fate.key,
                output=fate.output,
                changes=fate.ended.changes,
                asks=fate.ended.asks,
                origin=fate.ended.origin,
                spent=fate.before,
                order=fate.order,
            )
        refusal = None
        if fate.lost > RUNS_AGAIN_AT_MOST:
            refusal = (
                f"poison: the process died {fate.lost} times while this agent ran, and it is not run again; "
                "change its task or its spec, or start under another run_id"
            )
        last = fate.lost == RUNS_AGAIN_AT_MOST
        return Recalled(key=fate.key, spec=spec, spent=fate.in_vain, alone=last, refusal=refusal)

    async def started(self, call: Call, known: Recalled, attempt: Attempt) -> None:
        raise JournalError(f"{call.path} would start, and this memory is only for looking")

    async def ended(self, call: Call, known: Recalled, ending: Ending) -> None:
        raise JournalError(f"{call.path} ended, and this memory is only for looking")

    def was_approved(self, request: str) -> bool:
        if not self._approvals[request]:
            return False
        self._approvals[request] -= 1
        return True

    async def approved(self, request: str) -> None:
        pass

    async def aclose(self, finished: RunFinished) -> None:
        pass

    def _take(self, digest: str, settled: bool) -> Fate | None:
        """The next fate of a call with this content: a completed one before any that would have to run; inside an
        agent that is remembered, as they were asked for."""
        left = self._by_content.get(digest)
        if not left:
            return None
        wanted = next((fate for fate in left if settled or fate.status == "completed"), left[0])
        left.remove(wanted)
        return wanted


class Recollection(Remembering):
    """The memory of a run that this process has claimed. ``write`` returns when its entries are durable."""

    def __init__(
        self,
        history: History,
        *,
        epoch: int,
        purse: str,
        stakes: Stakes,
        write: Callable[..., Awaitable[None]],
    ) -> None:
        super().__init__(history)
        self._epoch = epoch
        self._purse = purse
        self._stakes = stakes
        self._write = write
        self._specs = set(history.specs)
        self._told = set(history.fates)  # keys whose task is written down
        self._closed = False

    async def started(self, call: Call, known: Recalled, attempt: Attempt) -> None:
        now, digest = utc_now(), known.spec
        entries: list[Entry] = []
        if digest not in self._specs:
            entries.append(SpecUsed(at=now, digest=digest, spec=original(call.spec)))
        entries.append(
            Started(
                at=now,
                key=known.key,
                epoch=self._epoch,
                roles=call.roles,
                path=call.path,
                agent=call.spec.name,
                spec=digest,
                parent=call.parent,
                task=None if known.key in self._told else call.task,
                attempt=attempt.number,
                slots=call.slots,
                hold=attempt.hold,
                earlier=attempt.earlier,
                purse=self._purse,
            )
        )
        self._stakes.end(known.key)  # an attempt before this: what that has cost is in ``earlier``
        await self._write(entries)
        # Only now: what was not written must be written with the next start.
        self._specs.add(digest)
        self._told.add(known.key)
        self._stakes.begin(known.key, attempt)

    async def ended(self, call: Call, known: Recalled, ending: Ending) -> None:
        self._stakes.end(known.key)
        ended = Ended(
            at=utc_now(),
            key=known.key,
            status=ending.status,
            output=ending.output,
            changes=ending.changes,
            asks=ending.asks,
            origin=ending.origin,
            purse=self._purse,
        )
        await self._write([ended])

    async def approved(self, request: str) -> None:
        await self._write([Approved(at=utc_now(), request=request)])

    async def aclose(self, finished: RunFinished) -> None:
        if not self._closed:
            self._closed = True
            await self._write([], finished)
