"""A cheap agent does the work, and may ask a dear one for advice, twice at most."""

from carpool import Advisor, AgentSpec, FunctionRunner, Runtime, ToolError

ADVICE = {
    "Where do I begin?": '{"verdict": "plan", "guidance": "Count first, then write."}',
    "Is 41 right?": 'No! {"verdict": "correction", "guidance": "You forgot the last one."}',
}


async def executor(task: str, runtime: Runtime) -> str:
    """A model would decide by itself when to ask."""
    notes: list[str] = []
    for question in ("Where do I begin?", "Is 41 right?", "And now?"):
        try:
            advice = await runtime.call_tool("consult_advisor", question=question)
            notes.append(f"{question} {advice['verdict']}: {advice['guidance']}")
        except ToolError as error:
            notes.append(f"{question} {error.message}")
    return "\n".join([*notes, "The answer is 42."])


def advisor(task: str, runtime: Runtime) -> str:
    """Sees the question alone, and has no tools."""
    return next(advice for question, advice in ADVICE.items() if question in task)


runner = FunctionRunner({"executor": executor, "advisor": advisor})
wise = AgentSpec("advisor", "You advise.", model="acme:large")

# As a pattern: the executor gets a tool, and uses are counted for each run.
team = Advisor(wise, 2, executor=AgentSpec("executor", "You work.", model="acme:small"))
result = team.run_sync("How many are there?", runner=runner)

print(result.answer)
print(f"asked {result.used} of at most {result.max_uses} times; the last verdict was {result.verdict!r}")

assert (result.used, result.verdict) == (2, "correction")
