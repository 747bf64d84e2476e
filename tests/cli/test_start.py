"""What the command line loads, and what it says where its extra is not installed."""

import json
import subprocess
import sys

import pytest

import carpool.cli

LOADED = "import json, sys; import carpool.cli; {}; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"


def loaded_by(statement: str = "pass") -> set[str]:
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; " + LOADED.format(statement)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_importing_it_loads_nothing_heavy() -> None:
    assert not {"cyclopts", "rich", "asyncio", "carpool.cli.application"} & loaded_by()


def test_help_loads_no_command() -> None:
    loaded = loaded_by("carpool.cli.main(['--help'])")

    assert not {"asyncio", "carpool.cli.run", "carpool.cli.plan", "carpool.cli.policy"} & loaded


@pytest.mark.parametrize("missing", ["cyclopts", "rich"])
def test_without_the_extra_it_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    for name in [name for name in sys.modules if name.startswith(("carpool.cli.application", f"{missing}."))]:
        monkeypatch.delitem(sys.modules, name)

    assert carpool.cli.main(["--help"]) == 2
    assert capsys.readouterr().err == f"carpool: the command line needs {missing}; run: pip install 'carpool[cli]'\n"


def test_the_parser_is_there_for_who_asks() -> None:
    assert carpool.cli.app.name == ("carpool",)
    with pytest.raises(AttributeError, match="nothing"):
        carpool.cli.nothing  # noqa: B018


def test_help_names_the_commands(typed) -> None:
    ended = typed("--help")

    assert ended.code == 0
    for text in ("run ", "plan ", "--version", "carpool run --items 'docs/**/*.md'"):
        assert text in ended.out


def test_without_a_command_there_is_help(typed) -> None:
    assert typed() == typed("--help")


def test_help_of_run_tells_every_flag_and_the_exit_codes(typed) -> None:
    told = " ".join(typed("run", "--help").out.split())

    for flag in ("--pattern", "--items", "--budget", "--estimate", "--timeout", "--json", "--quiet", "--quorum"):
        assert f"{flag} " in told
    for code in ("0 done", "1 failed", "2 usage", "4 stopped by the budget", "130 interrupted"):
        assert code in told


@pytest.mark.parametrize("module", ["carpool", "carpool.cli"])
def test_it_is_there_as_a_module_too(module: str) -> None:
    command = [sys.executable, "-c", f"import runpy, sys; sys.path[:] = {sys.path!r}; sys.argv[1:] = ['--version']; "]
    command[-1] += f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.startswith("carpool")


def test_the_version_is_told(typed) -> None:
    ended = typed("--version")

    assert ended.code == 0
    assert ended.out.startswith("carpool")
    assert ended.out.count("\n") == 1
