"""The runner of the killed teams: what an agent does follows from its spec and task, and all of it is on the bill."""

from __future__ import annotations

from random import Random
from typing import Any

import anyio
import msgspec

from carpool import AgentOutput, AgentSpec
from carpool.errors import ToolError
from carpool.policy import ApprovalRequest
from carpool.runtime import Runtime

from .bill import Bill, content_of, cost_of
from .points import POISON, POISON_AT_ONCE, Fuse

__all__ = ["Crew", "sign"]


class Crew:
    """``chance`` decides how long each piece of work takes, so that the order of endings is another each time."""

    def __init__(self, bill: Bill, fuse: Fuse, chance: Random) -> None:
        self._bill = bill
        self._fuse = fuse
        self._chance = chance
        self._tried: set[str] = set()
        self._begun = self._ended = 0

    async def run(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Any) -> AgentOutput:
        content = content_of(spec.role or spec.name, task)
        await self._bill.write("begins", content)
        self._begun += 1
        self._fuse.begun()
        self._fuse.passes("while it works")
        if self._chance.random() < 0.5:
            await anyio.sleep(self._chance.random() * 0.002)
        try:
            answer = await self._answer(spec, task, runtime, content)
        except Exception:
            await self._bill.write("fails", content)
            raise
        await self._bill.write("ends", content)
        self._ended += 1
        return AgentOutput(name=spec.name, answer=answer, turns=1, tokens=cost_of(content))

    async def _answer(self, spec: AgentSpec, task: str, runtime: Runtime, content: str) -> str:
        state, name = runtime.state, spec.name
        match spec.metadata.get("does"):
            case "clears":
                item = task.partition(">>>\n")[2].partition("\n<<<")[0]
                if "hopeless" in item or ("flaky" in item and content not in self._tried):
                    self._tried.add(content)
                    raise RuntimeError(f"no idea about {item}")
                if "poison" in item:
                    await self._be_poison()
                state.delete(f"to do/{item}", actor=name)
                state.set(f"done/{content}", item, actor=name)
                return f"{item} is {content[:6]}"
            case "notes":
                state.set(f"notes/{name}", content, actor=name)
            case "files":
                state.set(f"files/{content}", name, actor=name)
            case "signs":
                state.set(f"notes/{name}", await runtime.call_tool("sign", content=content), actor=name)
            case "notes, and quarrels":
                state.set(f"notes/{name}", content, actor=name)
                state.set(f"sting/{int(name.split()[1]) // 2}", name, actor=name)
            case "votes":
                return f"option {int(content, 16) % 3}"
            case "approves the fifth":
                approved = "This is round 5 of" in task
                return msgspec.json.encode({"approved": approved, "feedback": f"better than {content[:6]}"}).decode()
            case "delegates":
                return await self._delegate(task, runtime, content)
            case "appends":
                state.update("stages", lambda stages: [*stages, name], actor=name)
            case _:
                pass
        return f"{content[:8]} it is"

    async def approve(self, request: ApprovalRequest) -> bool:
        """Somebody approves of everything, and has it put on the bill."""
        await self._bill.write("approves", request.arguments["content"])
        return True

    async def _be_poison(self) -> None:
        """Kill the process, once all who began with it have ended: what it does to others is another test."""
        self._fuse.passes(POISON_AT_ONCE)
        for _ in range(2_000):
            if self._ended >= 64 or self._ended == self._begun - 1:
                break
            await anyio.sleep(0.001)
        self._fuse.passes(POISON)

    async def _delegate(self, task: str, runtime: Runtime, content: str) -> str:
        """The checker twice, in between the pair; the first failure of theirs is its own."""
        answers: list[str] = []
        for number, specialist in enumerate(("checker", "pair", "checker")):
            try:
                asked = await runtime.call_tool("delegate", specialist=specialist, task=f"{number} of {content}")
            except ToolError as error:
                raise RuntimeError(error.message) from error
            answers.append(asked)
        return f"{content[:8]} of " + ", ".join(" ".join(answer.split()) for answer in answers)


async def sign(content: str) -> str:
    """Sign it."""
    return f"signed {content}"
