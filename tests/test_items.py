"""Files and lines as items: found at once, read when asked for, and what can't be read is told."""

import io
import os
from collections.abc import AsyncIterable, Collection
from pathlib import Path

import pytest

from carpool import AgentSpec, FunctionRunner, Item, MapReduce, UnreadableItem
from carpool.items import LARGEST_BYTES, Files, lines


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.md", "b.md", "notes.txt", "docs/c.md", "docs/deep/d.md", "docs/.hidden.md", ".git/e.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the text of {name}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reason(item: Item | UnreadableItem) -> str:
    assert isinstance(item, UnreadableItem), item
    return item.reason


# Finding


def test_a_file_is_an_item_labelled_with_its_path() -> None:
    assert list(Files("a.md")) == [Item(label="a.md", text="the text of a.md")]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("*.md", ["a.md", "b.md"]),
        ("**/*.md", ["a.md", "b.md", "docs/c.md", "docs/deep/d.md"]),
        ("**", ["a.md", "b.md", "docs/c.md", "docs/deep/d.md", "notes.txt"]),
        ("docs", ["docs/c.md", "docs/deep/d.md"]),
        ("docs/", ["docs/c.md", "docs/deep/d.md"]),
        ("docs/*", ["docs/c.md"]),
        ("docs/**", ["docs/c.md", "docs/deep/d.md"]),
        ("docs/**/d.*", ["docs/deep/d.md"]),
        ("*/*.md", ["docs/c.md"]),
        ("*/**/*.md", ["docs/c.md", "docs/deep/d.md"]),
        ("**/deep/**/*.md", ["docs/deep/d.md"]),
        ("[ab].md", ["a.md", "b.md"]),
        (".git/*", [".git/e.md"]),
        ("**/.*.md", ["docs/.hidden.md"]),
        (".git", [".git/e.md"]),
        ("./a.md", ["a.md"]),
        ("docs/../a.md", ["docs/../a.md"]),
    ],
)
def test_a_path_names_these_files(path: str, found: list[str]) -> None:
    assert Files(path).labels == found


def test_an_absolute_glob_is_a_glob(folder: Path) -> None:
    assert Files(f"{folder}/**/c.md").labels == [f"{folder}/docs/c.md"]


def test_a_tilde_is_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))

    assert Files("~/docs/*.md").labels == [f"{folder}/docs/c.md"]


def test_a_name_that_exists_is_no_glob(folder: Path) -> None:
    (folder / "x[1].md").write_text("brackets")

    assert Files("x[1].md").labels == ["x[1].md"]


def test_paths_keep_their_order_and_a_file_named_twice_counts_once() -> None:
    assert Files("docs", "b.md", "**/*.md").labels == ["docs/c.md", "docs/deep/d.md", "b.md", "a.md"]


def test_two_links_that_form_a_knot_are_not_followed(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / "docs" / name).symlink_to(folder / "docs", target_is_directory=True)

    assert Files("docs/**/*.md").labels == ["docs/c.md", "docs/deep/d.md"]


def test_a_name_that_is_no_utf_8_becomes_a_label_that_is(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.md")).write_text("text")

    (item,) = Files("bad*")

    assert item == Item(label="bad\N{REPLACEMENT CHARACTER}.md", text="text")


@pytest.mark.parametrize("paths", [("none/*.md",), ("gone.md", "none/**/*.md"), ("",), ()])
def test_paths_that_match_nothing_at_all_are_an_error_that_names_them(paths: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="no file to read: ") as refused:
        Files(*paths)

    assert all(repr(path) in str(refused.value) for path in paths)


def test_a_path_that_matches_nothing_beside_others_is_an_unreadable_item() -> None:
    files = Files("gone.md", "a.md", "none/**/*.md")

    assert [each.label for each in files] == ["gone.md", "a.md", "none/**/*.md"]
    assert files.unreadable == {"gone.md": "matches no file", "none/**/*.md": "matches no file"}


# Counting and reading


def test_the_number_of_items_is_known_before_any_is_read(folder: Path) -> None:
    files = Files("**/*.md")
    for path in folder.rglob("*.md"):
        path.unlink()

    assert isinstance(files, Collection)
    assert len(files) == 4


def test_a_file_is_read_when_it_is_asked_for(folder: Path) -> None:
    reading = iter(Files("*.md"))
    next(reading)
    (folder / "b.md").write_text("written later")

    assert next(reading) == Item(label="b.md", text="written later")


async def test_reading_without_blocking_the_loop_gives_the_same() -> None:
    files = Files("**/*.md", "gone.md")

    assert isinstance(files, AsyncIterable)
    assert [item async for item in files] == list(files)


def test_an_item_is_in_its_files() -> None:
    files = Files("*.md")

    assert Item(label="a.md", text="the text of a.md") in files
    assert "a.md" not in files


# What can't be read


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"PNG\0...", "binary: a NUL byte at 3"),
        (b"caf\xe9", "not UTF-8 text: byte 0xe9 at 3"),
        ("text".encode("utf-16"), "UTF-16 text; convert it to UTF-8"),
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (b"x" * 11, "too large: 11 bytes of at most 10; split it"),
    ],
)
def test_a_file_that_is_no_text_is_unreadable(folder: Path, data: bytes, why: str) -> None:
    (folder / "odd").write_bytes(data)
    files = Files("odd", max_bytes=10)

    assert list(map(reason, files)) == [why]
    assert files.unreadable == {"odd": why}


def test_the_mark_at_the_beginning_of_a_file_is_no_text(folder: Path) -> None:
    (folder / "marked.md").write_bytes(b"\xef\xbb\xbftext")

    assert list(Files("marked.md")) == [Item(label="marked.md", text="text")]


def test_a_file_as_large_as_may_be_is_read(folder: Path) -> None:
    (folder / "large").write_bytes(b"x" * 10)

    assert list(Files("large", max_bytes=10)) == [Item(label="large", text="x" * 10)]
    assert LARGEST_BYTES > 1_000_000


def test_a_file_that_is_gone_by_now_is_unreadable(folder: Path) -> None:
    files = Files("a.md")
    (folder / "a.md").unlink()

    assert list(map(reason, files)) == ["no such file"]


def test_a_link_to_nowhere_is_unreadable(folder: Path) -> None:
    (folder / "link.md").symlink_to("nowhere")

    assert list(map(reason, Files("link.md"))) == ["no such file"]


def test_a_file_that_may_not_be_read_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)  # a file mode would not stop the superuser

    assert list(map(reason, Files("a.md"))) == ["permission denied"]


def test_a_folder_that_may_not_be_listed_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def forbidding(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", forbidding)
    files = Files("docs/**/*.md")

    assert files.labels == ["docs/c.md", "docs/deep"]
    assert reason(list(files)[1]) == "a folder that can't be listed"


def test_a_pipe_is_unreadable_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe")

    assert list(map(reason, Files("pipe"))) == ["not a regular file"]


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="max_bytes"):
        Files("a.md", max_bytes=0)


# Lines


def test_each_line_is_an_item_and_blank_ones_are_left_out() -> None:
    assert lines(io.BytesIO(b"one\r\n\n  \n two\n")) == [
        Item(label="line 1", text="one"),
        Item(label="line 4", text=" two"),
    ]


def test_a_line_that_is_no_text_is_unreadable() -> None:
    assert list(map(reason, lines(io.BytesIO(b"\xff\na\0b\n12345\n"), max_bytes=4))) == [
        "not UTF-8 text: byte 0xff at 0",
        "binary: a NUL byte at 1",
        "too large: 5 bytes of at most 4; split it",
    ]


# At work


async def test_a_map_reduce_over_files_names_what_it_could_not_read(folder: Path) -> None:
    (folder / "picture.md").write_bytes(b"\0")
    runner = FunctionRunner({"mapper": lambda task, _: f"{task.count('the text of')}", "reducer": lambda *_: "all"})
    pattern = MapReduce(AgentSpec("mapper", "Read."), AgentSpec("reducer", "Join."))

    result = await pattern.run("Count.", items=Files("*.md"), runner=runner)

    assert [output.answer for output in result.map_outputs] == ["1", "1", ""]
    assert result.map_outputs[2].error == "could not read picture.md: binary: a NUL byte at 0"
    assert result.answer == "all"
