"""SpawnSubtask: one agent does the work, and has parts of it done by subagents that it makes up itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from .. import prompts
from ..budget import is_budget_skipped
from ..errors import ToolError
from ..results import CoordinationResult
from ..runtime import Runtime
from ..spawn import Member, Run
from ..tools import Tool
from ..types import AgentOutput, AgentSpec, BudgetLimits
from .asking import AskingTool, agent_with_tool, answer_to
from .endings import carrying
from .pattern import Pattern
from .plan import Plan, plan_of

__all__ = ["SUBAGENT_PROMPT", "SpawnSubtask", "SpawnSubtaskResult", "Subtask"]

TOOL = "spawn_subtask"
SUBAGENT_PROMPT = "You are given one part of a larger task. Do that part, and reply with its result alone."
ROLE = "subtask"


class Subtask(Struct, frozen=True, kw_only=True):
    """One call of ``spawn_subtask``; ``result`` is the subagent's answer, or why there is none."""

    name: str
    task: str
    tools: list[str] = []
    result: str = "it was stopped before it ended"
    success: bool = False


class SpawnSubtaskResult(CoordinationResult, kw_only=True):
    """``subtasks``: in the order in which each agent asked for them, those of a subagent behind it; ``outputs``
    are in that order too, main's first."""

    subtasks: list[Subtask] = []
    final_answer: str = ""


class SpawnSubtask(Pattern[SpawnSubtaskResult]):
    """``main`` on the task, with a tool ``spawn_subtask(task, tools, name?)`` beside its own; several calls run at
    once.

    A subagent works under ``subagent_prompt`` with main's model, for at most ``subagent_max_turns``, and has the
    tools that its call grants: never one that the agent that asks lacks at that moment. Its role is ``subtask``. At
    most ``max_subtasks`` are asked for in a run. Below ``max_depth`` the tool can be granted like any other; at the
    last level it is absent. A tool that can't be granted, a refusal by the budget, a failure, or one subtask too many
    is a ``ToolError`` that the agent can react to, and a subtask with ``success=False``.

    ``main`` is one agent, no pattern, and the entry: the budget is not asked about it, but books it. Its failure ends
    the run with ``AgentFailed``, which carries the subtasks. Agents: main, and one per subtask.
    """

    def __init__(
        self,
        main: Member,
        subagent_prompt: str = SUBAGENT_PROMPT,
        subagent_max_turns: int = 10,
        max_subtasks: int | None = None,
        max_depth: int = 1,
        *,
        name: str | None = None,
        budget: BudgetLimits | None = None,
        quote_limit: int | None = None,
    ) -> None:
        super().__init__(name=name, budget=budget, quote_limit=quote_limit)
        if subagent_max_turns < 1:
            raise ValueError(f"subagent_max_turns must be 1 or more, not {subagent_max_turns!r}")
        if max_subtasks is not None and max_subtasks < 0:
            raise ValueError(f"max_subtasks must be 0 or more, not {max_subtasks!r}")
        if max_depth < 1:
            raise ValueError(f"max_depth must be 1 or more, not {max_depth!r}")
        self.main = agent_with_tool(self.kind, main, TOOL)
        self.subagent_prompt = subagent_prompt
        self.subagent_max_turns = subagent_max_turns
        self.max_subtasks = max_subtasks
        self.max_depth = max_depth

    async def execute(self, run: Run, task: str) -> SpawnSubtaskResult:
        tree = _Tree(self)
        outputs: list[AgentOutput] = []

        def result(stop_reason: str | None = None) -> SpawnSubtaskResult:
            answer = outputs[0].answer if outputs and outputs[0].succeeded else ""
            return run.result(
                of=SpawnSubtaskResult,
                task=task,
                answer=answer,
                outputs=[*outputs, *tree.outputs],
                stop_reason=stop_reason,
                subtasks=tree.subtasks,
                final_answer=answer,
            )

        with carrying(result):
            branch = _Branch(tree, run, self.main, ())
            outputs.append(await run.agent(self.main, task, gated=False, tools=lambda runtime: [branch.tool(runtime)]))
            if not outputs[0].succeeded:
                raise run.error_of(self.main, outputs[0])
        return result()

    def subagent(self, name: str, tools: Sequence[str]) -> AgentSpec:
        """The spec of one subagent."""
        return AgentSpec(
            name,
            self.subagent_prompt,
            tools=list(tools),
            max_turns=self.subagent_max_turns,
            model=self.main.model,
            cache_control=self.main.cache_control,
            role=ROLE,
        )

    def plan(self, task: str = "", **inputs: Any) -> Plan:
        return plan_of(self.main) + plan_of(self.subagent(ROLE, [])).times(0, self.max_subtasks)


class _Arguments(Struct, forbid_unknown_fields=True):
    task: Annotated[str, Meta(min_length=1)]
    tools: list[str]
    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,60}$")] | None = None


Place = tuple[int, ...]


class _Tree:
    """All subtasks of one run, by their place: (1, 0) is the first one that the second one of main asked for."""

    def __init__(self, pattern: SpawnSubtask) -> None:
        self.pattern = pattern
        self.asked = 0
        self._names = {pattern.main.name}
        self._records: dict[Place, Subtask] = {}
        self._outputs: dict[Place, AgentOutput] = {}

    @property
    def subtasks(self) -> list[Subtask]:
        return [self._records[place] for place in sorted(self._records)]

    @property
    def outputs(self) -> list[AgentOutput]:
        return [self._outputs[place] for place in sorted(self._outputs)]

    def record(self, place: Place, subtask: Subtask, output: AgentOutput | None = None) -> None:
        self._records[place] = subtask
        if output is not None:
            self._outputs[place] = output

    def name(self, place: Place, wished: str | None) -> str:
        """A name that nobody has: by the place, so that it doesn't depend on who is faster."""
        name = wished or "_".join([ROLE, *(str(number + 1) for number in place)])
        if name in self._names:
            name = "_".join([name, *(str(number + 1) for number in place)])
        self._names.add(name)
        return name


class _Branch:
    """Where the calls of one agent of the tree arrive, however many at once."""

    def __init__(self, tree: _Tree, run: Run, spec: AgentSpec, place: Place) -> None:
        self._tree = tree
        self._run = run  # the place in which this agent was asked for
        self._spec = spec
        self._place = place
        self._count = 0

    def tool(self, runtime: Runtime) -> AskingTool[_Arguments]:
        grantable = self._grantable(runtime)
        tools: dict[str, Any] = {"type": "array", "uniqueItems": True, "maxItems": len(grantable)}
        tools["items"] = {"type": "string", "enum": grantable} if grantable else {"type": "string"}
        properties: dict[str, Any] = {
            "task": {"type": "string", "description": "all that the subagent needs to know; it sees nothing else"},
            "tools": tools | {"description": "the tools that it needs, of yours"},
            "name": {"type": "string", "description": "a short name for it: letters, digits, _ and -"},
        }
        return AskingTool(
            runtime,
            TOOL,
            "Have a part of your task done by a subagent and get its result. Ask for several at once to have them "
            "done side by side.",
            properties,
            _Arguments,
            lambda arguments: self._spawn(runtime, arguments),
        )

    def _grantable(self, runtime: Runtime) -> list[str]:
        """The tools that this agent has itself and may hand on."""
        offered = self._run.infra.tools
        own = [tool for tool in self._spec.tools if tool != TOOL and (tool in runtime.tools or tool not in offered)]
        child_may_spawn = len(self._place) + 1 < self._tree.pattern.max_depth
        return [*own, TOOL] if child_may_spawn else own

    async def _spawn(self, runtime: Runtime, arguments: _Arguments) -> str:
        tree = self._tree
        # Placed and counted before the first await, so that calls at once can't be more than are allowed.
        place = (*self._place, self._count)
        self._count += 1
        subtask = Subtask(name=tree.name(place, arguments.name), task=arguments.task, tools=arguments.tools)
        tree.record(place, subtask)
        try:
            output = await self._output(runtime, subtask, place)
            answer = answer_to(TOOL, output, denied=is_budget_skipped(output))
        except ToolError as error:
            tree.record(place, _ended(subtask, error.message, success=False))
            raise
        tree.record(place, _ended(subtask, answer, success=True))
        return prompts.shortened(answer, tree.pattern.quote_limit)

    async def _output(self, runtime: Runtime, subtask: Subtask, place: Place) -> AgentOutput:
        tree, most = self._tree, self._tree.pattern.max_subtasks
        grantable = self._grantable(runtime)
        if lacking := [tool for tool in subtask.tools if tool not in grantable]:
            has = ", ".join(grantable) or "none"
            raise ToolError(TOOL, f"you can't grant {', '.join(lacking)}; you can grant: {has}")
        if most is not None and tree.asked >= most:
            raise ToolError(TOOL, f"all of {most} subtasks are used up (max_subtasks); do the rest yourself")
        tree.asked += 1
        here = self._run.inside(runtime, role=self._spec.role)
        child = tree.pattern.subagent(subtask.name, list(dict.fromkeys(subtask.tools)))
        branch = _Branch(tree, here, child, place)

        def made(its: Runtime) -> list[Tool]:
            return [branch.tool(its)] if TOOL in child.tools else []

        output = await here.agent(child, subtask.task, tools=made)
        tree.record(place, subtask, output)
        return output


def _ended(subtask: Subtask, result: str, *, success: bool) -> Subtask:
    return Subtask(name=subtask.name, task=subtask.task, tools=subtask.tools, result=result, success=success)
