"""The pytest plugin: a fixture that gives each test a cassette of its own, and ``--carpool-record``.

def test_my_team(carpool_cassette):
    result = team.run_sync("…", runner=carpool_cassette(ModelRunner()))

A test's calls stand in ``cassettes/<module>/<test>.jsonl`` beside its file. As a rule they are replayed, without a
model; ``pytest --carpool-record`` calls the real runner for what is not there yet. To record anew, delete the file.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..runner import AgentRunner, RunnerLike
    from ..runners.cassette import Cassette

__all__ = ["CarpoolCassette", "carpool_cassette", "pytest_addoption"]

LONGEST = 100  # characters of a file's name, of the 255 bytes that file systems take
SHOWN = 3  # calls that are not recorded, in full


def pytest_addoption(parser: pytest.Parser) -> None:
    """Called by pytest."""
    parser.getgroup("carpool").addoption(
        "--carpool-record",
        action="store_true",
        help="carpool_cassette calls the real runner for whatever is not in a test's cassette yet, and records it",
    )


@pytest.fixture
def carpool_cassette(request: pytest.FixtureRequest) -> Generator[CarpoolCassette]:
    """Wraps a runner, so that its calls are replayed from this test's cassette, or recorded there.

    A call that is not in the cassette fails its agent, and when the test is over also the test, however well the
    team got on without that agent. What is in the cassette and was not asked for is no failure.
    """
    recording = bool(request.config.getoption("--carpool-record"))
    cassette = CarpoolCassette(_path(request), request.node.nodeid, recording)
    yield cassette
    cassette.check()


class CarpoolCassette:
    """``carpool_cassette(runner)`` is the runner to pass on. Several in one test share the test's cassette.

    ``path`` is the cassette, ``recording`` whether what is missing is recorded.
    """

    def __init__(self, path: Path, test: str, recording: bool) -> None:
        self.path = path
        self.recording = recording
        self._test = test
        self._cassette: Cassette | None = None

    def __call__(self, runner: RunnerLike) -> AgentRunner:
        """A runner in the place of ``runner``, which is called only while ``recording``, for what is missing.

        The test fails when there is no cassette and none is recorded.
        """
        from ..runners.cassette import Cassette
        from ..runners.recording import RecordingRunner
        from ..runners.replay import ReplayRunner

        if self._cassette is None:
            if not self.recording and not self.path.exists():
                pytest.fail(f"there is no cassette {self.path}; {self._how_to_record()}", pytrace=False)
            self._cassette = Cassette(self.path, "missing" if self.recording else "none")
            if self.recording:
                self._cassette.make_ready()  # a test that comes to call nobody has a cassette too
        return RecordingRunner(runner, self._cassette) if self.recording else ReplayRunner(self._cassette)

    def check(self) -> None:
        """Fail the test when it asked for what is not recorded."""
        missed = [] if self._cassette is None else self._cassette.missed
        if missed:
            told = "\n\n".join(missed[:SHOWN])
            more = f"\n\nand {len(missed) - SHOWN} more" if len(missed) > SHOWN else ""
            pytest.fail(f"not in the cassette; {self._how_to_record()}\n\n{told}{more}", pytrace=False)

    def _how_to_record(self) -> str:
        return f"to record it, calling the real runner: pytest --carpool-record '{self._test}'"


def _path(request: pytest.FixtureRequest) -> Path:
    """Beside the test's file; a class and the values of parameters are part of the name."""
    module: Path = request.path
    within: str = request.node.nodeid.partition("::")[2]
    function, bracket, values = within.partition("[")
    wanted = f"{function.replace('::', '.')}{bracket}{values}"
    name = re.sub(r"[^A-Za-z0-9_.\-\[\]]+", "_", wanted)
    if name != wanted or len(name) > LONGEST:
        # What was replaced or cut off still tells two tests apart.
        name = f"{name[:LONGEST]}-{sha256(within.encode(errors='replace')).hexdigest()[:8]}"
    return module.parent / "cassettes" / module.stem / f"{name}.jsonl"
