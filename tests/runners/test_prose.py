"""Sentences out of Markdown, HTML and plain text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.runners.prose import LONGEST, sentences


def read(text: str) -> list[str]:
    return [sentence.text for sentence in sentences(text)]


@pytest.mark.parametrize(
    ("markdown", "plain"),
    [
        ("This is **very bold** and *rather* _stressed_.", "This is very bold and rather stressed."),
        ("Call `run.fan_out(**kwargs)` and wait for it.", "Call run.fan_out(**kwargs) and wait for it."),
        ("See [the guide](https://example.org/a_(b)) for all of it.", "See the guide for all of it."),
        ("See [the *whole* `guide`][1] for all of it.", "See the whole guide for all of it."),
        ("See <https://example.org/> for all of the rest.", "See https://example.org/ for all of the rest."),
        ("A ![badge](b.svg) is no word of ours[^1].", "A is no word of ours."),
        ("[![build](b.svg)](https://ci) All the tests have passed.", "All the tests have passed."),
        ("It keeps max_concurrent and 2 * 3 * 4 as is.", "It keeps max_concurrent and 2 * 3 * 4 as is."),
        (r"It is not \*bold\* in any way.", "It is not *bold* in any way."),
        ("It costs a&nbsp;lot &amp; is not &lt;fast&gt;.", "It costs a lot & is not <fast>."),
        ("> [!NOTE]\n> Quoted words are words\n> like any other.", "Quoted words are words like any other."),
        ("It has <b>bold</b> words<br>and here <a href='x'>is a link</a>.", "and here is a link."),
        ("Use :class:`~email.policy.Policy` for the policy.", "Use email.policy.Policy for the policy."),
        ("- [x] An item of a list ends without a stop", "An item of a list ends without a stop."),
        ("1. The first of all the items;", "The first of all the items."),
        ("```js is here``` and this one is prose.", "js is here and this one is prose."),
        ("All of [this][1] is quite fine.\n[1]: https://example.org", "All of this is quite fine."),
        ("* One that ends in (round brackets)", "One that ends in (round brackets)."),
    ],
)
def test_markup_is_taken_off(markdown: str, plain: str) -> None:
    assert read(markdown)[-1] == plain


@pytest.mark.parametrize(
    "aside",
    [
        "# A heading of many words is not read",
        "A heading of many words is not read\n===================================",
        "A heading of many words is not read\n-----------------------------------",
        "A heading of many words is not read\n~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~",
        "```python\nthis is code and it reads like prose\n```",
        "~~~\nthis is code and it reads like prose\n~~~",
        "| a cell with some words | and another with some more |\n|---|---|",
        "+------+\n| a cell with some words |\n+------+",
        "---\ntitle: front matter with some words in it\n---",
        "+++\ntitle = 'front matter with some words in it'\n+++",
        "- [An entry in the table of contents](#entry)",
        "[link]: https://example.org 'where the link leads to'",
        "<!-- a comment that nobody ever sees -->",
        "<script>var words = 'that nobody ever sees here';</script>",
        "<STYLE>nobody { ever: sees; these: words here }</STYLE>",
        "<h2>A heading of many words is not read</h2>",
        "<pre>this is code and it reads like prose</pre>",
        "<table><tr><td>a cell with some words in it</td></tr></table>",
        "from carpool.budget import Lease",
        "Install it with the following command:",
        "Note well.",
        "x = {'a': f(1)[2], 'b': g(3)[4], 'c': h(5)}",
        "<<<item docs/a.md | 3f9a1c>>>",
        "\\<<<answer of somebody else>>>",
        "[1,234 more characters are left out here]",
    ],
)
def test_what_is_no_prose_is_left_out(aside: str) -> None:
    assert read(f"{aside}\n\nOnly this is what people read.\n") == ["Only this is what people read."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# One heading\n\n## Another heading", ["One heading", "Another heading"]),
        ("```\nx = 1\ny = 2\n```", ["x = 1", "y = 2"]),
        ("| a | b |\n|---|---|\n| 1 | 2 |", ["a b", "1 2"]),
        ("word", ["word"]),
        ("42", ["42"]),
        ("---", ["---"]),
        ("👍", ["👍"]),
        ("<div></div>", ["<div></div>"]),
    ],
)
def test_where_there_is_no_prose_the_rest_stands_for_it(text: str, expected: list[str]) -> None:
    assert read(text) == expected


@pytest.mark.parametrize("blank", ["", " ", "\n\n\n", "\t \r\n", "\0\0\0", "\u200b\ufeff", "\x0c\x1c\u2028\u3000"])
def test_a_blank_text_has_none(blank: str) -> None:
    assert read(blank) == []


def test_a_full_stop_ends_a_sentence_and_an_abbreviation_does_not() -> None:
    found = [
        "See e.g. what Dr. Smith wrote.",
        "It asks (is there room?) and goes on again.",
        "pyenv is so small.",
        "Wait for a little while... and see what happens.",
        "Yes, it really is!",
        "Both verbs, run(...) (see the section above), are awaited.",
    ]

    assert read(" ".join([*found[:4], "Really?", *found[4:]])) == found


def test_lines_of_a_paragraph_are_one_sentence() -> None:
    assert read("A sentence that goes on\r\nin the next line.\r\n") == ["A sentence that goes on in the next line."]


def test_scripts_without_spaces_have_sentences_too() -> None:
    assert read("吾輩は猫である。名前はまだ無いのだ。") == ["吾輩は猫である。", "名前はまだ無いのだ。"]


def test_control_characters_never_come_through() -> None:
    (text,) = read("This has a \0 and an \x1b[31m and a \ud800 and a \u202e in it.")

    assert text.isprintable()


def test_a_sentence_knows_what_it_stands_under() -> None:
    found = sentences(
        "# Uninstalling\n\n**Vote.** Agents answer in parallel here.\n\n# Next\n\nThis is under the next one."
    )

    assert [" ".join(each.under.split()) for each in found] == ["Uninstalling Vote.", "Next"]


@pytest.mark.parametrize("text", ["word " * 1_000, "x" * 5_000, "one line of a log\n" * 300, "字" * 5_000])
def test_what_never_ends_is_cut(text: str) -> None:
    found = read(text)

    assert max(map(len, found)) <= LONGEST + 1
    assert "".join(found).translate({32: None, 46: None}) == "".join(text.split())


MARKUP = ["`", "```", "**", "_", "__", "[", "](", ")", "![", "<", "</p>", "<!--", "-->", "<script>", "&amp;", "#", "- "]
MARKUP += [
    "|",
    "---",
    "===",
    ">",
    "~~~",
    "\\",
    "<<<",
    ">>>",
    ".",
    "?)",
    "(",
    '"',
    "\n",
    "\n\n",
    " ",
    "\t",
    "\0",
    "a",
    "Word",
]
MARKUP += ["1. ", ":x:", "字", "。", "😀", "\u2028", "\r", "'''", "e.g."]


@given(st.lists(st.sampled_from(MARKUP)).map("".join))
def test_any_mixture_of_markup_gives_clean_single_lines(text: str) -> None:
    for sentence in read(text):
        assert sentence == " ".join(sentence.split()) != ""
        assert len(sentence) <= LONGEST + 1


REPEATED = [
    "` a ``",
    "**a ",
    "[a](",
    "[a](()",
    "![a](",
    "<a ",
    "<script ",
    "<!-- -->",
    "a. ",
    "a\n",
    ".)",
    "x.\"'",
    "__a",
]
REPEATED += ["- - ", "---\na: b\n", "[a]: ", ":a", "`|", "a **b", "<<<a>>>\n", "# a\n", "| a |\n", "!?"]


@pytest.mark.parametrize("unit", MARKUP + REPEATED)
def test_no_repetition_takes_more_than_its_length_in_time(unit: str) -> None:
    began = time.process_time()

    sentences("a" + unit * (100_000 // len(unit)) + "b")

    assert time.process_time() - began < 5  # takes about 0.1; with the square of the length it would be minutes
