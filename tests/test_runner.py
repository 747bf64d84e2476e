"""What may run an agent, and agents that are plain functions."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from carpool import AgentOutput, AgentSpec, SharedInfra
from carpool.mailbox import Mailbox
from carpool.runner import FunctionRunner, run_function
from carpool.runtime import Runtime
from carpool.spawn import open_run


def spec(name: str, role: str | None = None, **fields: Any) -> AgentSpec:
    return AgentSpec(name, "", role=role, **fields)


async def run(runner: FunctionRunner, name: str, role: str | None = None, task: str = "the task") -> Any:
    with anyio.fail_after(10):
        return await runner.run(spec(name, role), task, SharedInfra().make_runtime(), Mailbox())


def says(text: str) -> Callable[[str, Runtime], str]:
    return lambda task, runtime: text


# What a runner is


class WithRun:
    async def run(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> str:
        return f"{spec.name}: {task}"


class WithCall:
    async def __call__(self, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> str:
        return f"{spec.name}: {task}"


async def plain(spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> str:
    return f"{spec.name}: {task}"


async def with_more(more: str, spec: AgentSpec, task: str, runtime: Runtime, mailbox: Mailbox) -> str:
    return f"{spec.name}: {task}"


RUNNERS = [
    WithRun(),
    WithCall(),
    plain,
    WithRun().run,
    functools.partial(with_more, "more"),
    lambda *all_of: plain(*all_of),
]


@pytest.mark.parametrize("runner", RUNNERS, ids=["object", "callable", "function", "method", "partial", "lambda"])
async def test_an_object_with_run_a_function_and_a_callable_object_are_runners(runner: Any) -> None:
    function = run_function(runner)

    assert await function(spec("a"), "b", SharedInfra().make_runtime(), Mailbox()) == "a: b"
    async with open_run(runner=runner, infra=SharedInfra()) as opened:
        assert (await opened.agent(spec("a"), "b")).answer == "a: b"


class RunIsNoFunction:
    run = "no function"


@pytest.mark.parametrize("thing", [None, 1, "plain", [], {"run": plain}, object(), RunIsNoFunction()], ids=str)
def test_what_is_no_runner_is_refused_with_what_one_is(thing: Any) -> None:
    with pytest.raises(TypeError, match=r"a runner has an async run\(spec, task, runtime, mailbox\)"):
        run_function(thing)


def test_a_class_of_runners_is_no_runner() -> None:
    with pytest.raises(TypeError, match="a runner has"):
        run_function(WithRun)  # type: ignore[arg-type]


# Finding the function


async def test_a_function_is_found_by_name_and_else_by_role() -> None:
    runner = FunctionRunner({"mapper": says("role"), "mapper_1": says("name")})

    assert await run(runner, "mapper_1", "mapper") == "name"
    assert await run(runner, "mapper_2", "mapper") == "role"
    assert await run(runner, "mapper") == "role"


@pytest.mark.parametrize(("name", "role"), [("a", None), ("a", "b"), ("mapper_1", None), ("Mapper", None)])
async def test_a_missing_function_is_an_error_that_names_what_there_is(name: str, role: str | None) -> None:
    runner = FunctionRunner({"reducer": says("x"), "mapper": says("y")})

    with pytest.raises(LookupError, match=f"'{name}'.*mapper, reducer"):
        await run(runner, name, role)
    with pytest.raises(LookupError, match="none"):
        await run(FunctionRunner({}), name, role)


async def test_what_is_added_to_the_mapping_later_is_not_seen() -> None:
    functions = {"a": says("a")}
    runner = FunctionRunner(functions)
    functions["b"] = says("b")
    del functions["a"]

    assert await run(runner, "a") == "a"
    with pytest.raises(LookupError):
        await run(runner, "b")


# Calling it


async def test_a_function_is_given_task_and_runtime() -> None:
    runtime, seen = SharedInfra().make_runtime(), []

    async def function(task: str, runtime: Runtime) -> str:
        seen.append((task, runtime))
        return "done"

    def sync_function(task: str, runtime: Runtime) -> str:
        seen.append((task, runtime))
        return "done"

    runner = FunctionRunner({"a": function, "b": sync_function})
    for name in ("a", "b"):
        assert await runner.run(spec(name), "the task", runtime, Mailbox()) == "done"

    assert seen == [("the task", runtime)] * 2


async def test_what_a_function_returns_is_handed_on_as_it_is() -> None:
    output = AgentOutput(name="a", answer="x")

    assert await run(FunctionRunner({"a": lambda task, runtime: output}), "a") is output


async def test_a_sync_function_runs_in_a_thread_and_an_async_one_in_the_loop() -> None:
    def where(task: str, runtime: Runtime) -> Any:
        return threading.get_ident()

    async def where_async(task: str, runtime: Runtime) -> Any:
        return threading.get_ident()

    runner = FunctionRunner({"sync": where, "async": where_async})

    assert await run(runner, "sync") != threading.get_ident()
    assert await run(runner, "async") == threading.get_ident()


class AsyncCallable:
    async def __call__(self, task: str, runtime: Runtime) -> str:
        await checkpoint()
        return task


async def waits_a_turn(more: int, task: str, runtime: Runtime) -> str:
    await checkpoint()
    return task


class WithMethod:
    async def method(self, task: str, runtime: Runtime) -> str:
        return task


@pytest.mark.parametrize(
    "function",
    [AsyncCallable(), functools.partial(waits_a_turn, 1), WithMethod().method],
    ids=["call", "partial", "method"],
)
async def test_every_kind_of_async_function_is_awaited(function: Any) -> None:
    assert await run(FunctionRunner({"a": function}), "a") == "the task"


async def test_a_plain_wrapper_around_an_async_function_gives_its_answer() -> None:
    @functools.wraps(waits_a_turn)
    def wrapper(task: str, runtime: Runtime) -> Any:
        return waits_a_turn(1, task, runtime)

    answer = await run(FunctionRunner({"a": wrapper}), "a")
    if hasattr(answer, "close"):
        answer.close()

    assert answer == "the task"


async def test_a_sync_function_sees_the_callers_context() -> None:
    place: ContextVar[str] = ContextVar("place", default="nowhere")
    place.set("here")

    assert await run(FunctionRunner({"a": lambda task, runtime: place.get()}), "a") == "here"


@pytest.mark.parametrize("error", [ValueError("no"), StopIteration("no"), TimeoutError("no")], ids=repr)
async def test_what_a_function_raises_is_raised(error: Exception) -> None:
    def fails(task: str, runtime: Runtime) -> str:
        raise error

    with pytest.raises((type(error), RuntimeError)):
        await run(FunctionRunner({"a": fails}), "a")


# Threads


async def test_fifty_sync_functions_run_at_the_same_time() -> None:
    gate = threading.Barrier(50)
    runner = FunctionRunner({"a": lambda task, runtime: str(gate.wait(10))})
    answers: list[str] = []

    async def one() -> None:
        answers.append(await run(runner, "a"))

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(one)

    assert sorted(map(int, answers)) == list(range(50))


async def test_fifty_of_a_pattern_run_at_the_same_time_when_it_starts_so_many() -> None:
    gate = threading.Barrier(50)
    runner = FunctionRunner({"worker": lambda task, runtime: str(gate.wait(10))})

    async with open_run(runner=runner, infra=SharedInfra()) as opened:
        outputs = await opened.fan_out([(spec(f"worker_{n}", "worker"), "t") for n in range(50)], 50)

    assert all(output.succeeded for output in outputs)


async def test_a_stuck_thread_does_not_hold_up_the_loop() -> None:
    release = threading.Event()
    began = threading.Event()

    def stuck(task: str, runtime: Runtime) -> str:
        began.set()
        release.wait(30)
        return "at last"

    runner = FunctionRunner({"stuck": stuck, "quick": says("quick")})
    answers: list[str] = []

    async def one() -> None:
        answers.append(await run(runner, "stuck"))

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(one)
            await anyio.to_thread.run_sync(began.wait)
            assert await run(runner, "quick") == "quick"
            assert answers == []
            release.set()
    finally:
        release.set()
    assert answers == ["at last"]


async def test_a_timeout_does_not_wait_for_a_stuck_thread() -> None:
    release = threading.Event()
    runner = FunctionRunner({"stuck": lambda task, runtime: str(release.wait(30)), "quick": says("quick")})

    try:
        with anyio.fail_after(10):
            async with open_run(runner=runner, infra=SharedInfra()) as opened:
                output = await opened.agent(spec("stuck", timeout_s=0.02), "t")
                assert (await opened.agent(spec("quick"), "t")).answer == "quick"
        assert output.error is not None
        assert "timed out" in output.error
        assert output.outcome is not None
        assert output.outcome.status == "timeout"
    finally:
        release.set()


async def test_a_cancellation_does_not_wait_for_a_stuck_thread() -> None:
    release, began = threading.Event(), threading.Event()

    def stuck(task: str, runtime: Runtime) -> str:
        began.set()
        return str(release.wait(30))

    try:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(run, FunctionRunner({"stuck": stuck}), "stuck")
                await anyio.to_thread.run_sync(began.wait)
                group.cancel_scope.cancel()
    finally:
        release.set()


async def test_threads_left_stuck_do_not_use_up_the_places_of_others() -> None:
    release = threading.Event()
    runner = FunctionRunner({"stuck": lambda task, runtime: str(release.wait(30)), "quick": says("quick")})

    try:
        with anyio.fail_after(15):
            with anyio.move_on_after(0.05):
                async with anyio.create_task_group() as group:
                    for _ in range(60):
                        group.start_soon(run, runner, "stuck")
            assert await run(runner, "quick") == "quick"
    finally:
        release.set()


def test_one_runner_serves_several_loops_one_after_the_other() -> None:
    async def answer(task: str, runtime: Runtime) -> str:
        return "async"

    runner = FunctionRunner({"a": says("sync"), "b": answer})

    for _ in range(3):
        assert asyncio.run(run(runner, "a")) == "sync"
        assert asyncio.run(run(runner, "b")) == "async"
