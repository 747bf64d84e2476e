"""Which models, and clients of theirs, are found in what LangChain and LangGraph make of chat models."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("langchain_openai", reason="needs LangChain")

from langchain.agents import create_agent
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import SecretStr

from carpool.runners.adapting.langchain_models import clients_of, models_in

MODEL: Any = ChatOpenAI(model="gpt-5-mini", base_url="http://127.0.0.1:1/v1", api_key=SecretStr("none"))


@tool
def search(query: str) -> str:
    """Find documents."""
    return query


async def by_its_global(state: Any) -> Any:
    return {"messages": [await MODEL.ainvoke(state["messages"])]}


def graph(node: Any) -> Any:
    made = StateGraph(MessagesState)
    made.add_node("node", node)
    made.add_edge(START, "node")
    return made.compile()


def closing_over(model: Any) -> Any:
    async def node(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return node


@pytest.mark.parametrize(
    "runnable",
    [
        MODEL,
        ChatPromptTemplate.from_messages([("user", "{x}")]) | MODEL,
        MODEL.bind_tools([search]),
        MODEL.with_structured_output({"title": "t", "type": "object", "properties": {}}),
        MODEL.with_fallbacks([MODEL]),
        RunnablePassthrough() | {"a": MODEL, "b": MODEL},
        RunnableLambda(lambda text: MODEL.invoke(text)),
        create_agent(MODEL, [search]),
        graph(by_its_global),
        graph(closing_over(MODEL)),
        graph(create_agent(MODEL, [])),
    ],
)
def test_a_model_and_its_client_are_found_once_wherever_they_are(runnable: Any) -> None:
    models = models_in(runnable)

    assert [id(model) for model in models] == [id(MODEL)]
    assert [id(client) for client in clients_of(models)] == [id(MODEL.root_async_client)]


def test_where_no_model_is_none_is_found() -> None:
    assert models_in(RunnableLambda(len)) == models_in(graph(lambda state: state)) == models_in(None) == []
