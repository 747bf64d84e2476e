"""One agent does the work and gives parts of it to specialists, as it sees fit, under a budget for three of them."""

import anyio

from carpool import AgentSpec, BudgetLimits, Delegator, FunctionRunner, Runtime, SharedInfra, ToolError


async def editor(task: str, runtime: Runtime) -> str:
    """A model would choose these calls itself: the tool's schema lists the specialists and what they can do."""
    parts: dict[str, str] = {}

    async def ask(specialist: str, part: str) -> None:
        try:
            parts[part] = await runtime.call_tool("delegate", specialist=specialist, task=part)
        except ToolError as error:
            parts[part] = f"(none: {error.message})"  # a refusal or failure is no end: the editor goes on without

    async with anyio.create_task_group() as group:  # calls at once run at once
        group.start_soon(ask, "historian", "when was it built?")
        group.start_soon(ask, "engineer", "how high is it?")
        group.start_soon(ask, "poet", "how does it look?")  # nobody is called that
    await ask("engineer", "what is it made of?")
    await ask("engineer", "what does it weigh?")
    return "\n".join(f"{part} {answer}" for part, answer in sorted(parts.items()))


def engineer(task: str, runtime: Runtime) -> str:
    return {"how high is it?": "330 m", "what is it made of?": "iron"}.get(task, "I don't know")


team = Delegator(
    AgentSpec("editor", "Write about the tower."),
    {
        "historian": AgentSpec("historian", "You know dates."),
        "engineer": AgentSpec("engineer", "You know numbers.", metadata={"description": "for figures and materials"}),
    },
)
runner = FunctionRunner({"editor": editor, "historian": lambda *_: "1889", "engineer": engineer})
infra = SharedInfra(budget=BudgetLimits(max_agents=3))  # the editor is the entry: it is booked, but takes no slot

result = team.run_sync("Write about the Eiffel tower.", runner=runner, infra=infra)

print(result.final_answer)
print()
for delegation in result.delegations:
    print(f"{'done  ' if delegation.success else 'failed'} {delegation.specialist}: {delegation.subtask}")

assert [delegation.success for delegation in result.delegations] == [True, True, False, True, False]
assert result.stop_reason == "budget_exhausted"
