"""The items of a map-reduce as a team file says them: files, found when they are first asked for, and texts."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, groupby
from pathlib import Path

from ..errors import ConfigError
from ..items import Files
from ..patterns import Item, UnreadableItem
from .paths import path_in

__all__ = ["ListedItems"]


class ListedItems(Collection[Item | UnreadableItem]):
    """Each of ``given`` is a path (a file, a folder or a glob, as :class:`Files` takes them) or an item itself.

    Nothing is looked for before somebody asks how many there are, or for the first. A path that matches nothing is an
    unreadable item then; where all paths beside it match nothing too, it is the ``ConfigError`` that ``refuse`` makes
    of the reason.
    """

    def __init__(
        self, given: Sequence[str | Item], folder: Path, refuse: Callable[[str], ConfigError] = ConfigError
    ) -> None:
        self.given = list(given)
        self.folder = folder
        self._refuse = refuse

    @property
    def labels(self) -> list[str]:
        """The label of each item, in order."""
        parts = self._parts
        return [label for part in parts for label in (part.labels if isinstance(part, Files) else _labels(part))]

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Why items could not be read so far, by label; it grows while they are read."""
        return ChainMap(*(part.unreadable for part in self._parts if isinstance(part, Files)))

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[Item | UnreadableItem]:
        return chain.from_iterable(self._parts)

    async def __aiter__(self) -> AsyncIterator[Item | UnreadableItem]:
        for part in self._parts:
            if isinstance(part, Files):
                async for item in part:
                    yield item
            else:
                for item in part:
                    yield item

    def __contains__(self, item: object) -> bool:
        return any(item == each for each in self)

    def __repr__(self) -> str:
        return f"ListedItems({self.given!r})"

    @cached_property
    def _parts(self) -> list[Files | list[Item]]:
        parts: list[Files | list[Item]] = []
        for _, group in groupby(self.given, key=type):
            entries = list(group)
            texts = [entry for entry in entries if isinstance(entry, Item)]
            paths = [entry for entry in entries if isinstance(entry, str)]
            parts.append(self._files(paths) if paths else texts)
        return parts

    def _files(self, paths: list[str]) -> Files:
        try:
            return Files(*(path_in(self.folder, path) for path in paths))
        except ValueError:
            named = ", ".join(map(repr, paths))
            raise self._refuse(f"no file to read: {named} in {self.folder.absolute()}") from None


def _labels(items: Sequence[Item]) -> list[str]:
    return [item.label for item in items]
