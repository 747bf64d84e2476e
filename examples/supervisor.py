"""Two workers and a supervisor who wants it shorter: work that must be approved, in rounds."""

import json

from carpool import AgentSpec, BudgetLimits, FunctionRunner, Runtime, SharedInfra, Supervisor

LONG = "carpool runs many agents under one budget, which it enforces before every start and every model call"


def writer(task: str, runtime: Runtime) -> str:
    """In later rounds the task has the feedback, and the writer's own answer before it."""
    return "carpool: many agents, one budget" if "shorter" in task else LONG


def checker(task: str, runtime: Runtime) -> str:
    return "I have found nothing wrong."


def supervisor(task: str, runtime: Runtime) -> str:
    """Sees every answer and every failure. Only a JSON object approves; whatever can't be read does not."""
    if LONG in task:
        return json.dumps({"approved": False, "feedback": "Make it shorter: ten words at most."})
    return 'I am content. {"approved": true, "feedback": "short", "answer": "Many agents, one budget."}'


team = Supervisor(
    [AgentSpec("writer", "You write."), AgentSpec("checker", "You check facts.")],
    AgentSpec("supervisor", "You decide."),
    max_rounds=3,
)
runner = FunctionRunner({"writer": writer, "checker": checker, "supervisor": supervisor})
infra = SharedInfra(budget=BudgetLimits(max_agents=10))

plan = team.plan()
print(f"between {plan.agents_min} and {plan.agents_max} starts")

result = team.run_sync("Say what carpool is.", runner=runner, infra=infra)

print(f"approved after {result.total_rounds} rounds: {result.final_answer}")
for round_number, feedback in enumerate(result.supervisor_feedback, 1):
    print(f"  round {round_number}: {feedback}")

assert result.approved
assert result.total_rounds == 2
