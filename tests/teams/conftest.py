"""Team files on a disk of their own."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a file, by default ``team.yaml``, below a folder that is the current one; its path is its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes, name: str = "team.yaml") -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def modules() -> Iterator[None]:
    """Modules of tests, called ``team_…`` or ``my_code``, are forgotten afterwards, and where they were looked for."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in [name for name in sys.modules if name.startswith(("team_", "my_code"))]:
        del sys.modules[name]
