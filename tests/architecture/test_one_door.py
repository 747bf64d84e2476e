"""Every agent starts in one place: only ``spawn`` takes leases for starts and calls runners."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "carpool"

# Who may ask for a start: the budget defines it, infra offers it to callers, the door asks.
MAY_BEGIN = {"budget", "infra", "spawn"}
# Who may call a runner: the door, and runners that wrap another one.
MAY_RUN = {"runners", "spawn", "telemetry", "testing"}

BEGIN = {"begin_or_wait", "begin_soon", "try_begin_agent"}
RUN = {"call_runner", "run_function"}  # a runner as a plain function, and what makes it one
RUNNER_ARGUMENTS = 4  # spec, task, runtime, mailbox


def begins(tree: ast.AST) -> Iterator[int]:
    """The lines that reach for a start, also without calling it at once."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in BEGIN:
            yield node.lineno


def runs(tree: ast.AST) -> Iterator[int]:
    """The lines that reach for what runs an agent, under whatever name the runner goes."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) if name in RUN:
                yield node.lineno
            case ast.Attribute(attr="run", value=value) if _name(value).endswith("runner"):
                yield node.lineno
            case ast.Call(func=ast.Attribute(attr="run"), args=args) if len(args) == RUNNER_ARGUMENTS:
                yield node.lineno


def _name(node: ast.expr) -> str:
    """``runner`` of ``runner``, ``self._runner`` and ``as_runner(…)``."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def found(lines_of, allowed: set[str]) -> list[str]:
    return [
        f"{path.relative_to(SOURCE)}:{line}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path.relative_to(SOURCE).parts[0].removesuffix(".py") not in allowed
        for line in lines_of(ast.parse(path.read_text()))
    ]


def test_only_the_door_calls_a_runner() -> None:
    assert found(runs, MAY_RUN) == []


def test_only_the_door_asks_the_budget_for_a_start() -> None:
    assert found(begins, MAY_BEGIN) == []


def test_the_door_itself_does_both() -> None:
    door = ast.parse((SOURCE / "spawn" / "door.py").read_text())

    assert list(runs(door))
    assert list(begins(door))


@pytest.mark.parametrize(
    "code",
    [
        "await runner.run(spec, task, runtime, mailbox)",
        "await self._runner.run(spec, task=task, runtime=runtime, mailbox=mailbox)",
        "await as_runner(given).run(spec, task, runtime, mailbox)",
        "call = run.runner.run",
        "await shared.call_runner(spec, task, runtime, mailbox)",
        "from ..runner import run_function",
        "await somebody.run(spec, task, runtime, mailbox)",
    ],
)
def test_a_second_door_would_be_seen(code: str) -> None:
    assert set(runs(ast.parse(code))) == {1}


def test_running_a_pattern_is_no_second_door() -> None:
    code = "await pattern.run(task, runner=runner, infra=infra)\nanyio.run(main)\nsubprocess.run(['git', 'status'])"

    assert list(runs(ast.parse(code))) == []
