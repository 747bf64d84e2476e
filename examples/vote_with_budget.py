"""Seven agents vote, under a budget that pays for five: what was answered counts, who was refused is named."""

from carpool import AgentOutput, AgentSpec, BudgetLimits, Runtime, SharedInfra, TokenAccounting, Vote
from carpool.runner import FunctionRunner

ANSWERS = ["Paris", "paris.", "Lyon", "**Paris**", "Lyon", "Lyon", "Lyon"]


async def voter(task: str, runtime: Runtime) -> AgentOutput:
    """An agent as a Python function; a real one would ask a model, and report what that cost."""
    place = int(runtime.agent.removeprefix("voter_"))
    cost = TokenAccounting(input_tokens=150, output_tokens=50, cost_usd=0.002)
    return AgentOutput(name=runtime.agent, answer=ANSWERS[place], tokens=cost)


estimate = TokenAccounting(input_tokens=150, output_tokens=50, cost_usd=0.002)
voters = [AgentSpec(f"voter_{place}", "You vote.", role="voter", estimate=estimate) for place in range(7)]
infra = SharedInfra(budget=BudgetLimits.parse("1k tokens, $1"))

# All seven ask at once. With true estimates the limit is never crossed, not even by agents that run together.
result = Vote(voters).run_sync("Capital of France?", runner=FunctionRunner({"voter": voter}), infra=infra)

print(f"winner: {result.winner} ({result.agreement_ratio:.0%} of the votes: {result.tally})")
print(f"refused: {', '.join(result.skipped)}; {result.outputs[-1].error}")
print(f"spent: {result.budget.total_tokens} of {result.budget.limits.max_total_tokens} tokens")

assert result.winner == "Paris"
assert result.budget.total_tokens == 1_000
assert result.stop_reason == "budget_exhausted"
