"""Three agents, each on a mission of its own: they share state and mail, and one that hangs harms nobody else."""

import anyio

from carpool import AgentSpec, Fleet, FunctionRunner, Message, MessageKind, Runtime


async def scout(task: str, runtime: Runtime) -> str:
    runtime.state.set("well", [3, 4], actor=runtime.agent)
    mailbox = runtime.team.mailbox
    assert mailbox is not None
    await mailbox.send(Message(sender="scout", to="carrier", kind=MessageKind.RESULT, payload="there is water"))
    return "found a well"


async def carrier(task: str, runtime: Runtime) -> str:
    message = await runtime.inbox.receive(timeout_s=5)
    return f"heard that {message.payload}, and went to {runtime.state.get('well')}"


async def dreamer(task: str, runtime: Runtime) -> str:
    await anyio.sleep_forever()
    return "never"


fleet = Fleet(
    [
        (AgentSpec("scout", "You look."), "Find water."),
        (AgentSpec("carrier", "You carry."), "Fetch water once it is found."),
        (AgentSpec("dreamer", "You dream."), "Think it over."),
    ],
    agent_timeout_s=0.2,
)
result = fleet.run_sync(runner=FunctionRunner({"scout": scout, "carrier": carrier, "dreamer": dreamer}))

print(result.answer)
print(f"\n{result.succeeded_count} succeeded, {result.failed_count} failed: {result.outputs[2].error}")

assert result.succeeded_count == 2
assert result.failed == ["dreamer"]
