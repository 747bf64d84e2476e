"""What tests of ModelRunner have in common: a runner on a provider of one's own, and one agent run by it."""

from __future__ import annotations

from typing import Any

from carpool import AgentOutput, AgentSpec, BudgetLimits, SharedInfra, open_run
from carpool.runners.model import ModelRunner

from ..providers.server import ProviderServer

CHAT, RESPONSES, MESSAGES = "openai:gpt-5-mini", "openai-responses:gpt-5-mini", "anthropic:claude-haiku-4-5"
EVERY_PROTOCOL = (CHAT, RESPONSES, MESSAGES)


def runner_for(provider: ProviderServer, model: str | None = CHAT, **options: Any) -> ModelRunner:
    """One that knows the provider under all three names."""
    urls = {"openai": provider.openai_url, "openai-responses": provider.openai_url, "anthropic": provider.url}
    return ModelRunner(model, base_url={**urls, **options.pop("base_url", {})}, **options)


def agent(name: str = "reader", system_prompt: str = "Answer.", **fields: Any) -> AgentSpec:
    return AgentSpec(name, system_prompt, **fields)


def limited(text: str, **fields: Any) -> SharedInfra:
    return SharedInfra(budget=BudgetLimits.parse(text), **fields)


async def ask(
    runner: ModelRunner, spec: AgentSpec | None = None, task: str = "What is it?", infra: SharedInfra | None = None
) -> AgentOutput:
    """Run one agent through the door, and close the runner's connections."""
    async with runner, open_run(runner=runner, infra=infra or SharedInfra()) as run:
        return await run.agent(spec or agent(), task)
