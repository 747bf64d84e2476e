"""Reads Markdown, HTML or plain text and gives back the sentences that a person would read aloud.

No parser of either language: line by line it tells prose from what is none, and takes the markup off. The
work grows with the length of the text and not with its square: no pattern here looks at the same stretch
again and again, whatever the text is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["LONGEST", "UNSPACED", "Sentence", "sentences"]

LONGEST = 600  # characters; what is longer has no full stops: a log, a list, a key
LONGEST_LABEL = 100  # characters of a heading that still say what is under it
# What reads as prose. Measured on READMEs and design notes: their sentences have above 0.7 letters and below
# 0.15 marks among the characters that are no space; code and tables of figures lie beyond.
FEWEST_LETTERS, MOST_MARKS = 0.6, 0.2
FEWEST_WORDS, FEWEST_UNSPACED = 4, 6  # less is a label; where words have no spaces between them, letters count

UNSPACED = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3041-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
"""The letters of East Asia, as the inside of a character class: words have no spaces between them."""


class Sentence(NamedTuple):
    """A sentence, and the heading and label that it stands under."""

    text: str
    under: str


def sentences(text: str) -> list[Sentence]:
    """The sentences of ``text`` in their order, each on one line, clear of markup; none for a blank text alone.

    Headings, tables, code and labels are left out, unless there is nothing else. Then they stand for the
    sentences, line by line. Nothing is longer than ``LONGEST`` characters and a full stop.
    """
    prose: list[Sentence] = []
    asides: list[Sentence] = []
    heading = ""
    for kind, paragraph in _paragraphs(_without_tags(_printable(text))):
        label = ""
        for piece in _pieces(_without_markup(paragraph)):
            if kind == "prose" and _reads_as_prose(piece):
                prose.append(Sentence(_closed(piece), f"{heading} {label}"))
            elif not piece.isascii() or any(map(str.isalnum, piece)):
                asides.append(Sentence(piece, heading))
                label = piece[:LONGEST_LABEL]
        if kind == "heading":
            heading = label
    return prose or asides or [Sentence(piece, "") for piece in _lines(_printable(text))]


_BLANKED = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")
_UNSEEN = re.compile(r"[\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")  # soft hyphens, turns of direction


def _printable(text: str) -> str:
    return _UNSEEN.sub("", _BLANKED.sub(" ", text)).replace("\r\n", "\n").replace("\r", "\n")


_FRONT_MATTER = re.compile(r"\A\s*(---|\+\+\+)[ \t]*\n[\w-]+[ \t]*[:=].*?\n\1[ \t]*(?:\n|\Z)", re.DOTALL)
# Code spans come first, and are left as they are: the `<br>` in one is a word and no tag.
_TAG = re.compile(
    r"`[^`\n]*`|(?P<quotes>\"{3}|'{3})|</?(?:(?P<heading>h[1-6])|(?P<item>li|dd|dt)|(?P<cell>t[dh])|(?P<code>pre)"
    r"|(?P<part>address|article|aside|blockquote|body|br|center|details|div|dl|fieldset|figcaption|figure|footer|form"
    r"|head|header|hr|html|main|nav|ol|p|picture|section|select|source|summary|table|tbody|tfoot|thead|title|tr|ul)"
    r"|a|abbr|b|button|cite|code|del|em|font|i|img|input|ins|kbd|label|link|mark|meta|option|path|q|s|samp|small|span"
    r"|strong|sub|sup|svg|u|var|!doctype)(?:\s[^<>]*|/)?>",
    re.IGNORECASE,
)
_TAG_BECOMES = {
    "heading": "\n\n# ",
    "item": "\n\n- ",
    "cell": " | ",
    "code": "\n```\n",
    "part": "\n\n",
    "quotes": "\n\n",
}
_HIDDEN = re.compile(r"`[^`\n]*`|<(?P<what>!--|script\b|style\b)", re.IGNORECASE)
_HIDDEN_UNTIL = {"!--": "-->", "script": "</script>", "style": "</style>"}


def _without_tags(text: str) -> str:
    text = _without_hidden(_FRONT_MATTER.sub("", text, count=1))
    return _TAG.sub(lambda tag: tag[0] if tag[0][0] == "`" else _TAG_BECOMES.get(tag.lastgroup or "", ""), text)


def _without_hidden(text: str) -> str:
    lowered = text.lower() if text.isascii() else text  # lower() can change the length of what is not ASCII
    kept: list[str] = []
    at = 0
    endless: set[str] = set()  # looked for once and not there: never looked for again
    for start in _HIDDEN.finditer(text):
        what = (start["what"] or "").lower()
        if not what or what in endless or start.start() < at:
            continue
        end = lowered.find(_HIDDEN_UNTIL[what], start.end())
        if end < 0:
            endless.add(what)
            continue
        kept.append(text[at : start.start()])
        at = end + len(_HIDDEN_UNTIL[what])
    return " ".join([*kept, text[at:]])


_LINE = re.compile(
    r"(?P<fence>`{3,}(?=[^`]*$)|~~~(?=\s*\w*$))"
    r"|(?P<heading>\#{1,6})(?:\s+|$)"
    r"|(?P<underline>={3,}$|-{3,}$|~{3,}$|\^{3,}$|\+{3,}$|\"{3,}$)"
    r"|(?P<rule>[-*_](?:\s*[-*_]){2,}$|\[[^\]]+\]:\s|\[TOC\]$"
    r"|\\*<<<.*>>>$|\[[\d,]+ more characters are left out here\]$)"  # a block within the block, and a cut in it
    r"|(?P<import>from \.*[\w.]* import\b|import \S+$)"
    r"|(?P<table>\||\+-|[│├└┌])"
    r"|(?P<item>(?:[-*+•‣·]|\d{1,3}[.)])\s+(?:\[[ xX]\]\s+)?)"
)
_LINK_ALONE = re.compile(r"[\s*_]*\[[^\[\]]*\]\([^()]*\)[\s*_.]*")  # an entry of a table of contents


def _paragraphs(text: str) -> Iterator[tuple[str, str]]:
    """Paragraphs and list items (``"prose"``), headings, and lines of tables and code (``"aside"``)."""
    pending: list[str] = []
    fence = ""
    for raw in [*text.splitlines(), ""]:
        line = raw.lstrip("> \t").rstrip()
        if fence:
            if line.startswith(fence):
                fence = ""
            elif line:
                yield "aside", line
            continue
        start = _LINE.match(line)
        kind = start.lastgroup if start else None
        if line and start is None:
            pending.append(line)
            continue
        if pending:
            yield _kind_of(pending, underlined=kind == "underline"), "\n".join(pending)
            pending = []
        if start is None:
            continue
        if kind == "fence":
            fence = start["fence"]
        elif kind == "item":
            pending = [line[start.end() :]]
        elif kind == "heading":
            yield "heading", line[start.end() :].rstrip("# ")
        elif kind == "table":
            yield "aside", line.replace("|", " ")


def _kind_of(lines: list[str], *, underlined: bool) -> str:
    if len(lines) > 1:
        return "prose"
    return "heading" if underlined else "aside" if _LINK_ALONE.fullmatch(lines[0]) else "prose"


_IMAGE = re.compile(r"!\[[^\[\]]*\](?:\([^()]*\)|\[[^\[\]]*\])?")
_INLINE = re.compile(
    # What is put before and into the ticks are the roles of reStructuredText.
    r"(?::[\w:]{1,24}:)?(?P<ticks>`{1,3})~?(?P<code>[^`]*)(?P=ticks)"
    r"|\[(?P<link>[^\[\]]*)\](?:\((?:[^()]|\([^()]*\))*\)|\[[^\[\]]*\])"
    r"|\[[!^][^\[\]]*\]"
    r"|<(?P<address>https?:[^<>\s]*)>"
    r"|(?<!\w)(?P<bars>_{1,2})(?P<stress>[^\s_](?:[^_]*[^\s_])?)(?P=bars)(?!\w)"
    r"|(?<!\w)\*{1,3}(?=\S)|(?<=\S)\*{1,3}(?!\w)|~~"
    r"|\\(?P<escaped>[!-/:-@\[-`{-~])"
)
_ENTITY = re.compile(r"&(amp|apos|gt|hellip|lt|mdash|nbsp|ndash|quot|#39);")
_ENTITIES = {
    "amp": "&", "apos": "'", "gt": ">", "hellip": "…", "lt": "<", "mdash": "—", "nbsp": " ", "ndash": "–", "quot": '"',
    "#39": "'",
}  # fmt: skip


def _without_markup(paragraph: str) -> str:
    text = _INLINE.sub(_kept, _IMAGE.sub("", paragraph))
    return _ENTITY.sub(lambda entity: _ENTITIES[entity[1]], text)


def _kept(markup: re.Match[str]) -> str:
    if markup["link"] is not None:
        return _INLINE.sub(_kept, markup["link"])
    return markup["code"] or markup["stress"] or markup["address"] or markup["escaped"] or ""


_END = re.compile(r"""(?<![.!?…])[.!?…]++["'”’»)\]]*+(?=\s)|[。！？]+[」』”’）]*""")
_SHORTENED = """
    al approx ca cf ch dr eg e.g eq ex fig ff figs ie i.e incl jr mr mrs ms nr p.s pp prof resp sec sr st vol vs
"""
_ABBREVIATIONS = frozenset(_SHORTENED.split())


def _pieces(paragraph: str) -> Iterator[str]:
    start = 0
    for end in _END.finditer(paragraph):
        if _ends_sentence(paragraph, end):
            yield from _lines(paragraph[start : end.end()])
            start = end.end()
    yield from _lines(paragraph[start:])


def _ends_sentence(paragraph: str, end: re.Match[str]) -> bool:
    if end[0][0] in "。！？":
        return True
    if paragraph.endswith("(", 0, end.start()):  # "(…)" stands for what is left out
        return False
    goes_on = paragraph[end.end() : end.end() + 20].lstrip(" \n\t([\"'“")[:1].islower()
    if end[0][0] != "." or end[0][-1] not in ".!?…":
        return not goes_on or end[0][-1] in "!?…"
    before = paragraph[max(0, end.start() - 20) : end.start()].split()
    word = before[-1].lstrip("([\"'“").lower() if before else ""
    if word in _ABBREVIATIONS or len(word) < 2:
        return False
    # Names are written small at the start of a sentence, too ("carpool waits."), but hardly after a short word.
    return not goes_on or (len(word) > 3 and end[0] == ".")


_PART = re.compile(rf"\S.{{0,{LONGEST - 1}}}(?=\s|\Z)|\S{{{LONGEST}}}")


def _lines(sentence: str) -> list[str]:
    """``sentence`` on one line; if it is too long, line by line; and a line that is too long in parts."""
    if len(sentence) <= LONGEST:
        return [line] if (line := " ".join(sentence.split())) else []
    return [" ".join(part.split()) for line in sentence.splitlines() for part in _PART.findall(line)]


_WORD = re.compile(r"[^\W\d_]+")
_MARK = re.compile(r"[^\w\s]|_")
_UNSPACED = re.compile(f"[{UNSPACED}]")


def _reads_as_prose(sentence: str) -> bool:
    words = _WORD.findall(sentence)
    solid = len(sentence) - sentence.count(" ")
    return (
        (min(len(words), len(sentence.split())) >= FEWEST_WORDS or len(_UNSPACED.findall(sentence)) >= FEWEST_UNSPACED)
        and sum(map(len, words)) >= FEWEST_LETTERS * solid
        and len(_MARK.findall(sentence)) <= MOST_MARKS * solid
        and not sentence.endswith((":", "："))
    )


def _closed(sentence: str) -> str:
    """With a full stop where a list item has none, or what is put after it would run on."""
    sentence = sentence.rstrip(" ,;")
    last = sentence[-2:].rstrip("\"'”’)")
    return f"{sentence}." if last.isalnum() and last < "\u2e80" else sentence
