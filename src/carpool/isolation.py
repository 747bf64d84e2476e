"""What an agent that works apart is given: an overlay of the state, a folder of its own; and what comes of them.

The door puts ``around`` round each start. It calls ``finish`` with the output that the start came to, inside the
block; a pattern that gave overlays calls ``merge`` when all have ended. An agent that did not get as far changes
nothing: its overlay is dropped, its folder removed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from .errors import StateConflict, WorkspaceError
from .recall import Change
from .state import OverlayState, StateStore, StateTransition
from .types import AgentOutcome, AgentOutput, AgentSpec, Evidence, EvidenceKind, OutcomeStatus

if TYPE_CHECKING:
    from pathlib import Path

    from .eventlog import EventLog
    from .workspace import Workspace, Workspaces

__all__ = ["Apart", "Isolation", "Prepared"]


Merged = Callable[[Sequence[StateTransition]], None]


class Prepared(Protocol):
    """One start's surroundings. What is ``None`` is the team's, as without isolation."""

    @property
    def spec(self) -> AgentSpec:
        """The spec to run: with the path of the workspace, if there is one, as ``metadata["workspace"]``."""
        ...

    @property
    def state(self) -> StateStore | None: ...
    @property
    def log(self) -> EventLog | None: ...
    @property
    def workspace(self) -> Path | None: ...

    async def finish(self, output: AgentOutput) -> AgentOutput:
        """The output with what the workspace says of it; only what has succeeded is merged later.

        Raises for nothing but a cancellation: an answer that is paid for is not lost to a patch that can't be made.
        """
        ...


class Isolation(Protocol):
    """What the door puts round each start."""

    def around(self, spec: AgentSpec, run_id: str) -> AbstractAsyncContextManager[Prepared]:
        """:raises WorkspaceError: on entering, when there is no folder to be had: that agent's failure."""
        ...

    @property
    def overlays(self) -> bool:
        """Whether it gives each agent an overlay on the state."""
        ...

    def recalled(self, name: str, changes: Sequence[Change], merged: Merged) -> None:
        """``name`` is remembered: what it changed then, in its overlay, is to be merged as if it had run, and
        ``merged`` to be told what came of it."""
        ...


class Apart:
    """Isolation for one round of agents with different names: overlays on ``state``, folders from ``workspaces``.

    Either may be ``None``. A retry begins anew, with a fresh overlay and a fresh folder.
    """

    def __init__(self, state: StateStore | None = None, workspaces: Workspaces | None = None) -> None:
        self._state = state
        self._workspaces = workspaces
        self._finished: dict[str, OverlayState] = {}
        self._merged_told: dict[str, Merged] = {}

    @property
    def overlays(self) -> bool:
        return self._state is not None

    @asynccontextmanager
    async def around(self, spec: AgentSpec, run_id: str) -> AsyncGenerator[Prepared]:
        overlay = None if self._state is None else OverlayState(self._state, spec.name)
        if self._workspaces is None:
            yield _Start(spec, overlay, None, self._finished)
            return
        async with self._workspaces.provide(spec.name, run_id) as workspace:
            told = replace(spec, metadata={**spec.metadata, "workspace": str(workspace.path)})
            yield _Start(told, overlay, workspace, self._finished)

    def recalled(self, name: str, changes: Sequence[Change], merged: Merged) -> None:
        if self._state is not None:
            overlay = self._finished[name] = OverlayState(self._state, name)
            self._merged_told[name] = merged
            for change in changes:
                change.make(overlay, name)

    def merge(self, outputs: Sequence[AgentOutput]) -> list[AgentOutput]:
        """Merge the overlays of the agents that succeeded, in the order of ``outputs``, each once.

        One that both it and an earlier one have changed is that agent's error, which names the key; nothing of that
        agent is merged, and all else is. Its answer, usage and evidence stay in its output.
        """
        return [self._merged(output) for output in outputs]

    def _merged(self, output: AgentOutput) -> AgentOutput:
        overlay = self._finished.pop(output.name, None)
        if overlay is None or not output.succeeded:
            return output
        try:
            transitions = overlay.merge()
        except StateConflict as conflict:
            text = f"StateConflict: {conflict}"
            outcome = output.outcome or AgentOutcome.failure(text)
            outcome = replace(outcome, status=OutcomeStatus.FAILURE, summary=text)
            return replace(output, error=text, outcome=outcome)
        if output.name in self._merged_told:
            self._merged_told.pop(output.name)(transitions)
        return output


class _Start:
    log = None  # what an agent did is said to the team as it happens, also where nothing comes of it

    def __init__(
        self,
        spec: AgentSpec,
        overlay: OverlayState | None,
        workspace: Workspace | None,
        finished: dict[str, OverlayState],
    ) -> None:
        self.spec = spec
        self.state = overlay
        self._workspace = workspace
        self._finished = finished

    @property
    def workspace(self) -> Path | None:
        return None if self._workspace is None else self._workspace.path

    async def finish(self, output: AgentOutput) -> AgentOutput:
        if self.state is not None and output.succeeded:
            self._finished[self.spec.name] = self.state
        if self._workspace is None:
            return output
        evidence = await _changes(self._workspace)
        return output if evidence is None else _with(output, evidence)


async def _changes(workspace: Workspace) -> Evidence | None:
    try:
        patch = await workspace.patch()
    except WorkspaceError as error:
        found = {"path": str(workspace.path), "rev": workspace.rev, "reason": str(error)}
        said = "workspace kept" if workspace.stays else "workspace gone"
        return Evidence(kind=EvidenceKind.STATE_CHANGE, description=said, data=found)
    if patch is None:
        return None
    found = {"patch": patch, "rev": workspace.rev}
    if workspace.head != workspace.rev:
        found["head"] = workspace.head
    return Evidence(kind=EvidenceKind.STATE_CHANGE, description="workspace patch", data=found)


def _with(output: AgentOutput, evidence: Evidence) -> AgentOutput:
    outcome = output.outcome
    if outcome is None:
        outcome = AgentOutcome.success("") if output.error is None else AgentOutcome.failure(output.error)
    return replace(output, outcome=replace(outcome, evidence=[*outcome.evidence, evidence]))
