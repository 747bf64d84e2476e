"""The runner whose agents are commands: ``claude -p``, ``codex exec``, ``llm``, or a script of one's own.

Promise: the command starts without a shell, in the agent's workspace, with nothing of the environment but what is
allowed; time, kept output and memory are bounded; and all that it started ends with it, however that comes: it
ends, fails, takes too long, is cancelled, or this process dies. ``tools.keeper`` says how, and what escapes it.

Failure: a command that can't be started, exits with a code other than those of ``success_codes``, is ended by a
signal, takes too long, or gives no answer, is a failed agent, whose error has the end of standard error.

Budget: to carpool a start of a command is one spend, that is asked for before and known afterwards. What the output
reports is booked. Of what it does not report, the hold is; and so it is when the command was stopped, unless what it
had reported by then is more. Where neither tells a cost the spend is unpriced, which no cost limit lets anybody start
after. A command that was never started has spent nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from errno import E2BIG, ENOENT
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..errors import ConfigError
from ..tools.environment import ENVIRONMENT, environment
from ..tools.process import Ended, how, run_bounded, with_complaint
from ..types import AgentOutcome, AgentOutput, AgentSpec, Evidence, EvidenceKind, TokenAccounting
from .command_line import CommandLine
from .command_output import OutputFormat, TextOutput
from .command_readers import Said

if TYPE_CHECKING:
    from pathlib import Path

    from ..mailbox import Mailbox
    from ..runtime import Runtime

__all__ = ["ENVIRONMENT", "CommandRunner"]


class CommandRunner:
    """Runs every agent as one start of a command; holds nothing, so one instance serves any number of agents.

    The agent's tools are the command's own affair: it can't call those of the team. POSIX only.
    """

    def __init__(
        self,
        argv: Sequence[str | Sequence[str]],
        *,
        stdin: str | None = None,
        output: OutputFormat | None = None,
        options: Collection[str] = (),
        env: Collection[str] = ENVIRONMENT,
        cwd: str | Path | None = None,
        timeout_s: float | None = 3_600.0,
        grace_s: float = 2.0,
        max_output_bytes: int = 4_194_304,
        success_codes: Collection[int] = (0,),
    ) -> None:
        """``argv`` is the program and its arguments. ``{task}``, ``{system_prompt}``, ``{model}``, ``{model_name}``
        (without its provider), ``{name}``, ``{role}``, ``{max_turns}`` and ``{metadata.KEY}`` stand for what the
        agent has of it, in an argument or as one; ``{{`` and ``}}`` are braces. A list in the list is arguments that
        are left out together when one of their values is empty or missing: ``["--model", "{model_name}"]``.

        - ``stdin``: what is written to standard input, with the same places; by default the system prompt and the
          task, each if it has no place in ``argv``
        - ``output``: how the answer and the usage stand in standard output; by default it is the answer, as text
        - ``options``: names of places whose values may begin with ``-``, where an argument begins with them; others
          may after a ``--``, or inside an argument that begins otherwise
        - ``env``: names of variables that are passed on, or ``NAME=value`` to set one; nothing else is there.
          Programs that keep their login in the home folder need ``HOME`` too
        - ``cwd``: the folder of agents without a workspace; by default this process's own. If it is relative, also
          the folder in the workspace of those that have one
        - ``timeout_s``: for one start; ``None`` leaves it to the spec's own
        - ``grace_s``: how long a command that is asked to end (SIGTERM) has to do so
        - ``max_output_bytes``: of a text the first so many are kept; a document or a line may have so many

        :raises ConfigError: for a template, limit or system that this can't be done with.
        """
        if os.name != "posix":
            raise ConfigError("CommandRunner: needs process groups, which this system does not have")
        for name, value in (("timeout_s", timeout_s), ("max_output_bytes", max_output_bytes)):
            if value is not None and not value > 0:
                raise ConfigError(f"CommandRunner: {name} must be above 0, not {value!r}")
        if not grace_s >= 0:
            raise ConfigError(f"CommandRunner: grace_s must be 0 or more, not {grace_s!r}")
        if isinstance(env, str):
            raise ConfigError("CommandRunner: env is a list of names, not a string")
        self._line = CommandLine(argv, stdin, options)
        self._output = TextOutput() if output is None else output
        self._env = tuple(env)
        self._cwd = None if cwd is None else os.fspath(cwd)
        self._timeout_s = timeout_s
        self._grace_s = grace_s
        self._most_bytes = max_output_bytes
        self._success_codes = frozenset(success_codes)

    async def run(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> AgentOutput:
        """Start the command once, and return what came of it; its failures too.

        Cancelled, it asks the command to end, kills it after ``grace_s``, and returns when nobody is left.
        """
        del mailbox
        redacted = runtime.team.redactor.text
        try:
            argv, stdin = self._line.filled(spec, task)
        except ValueError as error:
            return _never_started(spec, redacted(f"{self._line.program} was not started: {error}"))
        reader = self._output.reader(self._most_bytes)
        hold = TokenAccounting() if runtime.lease is None else runtime.lease.hold
        try:
            ended = await run_bounded(
                argv,
                stdin=stdin,
                cwd=self._folder(runtime.workspace),
                env=environment(self._env),
                timeout_s=self._timeout_s,
                grace_s=self._grace_s,
                take=reader.take,
            )
        except OSError as error:
            return _never_started(spec, redacted(f"{self._line.program} could not be started: {self._why(error)}"))
        except BaseException:
            spent = _spent(reader.said(), hold, stopped=True)
            if runtime.lease is not None:
                runtime.lease.charge(spent)
            raise
        return self._output_of(spec, ended, reader.said(), hold, redacted)

    def _output_of(
        self, spec: AgentSpec, ended: Ended, said: Said, hold: TokenAccounting, redacted: Callable[[str], str]
    ) -> AgentOutput:
        stopped = ended.timed_out or ended.code not in self._success_codes
        spent, outcome = _spent(said, hold, stopped=stopped), None
        output = AgentOutput(name=spec.name, answer=said.answer, turns=said.turns, tokens=spent)
        error = self._error(ended, said, stopped)
        if error is not None:
            error = redacted(f"{self._line.program}: {error}")
            outcome = AgentOutcome.failure(error)
        if ended.timed_out and error is not None:
            outcome = AgentOutcome.timeout(error, said.turns, spec.max_turns)
        if said.problems:
            outcome = outcome or AgentOutcome.success("")
            outcome = replace(outcome, evidence=[*outcome.evidence, _evidence(said.problems)])
        return replace(output, error=error, outcome=outcome)

    def _error(self, ended: Ended, said: Said, stopped: bool) -> str | None:
        if stopped:
            what = f"no end within {self._timeout_s:g} s" if ended.timed_out else how(ended)
            return with_complaint(f"{what}: {said.error}" if said.error else what, ended)
        return said.error or (with_complaint(said.unreadable, ended) if said.unreadable else None)

    def _folder(self, workspace: Path | None) -> str | None:
        if workspace is None:
            return self._cwd
        inside = "" if self._cwd is None or os.path.isabs(self._cwd) else self._cwd  # noqa: PTH117 - it is a string
        return os.path.join(workspace, inside)  # noqa: PTH118 - likewise

    def _why(self, error: OSError) -> str:
        text = error.strerror or str(error)
        if error.filename is not None:
            return f"{text}: {os.fsdecode(error.filename)}"
        if error.errno == E2BIG:
            return f"{text}; the task need not be an argument: leave its place out of argv, and it is standard input"
        if error.errno == ENOENT and os.sep not in self._line.program and "PATH" not in environment(self._env):
            return f"{text}; env passes no PATH on"
        return text


def _never_started(spec: AgentSpec, error: str) -> AgentOutput:
    return AgentOutput(name=spec.name, error=error, tokens=TokenAccounting())


def _spent(said: Said, hold: TokenAccounting, *, stopped: bool) -> TokenAccounting:
    """What was spent: of what is not reported, what is held. A cost that nobody knows is no cost of 0."""
    amounts = said.amounts
    if not amounts:
        return replace(hold, priced=hold.priced and hold.cost_usd > 0)
    reported = TokenAccounting(
        input_tokens=int(amounts.get("input_tokens", hold.input_tokens)),
        output_tokens=int(amounts.get("output_tokens", hold.output_tokens)),
        cost_usd=amounts.get("cost_usd", hold.cost_usd),
        cache_read_tokens=int(amounts.get("cache_read_tokens", 0)),
        cache_write_tokens=int(amounts.get("cache_write_tokens", 0)),
        priced="cost_usd" in amounts,
    )
    return reported if said.is_whole or not stopped else hold.largest(reported)


def _evidence(problems: Sequence[str]) -> Evidence:
    text = f"what the output tells of usage is not whole: {'; '.join(problems)}"
    return Evidence(kind=EvidenceKind.TOOL_RESULT, description=text)
