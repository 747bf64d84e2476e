"""The chat models inside a runnable of LangChain or a graph of LangGraph, as far as they can be seen from outside."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from types import FunctionType, MethodType
from typing import Any, cast

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable

__all__ = ["clients_of", "models_in"]

_MOST = 5_000  # objects that are looked into; a graph of an agent has some hundred
_CLIENTS = ("root_async_client", "_async_client")  # of ChatOpenAI and its kind, of ChatAnthropic


def models_in(runnable: object) -> list[BaseLanguageModel[Any]]:
    """The models in its parts, and in what its functions close over or have as globals. One that a function takes from
    elsewhere, or makes for each call, is not seen."""
    found: list[BaseLanguageModel[Any]] = []
    seen: dict[int, Any] = {}  # kept, so that no other object gets the same id meanwhile
    left = deque([runnable])
    while left and len(seen) < _MOST:
        each = left.popleft()
        if id(each) in seen:
            continue
        seen[id(each)] = each
        if isinstance(each, BaseLanguageModel):
            found.append(cast("BaseLanguageModel[Any]", each))
        else:
            left.extend(_parts(each))
    return found


def clients_of(models: Iterable[BaseLanguageModel[Any]]) -> Iterator[Any]:
    """The asynchronous clients that ``models`` have by now."""
    for model in models:  # not by getattr: some make a client when they are asked for it
        for name in _CLIENTS:
            if (client := vars(model).get(name)) is not None:
                yield client


def _parts(each: Any) -> Iterable[Any]:
    if isinstance(each, dict):
        return cast("dict[Any, Any]", each).values()
    if isinstance(each, list | tuple):
        return cast("list[Any]", each)
    if isinstance(each, MethodType):
        return (each.__func__, each.__self__)
    if isinstance(each, FunctionType):
        cells = [cell.cell_contents for cell in each.__closure__ or () if _is_filled(cell)]
        named: list[Any] = [each.__globals__.get(name) for name in each.__code__.co_names]
        return [*cells, *(one for one in named if _is_runnable(one))]
    if _is_runnable(each) or type(each).__module__.startswith("langgraph."):
        return (*getattr(each, "__dict__", {}).values(), *_slots(each))
    return ()


def _slots(each: object) -> list[Any]:
    names = [name for kind in type(each).__mro__ for name in getattr(kind, "__slots__", ())]
    return [getattr(each, name, None) for name in names if isinstance(name, str) and name != "__weakref__"]


def _is_runnable(each: object) -> bool:
    return isinstance(each, Runnable)


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - it raises where a name has no value yet
    except ValueError:
        return False
    return True
