"""A reviewer looks for what is wrong, by your criteria. What it leaves out, or can't be read, has not passed."""

import json

from carpool import AdversarialReview, AgentSpec, FunctionRunner, Runtime

WORK = """\
def mean(numbers):
    return sum(numbers) / len(numbers)
"""

FOUND = [
    {"criterion": "It is correct.", "passed": True, "evidence": "sum / len", "severity": "info"},
    {"criterion": "No input makes it crash.", "passed": False, "evidence": "mean([])", "severity": "blocker"},
    {"criterion": "Style.", "passed": False, "evidence": "no docstring", "severity": "minor"},
]


def reviewer(task: str, runtime: Runtime) -> str:
    """The first reply is prose; it is asked for once more, with the reason, and then replies as it should."""
    if "could not be read" not in task:
        return "It all looks fine to me: passed!"
    return f"Sorry. Here it is:\n```json\n{json.dumps({'findings': FOUND})}\n```"


review = AdversarialReview(
    AgentSpec("reviewer", "You look for what is wrong."),
    ["It is correct.", "No input makes it crash.", "It is documented."],
)
result = review.run_sync(WORK, runner=FunctionRunner({"reviewer": reviewer}))

print(result.answer)
print(f"\n{result.blocker_count} blocker, {len(result.outputs)} starts of the reviewer")

assert not result.passed
assert [finding.passed for finding in result.findings] == [True, False, False, False]
