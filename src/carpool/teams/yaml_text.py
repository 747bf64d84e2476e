"""Team files in YAML: the one place that knows PyYAML, of which only the parser is used: nothing is constructed.

Read is plain data: mappings with texts as keys, lists and scalars. Tags are refused; anchors and aliases are followed
up to a bound. What YAML 1.1 and 1.2 read differently (``no``, ``012``, ``1:30``, ``1e3``, dates) is refused too, by
whoever finds it where a value is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn, cast

import yaml
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from ..errors import ConfigError
from .source import DEEPEST, Ambiguous, Place, Source

__all__ = ["read_yaml", "write_yaml"]

_MOST_VALUES = 100_000
"""Counted with what aliases repeat, so that a few lines can't stand for millions."""

_YAML: Any = yaml  # its types are not known to a checker
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def read_yaml(text: str, file: str) -> Source:
    """:raises ConfigError: when it is not YAML, with the line; has a key twice, a tag, or more than one document; or
    when its aliases stand for too much."""
    reader = _Reader(text, file)
    try:
        root = reader.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{file}{line}: is not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: is not YAML: {' '.join(str(error).split())}") from None
    return Source(file, root.value, root.line_of)


class _Node:
    """A value, the line where it (or the key before it) begins, and how many values it is with all in it."""

    def __init__(self, value: Any, line: int, children: dict[str | int, _Node] | None = None) -> None:
        self.value = value
        self.line = line
        self.children = children or {}
        self.count = 1 + sum(child.count for child in self.children.values())

    def line_of(self, place: Place) -> int | None:
        node: _Node | None = self
        for each in place:
            node = None if node is None else node.children.get(each)
        return None if node is None else node.line

    def seen_from(self, line: int) -> _Node:
        """The same, standing in ``line``."""
        return _Node(self.value, line, self.children)


class _Reader:
    """Makes nodes of the events of PyYAML's parser, which, unlike its composer, needs no stack for nested values."""

    def __init__(self, text: str, file: str) -> None:
        self._events: Iterator[Any] = _YAML.parse(text, Loader=_LOADER)
        self._file = file
        self._anchors: dict[str, _Node | None] = {}
        self._resolver: Any = Resolver()

    def document(self) -> _Node:
        next(self._events)  # of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return _Node(None, 1)
        root = self._node(next(self._events), 0)
        next(self._events)  # the end of the document
        if not isinstance(after := next(self._events), yaml.StreamEndEvent):
            self._refuse(after, "a second document begins; a team file is one")
        return root

    def _node(self, event: Any, depth: int) -> _Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.tag is not None and event.tag != "!":
            self._refuse(event, f"the tag {event.tag!r}: values have no tags here")
        if depth > DEEPEST:
            self._refuse(event, f"is nested deeper than {DEEPEST} levels")
        if event.anchor is not None:
            self._anchors[event.anchor] = None  # until it is complete
        if isinstance(event, yaml.MappingStartEvent):
            node = self._mapping(event, depth)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = _Node(self._scalar(event), _line(event))
        if node.count > _MOST_VALUES:
            self._refuse(event, f"stands for more than {_MOST_VALUES:,} values")
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any) -> _Node:
        if event.anchor not in self._anchors:
            self._refuse(event, f"there is no &{event.anchor} before *{event.anchor}")
        node = self._anchors[event.anchor]
        if node is None:
            self._refuse(event, f"*{event.anchor} stands inside of itself")
        return node

    def _sequence(self, event: Any, depth: int) -> _Node:
        children: dict[str | int, _Node] = {}
        while not isinstance(each := next(self._events), yaml.SequenceEndEvent):
            children[len(children)] = self._node(each, depth + 1)
        return _Node([child.value for child in children.values()], _line(event), children)

    def _mapping(self, event: Any, depth: int) -> _Node:
        children: dict[str | int, _Node] = {}
        merged: dict[str | int, _Node] = {}
        while not isinstance(each := next(self._events), yaml.MappingEndEvent):
            key, line = self._key(each), _line(each)
            value = self._node(next(self._events), depth + 1)
            if key is None:
                merged |= self._merged(each, value)
                continue
            if key in children:
                self._refuse(each, f"key {key!r} stands there already, in line {children[key].line}")
            children[key] = value.seen_from(line)
        children = merged | children
        return _Node({key: child.value for key, child in children.items()}, _line(event), children)

    def _key(self, event: Any) -> str | None:
        """The key; ``None`` for ``<<``."""
        if not isinstance(event, yaml.ScalarEvent):
            self._refuse(event, "a key must be a text")
        if event.tag is not None:
            self._refuse(event, f"the tag {event.tag!r}: keys have no tags here")
        value = self._scalar(event)
        if _is_plain(event) and event.value == "<<":
            return None
        if not isinstance(value, str):
            self._refuse(event, f"a key must be a text, and {event.value or 'nothing'} is none; put quotes around it")
        return value

    def _merged(self, event: Any, node: _Node) -> dict[str | int, _Node]:
        """What ``<<`` takes over: one mapping, or several, the first of which counts most."""
        several = list(node.children.values()) if isinstance(node.value, list) else [node]
        found: dict[str | int, _Node] = {}
        for each in several:
            if not isinstance(each.value, dict):
                self._refuse(event, "<< takes over a mapping, or a list of mappings")
            found = each.children | found
        return found

    def _scalar(self, event: Any) -> Any:
        if not _is_plain(event):
            return event.value
        older = cast("str", self._resolver.resolve(ScalarNode, event.value, (True, False)))
        try:
            return _read(event.value, older.rpartition(":")[2])
        except ValueError:
            self._refuse(event, "a number of so many digits can't be read")

    def _refuse(self, event: Any, why: str) -> NoReturn:
        raise ConfigError(f"{self._file}:{_line(event)}: {why}")


def _line(event: Any) -> int:
    return event.start_mark.line + 1


def _is_plain(event: Any) -> bool:
    return not event.style and event.tag is None


# What a scalar without quotes is. These are the rules of YAML 1.2 (its core schema); PyYAML has those of 1.1.

_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_OCTAL = re.compile(r"[-+]?0[0-7]+")
_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_SPOKEN = {"bool": "true or false", "int": "a number", "float": "a number", "timestamp": "a date", "str": "a text"}


def _read(text: str, older: str) -> Any:
    """The value of ``text``, which is of the kind ``older`` in YAML 1.1."""
    if text in _WORDS:
        return _WORDS[text]
    newer = "int" if _INT.fullmatch(text) else "float" if _FLOAT.fullmatch(text) else "str"
    if older != newer:
        return Ambiguous(text, f"{_SPOKEN.get(older, 'a sign')} in YAML 1.1 and {_SPOKEN[newer]} in YAML 1.2")
    if newer == "int" and _OCTAL.fullmatch(text):
        return Ambiguous(text, f"{int(text, 8)} in YAML 1.1 and {int(text)} in YAML 1.2")
    if newer == "int":
        return int(text, 16) if text.startswith("0x") else int(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan")) if newer == "float" else text


# Writing


def write_yaml(document: dict[str, Any]) -> str:
    """``document`` as YAML: what could be read as anything but text is quoted, lines of a text are lines."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(_DUMPER):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent(dumper: Any, text: str) -> ScalarNode:
    older = cast("str", dumper.resolve(ScalarNode, text, (True, False))).rpartition(":")[2]
    style = "|" if "\n" in text else None if _read(text, older) == text else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent)
