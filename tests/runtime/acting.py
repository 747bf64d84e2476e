"""What tests of proposals have in common: short ways to write them down, and to read what came of them."""

from __future__ import annotations

from typing import Any

from carpool import EventLog
from carpool.actions import Action, ActionProposal, ProposalResult


def call(name: str, tool: str = "note", **fields: Any) -> Action:
    return Action(id=name, tool=tool, **fields)


def write(name: str, key: str, value: Any, **fields: Any) -> Action:
    return Action(id=name, type="state_write", parameters={"key": key, "value": value}, **fields)  # type: ignore[arg-type]


def read(name: str, key: str, **fields: Any) -> Action:
    return Action(id=name, type="state_read", parameters={"key": key}, **fields)  # type: ignore[arg-type]


def propose(*actions: Action) -> ActionProposal:
    return ActionProposal(actions=list(actions))


def statuses(result: ProposalResult) -> str:
    return " ".join(f"{each.action_id}:{each.status}" for each in result.results)


def kinds(log: EventLog) -> list[str]:
    return [event.kind for event in log.events()]


class Notes:
    """A tool that writes down that it was called, and with what."""

    def __init__(self, fails: int = 0) -> None:
        self.calls: list[Any] = []
        self.fails = fails

    async def note(self, it: Any = None) -> Any:
        self.calls.append(it)
        if len(self.calls) <= self.fails:
            raise OSError(f"failure {len(self.calls)}")
        return it
