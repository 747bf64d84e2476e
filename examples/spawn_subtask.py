"""One agent makes up its own helpers; none has a tool that was not granted, none of these can make more."""

import anyio

from carpool import AgentSpec, FunctionRunner, Runtime, SharedInfra, SpawnSubtask, ToolError

PAGES = {"north": "Cold.", "south": "Warm.", "east": "Dry."}


def read_page(name: str) -> str:
    """Read a page by its name."""
    return PAGES[name]


def delete_page(name: str) -> None:
    """Delete a page."""
    del PAGES[name]


async def main(task: str, runtime: Runtime) -> str:
    """A model would ask for these itself. Several at once are done side by side."""
    found: list[str] = []

    async def spawn(page: str, tool: str) -> None:
        try:
            found.append(await runtime.call_tool("spawn_subtask", task=page, tools=[tool], name=f"read_{page}"))
        except ToolError as error:
            found.append(error.message)

    async with anyio.create_task_group() as group:
        for page in PAGES:
            group.start_soon(spawn, page, "read_page")
    await spawn("north", "delete_page")  # main has no such tool, so no helper of its can have it
    return "\n".join(found)


async def helper(task: str, runtime: Runtime) -> str:
    assert list(runtime.tools) == ["read_page"]
    return f"{task}: {await runtime.call_tool('read_page', name=task)}"


team = SpawnSubtask(AgentSpec("main", "Compare the pages.", tools=["read_page"]), max_subtasks=10)
runner = FunctionRunner({"main": main, "subtask": helper})
infra = SharedInfra(tools=[read_page, delete_page])

result = team.run_sync("What is the weather like?", runner=runner, infra=infra)

print(result.final_answer)
print()
for subtask in result.subtasks:
    print(f"{'done  ' if subtask.success else 'failed'} {subtask.name} with {', '.join(subtask.tools)}")

assert [subtask.success for subtask in result.subtasks] == [True, True, True, False]
assert len(PAGES) == 3
