"""``--json``: every event as the log encodes it, one to a line, and the result as the last line."""

import json

from carpool.events import UnknownEvent, decode

RUN = ("run", "--json", "--task", "What about cats?", "--runner", "crew:paid")


def test_every_line_but_the_last_is_an_event(typed) -> None:
    ended = typed(*RUN, "--items", "*.md")

    *events, _ = [decode(line) for line in ended.out.splitlines()]
    assert ended.err == ""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert not any(isinstance(event, UnknownEvent) for event in events)
    assert (events[0].kind, events[-1].kind) == ("run_started", "run_finished")


def test_the_last_line_is_the_result(typed) -> None:
    ended = typed(*RUN, "--items", "*.md")

    result = ended.lines[-1]
    assert (result["kind"], result["exit_code"], result["error"]) == ("result", ended.code, None)
    assert result["answer"] == "answer of reducer"
    assert [output["name"] for output in result["map_outputs"]] == ["mapper_0", "mapper_1", "mapper_2"]
    assert result["usage"]["input_tokens"] == 400
    assert result["budget"]["agents_started"] == 4


def test_quiet_leaves_the_result_alone(typed) -> None:
    (line,) = typed(*RUN, "--items", "*.md", "--quiet").lines

    assert line["kind"] == "result"


def test_a_run_that_is_stopped_by_the_budget_says_so(typed) -> None:
    ended = typed(*RUN, "--pattern", "pipeline", "--agent", "a", "--agent", "b", "--budget", "1 agent")

    assert ended.code == ended.lines[-1]["exit_code"] == 4
    assert ended.lines[-1]["stop_reason"] == "budget_exhausted"
    assert [line["agent"] for line in ended.lines if line["kind"] == "agent_skipped"] == ["b"]


def test_an_item_that_can_not_be_read_is_among_the_outputs(typed, folder) -> None:
    (folder / "picture.md").write_bytes(b"\0")

    result = typed(*RUN, "--items", "*.md").lines[-1]

    assert result["map_outputs"][1]["error"] == "could not read picture.md: binary: a NUL byte at 0"


def test_what_agents_say_arrives_as_it_was_and_can_command_no_terminal(typed) -> None:
    ended = typed("run", "--json", "--task", "x", "--runner", "crew:forges", "--pattern", "vote", "--agent", "a")

    assert ended.lines[-1]["answer"] == "\x1b]0;title\x07red \x1b[31m\u202egreen\x9b"
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & {*ended.out}


def test_what_is_no_json_and_no_utf_8_in_an_output_stops_nothing(typed, folder) -> None:
    (folder / "odd.py").write_text(
        "from carpool import AgentOutcome, AgentOutput, Evidence, EvidenceKind\n"
        "async def runner(spec, task, runtime, mailbox):\n"
        "    said = Evidence(kind=EvidenceKind.EVALUATOR, description='half \\ud83d', data={'what': object})\n"
        "    outcome = AgentOutcome(status='success', evidence=[said])\n"
        "    return AgentOutput(name='a', answer='yes', outcome=outcome)\n"
    )

    ended = typed("run", "--json", "--task", "x", "--runner", "odd:runner", "--pattern", "vote", "--agent", "a")

    assert json.loads(ended.out.splitlines()[-1])["answer"] == "yes"
