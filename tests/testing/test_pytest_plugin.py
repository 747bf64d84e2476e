"""A test with the fixture replays its own cassette, and records it when asked to."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

pytest_plugins = ["pytester"]

TEAM = """
    import pytest
    from carpool import AgentOutput, AgentSpec, TokenAccounting, Vote

    team = Vote([AgentSpec("a", "Vote."), AgentSpec("b", "Vote.")])
    called = []

    async def real(spec, task, runtime, mailbox):
        called.append(spec.name)
        return AgentOutput(name=spec.name, answer=f"{spec.name}: {task}", tokens=TokenAccounting(input_tokens=5))
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder of tests, for a pytest that has this plugin and no other from outside."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p carpool.testing.pytest_plugin -p anyio.pytest_plugin")
    return pytester


def cassettes(project: pytest.Pytester) -> list[str]:
    return sorted(str(path.relative_to(project.path)) for path in project.path.rglob("*.jsonl"))


def write(project: pytest.Pytester, tests: str, name: str = "test_team.py") -> Path:
    path = project.path / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(dedent(TEAM) + dedent(tests))
    return path


def test_what_was_recorded_is_replayed_without_the_real_runner(project: pytest.Pytester) -> None:
    write(
        project,
        """
        def test_it(carpool_cassette):
            result = team.run_sync("Late?", runner=carpool_cassette(real))
            assert [vote.answer for vote in result.votes] == ["a: Late?", "b: Late?"]
            assert result.usage.total_tokens == 10
            assert bool(called) is carpool_cassette.recording
            assert carpool_cassette.path.name == "test_it.jsonl"
        """,
    )
    project.runpytest("--carpool-record").assert_outcomes(passed=1)
    assert cassettes(project) == ["cassettes/test_team/test_it.jsonl"]
    written = (project.path / cassettes(project)[0]).read_bytes()

    project.runpytest().assert_outcomes(passed=1)
    assert (project.path / cassettes(project)[0]).read_bytes() == written


def test_a_missing_cassette_fails_and_says_how_to_record_it(project: pytest.Pytester) -> None:
    write(
        project,
        """
        class TestTeam:
            def test_it(self, carpool_cassette):
                team.run_sync("Late?", runner=carpool_cassette(real))
        """,
    )
    result = project.runpytest()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "there is no cassette *cassettes/test_team/TestTeam.test_it.jsonl; *: pytest --carpool-record *::test_it'",
        ]
    )
    assert cassettes(project) == []


def test_a_call_that_is_missing_fails_the_test_even_if_the_team_got_over_it(project: pytest.Pytester) -> None:
    test = """
        def test_it(carpool_cassette):
            assert team.run_sync("Late, or {}?", runner=carpool_cassette(real))
    """
    write(project, test.format("early"))
    project.runpytest("--carpool-record").assert_outcomes(passed=1)
    write(project, test.format("soon"))
    result = project.runpytest()

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*not in the cassette; to record it, *: pytest --carpool-record 'test_team.py::test_it'",
            "*agent 'a' is not recorded*Nearest is agent 'a', line 2:",
            "-Late, or early?",
            "+Late, or soon?",
            "*agent 'b' is not recorded*",
        ]
    )


def test_recording_again_calls_the_real_runner_for_what_is_missing_alone(project: pytest.Pytester) -> None:
    test = """
        def test_it(carpool_cassette):
            team = Vote([AgentSpec(name, "Vote.") for name in {!r}])
            assert len(team.run_sync("Late?", runner=carpool_cassette(real)).votes) == {}
            assert called == {}
    """
    write(project, test.format("ab", 2, ["a", "b"]))
    project.runpytest("--carpool-record").assert_outcomes(passed=1)
    write(project, test.format("abc", 3, ["c"]))
    project.runpytest("--carpool-record").assert_outcomes(passed=1)
    write(project, test.format("abc", 3, []))

    project.runpytest().assert_outcomes(passed=1)


def test_each_test_has_a_cassette_of_its_own_whatever_it_is_called(project: pytest.Pytester) -> None:
    write(
        project,
        """
        values = ["a b", "a/b", "a::b", "a.b", "../../x", "é", "x" * 300, "x" * 301, "[", ""]

        @pytest.mark.parametrize("value", values, ids=values[:-1] + ["empty"])
        def test_it(carpool_cassette, value):
            assert team.run_sync(value, runner=carpool_cassette(real)).votes[0].answer == f"a: {value}"
        """,
        "sub/test_names.py",
    )
    project.runpytest("--carpool-record").assert_outcomes(passed=10)

    found = cassettes(project)
    assert len(found) == 10
    assert all(path.startswith("sub/cassettes/test_names/test_it[") for path in found)
    assert all(len(Path(path).name) < 130 for path in found)
    project.runpytest().assert_outcomes(passed=10)


def test_runners_of_one_test_share_its_cassette(project: pytest.Pytester) -> None:
    write(
        project,
        """
        def saying(answer):
            async def run(spec, task, runtime, mailbox):
                return answer
            return run

        def test_it(carpool_cassette):
            for answer in ("one", "two"):
                result = team.run_sync("Late?", runner=carpool_cassette(saying(answer)))
                assert [vote.answer for vote in result.votes] == [answer, answer]
        """,
    )
    project.runpytest("--carpool-record").assert_outcomes(passed=1)

    project.runpytest().assert_outcomes(passed=1)


def test_one_that_comes_to_call_nobody_needs_no_more_than_an_empty_cassette(project: pytest.Pytester) -> None:
    write(
        project,
        """
        def test_unused(carpool_cassette):
            assert not carpool_cassette.path.exists()

        def test_nobody(carpool_cassette):
            assert carpool_cassette(real)
        """,
    )
    project.runpytest("--carpool-record").assert_outcomes(passed=2)

    assert cassettes(project) == ["cassettes/test_team/test_nobody.jsonl"]
    project.runpytest().assert_outcomes(passed=2)


def test_it_works_in_async_tests_and_in_a_plan_of_faults(project: pytest.Pytester) -> None:
    write(
        project,
        """
        from carpool.testing import FaultPlan

        @pytest.mark.anyio
        async def test_it(carpool_cassette):
            plan = FaultPlan(carpool_cassette(real))
            plan.nth(1, "b").is_rate_limited()
            result = await team.run("Late?", runner=plan)
            assert [vote.succeeded for vote in result.votes] == [True, False]

        @pytest.fixture
        def anyio_backend():
            return "asyncio"
        """,
    )
    project.runpytest("--carpool-record").assert_outcomes(passed=1)

    project.runpytest().assert_outcomes(passed=1)


def test_a_damaged_cassette_is_named_by_its_line(project: pytest.Pytester) -> None:
    write(
        project,
        """
        def test_it(carpool_cassette):
            team.run_sync("Late?", runner=carpool_cassette(real))
        """,
    )
    project.runpytest("--carpool-record")
    (path,) = project.path.rglob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'{"digest"', b'<<<<<<< HEAD\n{"digest"', 1))
    result = project.runpytest()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ConfigError: *test_it.jsonl:2: not a recorded call: *"])


def test_the_option_is_in_pytests_help(project: pytest.Pytester) -> None:
    result = project.runpytest("--help")

    result.stdout.fnmatch_lines(["carpool:", "*--carpool-record *"])


def test_pytest_is_loaded_with_the_plugin_and_with_nothing_else() -> None:
    code = (
        "import sys, carpool.testing, carpool.runners.recording, carpool.runners.replay; print('pytest' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
