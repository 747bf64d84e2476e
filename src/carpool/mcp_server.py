"""carpool as an MCP server: coordinations, and teams of one's own, as tools that any MCP client can call.

Promise: whatever clients call, and however often, all of it together stays within the operator's budget; a client can
give a call less, never more. A call that the client cancels is cancelled, settled and logged like any run. While a run
goes on, the client is told who has ended. A runner's failure is in the result, not an error of the protocol. The text
of a result says so where the budget stopped the run, and what was not done; one without an answer is an error.

Needs the extra ``mcp``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any, cast

import anyio
import mcp_types as types
import msgspec
from mcp import MCPError
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from msgspec import Struct, field
from msgspec.structs import replace

from .budget import CoordinationBudget, is_budget_skipped
from .clock import new_id
from .errors import BudgetExhausted, CarpoolError
from .eventlog import EventLog
from .events import (
    AgentCancelled,
    AgentFailed,
    AgentFinished,
    AgentReplayed,
    AgentSkipped,
    AgentStarted,
    Event,
)
from .infra import SharedInfra
from .patterns import AdversarialReview, MapReduce, MapReduceResult, Pattern, Swarm, Vote
from .results import CoordinationResult
from .runner import RunnerLike
from .types import AgentSpec, BudgetLimits, TokenAccounting

__all__ = ["OfferedTeam", "coordination_server"]

_MOST = 64  # agents that a client may ask for by a number


class OfferedTeam(Struct, frozen=True, kw_only=True):
    """A team of the operator's: called by ``name``, with the runner, the budget and the surroundings that it brings, or
    else the server's."""

    name: str
    description: str
    pattern: Pattern[Any]
    task: str | None = None
    has_items: bool = False
    budget: BudgetLimits = field(default_factory=BudgetLimits)
    runner: RunnerLike | None = None
    around: Callable[..., AbstractAsyncContextManager[SharedInfra]] | None = None


class _Common(Struct, forbid_unknown_fields=True, kw_only=True):
    budget: str | None = None


class _MapReduce(_Common, kw_only=True):
    task: str
    items: list[str]
    max_concurrent: int = 5


class _Vote(_Common, kw_only=True):
    task: str
    voters: int = 3


class _Debate(_Common, kw_only=True):
    task: str
    debaters: int = 3
    rounds: int = 2


class _Review(_Common, kw_only=True):
    work: str
    criteria: list[str]


class _Team(_Common, kw_only=True):
    task: str | None = None
    items: list[str] | None = None


class _Offer(Struct, frozen=True):
    """A tool: what it is called with, and the coordination that comes of that: pattern, task and inputs."""

    description: str
    arguments: type[_Common]
    made_of: Callable[[Any], tuple[Pattern[Any], str, dict[str, Any]]]
    budget: BudgetLimits = field(default_factory=BudgetLimits)
    runner: RunnerLike | None = None
    around: Callable[..., AbstractAsyncContextManager[SharedInfra]] | None = None


class _Answer(Struct, frozen=True, kw_only=True):
    """What a client gets as structured content. ``agents`` counts starts; ``stopped`` says what the budget refused, and
    what was not done for it."""

    answer: str
    stop_reason: str
    run_id: str
    usage: TokenAccounting
    agents: int = 0
    failed: list[str] = []
    skipped: list[str] = []
    error: str | None = None
    stopped: str | None = None
    details: dict[str, Any] = field(default_factory=dict[str, Any])


def coordination_server(
    runner: RunnerLike,
    *,
    budget: BudgetLimits | CoordinationBudget | None = None,
    teams: Sequence[OfferedTeam] = (),
    estimate: TokenAccounting | None = None,
    **settings: Any,
) -> Server[Any]:
    """A server that offers ``map_reduce``, ``vote``, ``debate``, ``review`` and the ``teams``.

    ``budget`` is what all calls together may spend. ``estimate`` is what one start of an agent should spend at most,
    where the team does not say it. ``settings`` are those of :class:`SharedInfra` (a journal, for instance).

    :raises ValueError: when two tools have one name.
    """
    purse = budget if isinstance(budget, CoordinationBudget) else CoordinationBudget(budget)
    offers = _offers(estimate)
    for team in teams:
        if team.name in offers:
            raise ValueError(f"two tools are called {team.name!r}; name the team otherwise")
        offers[team.name] = _Offer(team.description, _Team, partial(_own, team), team.budget, team.runner, team.around)

    async def list_tools(_: ServerRequestContext[Any], __: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_listed(name, offer) for name, offer in offers.items()])

    async def call_tool(
        context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        offer = offers.get(params.name)
        if offer is None:
            raise MCPError(types.INVALID_PARAMS, f"no tool {params.name!r}; there are: {', '.join(offers)}")
        try:
            arguments = msgspec.convert(params.arguments or {}, offer.arguments)
            limits = BudgetLimits() if arguments.budget is None else BudgetLimits.parse(arguments.budget)
            pattern, task, inputs = offer.made_of(arguments)
        except (msgspec.ValidationError, ValueError, TypeError) as error:
            return _refusal(f"{params.name}: {error}")
        inside = purse.child(offer.budget).child(limits)
        answer = await _coordinate(
            pattern, task, inputs, offer.runner or runner, inside, offer.around, settings, context
        )
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=_text(answer))],
            structured_content=msgspec.to_builtins(answer, enc_hook=repr),
            is_error=answer.error is not None,
        )

    return Server(
        "carpool",
        instructions="Coordinations of many agents under one budget, which a call's own budget can only lower.",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


# One call


async def _coordinate(
    pattern: Pattern[Any],
    task: str,
    inputs: dict[str, Any],
    runner: RunnerLike,
    purse: CoordinationBudget,
    around: Callable[..., AbstractAsyncContextManager[SharedInfra]] | None,
    settings: Mapping[str, Any],
    context: ServerRequestContext[Any],
) -> _Answer:
    run_id, log = new_id(), EventLog()
    answer: _Answer | None = None
    try:
        teller = _Teller(log, context, pattern.plan(task, **inputs).agents_max)
        async with (around or _infra)(budget=purse, log=log, **settings) as infra, anyio.create_task_group() as group:
            group.start_soon(teller.follow)
            answer = await _run(pattern, task, inputs, runner, infra, run_id)
            group.cancel_scope.cancel()
    except CarpoolError as error:  # its items or its surroundings can't be had
        return _broken_off(run_id, error)
    await teller.catch_up()
    answer = answer or _Answer(answer="", stop_reason="failed", run_id=run_id, usage=TokenAccounting())
    return replace(answer, agents=sum(isinstance(event, AgentStarted) for event in log.events()))


async def _run(
    pattern: Pattern[Any], task: str, inputs: dict[str, Any], runner: RunnerLike, infra: SharedInfra, run_id: str
) -> _Answer:
    try:
        result = await pattern.run(task, runner=runner, infra=infra, run_id=run_id, **inputs)
        return _answer(result, None if result.answer else _why_nothing(result))
    except CarpoolError as error:
        return _broken_off(run_id, error)


def _broken_off(run_id: str, error: CarpoolError) -> _Answer:
    """What there is of a run that ended in an error."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error.partial, CoordinationResult):
        return _answer(error.partial, text)
    return _Answer(answer="", stop_reason="failed", run_id=run_id, usage=TokenAccounting(), error=text)


class _Teller:
    """Tells the client who has ended. A client that has left, or asked for no progress, is told nothing."""

    def __init__(self, log: EventLog, context: ServerRequestContext[Any], expected: int | None) -> None:
        self._log = log
        self._context = context
        self._expected = expected
        self._told = 0
        self._ended = 0

    async def follow(self) -> None:
        async for event in self._log.subscribe():
            await self._tell(event)

    async def catch_up(self) -> None:
        for event in self._log.events(since=self._told):
            await self._tell(event)

    async def _tell(self, event: Event) -> None:
        self._told = event.seq
        if isinstance(event, AgentFinished | AgentFailed | AgentCancelled | AgentReplayed | AgentSkipped):
            self._ended += 1
            total = self._expected if self._expected and self._expected >= self._ended else None
            message = f"{event.agent} {event.kind.removeprefix('agent_')}"
            with suppress(Exception):  # it matters to nobody else that somebody can't be told
                await self._context.session.report_progress(self._ended, total, message)


@asynccontextmanager
async def _infra(**settings: Any) -> AsyncGenerator[SharedInfra]:
    yield SharedInfra(**settings)


def _answer(result: CoordinationResult, error: str | None) -> _Answer:
    shared = set(CoordinationResult.__struct_fields__)
    details = {
        name: value
        for name, value in msgspec.to_builtins(result, enc_hook=repr).items()
        if name not in shared and not _is_outputs(value)
    }
    return _Answer(
        answer=result.answer,
        stop_reason=result.stop_reason,
        run_id=result.run_id,
        usage=result.usage,
        failed=result.failed,
        skipped=result.skipped,
        error=error,
        stopped=_stopped(result),
        details=details,
    )


def _text(answer: _Answer) -> str:
    """What a model reads that looks at nothing else."""
    if answer.stopped is None:
        return answer.answer or answer.error or answer.stop_reason
    return f"{answer.answer}\n\n({answer.stopped})" if answer.answer else f"no answer: {answer.stopped}"


def _why_nothing(result: CoordinationResult) -> str:
    failed = next((f"; {each.name}: {each.error}" for each in result.outputs if each.name in result.failed), "")
    return f"no answer: {result.stop_reason}{failed}"


def _stopped(result: CoordinationResult) -> str | None:
    """What the budget refused first, and what was not done for it; ``None`` where it refused nothing."""
    refusals = list(_refusals(result))
    if not refusals and result.stop_reason != "budget_exhausted":
        return None
    asked, what = result.outputs, "agents"
    if isinstance(result, MapReduceResult):
        asked, what = result.map_outputs, "items"
    undone = sum(output.error is not None or not output.answer for output in asked)
    parts = [f"stopped by the budget ({refusals[0]})" if refusals else "stopped by the budget"]
    if undone:
        parts.append(f"{undone} of {len(asked)} {what} not done")
    if isinstance(result, MapReduceResult) and any(map(is_budget_skipped, result.reduce_outputs)):
        parts.append("no agent has put the answers together")
    return "; ".join(parts)


def _refusals(result: CoordinationResult) -> Iterator[str]:
    """What the budget said no to, here and below, in its own words: starts, and what agents asked for at work."""
    at_work = f"{BudgetExhausted.__name__}: "
    for output in result.outputs:
        if is_budget_skipped(output):
            yield output.error or ""
        elif output.error is not None and output.error.startswith(at_work):
            yield output.error.removeprefix(at_work)
    for inner in result.nested.values():
        for each in inner:
            yield from _refusals(each)


def _is_outputs(value: Any) -> bool:
    """Whether ``value`` holds whole outputs of agents, which would repeat every answer."""
    first = value[0] if isinstance(value, list) and value else None  # pyright: ignore[reportUnknownVariableType]
    first = first[0] if isinstance(first, list) and first else first  # pyright: ignore[reportUnknownVariableType]
    return isinstance(first, dict) and "tools_used" in first


def _refusal(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)


# What is offered


def _offers(estimate: TokenAccounting | None) -> dict[str, _Offer]:
    spec = partial(AgentSpec, estimate=estimate)
    mapper = spec("mapper", "Answer the task from this item alone, briefly.")
    reducer = spec("reducer", "Make one brief answer of these answers.")

    def map_reduce(asked: _MapReduce) -> tuple[Pattern[Any], str, dict[str, Any]]:
        return MapReduce(mapper, reducer, asked.max_concurrent), asked.task, {"items": asked.items}

    def vote(asked: _Vote) -> tuple[Pattern[Any], str, dict[str, Any]]:
        return (
            Vote([spec(f"voter_{n}", "Answer as briefly as you can.") for n in _several(asked.voters)]),
            asked.task,
            {},
        )

    def debate(asked: _Debate) -> tuple[Pattern[Any], str, dict[str, Any]]:
        debaters = [spec(f"debater_{n}", "Say what you think, and why.") for n in _several(asked.debaters)]
        judge = spec("judge", "Make one answer of this debate.")
        return Swarm(debaters, "debate", judge, _several(asked.rounds).stop), asked.task, {}

    def review(asked: _Review) -> tuple[Pattern[Any], str, dict[str, Any]]:
        return AdversarialReview(spec("reviewer", "Look for what is wrong."), asked.criteria), asked.work, {}

    return {
        "map_reduce": _Offer(
            "The task on each item by itself, then one answer of all answers.", _MapReduce, map_reduce
        ),
        "vote": _Offer("Several agents answer by themselves; the answer that most give.", _Vote, vote),
        "debate": _Offer("Several agents answer, see the others' answers and answer again.", _Debate, debate),
        "review": _Offer("The work judged by each criterion, with evidence.", _Review, review),
    }


def _several(number: int) -> range:
    if not 1 <= number <= _MOST:
        raise ValueError(f"must be 1 to {_MOST}, not {number}")
    return range(number)


def _own(team: OfferedTeam, asked: _Team) -> tuple[Pattern[Any], str, dict[str, Any]]:
    task = asked.task if asked.task is not None else team.task
    if task is None:
        raise ValueError("a task is needed: the team has none of its own")
    if asked.items is not None and not isinstance(team.pattern, MapReduce):
        raise ValueError(f"items are for a map_reduce, and this team is a {team.pattern.kind}")
    if asked.items is None and isinstance(team.pattern, MapReduce) and not team.has_items:
        raise ValueError("items are needed: the team has none of its own")
    return team.pattern, task, {} if asked.items is None else {"items": asked.items}


def _listed(name: str, offer: _Offer) -> types.Tool:
    schema = msgspec.json.schema(offer.arguments)
    found = cast("dict[str, Any]", schema["$defs"][offer.arguments.__name__])
    found["properties"]["budget"]["description"] = (
        "What this call may spend at most, as in '50k tokens, $0.50, 10 agents'; more than the operator's is not had."
    )
    return types.Tool(name=name, description=offer.description, input_schema=found)
