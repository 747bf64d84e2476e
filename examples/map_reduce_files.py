"""Summarise a folder of pages: one agent for each page, one more for all of their answers, under a budget."""

from pathlib import Path

from carpool import AgentSpec, BudgetLimits, MapReduce, SharedInfra
from carpool.items import Files
from carpool.runners.extractive import ExtractiveRunner

pages = Files(Path(__file__).parents[1] / "docs")
pattern = MapReduce(
    mapper=AgentSpec("reader", "Answer from this page alone."),
    reducer=AgentSpec("editor", "Make one answer of these."),
    max_concurrent=4,
)
infra = SharedInfra(budget=BudgetLimits.parse("200k tokens, 40 agents"))

plan = pattern.plan(items=pages)
print(f"{len(pages)} pages: {plan.agents_max} agents at most")

# No model, no key, no network: this runner picks the best sentences of what it reads.
result = pattern.run_sync("What is decided here?", items=pages, runner=ExtractiveRunner(), infra=infra)

print(f"\n{result.answer}\n")
print(f"{len(result.map_outputs)} pages, {len(result.failed)} failed, {len(result.skipped)} refused by the budget")
print(f"{result.usage.total_tokens:,} tokens, of 200,000 allowed; it ended because: {result.stop_reason}")
