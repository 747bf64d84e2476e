"""What ``import carpool`` may load, and what the floors below the extras may name."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "carpool"

# msgspec and anyio, and what these bring.
WELCOME = {"anyio", "carpool", "exceptiongroup", "idna", "msgspec", "sniffio", "typing_extensions"}
# Each costs more than all of carpool, and waits until it is used.
TOO_DEAR = {"asyncio", "concurrent.futures", "email", "http", "multiprocessing", "sqlite3", "ssl", "urllib"}
# The packages on the upper floors may name what their extra brings, in the file that needs it.
UPPER_FLOORS = {"cli", "durable", "mcp_server", "mcp_tools", "runners", "teams", "telemetry", "testing", "viewer"}

PROBE = """
import json, sys

sys.path.insert(0, sys.argv[1])
before, asked = set(sys.modules), []
sys.addaudithook(lambda event, args: asked.append(event) if event.startswith(("socket.", "subprocess.")) else None)
import carpool

print(json.dumps({"loaded": sorted(set(sys.modules) - before), "asked": asked}))
"""


@pytest.fixture(scope="module")
def import_carpool() -> dict[str, list[str]]:
    """What a fresh process has loaded and asked of the outside after ``import carpool``."""
    command = [sys.executable, "-I", "-c", PROBE, str(SOURCE.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_carpool_loads_msgspec_and_anyio_and_nothing_else_from_outside(import_carpool) -> None:
    outside = {name.split(".")[0] for name in import_carpool["loaded"]} - sys.stdlib_module_names

    assert outside <= WELCOME


def test_importing_carpool_loads_nothing_dear(import_carpool) -> None:
    assert not TOO_DEAR & set(import_carpool["loaded"])


def test_importing_carpool_opens_no_socket_and_starts_no_process(import_carpool) -> None:
    assert import_carpool["asked"] == []


def imported(tree: ast.AST) -> Iterator[str]:
    """The top-level packages that are named anywhere in a module, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.split(".")[0]


EXTRAS = {"schemas.py": "jsonschema_rs"}
"""What stands lower than its weight: a tool's schema is checked where tools are, by the extra ``schema``."""


def test_the_core_names_only_msgspec_anyio_and_the_standard_library() -> None:
    allowed = {"anyio", "carpool", "msgspec"} | sys.stdlib_module_names
    found = {
        f"{path.relative_to(SOURCE)} imports {name}"
        for path in SOURCE.rglob("*.py")
        if path.relative_to(SOURCE).parts[0].removesuffix(".py") not in UPPER_FLOORS
        for name in imported(ast.parse(path.read_text()))
        if name not in allowed | {EXTRAS.get(path.name)}
    }

    assert found == set()
