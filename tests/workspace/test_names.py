"""Whatever an agent and a run are called, the folder's name is harmless and its own."""

import itertools
import re
import unicodedata

import pytest

from carpool.workspace import Workspaces
from carpool.workspace.names import folder_name

CHARACTERS = [
    "\0", "\n", "\r", "\t", "\x1b", "\x7f", "/", "\\", ":", "*", "?", '"', "<", ">", "|", "%", "$", "`", "'", "&", ";",
    "~", "!", "#", "@", "^", "=", "+", ",", "[", "]", "{", "}", "(", ")", " ", ".", "-", "_", "\u200b", "\u202e",
    "\u2044", "\uff0f", "\uff0e", "\u2024", "\ufeff", "\ud800", "\udfff", "\U0001f697", "é", "e\u0301", "ß", "ſ", "İ",
    "ı", "K", "Å", "A\u030a", "ﬁ", "汉",
]  # fmt: skip
PATHS = [
    "..", "../..", "../../etc/passwd", "/etc/passwd", "//server/share", "C:\\Windows", "C:", "..\\..", "a/../../b",
    "./.", ".", "...", "....//", "%2e%2e%2f", "..%00/", "a\0b", "~", "~root", "$HOME", "`id`", "$(id)", "-rf", "--",
    "--upload-pack=x", ".git", ".GIT", ".git/hooks", "git~1", ".git ", ".git.", ".carpool", ".carpool/x",
    "/proc/self/fd/3", "/dev/stdin", "file:///etc", "..;/", "a//b", "a/", "/", "\\\\?\\C:\\", "x@1-0123456789ab",
]  # fmt: skip
RESERVED = [
    "CON", "con", "PRN", "aux", "NUL", "nul.txt", "COM1", "com9.log", "LPT1", "lpt9", "CON.", "aux ", "COM\u00b9",
    "CLOCK$", "CONIN$", "conout$",
]  # fmt: skip
LONG = ["a" * 41, "a" * 255, "a" * 256, "a" * 5000, "é" * 300, "a" * 40 + "b", "a" * 40 + "c", "../" * 500, "-" * 300]
LOOKALIKES = ["writer", "Writer", "WRITER", "wrıter", "writer ", " writer", "writer\n", "wr\u0456ter", "w-r-iter"]
HOSTILE = list(
    dict.fromkeys([*CHARACTERS, *(f"a{each}b" for each in CHARACTERS), *PATHS, *RESERVED, *LONG, *LOOKALIKES])
)

HARMLESS = re.compile(r"[a-z0-9][a-z0-9_-]*[a-z0-9]")
WINDOWS = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|clock\$|conin\$|conout\$)(\..*)?")


def test_there_are_enough_hostile_names() -> None:
    assert len(HOSTILE) >= 180


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: f"{len(name)}:{ascii(name[:50])[1:-1]}")
def test_a_hostile_name_becomes_a_harmless_one(name: str) -> None:
    for folder in (folder_name(name, "run"), folder_name("agent", name), folder_name(name, name)):
        assert HARMLESS.fullmatch(folder)
        assert len(folder) <= 83
        assert not WINDOWS.fullmatch(folder)


def test_names_that_a_file_system_might_take_for_one_are_told_apart() -> None:
    folders = [folder_name(name, "run") for name in HOSTILE]
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        seen = {unicodedata.normalize(form, folder).casefold() for folder in folders}
        assert len(seen) == len(HOSTILE)


def test_long_names_that_begin_alike_are_told_apart() -> None:
    assert len({folder_name("a" * length, "run") for length in range(40, 400)}) == 360


def test_a_plain_name_is_kept_as_it_is() -> None:
    assert folder_name("writer_2", "nightly-7") == "writer_2-nightly-7"


@pytest.mark.parametrize("name", ["", " ", "é"])
def test_a_name_of_which_nothing_is_left_still_makes_one(name: str) -> None:
    assert re.fullmatch(r"(agent|e)-[0-9a-f]{8}-run", folder_name(name, "run"))


async def test_no_hostile_name_gets_a_folder_anywhere_but_in_the_base(base) -> None:
    workspaces = Workspaces.directory(base)
    for name, run in itertools.chain(zip(HOSTILE, itertools.repeat("run")), zip(itertools.repeat("a"), HOSTILE)):
        async with workspaces.provide(name, run) as workspace:
            assert workspace.path.parent == base.resolve()
            assert workspace.path.is_dir()
            assert not workspace.path.is_symlink()
    assert list(base.iterdir()) == []


async def test_hostile_names_all_at_once_get_a_folder_each(base) -> None:
    from contextlib import AsyncExitStack

    workspaces = Workspaces.directory(base)
    async with AsyncExitStack() as stack:
        paths = [(await stack.enter_async_context(workspaces.provide(name, name))).path for name in HOSTILE]
        assert len({str(path).casefold() for path in paths}) == len(HOSTILE)
        assert len({path.stat().st_ino for path in paths}) == len(HOSTILE)
    assert list(base.iterdir()) == []
