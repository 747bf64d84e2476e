"""A team of teams: wherever a pattern takes an agent, it takes another pattern."""

from carpool import AgentSpec, BudgetLimits, FunctionRunner, Pipeline, Runtime, SharedInfra, Swarm, TokenAccounting


def works(answer: str):
    """An agent that spends something and gives this answer."""

    async def work(task: str, runtime: Runtime) -> str:
        assert runtime.lease is not None
        runtime.lease.charge(TokenAccounting(input_tokens=len(task), output_tokens=len(answer)))
        return answer

    return work


runner = FunctionRunner(
    {
        "optimist": works("It will work."),
        "pessimist": works("It will break."),
        "writer": works("It may work, unless it breaks."),
        "outliner": works("1. What. 2. Why."),
        "drafter": works("What it is, and why."),
    }
)

debate = Swarm(
    [AgentSpec("optimist", "Argue for."), AgentSpec("pessimist", "Argue against.")],
    mode="debate",
    synthesizer=AgentSpec("writer", "Weigh both."),
    budget=BudgetLimits(max_agents=3),  # a purse of its own inside the run's: one round, and the writer
    reserve_for_finalizer=True,
    name="debate",
)
essay = Pipeline([AgentSpec("outliner", "Outline."), AgentSpec("drafter", "Write.")], name="essay")
both = Swarm([debate, essay])

infra = SharedInfra(budget=BudgetLimits(max_agents=20))
result = both.run_sync("Should we do it?", runner=runner, infra=infra)

print(result.answer)
for name, (inner,) in result.nested.items():
    print(f"\n{name}: {inner.stop_reason}, {inner.usage.total_tokens} tokens, refused: {inner.skipped or 'nobody'}")

print("\nwho was where, in the log:")
print("\n".join(f"  {event.path}" for event in infra.log.events(kind="agent_started")))
