"""What a command is started with for one agent: its arguments and its standard input, from a template."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NoReturn

from ..errors import ConfigError
from ..tools.places import Part, as_text, filled_argument, names_in, parts_of
from ..types import AgentSpec

__all__ = ["PLACES", "CommandLine"]

PLACES = ("max_turns", "model", "model_name", "name", "role", "system_prompt", "task")
"""What can stand in a template, besides ``metadata.`` and a key of the spec's metadata."""

_METADATA = "metadata."


class CommandLine:
    """A template, checked when it is made. :meth:`filled` makes arguments and input of it."""

    def __init__(self, argv: Sequence[str | Sequence[str]], stdin: str | None, options: Collection[str]) -> None:
        """:raises ConfigError: for a template that can't be filled, or that never shows the task to the command."""
        if isinstance(argv, str) or not argv or isinstance(argv[0], list | tuple):
            _refuse("argv is a list, the program first; there is no shell to split a string")
        self._groups = [_Group(each) for each in argv]
        in_argv = {name for group in self._groups for name in group.names}
        if not argv[0] or self._groups[0].names:
            _refuse("the program itself is fixed: its place in argv takes no {…}")
        self._stdin = None if stdin is None else _parsed(stdin)
        self._told = [name for name in ("system_prompt", "task") if name not in in_argv]
        names = in_argv | (set(self._told) if self._stdin is None else names_in([self._stdin]))
        for name in sorted(names):
            if name not in PLACES and not name.startswith(_METADATA):
                _refuse(f"there is no {{{name}}}; there are: {', '.join(PLACES)} and metadata.KEY")
        if "task" not in names:
            _refuse("neither argv nor stdin has a place for {task}")
        if unknown := set(options) - in_argv:
            _refuse(f"options names {', '.join(sorted(unknown))}, which has no place in argv")
        self._metadata = [name.removeprefix(_METADATA) for name in names if name not in PLACES]
        self._options = frozenset(options)
        self.program = str(argv[0])

    def filled(self, spec: AgentSpec, task: str) -> tuple[list[str], bytes]:
        """The arguments and the input for ``spec`` and ``task``.

        :raises ValueError: for a value that is asked for and not there, can't be an argument, or would be an option.
        """
        values = _values(spec, task, self._metadata)
        argv: list[str] = []
        options_ended = False
        for group in self._groups:
            if group.is_optional and not all(values.get(name) for name in group.names):
                continue
            for parts in group.arguments:
                _refuse_missing(parts, values)
                argv.append(filled_argument(parts, values, self._options, options_ended=options_ended))
                options_ended = options_ended or parts == [Part("--", False)]
        return argv, self._input(values)

    def _input(self, values: dict[str, str]) -> bytes:
        if self._stdin is None:
            return "\n\n".join(values[name] for name in self._told if values[name]).encode()
        _refuse_missing(self._stdin, values)
        return "".join(values[part.text] if part.is_name else part.text for part in self._stdin).encode()


class _Group:
    """One argument; or several, that are all left out when one of their values is not there."""

    def __init__(self, arguments: str | Sequence[str]) -> None:
        self.is_optional = not isinstance(arguments, str)
        together = [arguments] if isinstance(arguments, str) else arguments
        if not isinstance(together, list | tuple) or not all(isinstance(each, str) for each in together):
            _refuse(f"an argument is a string, or strings that belong together are a list, not {arguments!r}")
        self.arguments = [_parsed(each) for each in together]
        self.names = names_in(self.arguments)
        if self.is_optional and not self.names:
            _refuse(f"{arguments!r} has no place that could be empty: write its arguments into argv itself")


def _values(spec: AgentSpec, task: str, metadata: list[str]) -> dict[str, str]:
    found = {
        "max_turns": str(spec.max_turns),
        "name": spec.name,
        "role": spec.role or spec.name,
        "system_prompt": spec.system_prompt,
        "task": task,
    }
    if spec.model is not None:
        provider, colon, name = spec.model.partition(":")
        found |= {"model": spec.model, "model_name": name if colon else provider}
    for key in metadata:
        if (value := spec.metadata.get(key)) is not None:
            found[f"{_METADATA}{key}"] = as_text(key, value)
    # A lone surrogate, which some models emit, can be passed to nobody.
    return {name: text.encode("utf-8", "replace").decode() for name, text in found.items()}


def _refuse_missing(parts: list[Part], values: dict[str, str]) -> None:
    if missing := sorted(names_in([parts]) - values.keys()):
        raise ValueError(f"the spec has no {missing[0]}; in a list of its own in argv, the argument could be left out")


def _parsed(template: str) -> list[Part]:
    try:
        return parts_of(template)
    except ValueError as error:
        _refuse(str(error))


def _refuse(why: str) -> NoReturn:
    raise ConfigError(f"CommandRunner: {why}")
