"""A command as a tool: a program with a fixed list of arguments, in which parameters have their places.

Promise: no shell sees anything. A parameter becomes one argument, or a part of one, whatever is in it; it can't
become a second argument, and not an option where the template meant a name. Time, kept output and environment
are bounded, and the command's process group ends with the call, however the call ends.

Failure: an exit code other than those of ``success_codes``, a signal, or the time limit fails the action, with
the end of what the command wrote to standard error.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from ..actions import Tier, ToolSchema
from ..errors import ConfigError, ToolError
from ..schemas import checker
from .environment import ENVIRONMENT, environment
from .pipes import Head
from .process import how, run_bounded, with_complaint
from .template import CommandTemplate
from .tool import Prepared, Tool

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CommandTool"]


class CommandTool(Tool):
    """Runs a program and returns what it wrote to standard output, as text.

    Its output is read to the end and kept up to ``max_output_bytes``; what was left out is counted at the end of the
    text. Bytes that are no UTF-8 become replacement characters. Standard error is shown on failure only.

    When the call ends, so do all descendants of the command, daemons too: by SIGKILL, after SIGTERM and ``grace_s``
    seconds if the command itself had not ended. When this process dies, they are killed at once. ``keeper`` says how,
    and that outside Linux it is the command's process group alone. POSIX only.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        description: str = "",
        parameters: dict[str, Any] | None = None,
        options: Collection[str] = (),
        stdin: str | None = None,
        timeout_s: float = 60.0,
        max_output_bytes: int = 1_048_576,
        env: Collection[str] = ENVIRONMENT,
        cwd: str | Path | None = None,
        success_codes: Collection[int] = (0,),
        grace_s: float = 2.0,
        tier: Tier = "full_access",
    ) -> None:
        """``argv`` is the program and its arguments; ``{name}`` in an argument is the parameter of that name, and
        an argument of which a parameter is not given is left out. ``{{`` and ``}}`` are braces.

        - ``parameters``: a JSON Schema; by default each parameter of ``argv`` is a string that must be given
        - ``options``: parameters whose values may begin with ``-``; others may after a ``--``, or inside an argument
          that begins otherwise
        - ``stdin``: the parameter that is written to standard input, which is empty without one
        - ``env``: names of variables that are passed on, or ``NAME=value`` to set one; nothing else is there
        - ``cwd``: the folder; by default the agent's workspace, else this process's own. A relative one lies in these

        :raises ConfigError: for a template, schema or limit that can't be kept to.
        """
        _check_bounds(name, timeout_s, grace_s, max_output_bytes)
        self._template = CommandTemplate(name, argv, parameters, frozenset(options), stdin)
        super().__init__(
            ToolSchema(name=name, description=description, parameters=self._template.parameters, tier=tier)
        )
        self._check = None if parameters is None else checker(parameters, f"tool {name!r}")
        self._timeout_s = timeout_s
        self._grace_s = grace_s
        self._most_bytes = max_output_bytes
        self._env = tuple(env)
        self._cwd = None if cwd is None else os.fspath(cwd)
        self._success_codes = frozenset(success_codes)

    def prepare(self, arguments: dict[str, Any]) -> Prepared:
        return self.prepare_in(arguments, None)

    def prepare_in(self, arguments: dict[str, Any], workspace: Path | None) -> Prepared:
        if self._check is not None and (problems := self._check(arguments)):
            raise ValueError(f"arguments don't fit: {problems}")
        argv, stdin = self._template.filled(arguments)
        folder = self._cwd if workspace is None else os.path.join(workspace, self._cwd or "")  # noqa: PTH118 - pathlib is slow to load
        return lambda: self._run(argv, stdin, folder)

    async def _run(self, argv: list[str], stdin: bytes, folder: str | None) -> str:
        name, output = self.schema.name, Head(self._most_bytes)
        try:
            ended = await run_bounded(
                argv,
                stdin=stdin,
                cwd=folder,
                env=environment(self._env),
                timeout_s=self._timeout_s,
                grace_s=self._grace_s,
                take=output.take,
            )
        except OSError as error:
            what = "" if error.filename is None else f": {os.fsdecode(error.filename)}"
            raise ToolError(name, f"{argv[0]} could not be started: {error.strerror}{what}") from error
        if ended.timed_out:
            raise TimeoutError(
                f"no end within {self._timeout_s:g} s{f': {ended.complaint}' if ended.complaint else ''}"
            )
        if ended.code not in self._success_codes:
            raise ToolError(name, with_complaint(how(ended), ended))
        return output.text()


def _check_bounds(name: str, timeout_s: float, grace_s: float, most_bytes: int) -> None:
    if os.name != "posix":
        raise ConfigError(f"tool {name!r}: commands need process groups, which this system does not have")
    if not timeout_s > 0 or not grace_s >= 0 or most_bytes < 0:
        raise ConfigError(f"tool {name!r}: timeout_s must be above 0, grace_s and max_output_bytes not below")
