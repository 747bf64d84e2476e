"""Five answers, one winner: a judge compares them two by two, in both orders, so that the order can't decide."""

import json

from carpool import AgentSpec, FunctionRunner, Runtime, Tournament

ANSWERS = {
    "ann": "It depends.",
    "ben": "Yes.",
    "cat": "Yes, because the limit is asked before each start.",
    "dan": "Yes, because the limit is asked before each start, and what a start may spend is held while it runs.",
    "eve": "No idea, but I can write a great deal about it without ever saying why, at whatever length is wanted here.",
}


def competitor(task: str, runtime: Runtime) -> str:
    return ANSWERS[runtime.agent]


def judge(task: str, runtime: Runtime) -> str:
    """Sees two answers, a and b, without names. Prefers a reason; where both have one, the longer one."""
    sides = [task.split(f"<<<answer {side}>>>\n")[1].split("\n<<<end")[0] for side in "ab"]
    merits = [("because" in answer, len(answer)) for answer in sides]
    if not any(reason for reason, _ in merits):
        return json.dumps({"winner": "a", "rationale": "I can't tell, so I take the first."})
    return json.dumps({"winner": "ab"[merits.index(max(merits))], "rationale": "It says why."})


team = Tournament(
    [AgentSpec(name, "Answer with a reason.", role="competitor") for name in ANSWERS],
    AgentSpec("judge", "You compare two answers."),
    both_orders=True,
)
runner = FunctionRunner({"competitor": competitor, "judge": judge})

result = team.run_sync("Does a budget hold for agents that run together?", runner=runner)

print(f"winner: {result.winner_name}: {result.winner_answer}")
print(f"ranking: {', '.join(result.ranking)}")
for match in result.matches:
    how = match.rationale if match.decided else "not decided: the better seed goes on"
    print(f"  round {match.round}: {match.a} or {match.b}? {match.winner}. {how}")

assert result.winner_name == "dan"
