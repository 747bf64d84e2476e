"""The process between us and a command, spoken to as ``process`` does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from carpool.tools import keeper

from .children import is_alive, until, written

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")


class Kept:
    """A keeper, its leash and its status."""

    def __init__(self, *arguments: str, said: int | None = None, parent: int | None = None, **environment: str) -> None:
        """``said``: so many bytes of the order, and not all."""
        strings = [*arguments, *(f"{name}={value}" for name, value in environment.items())]
        order = b"".join(each.encode() + b"\0" for each in strings)
        theirs, self.leash = os.pipe()
        self.status, status = os.pipe()
        numbers = (theirs, status, os.getpid() if parent is None else parent, len(arguments), len(order))
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, *map(str, numbers)],
            pass_fds=(theirs, status),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        os.close(theirs)
        os.close(status)
        os.write(self.leash, order[:said])

    def let_go(self) -> None:
        if self.leash >= 0:
            os.close(self.leash)
        self.leash = -1

    def end(self) -> tuple[bytes, dict[str, int]]:
        """What the command said, and what the keeper did."""
        output, _ = self.process.communicate(timeout=10)
        lines = os.read(self.status, 4096).decode().splitlines()
        return output, {what: int(number) for what, number in map(str.split, lines)}

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.let_go()
        os.close(self.status)


@pytest.fixture
def keep() -> Iterator[type[Kept]]:
    made: list[Kept] = []

    class Remembered(Kept):
        def __init__(self, *arguments: str, **settings: object) -> None:
            super().__init__(*arguments, **settings)
            made.append(self)

    yield Remembered
    for each in made:
        each.close()


def test_it_starts_what_it_is_told_and_tells_how_that_ended(keep: type[Kept]) -> None:
    output, said = keep("/bin/sh", "-c", 'echo "$A $1"; exit 3', "sh", "", A="b=c").end()

    assert output == b"b=c \n"
    assert said["exit"] == 3


def test_it_tells_why_a_command_could_not_be_started(keep: type[Kept]) -> None:
    output, said = keep("no_such_program", PATH="/bin").end()

    assert (output, said["errno"]) == (b"", 2)


@pytest.mark.parametrize("said", [0, 1, 20])
def test_an_order_that_is_cut_short_starts_nothing(keep: type[Kept], tmp_path: Path, said: int) -> None:
    kept = keep("/usr/bin/touch", str(tmp_path / "canary"), said=said)
    kept.let_go()

    assert kept.end() == (b"", {})
    assert not (tmp_path / "canary").exists()


def test_the_end_of_the_leash_is_the_end_of_the_command(keep: type[Kept]) -> None:
    kept = keep("/bin/sleep", "60")
    kept.let_go()

    assert kept.end()[1]["exit"] == -9


def test_a_byte_asks_it_to_end(keep: type[Kept], tmp_path: Path) -> None:
    kept = keep("/bin/sh", "-c", f"trap 'exit 7' TERM; touch {tmp_path}/ready; while :; do /bin/sleep 0.01; done")
    while not (tmp_path / "ready").exists():
        pass
    os.write(kept.leash, b"t")

    assert kept.end()[1]["exit"] == 7


def test_a_command_that_has_no_session_yet_can_be_asked_to_end(keep: type[Kept]) -> None:
    for _ in range(20):
        kept = keep("/bin/sleep", "60")
        os.write(kept.leash, b"t")

        assert kept.end()[1]["exit"] == -15


def test_a_parent_that_is_another_one_is_a_dead_one(keep: type[Kept], tmp_path: Path) -> None:
    began = monotonic()
    kept = keep("/bin/sh", "-c", f"echo $$ > {tmp_path}/pid; exec /bin/sleep 60", parent=1)

    assert kept.end()[1]["exit"] == -9
    assert monotonic() - began < 4
    assert not any(map(is_alive, written(tmp_path / "pid")))


async def test_a_command_whose_keeper_is_killed_ends(keep: type[Kept], tmp_path: Path) -> None:
    kept = keep("/bin/sh", "-c", f"echo $$ > {tmp_path}/pid; exec /bin/sleep 60")
    assert await until(lambda: bool(written(tmp_path / "pid")))
    kept.process.kill()

    assert await until(lambda: not any(map(is_alive, written(tmp_path / "pid"))))


def test_it_holds_nothing_of_the_command_s(keep: type[Kept], tmp_path: Path) -> None:
    """So that a pipe's end is seen while the command still runs, and its folder can be removed."""
    kept = keep("/bin/sh", "-c", f"exec >&- 2>&- <&-; echo $$ > {tmp_path}/pid; exec /bin/sleep 60")
    assert kept.process.stdout is not None

    assert kept.process.stdout.read() == b""
    assert kept.process.poll() is None
    assert Path(f"/proc/{kept.process.pid}/cwd").readlink() == Path("/")
