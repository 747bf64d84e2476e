"""Objects by import path: what was named is found, what was not named is not run, and no name is taken for another."""

import sys
from pathlib import Path

import pytest

from carpool.errors import ConfigError
from carpool.teams.imports import named_object

pytestmark = pytest.mark.usefixtures("modules")


def why(path: str, folder: Path = Path()) -> str:
    with pytest.raises(ConfigError) as raised:
        named_object(path, folder)
    return str(raised.value)


def test_an_object_is_found_in_a_module_beside_the_file_or_installed(file) -> None:
    file("class Outer:\n  inner = 5\n", "code/team_objects.py")
    file("x = 6\n", "code/team_package/deep.py")

    assert named_object("team_objects:Outer.inner", Path("code")) == 5
    assert named_object("team_package.deep:x", Path("code")) == 6
    assert named_object("json:dumps", Path("code")) is __import__("json").dumps


def test_a_file_that_nobody_named_takes_no_installed_module_s_place(file) -> None:
    file("raise SystemExit('ran')", "code/colorsys.py")
    file("import colorsys\nx = colorsys.rgb_to_hsv(0, 0, 0)\n", "code/team_objects.py")

    assert named_object("team_objects:x", Path("code")) == (0.0, 0.0, 0)


def test_a_module_that_is_hidden_by_another_is_refused(file) -> None:
    file("def dumps(): pass\n", "code/json.py")
    file("x = 1\n", "code/sys.py")
    file("x = 1\n", "one/team_twin.py")
    file("x = 2\n", "two/team_twin.py")

    assert named_object("team_twin:x", Path("one")) == 1
    assert "which has the same name; rename it" in why("json:dumps", Path("code"))
    assert "sys is built into Python, and not" in why("sys:x", Path("code"))
    assert "team_twin.py, and not" in why("team_twin:x", Path("two"))


@pytest.mark.parametrize(
    "path", ["json", "json:", ":dumps", "json:dumps()", "a-b:c", "../x:y", "x.py:y", "a:b:c", "", "a b:c"]
)
def test_what_is_no_path_is_refused_before_anything_is_imported(path: str) -> None:
    before = set(sys.modules)

    assert why(path) == f"{path!r}: write module:attribute, for example my_agents:runner"
    assert set(sys.modules) == before


def test_what_is_not_there_or_does_not_load_is_said(file) -> None:
    file("import team_missing\n", "team_lacking.py")
    file("1 / 0\n", "team_broken.py")
    file("def (\n", "team_unreadable.py")

    assert f"no module 'team_nowhere', in {Path.cwd()} or installed" in why("team_nowhere:x")
    assert "no module 'json.nowhere'" in why("json.nowhere:x")
    assert "json has no 'nobody' (" in why("json:nobody")
    assert "team_lacking can't be loaded: ModuleNotFoundError: No module named 'team_missing'" in why("team_lacking:x")
    assert "team_broken can't be loaded: ZeroDivisionError: division by zero" in why("team_broken:x")
    assert "team_unreadable can't be loaded: SyntaxError: " in why("team_unreadable:x")
