"""The runner that the flags ask for: one by name, a model, a command, or a cassette of earlier calls."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from importlib.util import find_spec

from ..errors import ConfigError
from ..runner import RunnerLike
from .flags import Flags
from .runner_by_name import runner_by_name
from .usage import UsageError

__all__ = ["runner_from"]


def runner_from(flags: Flags, of_the_file: Callable[[], RunnerLike] | None = None) -> RunnerLike:
    """``of_the_file`` makes the runner that a team file names; flags come before it.

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
        return _from_cassette(flags, of_the_file)
    except (ConfigError, ValueError) as error:
        raise UsageError(str(error)) from None


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

        from ..runners.model import ModelRunner

        return ModelRunner(flags.model, base_url=flags.base_url)
    if flags.command is not None:
        from ..runners.command import CommandRunner

        return CommandRunner(shlex.split(flags.command))
    if flags.runner is None and of_the_file is not None:
        return of_the_file()
    return runner_by_name(flags.runner or "extractive")
