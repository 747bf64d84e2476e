"""A function as a tool: what its schema says, what it is called with, and what can't be one."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from msgspec import Meta, Struct

from carpool.errors import ToolError
from carpool.infra import SharedInfra
from carpool.tools import as_tool


class Point(Struct):
    """A place."""

    x: int
    y: int = 0


class FrozenPoint(Struct, frozen=True):
    x: int = 0


@dataclass
class Line:
    start: Point
    length: float = 1.0


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


async def call(tool: Any, /, **arguments: Any) -> Any:
    runtime = SharedInfra().make_runtime()
    name = runtime.register_tool(tool).schema.name
    with anyio.fail_after(10):
        return await runtime.call_tool(name, **arguments)


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    return as_tool(function).schema.parameters


def properties(function: Callable[..., Any]) -> dict[str, Any]:
    return parameters(function)["properties"]


# Schema


def test_name_and_description_are_the_functions_name_and_docstring() -> None:
    def look_up(word: str) -> str:
        """Look a word up.

        In the large dictionary.
        """
        return word

    schema = as_tool(look_up).schema

    assert schema.name == "look_up"
    assert schema.description == "Look a word up.\n\nIn the large dictionary."


def test_without_a_docstring_the_description_is_empty() -> None:
    def tool() -> None: ...

    assert as_tool(tool).schema.description == ""


def test_the_schema_is_a_closed_object_of_the_parameters() -> None:
    def tool(a: int, b: str, c: float = 0.5, *, d: bool = False) -> None: ...

    schema = parameters(tool)

    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert sorted(schema["required"]) == ["a", "b"]
    assert schema["properties"] == {
        "a": {"type": "integer"},
        "b": {"type": "string"},
        "c": {"type": "number", "default": 0.5},
        "d": {"type": "boolean", "default": False},
    }


def test_a_function_without_parameters_takes_none() -> None:
    def tool() -> None: ...

    schema = parameters(tool)

    assert (schema["properties"], schema["required"], schema["additionalProperties"]) == ({}, [], False)


def test_a_parameter_without_an_annotation_takes_anything() -> None:
    def tool(a, b: Any) -> None: ...  # type: ignore[no-untyped-def]

    assert properties(tool) == {"a": {}, "b": {}}


def test_an_optional_parameter_may_be_null() -> None:
    def tool(a: Optional[str], b: int | None = None) -> None: ...  # noqa: UP045 - the old way of writing it

    assert properties(tool) == {
        "a": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "b": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
    }
    assert parameters(tool)["required"] == ["a"]


def test_a_literal_is_a_choice() -> None:
    def tool(size: Literal["small", "large"] = "small", count: Literal[1, 2] = 1) -> None: ...

    found = properties(tool)

    assert sorted(found["size"]["enum"]) == ["large", "small"]
    assert sorted(found["count"]["enum"]) == [1, 2]
    assert (found["size"]["default"], found["count"]["default"]) == ("small", 1)


def test_lists_and_dicts_say_what_is_in_them() -> None:
    def tool(words: list[str], counts: dict[str, int], rows: list[list[float]]) -> None: ...

    found = properties(tool)

    assert found["words"] == {"type": "array", "items": {"type": "string"}}
    assert found["counts"]["additionalProperties"] == {"type": "integer"}
    assert found["rows"]["items"] == {"type": "array", "items": {"type": "number"}}


@pytest.mark.parametrize("kind", [Point, Line, Colour])
def test_a_structure_is_described_beside_the_parameters(kind: Any) -> None:
    def tool(it): ...  # type: ignore[no-untyped-def]

    tool.__annotations__ = {"it": kind}

    schema = parameters(tool)

    assert schema["properties"]["it"] == {"$ref": f"#/$defs/{kind.__name__}"}
    assert kind.__name__ in schema["$defs"]


def test_every_reference_in_a_schema_leads_somewhere() -> None:
    def tool(lines: list[Line], point: Point | None = None, colour: Colour = Colour.RED) -> None: ...

    schema = parameters(tool)

    def references(part: Any) -> set[str]:
        if isinstance(part, list):
            return set().union(*map(references, part))
        if isinstance(part, dict):
            return {part["$ref"]} if "$ref" in part else set().union(*map(references, part.values()))
        return set()

    assert references(schema) == {f"#/$defs/{name}" for name in schema["$defs"]}
    assert set(schema["$defs"]) == {"Line", "Point", "Colour"}


def test_annotations_describe_and_bound() -> None:
    def tool(
        count: Annotated[int, Meta(description="How many", ge=1, le=9)],
        word: Annotated[str, Meta(min_length=1, pattern="^[a-z]+$")] = "a",
    ) -> None: ...

    assert properties(tool) == {
        "count": {"type": "integer", "description": "How many", "minimum": 1, "maximum": 9},
        "word": {"type": "string", "minLength": 1, "pattern": "^[a-z]+$", "default": "a"},
    }


def test_a_method_is_a_tool_without_its_self() -> None:
    class Shelf:
        def take(self, count: int) -> int:
            """Take books."""
            return count

    schema = as_tool(Shelf().take).schema

    assert (schema.name, schema.description) == ("take", "Take books.")
    assert list(schema.parameters["properties"]) == ["count"]


def test_a_wrapped_function_is_described_as_what_it_wraps() -> None:
    def noted(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    @noted
    def add(a: int, b: int = 1) -> int:
        """Add."""
        return a + b

    schema = as_tool(add).schema

    assert (schema.name, schema.description, list(schema.parameters["properties"])) == ("add", "Add.", ["a", "b"])


def test_a_tool_stays_itself() -> None:
    def tool() -> None: ...

    made = as_tool(tool)

    assert as_tool(made) is made


# What can't be a tool


class Callable_:  # noqa: N801 - has a call and no name
    def __call__(self, a: int) -> int:
        return a


def named(a: int) -> int:
    return a


@pytest.mark.parametrize("function", [lambda a: a, functools.partial(named, 1), Callable_()])
def test_a_function_without_a_name_is_refused_with_a_way_out(function: Any) -> None:
    with pytest.raises(ValueError, match=r"needs a name.*write a def"):
        as_tool(function)


def args(*values: int) -> None: ...


def kwargs(**values: int) -> None: ...


def both(a: int, *rest: int, **more: int) -> None: ...


def positional(a: int, /) -> None: ...


@pytest.mark.parametrize(
    ("function", "parameter"),
    [(args, r"\*values"), (kwargs, r"\*\*values"), (both, r"\*rest"), (positional, "a"), (len, "obj")],
)
def test_a_parameter_that_can_not_be_passed_by_name_is_refused_by_name(function: Any, parameter: str) -> None:
    with pytest.raises(ValueError, match=f"'{function.__name__}': parameter {parameter}.*by name"):
        as_tool(function)


@pytest.mark.parametrize("thing", [None, 1, "name", [], {}])
def test_what_can_not_be_called_is_refused(thing: Any) -> None:
    with pytest.raises(TypeError, match="a tool is a function"):
        as_tool(thing)


def takes_a_path(where: Path) -> None: ...


def takes_an_object(it: object) -> None: ...


def takes_a_function(it: Callable[[], int]) -> None: ...


def takes_two_untagged(it: Point | FrozenPoint) -> None: ...


@pytest.mark.parametrize("function", [takes_a_path, takes_an_object, takes_a_function, takes_two_untagged])
def test_a_parameter_of_a_type_that_json_has_not_is_refused_and_says_which_tool(function: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=function.__name__):
        as_tool(function)


# Calling


async def test_a_sync_tool_runs_in_a_thread_and_sees_the_callers_context() -> None:
    place: ContextVar[str] = ContextVar("place", default="nowhere")
    place.set("here")

    def tool() -> list[Any]:
        return [threading.get_ident(), place.get()]

    thread, seen = await call(tool)

    assert thread != threading.get_ident()
    assert seen == "here"


async def test_an_async_tool_runs_in_the_loop() -> None:
    async def tool() -> int:
        await anyio.lowlevel.checkpoint()
        return threading.get_ident()

    assert await call(tool) == threading.get_ident()


async def test_sync_tools_run_at_the_same_time_and_do_not_stop_the_loop() -> None:
    gate = threading.Barrier(8)

    def tool() -> int:
        return gate.wait(5)

    with anyio.fail_after(10):
        found: list[int] = []

        async def one() -> None:
            found.append(await call(tool))

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(one)

    assert sorted(found) == list(range(8))


async def test_arguments_become_what_the_annotations_say() -> None:
    def tool(point: Point, line: Line, colour: Colour, points: list[Point], real: float) -> list[Any]:
        return [point, line, colour, points, type(real)]

    output = await call(
        tool, point={"x": 1}, line={"start": {"x": 2, "y": 3}}, colour="blue", points=[{"x": 4}], real=5
    )

    assert output == [Point(1), Line(Point(2, 3)), Colour.BLUE, [Point(4)], float]


async def test_defaults_are_used_and_not_shared_between_calls() -> None:
    def tool(word: str = "a", words: list[str] = [], more: dict[str, int] = {}) -> list[Any]:  # noqa: B006
        words.append(word)
        more[word] = len(words)
        return [words, more]

    assert await call(tool) == [["a"], {"a": 1}]
    made = as_tool(tool)
    for word in ("b", "c"):
        assert await call(made, word=word) == [[word], {word: 1}]


async def test_a_structure_as_a_default_is_not_shared_between_calls() -> None:
    async def tool(point: Point = Point(1)) -> int:  # noqa: B008
        point.x += 1
        return point.x

    assert await call(tool) == await call(tool) == 2


async def test_a_default_that_is_a_list_with_something_in_it_is_a_default_like_any_other() -> None:
    def tool(words: list[str] = ["a"]) -> list[str]:  # noqa: B006
        words.append("b")
        return words

    assert await call(tool) == await call(tool) == ["a", "b"]
    assert await call(tool, words=[]) == ["b"]


async def test_a_tool_may_be_called_like_the_structure_it_takes() -> None:
    async def tool(it: Point) -> int:
        return it.x

    tool.__name__ = "Point"

    assert await call(tool, it={"x": 5}) == 5


async def test_a_parameter_may_be_called_like_one_of_the_call_itself() -> None:
    def tool(name: str, self: str, tool: str, arguments: str) -> list[str]:
        return [name, self, tool, arguments]

    assert await call(tool, name="a", self="b", tool="c", arguments="d") == ["a", "b", "c", "d"]


def takes_many(
    count: int,
    word: str = "",
    words: list[str] | None = None,
    size: Literal["small", "large"] = "small",
    point: Point | None = None,
    few: Annotated[int, Meta(ge=1, le=3)] = 1,
) -> str:
    raise AssertionError("was called with wrong arguments")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "count"),
    "one too many": ({"count": 1, "other": 2}, "other"),
    "text for a number": ({"count": "1"}, "int"),
    "a float for a whole number": ({"count": 1.5}, "int"),
    "true for a number": ({"count": True}, "int"),
    "null for a number": ({"count": None}, "int"),
    "a number for text": ({"count": 1, "word": 5}, "str"),
    "a number in a list of text": ({"count": 1, "words": ["a", 2]}, r"words\[1\]|words\[\.\.\.\]"),
    "text for a list": ({"count": 1, "words": "abc"}, "words"),
    "no choice": ({"count": 1, "size": "medium"}, "size"),
    "too many": ({"count": 1, "few": 4}, "few"),
    "half a point": ({"count": 1, "point": {"y": 1}}, "x"),
    "a list for a point": ({"count": 1, "point": [1, 2]}, "point"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_wrong_arguments_are_a_tool_error_that_says_where(what: str) -> None:
    arguments, place = WRONG[what]

    with pytest.raises(ToolError, match=f"(?s)takes_many.*fit.*{place}") as error:
        await call(takes_many, **arguments)

    assert error.value.tool == "takes_many"


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_a_tool_raises_is_a_tool_error_with_its_cause(is_async: bool) -> None:
    async def fails_async(word: str) -> None:
        raise LookupError(f"no {word} here")

    def fails(word: str) -> None:
        raise LookupError(f"no {word} here")

    with pytest.raises(ToolError, match="LookupError: no book here") as error:
        await call(fails_async if is_async else fails, word="book")

    assert isinstance(error.value.__cause__, LookupError)


async def test_a_tool_error_of_a_tool_comes_out_as_it_is() -> None:
    raised = ToolError("inner", "no")

    def tool() -> None:
        raise raised

    with pytest.raises(ToolError) as error:
        await call(tool)

    assert error.value is raised


@pytest.mark.parametrize(
    "error", [StopIteration(), StopAsyncIteration(), TimeoutError(), ExceptionGroup("g", [ValueError("a")])], ids=repr
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_an_odd_exception_is_a_tool_error_too(error: Exception, is_async: bool) -> None:
    async def fails_async() -> None:
        raise error

    def fails() -> None:
        raise error

    with pytest.raises(ToolError, match="fails"):
        await call(fails_async if is_async else fails)


class Untold(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


async def test_an_exception_that_can_not_be_put_into_words_is_a_tool_error_too() -> None:
    def fails() -> None:
        raise Untold

    with pytest.raises(ToolError, match="Untold"):
        await call(fails)


@pytest.mark.parametrize("output", [None, (1, 2), {1, 2}, b"x", float("inf"), Point(1)], ids=repr)
async def test_an_output_that_is_not_json_is_handed_out_as_it_is(output: Any) -> None:
    def tool() -> Any:
        return output

    assert await call(tool) is output


async def test_a_cancellation_does_not_wait_for_the_thread_of_a_sync_tool() -> None:
    began, release = threading.Event(), threading.Event()

    def stuck() -> None:
        began.set()
        release.wait(30)

    try:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(call, stuck)
                await anyio.to_thread.run_sync(began.wait)
                group.cancel_scope.cancel()
        assert not release.is_set()
    finally:
        release.set()


async def test_a_wrapper_around_an_async_tool_gives_its_output() -> None:
    async def answer() -> int:
        return 42

    @functools.wraps(answer)
    def wrapper() -> Any:
        return answer()

    assert await call(wrapper) == 42
