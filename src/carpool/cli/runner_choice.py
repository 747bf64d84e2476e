"""The runner that the flags ask for: one by name, a model, a command, or a cassette of earlier calls."""

from __future__ import annotations

import os
import shlex
import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import anyio

from ..errors import ConfigError
from ..runner import RunnerLike
from .flags import Flags
from .terminal import Screen, on_one_line
from .usage import UsageError

__all__ = ["chosen_runner"]


def chosen_runner(
    flags: Flags, of_the_file: Callable[[], RunnerLike] | None = None, *, elsewhere: bool = False
) -> RunnerLike:
    """``of_the_file`` makes the runner that a team file names; flags come before it. ``elsewhere``: agents may have
    workspaces, so that a program may be there whose path leads nowhere from here.

    :raises UsageError: when there is none, more than one, or what it needs is missing.
    """
    named = [name for name in ("runner", "model", "command") if getattr(flags, name) is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(f'--{name}' for name in named)}: an agent has one runner; give one of them")
    if flags.base_url is not None and flags.model is None:
        raise UsageError("--base-url is for --model")
    if flags.record is not None and flags.replay is not None:
        raise UsageError("--record and --replay: a recording repeats what is in the cassette already; give one of them")
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            runner = _from_cassette(flags, of_the_file)
        for each in warned:
            Screen().say((f"warning: {on_one_line(str(each.message))}", "yellow"), wrap=True)
        if _asks_anybody(flags):
            _refuse_without_model(flags)
            _refuse_without_program(flags, elsewhere=elsewhere)
        return runner
    except (ConfigError, ValueError) as error:
        raise UsageError(str(error)) from None


def _asks_anybody(flags: Flags) -> bool:
    """Whether any agent will come to the model or the command: a cassette that is there may have all their calls."""
    return flags.replay is None and (flags.record is None or not Path(flags.record).exists())


def _refuse_without_model(flags: Flags) -> None:
    """Without a key, and whatever else every single agent would fail for; the network is not asked.

    :raises UsageError: saying what is missing.
    """
    if flags.model is None:
        return
    from ..runners.model.clients import Clients

    provider = flags.model.partition(":")[0]
    clients = Clients({} if flags.base_url is None else {provider: flags.base_url}, {}, {})
    try:
        anyio.run(clients.connect, flags.model)
    except ConfigError as error:
        # What it says of the arguments in Python has a flag here.
        text = str(error).replace(", or give ModelRunner(api_key=…)", "")
        text = text.replace(f"ModelRunner(base_url={{{provider!r}: …}})", "--base-url")
        raise UsageError(f"--model {flags.model}: {text}") from None


def _refuse_without_program(flags: Flags, *, elsewhere: bool) -> None:
    """:raises UsageError: for a program that no agent could start."""
    if flags.command is None:
        return
    program = shlex.split(flags.command)[0]
    is_path = os.sep in program
    if (is_path and elsewhere and not Path(program).is_absolute()) or shutil.which(program) is not None:
        return
    what = "there is no such file, or it is none to be started" if is_path else "there is no such program on PATH"
    raise UsageError(f"--command {flags.command}: {program}: {what}")


def _from_cassette(flags: Flags, of_the_file: Callable[[], RunnerLike] | None) -> RunnerLike:
    if flags.replay is not None:
        from ..runners.replay import ReplayRunner

        return ReplayRunner(flags.replay)
    if flags.record is not None:
        from ..runners.recording import RecordingRunner

        return RecordingRunner(_real(flags, of_the_file), flags.record)
    return _real(flags, of_the_file)


def _real(flags: Flags, of_the_file: Callable[[], RunnerLike] | None) -> RunnerLike:
    if flags.model is not None:
        if find_spec("pydantic_ai") is None:  # asked now, not by the first agent
            raise UsageError("--model needs the extra models; run: pip install 'carpool[models]'")

        if ":" not in flags.model:
            raise UsageError(f"--model {flags.model}: write PROVIDER:NAME, as in openai:{flags.model or '…'}")

        from ..runners.model import ModelRunner

        return ModelRunner(flags.model, base_url=flags.base_url)
    if flags.command is not None:
        return _command(flags.command)
    if flags.runner is None and of_the_file is not None:
        return of_the_file()
    return _named(flags.runner or "extractive")


def _command(typed: str) -> RunnerLike:
    from ..runners.command import CommandRunner

    try:
        argv = shlex.split(typed)
    except ValueError as error:
        raise UsageError(f"--command {typed}: {error}") from None
    if not argv:
        raise UsageError("--command: is empty; write a program and its arguments, as in --command 'claude -p'")
    for sign in _FOR_A_SHELL.intersection(argv, typed.split()):  # a sign in quotes is an argument like any other
        raise UsageError(f"--command: no shell reads it, and {sign!r} is for one; write: sh -c {shlex.quote(typed)}")
    return CommandRunner(argv)


_FOR_A_SHELL = {"|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1"}


def _named(name: str) -> RunnerLike:
    from ..teams.runner_making import runner_from  # team files name runners in the same way

    try:
        return runner_from(name, Path.cwd())
    except ConfigError as error:
        raise UsageError(f"--runner: {error}") from None
