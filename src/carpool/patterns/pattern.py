"""What all patterns share: running one, on its own or as a member, streaming it, planning it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from copy import copy
from functools import partial
from typing import Any, ClassVar, Generic, Self, TypeVar

from ..clock import new_id
from ..events import Event
from ..infra import SharedInfra
from ..results import CoordinationResult, checked_result
from ..runner import RunnerLike
from ..spawn import Run, open_run
from ..types import BudgetLimits, refuse_unless_limits
from .plan import Plan
from .preview import ResumePreview, preview
from .running import run_to_end, stream_to_end

__all__ = ["Pattern"]

R = TypeVar("R", bound=CoordinationResult)


class Pattern(Generic[R]):
    """A coordination of agents. Subclass it and override ``execute``; everything else follows from that.

    Every pattern takes ``name`` (by default its kind), ``budget`` (a child purse of the run's) and
    ``quote_limit`` (characters of an answer that others are shown; default all). A pattern is a value: running
    it leaves it as it was, and it can run any number of times, also at once.
    """

    kind: ClassVar[str] = "pattern"

    budget: BudgetLimits | None = None
    quote_limit: int | None = None
    _name: str | None = None
    _role: str | None = None

    def __init__(
        self, *, name: str | None = None, budget: BudgetLimits | None = None, quote_limit: int | None = None
    ) -> None:
        if name is not None and not name.strip():
            raise ValueError(f"a pattern's name can't be empty: {name!r}")
        if quote_limit is not None and quote_limit < 1:
            raise ValueError(f"quote_limit must be 1 character or more, not {quote_limit!r}")
        self._name = name
        if budget is not None:
            refuse_unless_limits(budget, "budget")
        self.budget = budget
        self.quote_limit = quote_limit

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" not in cls.__dict__:
            cls.kind = "".join(f"_{char.lower()}" if char.isupper() else char for char in cls.__name__).lstrip("_")

    # What a subclass writes

    async def execute(self, run: Run, task: str) -> R:
        """Coordinate: start agents with ``run.agent`` and ``run.fan_out``, end with ``run.result``."""
        raise NotImplementedError(f"{type(self).__name__} must override execute")

    def plan(self, task: str = "", **inputs: Any) -> Plan:
        """How many agents at least and at most, and the worst-case spend, before anything runs."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it plans; override plan")

    def over(self, **inputs: Any) -> Self:
        """This pattern with what it works on beside the task; most work on nothing else."""
        if inputs:
            raise TypeError(f"{type(self).__name__} takes no {', '.join(sorted(inputs))}")
        return self

    # What a caller uses

    async def run(
        self,
        task: str = "",
        *,
        runner: RunnerLike,
        infra: SharedInfra | None = None,
        run_id: str | None = None,
        **inputs: Any,
    ) -> R:
        """Run to the end and return the result.

        Agents that fail or are refused are in the result, not raised. Cancelling it cancels every agent,
        settles and logs each, and leaves no task; whatever was raised has ``partial`` and ``usage``.
        """
        pattern = self.over(**inputs)
        if not isinstance(task, str):
            raise TypeError(f"a task is a str, not {task!r}")
        async with open_run(
            runner=runner, infra=infra, run_id=run_id, name=self.name, budget=self.budget, task=task
        ) as run:
            return checked_result(pattern.name, await pattern.execute(run, task))

    def run_sync(
        self,
        task: str = "",
        *,
        runner: RunnerLike,
        infra: SharedInfra | None = None,
        run_id: str | None = None,
        **inputs: Any,
    ) -> R:
        """``run`` for code that is not async. Inside a running event loop, as in Jupyter, it runs in a thread
        of its own, and that loop waits for it. Ctrl-C cancels the run."""
        return run_to_end(partial(self.run, task, runner=runner, infra=infra, run_id=run_id, **inputs))

    def stream(
        self,
        task: str = "",
        *,
        runner: RunnerLike,
        infra: SharedInfra | None = None,
        run_id: str | None = None,
        **inputs: Any,
    ) -> AsyncGenerator[Event | R]:
        """The run's events as they come, and its result as the last item. Leaving early cancels the run."""
        infra = infra or SharedInfra()
        run_id = run_id or new_id()
        start = partial(self.run, task, runner=runner, infra=infra, run_id=run_id, **inputs)
        return stream_to_end(infra.log, run_id, start)

    async def resume_preview(self, task: str = "", *, run_id: str, infra: SharedInfra, **inputs: Any) -> ResumePreview:
        """What ``run`` with this ``run_id`` would use again, and what it could still start and spend at most.

        Nothing is started, written or spent. ``inputs`` are those of ``run``; an iterator among them is used up.

        :raises RunNotFound: when the infra's journal has no such run.
        :raises ValueError: when the infra has no journal.
        """
        pattern = self.over(**inputs)
        try:
            plan = self.plan(task, **inputs)
        except NotImplementedError:
            plan = Plan(agents_max=None)
        return await preview(run_id, infra, self.name, task, plan, lambda run: pattern.execute(run, task))

    # As a member of another pattern

    @property
    def name(self) -> str:
        return self._name or self.kind

    @property
    def role(self) -> str:
        """The name that it had before a pattern around it gave it another."""
        return self._role or self.name

    @property
    def is_unnamed(self) -> bool:
        return self._name is None

    def named(self, name: str) -> Self:
        """This pattern under another name; its role stays."""
        other = copy(self)
        other._name, other._role = name, self.role
        return other

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"
