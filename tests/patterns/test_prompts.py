"""What agents with a part of their own are told, word for word; and that nobody can speak in another's name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool import AgentOutput, prompts
from carpool.patterns.verdicts import Advice, Approval, Findings, Judgement, Unreadable, read

BOTH = [AgentOutput(name="ann", answer="Paris."), AgentOutput(name="bob", error="OSError: gone")]


def test_mission() -> None:
    assert prompts.mission("Go north.", "") == "Go north."
    assert prompts.mission("Go north.", "Find water.") == (
        "Go north.\n\n<<<what all of this is for>>>\nFind water.\n<<<end of what all of this is for>>>"
    )


def test_supervision() -> None:
    assert prompts.supervision("Where?", 2, 3, BOTH) == (
        "Where?\n\n"
        "You supervise those who work on this task. This is round 2 of at most 3. What they have come to:\n\n"
        "<<<answer of ann>>>\nParis.\n<<<end of answer of ann>>>\n\n"
        "<<<failure of bob, who gave no answer>>>\nOSError: gone\n<<<end of failure of bob, who gave no answer>>>\n\n"
        "Approve it, or say what they must do better. "
        'Reply with one JSON object: {"approved": true or false, "feedback": "what to do better, or why it is good"}. '
        'If you approve, you may add "answer": "the answer as it should be given".'
    )


def test_revision() -> None:
    assert prompts.revision("Where?", "Paris.", "sue", "Say why.") == (
        "Where?\n\nYour own answer was:\n\n<<<your answer>>>\nParis.\n<<<end of your answer>>>\n\n"
        "It was not approved. Answer again, and take this into account:\n\n"
        "<<<feedback of sue>>>\nSay why.\n<<<end of feedback of sue>>>"
    )
    assert "Your own answer" not in prompts.revision("Where?", None, "sue", "Say why.")


def test_review() -> None:
    assert prompts.review(["True.", "Short\nand sweet."], "The work.") == (
        "Judge this work by these criteria, each by itself, and look for what is wrong:\n\n"
        "- True.\n- Short and sweet.\n\n<<<the work>>>\nThe work.\n<<<end of the work>>>\n\n"
        'Reply with one JSON object: {"findings": [{"criterion": "word for word as above", "passed": true or false, '
        '"evidence": "what in the work shows it", "severity": "blocker" or "major" or "minor" or "info"}]}, '
        "with a finding for each criterion, and further ones for what else is wrong."
    )


def test_match() -> None:
    assert prompts.match("Where?", "Paris.", "Lyon.") == (
        "Two answers were given to this task:\n\n<<<the task>>>\nWhere?\n<<<end of the task>>>\n\n"
        "<<<answer a>>>\nParis.\n<<<end of answer a>>>\n\n<<<answer b>>>\nLyon.\n<<<end of answer b>>>\n\n"
        'Decide which is better. Reply with one JSON object: {"winner": "a" or "b", "rationale": "why"}.'
    )


def test_tie_break() -> None:
    assert prompts.tie_break("Where?", "Paris.", "Lyon.", "big", "old") == (
        prompts.match("Where?", "Paris.", "Lyon.")
        + "\n\nTwo judges before you disagreed. Weigh their reasons, and decide by the answers alone.\n\n"
        "<<<a reason for answer a>>>\nbig\n<<<end of a reason for answer a>>>\n\n"
        "<<<a reason for answer b>>>\nold\n<<<end of a reason for answer b>>>"
    )


def test_consultation() -> None:
    assert prompts.consultation("What now?") == (
        "You are asked for advice by somebody who does the work alone:\n\n"
        "<<<the question>>>\nWhat now?\n<<<end of the question>>>\n\n"
        'Reply with one JSON object: {"verdict": "continue" or "plan" or "correction" or "stop" or "uncertain", '
        '"guidance": "what to do next, and why"}.'
    )


def test_ask_again() -> None:
    assert prompts.ask_again("Well?", "Yes.", "there is no JSON object in it") == (
        "Well?\n\nYou have replied before, and your reply could not be read: there is no JSON object in it. "
        "Reply once more, with one JSON object as asked for.\n\n<<<your reply>>>\nYes.\n<<<end of your reply>>>"
    )


def test_shortened() -> None:
    assert prompts.shortened("abc", 3) == prompts.shortened("abc") == "abc"
    assert prompts.shortened("a" * 1500, 10) == "aaaaaaaaaa\n[1,490 more characters are left out here]"


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        (prompts.APPROVAL, Approval),
        (prompts.FINDINGS, Findings),
        (prompts.JUDGEMENT, Judgement),
        (prompts.ADVICE, Advice),
    ],
)
def test_a_form_that_is_sent_back_is_no_verdict(form: str, kind: type) -> None:
    with pytest.raises(Unreadable):
        read(form, kind)


@given(st.text(alphabet="<>\nendofaswr x", max_size=60))
def test_no_text_makes_a_line_that_opens_or_closes(text: str) -> None:
    output = AgentOutput(name="ann", answer=text or "x")
    for prompt, lines in (
        (prompts.supervision("t", 1, 1, [output]), 2),
        (prompts.revision("t", text or "x", "s", text), 4),
        (prompts.review(["c"], text), 2),
        (prompts.match(text, text, text), 6),
        (prompts.tie_break(text, text, text, text, text), 10),
        (prompts.consultation(text), 2),
        (prompts.ask_again("t", text, "r"), 2),
        (prompts.mission("m", text or "x"), 2),
    ):
        assert sum(line.startswith("<<<") for line in prompt.split("\n")) == lines
