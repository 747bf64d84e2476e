"""One table in three places: docs/architecture.md, the import contract, and the modules themselves."""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "carpool"

_ROW = re.compile(r"^\| `(?P<module>\w+)` \| (?P<floor>\d+) \| (?P<summary>.+) \|$", re.MULTILINE)


def modules() -> dict[str, Path]:
    """The modules directly under ``carpool``; a package stands for all that is in it."""
    files = {path.stem: path for path in SOURCE.glob("*.py") if path.stem != "__init__"}
    packages = {path.parent.name: path for path in SOURCE.glob("*/__init__.py")}
    return files | packages


def contract() -> dict[str, int]:
    """Module name to floor; a name in parentheses keeps them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (floors,) = (each for each in settings["contracts"] if each["id"] == "floors")
    assert floors["exhaustive"]
    upwards = reversed(floors["layers"])
    return {name: floor for floor, layer in enumerate(upwards, 1) for name in re.split(r"\s*[|:]\s*", layer)}


def documented() -> dict[str, tuple[int, str]]:
    """Module name to floor and summary."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    return {row["module"]: (int(row["floor"]), row["summary"]) for row in _ROW.finditer(page)}


def summary(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, f"{path} has no docstring"
    return docstring.splitlines()[0]


def test_every_module_is_on_a_floor() -> None:
    built = {name for name in contract() if not name.startswith("(")}

    assert built == set(modules()), "put it on its floor in pyproject.toml; parentheses are for what is not built yet"


def test_a_planned_floor_is_that_of_no_module() -> None:
    planned = {name.strip("()") for name in contract() if name.startswith("(")}

    assert not planned & set(modules()), "these are built: take them out of their parentheses"


def test_the_documented_table_is_the_contract_and_what_each_module_says_of_itself() -> None:
    floors = contract()
    expected = {name: (floors.get(name), summary(path)) for name, path in modules().items()}
    rows = [f"| `{name}` | {floor} | {text} |" for name, (floor, text) in sorted(expected.items())]

    assert documented() == expected, "docs/architecture.md should have:\n" + "\n".join(rows)


def test_the_documented_table_reads_from_the_ground_up() -> None:
    rows = [(floor, name) for name, (floor, _) in documented().items()]

    assert rows == sorted(rows)
