"""A pattern of one's own: ask agents one after the other, until two of them agree."""

from carpool import AgentSpec, CoordinationResult, FunctionRunner, Pattern, Run
from carpool.patterns import normalise


class UntilTwoAgree(Pattern[CoordinationResult]):
    def __init__(self, agents: list[AgentSpec], **options) -> None:
        super().__init__(**options)
        self.agents = agents

    async def execute(self, run: Run, task: str) -> CoordinationResult:
        outputs, heard = [], set()
        for agent in self.agents:
            output = await run.agent(agent, task)
            outputs.append(output)
            if normalise(output.answer) in heard:
                return run.result(task=task, answer=output.answer, outputs=outputs)
            heard |= {normalise(output.answer)} if output.succeeded else set()
        return run.result(task=task, answer="", outputs=outputs)


# That is all: it runs, streams, nests, keeps to budgets and is logged like those that carpool brings.
runner = FunctionRunner(
    {"a": lambda *_: "Lyon", "b": lambda *_: "Paris", "c": lambda *_: "paris.", "d": lambda *_: "?"}
)
team = [AgentSpec(name, "Answer in one word.") for name in "abcd"]

result = UntilTwoAgree(team).run_sync("Capital of France?", runner=runner)

print(f"{result.answer} after {len(result.outputs)} of {len(team)} agents")
assert [output.name for output in result.outputs] == ["a", "b", "c"]
