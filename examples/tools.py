"""A Python function as a tool: its schema comes from signature and docstring, and every call is in the log."""

from carpool import AgentSpec, FunctionRunner, Pipeline, Runtime, SharedInfra, ToolError


def count_words(text: str, longer_than: int = 0) -> int:
    """How many words ``text`` has that are longer than so many letters."""
    return sum(len(word) > longer_than for word in text.split())


async def editor(task: str, runtime: Runtime) -> str:
    """What a model would do by itself: look at its tools, call one, read the output or the error."""
    tool = runtime.tools["count_words"].schema
    print(f"{tool.name}: {tool.description}\n  {tool.parameters}")
    try:
        await runtime.call_tool("count_words", text=task, longer_than="many")
    except ToolError as error:
        print(f"a wrong call: {error}")
    words = await runtime.call_tool("count_words", text=task, longer_than=3)
    return f"{words} words of more than three letters"


# A tool that the team has is an agent's only if its spec names it.
infra = SharedInfra(tools=[count_words])
team = Pipeline([AgentSpec("editor", "You edit.", tools=["count_words"])])

result = team.run_sync("Many agents, one budget.", runner=FunctionRunner({"editor": editor}), infra=infra)

print(result.answer)
print("in the log:", [event.kind for event in infra.log.events(agent="editor")])
assert result.answer == "3 words of more than three letters"
