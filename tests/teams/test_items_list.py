"""Items as a file says them: found when they are asked for, in the order in which they stand there."""

from pathlib import Path

import pytest

from carpool import Item, MapReduce, UnreadableItem
from carpool.errors import ConfigError
from carpool.teams import read_team
from carpool.teams.items_list import ListedItems

from ..scenes import spec


@pytest.fixture
def docs(file) -> None:
    file("one", "team/docs/a.md")
    file("two", "team/docs/b.md")
    file(b"\0", "team/docs/c.bin")


@pytest.mark.usefixtures("docs")
def test_files_and_texts_keep_their_order() -> None:
    items = ListedItems([Item(text="first", label="x"), "docs/*.md", "docs/c.bin", Item(text="last")], Path("team"))

    assert len(items) == 5
    assert items.labels == ["x", "team/docs/a.md", "team/docs/b.md", "team/docs/c.bin", ""]
    assert list(items) == [
        Item(text="first", label="x"),
        Item(text="one", label="team/docs/a.md"),
        Item(text="two", label="team/docs/b.md"),
        UnreadableItem(label="team/docs/c.bin", reason="binary: a NUL byte at 0"),
        Item(text="last"),
    ]
    assert Item(text="last") in items


@pytest.mark.usefixtures("docs")
async def test_they_are_the_same_asked_in_either_way() -> None:
    items = ListedItems(["docs", Item(text="last")], Path("team"))

    assert [item async for item in items] == list(items)


@pytest.mark.usefixtures("docs")
def test_why_one_can_not_be_read_is_known_as_soon_as_it_is_asked_for() -> None:
    items = ListedItems(["docs/a.md", "nowhere.md", Item(text="x"), "docs/c.bin"], Path("team"))
    unreadable = items.unreadable

    assert dict(unreadable) == {"team/nowhere.md": "matches no file"}
    list(items)
    assert set(unreadable) == {"team/nowhere.md", "team/docs/c.bin"}


def test_nothing_is_looked_for_before_it_is_needed(file) -> None:
    items = ListedItems(["docs/*.md"], Path())
    MapReduce(spec("m"), spec("r")).over(items=items)
    assert repr(items) == "ListedItems(['docs/*.md'])"

    with pytest.raises(ConfigError, match="no file to read"):
        len(items)
    file("now it is there", "docs/a.md")
    assert len(items) == 1


@pytest.mark.parametrize(
    "ask", [lambda team: team.pattern.plan("hi"), lambda team: team.run_sync()], ids=["plan", "run"]
)
def test_where_no_path_matches_a_file_it_is_said_with_the_place_and_the_folder(file, tmp_path: Path, ask) -> None:
    file(
        """
runner: extractive
task: hi
team:
  pattern: map_reduce
  mapper: {name: a, system_prompt: x}
  reducer: {name: r, system_prompt: y}
  items: ["no/*.md", "nor this"]
""",
        "team/team.yaml",
    )
    file("in the current folder, which is another", "no/a.md")

    with pytest.raises(ConfigError) as caught:
        ask(read_team("team/team.yaml"))

    assert str(caught.value).endswith(
        "team.yaml:8: team.items: no file to read: 'no/*.md', 'nor this' in " + str(tmp_path / "team")
    )


def test_a_path_may_lead_home_or_anywhere(file, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file("x", "home/a.md")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert ListedItems(["~/a.md"], Path("team")).labels == [str(tmp_path / "home" / "a.md")]
    assert ListedItems([str(tmp_path / "home" / "a.md")], Path("team")).labels == [str(tmp_path / "home" / "a.md")]
    assert ListedItems(["../home/a.md"], Path("team")).labels == ["home/a.md"]
