"""Plain data made into the structs of a team file; whatever is wrong with it is told at once, each with its place."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

from msgspec import Struct, inspect

from ..errors import ConfigError
from .source import DEEPEST, Ambiguous, Place, Source
from .wording import LARGEST, described, expected, shown, suggestion, unambiguous

__all__ = ["decode", "key_named"]

T = TypeVar("T", bound=Struct)

MOST_PROBLEMS = 20


class _Problems:
    """What is wrong with a file, in the order in which it was found."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._found: list[str] = []

    def add(self, place: Place, why: str) -> None:
        self._found.append(str(self._source.refuse(place, why)))

    def raise_if_any(self) -> None:
        """:raises ConfigError: with a line for each."""
        if not self._found:
            return
        more = len(self._found) - MOST_PROBLEMS
        lines = self._found[:MOST_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
        raise ConfigError("\n".join(lines))


def decode(source: Source, kind: type[T]) -> T:
    """The data of ``source`` as a ``kind``. No key is passed over, and no value changed into one of another type.

    :raises ConfigError: naming for each problem file, line, key, and what was expected.
    """
    problems = _Problems(source)
    decoded = _Decoder(problems).value((), _info(kind), source.data)
    problems.raise_if_any()
    return decoded


@cache
def _info(kind: type[Struct]) -> inspect.Type:
    return inspect.type_info(kind)


_BAD: Any = object()  # a value that is a problem, and has been told


class _Decoder:
    """Follows the types of the structs, as msgspec describes them, and the data, side by side."""

    def __init__(self, problems: _Problems) -> None:
        self._problems = problems
        self._readers: dict[type, Callable[[Place, Any, Any], Any]] = {
            inspect.AnyType: self._any,
            inspect.BoolType: self._plain,
            inspect.DictType: self._dict,
            inspect.FloatType: self._number,
            inspect.IntType: self._number,
            inspect.ListType: self._list,
            inspect.LiteralType: self._literal,
            inspect.NoneType: self._plain,
            inspect.StrType: self._plain,
            inspect.StructType: self._struct,
            inspect.UnionType: self._union,
        }

    def value(self, place: Place, info: inspect.Type, data: Any) -> Any:
        if isinstance(info, inspect.Metadata):
            info = info.type
        if len(place) > DEEPEST:
            return self._bad(place, f"is nested deeper than {DEEPEST} levels")
        if isinstance(data, Ambiguous):
            return self._bad(place, unambiguous(info, data))
        return self._readers[type(info)](place, info, data)

    def _bad(self, place: Place, why: str) -> Any:
        self._problems.add(place, why)
        return _BAD

    # Scalars

    def _plain(self, place: Place, info: Any, data: Any) -> Any:
        if type(data) not in _READ_AS[type(info)]:
            return self._bad(place, expected(info, data))
        if isinstance(info, inspect.StrType) and len(data) < (info.min_length or 0):
            return self._bad(place, "must not be empty")
        return data

    def _number(self, place: Place, info: Any, data: Any) -> Any:
        if type(data) not in (int, float) or not abs(data) <= LARGEST:
            return self._bad(place, expected(info, data))
        if isinstance(info, inspect.IntType):
            if data != int(data):
                return self._bad(place, expected(info, data))
            data = int(data)  # 3.0 is a whole number, as in JSON Schema
        if info.ge is not None and data < info.ge:
            return self._bad(place, f"must be {info.ge:g} or more, not {shown(data)}")
        if info.gt is not None and data <= info.gt:
            return self._bad(place, f"must be above {info.gt:g}, not {shown(data)}")
        return float(data) if isinstance(info, inspect.FloatType) else data

    def _literal(self, place: Place, info: inspect.LiteralType, data: Any) -> Any:
        known = [str(value) for value in info.values]
        if data in known:
            return data
        return self._bad(place, f"must be one of {', '.join(known)}, not {shown(data)}")

    def _any(self, place: Place, info: Any, data: Any) -> Any:
        """Any JSON value."""
        if isinstance(data, dict):
            return self._dict(place, inspect.DictType(inspect.StrType(), info), data)
        if isinstance(data, list):
            return self._list(place, inspect.ListType(info), data)
        if data is None or isinstance(data, str) or (isinstance(data, int | float) and abs(data) <= LARGEST):
            return data
        return self._bad(place, f"must be a JSON value, not {shown(data)}")

    # What has values in it

    def _list(self, place: Place, info: inspect.ListType, data: Any) -> Any:
        if not isinstance(data, list):
            return self._bad(place, expected(info, data))
        entries = cast("list[Any]", data)
        if len(entries) < (info.min_length or 0):
            return self._bad(place, "must not be empty")
        values = [self.value((*place, index), info.item_type, each) for index, each in enumerate(entries)]
        return _BAD if any(value is _BAD for value in values) else values

    def _dict(self, place: Place, info: inspect.DictType, data: Any) -> Any:
        if not isinstance(data, dict):
            return self._bad(place, expected(info, data))
        if len(_items(data)) < (info.min_length or 0):
            return self._bad(place, "must not be empty")
        return self._all({key: self.value((*place, key), info.value_type, each) for key, each in _items(data)})

    def _all(self, values: dict[str, Any]) -> Any:
        return _BAD if any(value is _BAD for value in values.values()) else values

    def _struct(self, place: Place, info: inspect.StructType, data: Any) -> Any:
        if not isinstance(data, dict):
            return self._bad(place, expected(info, data))
        fields = {field.encode_name: field for field in info.fields}
        tag = [] if info.tag_field is None else [info.tag_field]
        given: dict[str, Any] = {}
        for key, each in _items(data):
            if key in fields:
                given[fields[key].name] = self.value((*place, key), fields[key].type, each)
            elif key not in tag:
                meant = suggestion(key, [*tag, *fields])
                if tag and tag[0] not in data and meant.startswith("there"):
                    meant = f"a table without {tag[0]!r} is an agent; {meant}"
                given[key] = self._bad((*place, key), f"unknown key; {meant}")
        for key, field in fields.items():
            if field.required and key not in data:
                given[key] = self._bad(place, f"missing key {key!r}, {described(field.type)}")
        if self._all(given) is _BAD:
            return _BAD
        try:
            return info.cls(**given)
        except (TypeError, ValueError) as error:
            return self._bad(key_named(place, str(error), list(fields)), str(error))

    # What may be one of several

    def _union(self, place: Place, info: inspect.UnionType, data: Any) -> Any:
        kinds = [kind.type if isinstance(kind, inspect.Metadata) else kind for kind in info.types]
        structs = [kind for kind in kinds if isinstance(kind, inspect.StructType)]
        if isinstance(data, dict) and len(structs) > 1:
            return self._tagged(place, structs, cast("dict[str, Any]", data))
        others = [kind for kind in kinds if not isinstance(kind, inspect.NoneType)]
        if len(others) == 1 and data is not None:
            return self.value(place, others[0], data)
        for kind in kinds:
            if type(cast("object", data)) in _READ_AS[type(kind)]:
                return self.value(place, kind, data)
        return self._bad(place, expected(info, data))

    def _tagged(self, place: Place, structs: list[inspect.StructType], data: dict[str, Any]) -> Any:
        """A table whose kind is said by a key; an agent if it is not."""
        key = structs[0].tag_field or ""
        known = {str(struct.tag): struct for struct in structs}
        tag: Any = data.get(key, "agent")
        if isinstance(tag, Ambiguous) or not isinstance(tag, str):
            return self._bad((*place, key), f"must be the name of a pattern, not {shown(tag)}")
        if tag not in known:
            if key not in data:
                return self._bad(place, f"missing key {key!r}, one of {', '.join(known)}")
            return self._bad((*place, key), f"unknown pattern {shown(tag)}; {suggestion(tag, list(known))}")
        return self.value(place, known[tag], data)


def key_named(place: Place, message: str, keys: list[str]) -> Place:
    """The place of the key with whose name a ``message`` begins, as those of constructors do; else ``place``."""
    word = message.partition(" ")[0]
    return (*place, word) if word in keys else place


_READ_AS: dict[type, tuple[type, ...]] = {
    inspect.BoolType: (bool,),
    inspect.DictType: (dict,),
    inspect.FloatType: (int, float),
    inspect.IntType: (int,),
    inspect.ListType: (list,),
    inspect.LiteralType: (str,),
    inspect.NoneType: (type(None),),
    inspect.StrType: (str,),
    inspect.StructType: (dict,),
}


def _items(data: Any) -> list[tuple[str, Any]]:
    return list(cast("dict[str, Any]", data).items())
