"""Ranks sentences by what they say: BM25, TextRank and MMR, as pure functions.

- **TextRank** (Mihalcea and Tarau, "TextRank: Bringing Order into Texts", 2004): a sentence matters when it is
  like others that matter. Like is here the cosine of idf-weighted words (Erkan and Radev, "LexRank", 2004).
- **BM25** (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009): how much a
  sentence says about a question. It is where the walk of TextRank starts anew (Otterbacher, Erkan and Radev,
  "Using Random Walks for Question-focused Sentence Retrieval", 2005).
- **MMR** (Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking", 1998): picks what ranks high and
  was not said yet.

The same arguments give the same result in every process. Time and memory grow with the number of words: the
graph of which sentence is like which is never built, only multiplied by.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from heapq import heapify, heappop, heappush
from math import log, sqrt

from .prose import UNSPACED

__all__ = ["Vector", "central", "fluency", "relevance", "spread", "stems", "vectors", "words"]

K1, B = 1.2, 0.75  # within what the paper calls good in many circumstances
STEADY, STEPS = 1e-6, 40  # the walk ends when no rank moves by more; after 40 steps 0.85 ** 40 = 0.0015 is open
FOCUS = 0.7  # lambda of MMR: the paper's value for keeping to the most relevant
LEANING = 0.4  # a choice: weight of a sentence that begins in the middle of a thought
SAME_BLOCK = 0.3  # a choice, not from the paper: two sentences of one block are at least so alike

Vector = list[tuple[int, float]]
"""The words of one sentence, by number, with their weights."""

_WORD = re.compile(f"[{UNSPACED}]+|[^\\W_{UNSPACED}]+")
_ENDING = re.compile(r"(?<=[a-z]{3})(?:ings?|ied|ies|ed|es|ly|s|e|y)$")
_ENGLISH = """
    a about above after again all also am an and any are as at be because been before being below between both but
    by can cannot could couldn did didn do does doesn doing don down during each either else ever every few for from
    further get gets got had has hasn have having he her here hers him his how i if in into is isn it its itself just
    let ll made make many may me might more most much must my neither no nor not now of off on once one only or other
    our out over own per quite re s same shall she should shouldn since so some still such t than that the their them
    then there these they this those through thus to too under until up upon us use used uses using ve very via was
    wasn we well were what when where whether which while who whom whose why will with within without would you
    your
"""
_STOP = frozenset(_ENGLISH.split())


def words(text: str) -> list[str]:
    """The words of ``text`` as they are compared: compatibility forms and capitals made one."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def stems(spoken: Iterable[str]) -> list[str]:
    """What is left of words without stop words and endings; of a script without spaces, pairs of neighbours.

    Both lists are English, and the endings are cut by rule: ``uses`` and ``used`` meet, ``ran`` and ``run`` don't.
    """
    found: list[str] = []
    for word in spoken:
        if word[0] >= "\u2e80":
            found += [word[at : at + 2] for at in range(max(1, len(word) - 1))]
        elif word not in _STOP:
            found.append(_stem(word))
    return found


@lru_cache(maxsize=16_384)
def _stem(word: str) -> str:
    stem = _ENDING.sub("", word)
    return stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] else stem  # "stopp", of "stopped"


_MARK = re.compile(r"[^\w\s]|_")
_LEANING = re.compile(
    r"(?i:also|and|as such|but|hence|however|in addition|instead|it|moreover|or|otherwise|so|that|then|therefore|these"
    r"|they|this|those|thus|yet)\b|(?:a|an|as|at|by|for|if|in|of|on|the|to|with)\b|:\w"
)


def fluency(sentence: str, spoken: Sequence[str]) -> float:
    """How well a sentence reads by itself, above 0 to 1, by its form alone.

    Full marks: 8 to 40 words, of which three in ten are stop words, few marks, and no "However" to begin with.
    Those are the bounds of ordinary prose in the READMEs and notes that this was tried on; enumerations,
    signatures and figures fall below. What has no English stop word at all is on a par with its like.
    """
    count = len(spoken) or 1
    idle = sum(word in _STOP for word in spoken) / count
    marks = len(_MARK.findall(sentence)) / len(sentence)
    length = min(1.0, count / 8, 40 / count)
    return (
        length
        * min(1.0, 0.1 + 3 * idle)
        * min(1.0, max(0.1, 1 - 6 * (marks - 0.05)))
        * (LEANING if _LEANING.match(sentence) else 1.0)
    )


def relevance(question: Iterable[str], bodies: Sequence[Mapping[str, float]]) -> list[float]:
    """BM25 of each body against ``question``, in parts of the best one; all 0 where none has a word of it.

    A body is how often it has each stem; a part of 1 stands for a word that is near it rather than in it.
    """
    lengths = [sum(body.values()) for body in bodies]
    usual = sum(lengths) / len(bodies) or 1.0
    asked = dict.fromkeys(question)
    having = Counter(stem for body in bodies for stem in body if stem in asked)
    rarity = {stem: log(1 + (len(bodies) - having[stem] + 0.5) / (having[stem] + 0.5)) for stem in asked}
    scores: list[float] = []
    for body, length in zip(bodies, lengths, strict=True):
        slack = K1 * (1 - B + B * length / usual)
        times = [(rarity[stem], body[stem]) for stem in body if stem in asked]
        scores.append(sum(rare * count * (K1 + 1) / (count + slack) for rare, count in times))
    best = max(scores, default=0.0) or 1.0
    return [score / best for score in scores]


def vectors(bodies: Sequence[Mapping[str, float]]) -> list[Vector]:
    """Each body as idf-weighted words, of length 1: the product of two is how alike they are, 0 to 1."""
    having = Counter(stem for body in bodies for stem in body)
    numbered = {stem: (number, log(1 + len(bodies) / count)) for number, (stem, count) in enumerate(having.items())}
    rows: list[Vector] = []
    for body in bodies:
        row = [(numbered[stem][0], count * numbered[stem][1]) for stem, count in body.items()]
        length = sqrt(sum(weight * weight for _, weight in row))
        rows.append([(number, weight / length) for number, weight in row])
    return rows


def central(rows: Sequence[Vector], restarts: Sequence[float], damping: float) -> list[float]:
    """TextRank of each sentence; the walk starts anew, 1 - ``damping`` of the time, in proportion to ``restarts``."""
    whole = sum(restarts)
    fresh = [(1 - damping) * restart / whole for restart in restarts]
    alike = _alikeness(rows)
    degrees = alike([1.0] * len(rows))
    parts = [damping / degree if degree > 1e-9 else 0.0 for degree in degrees]  # 1e-9: rounding is no neighbour
    ranks = [restart / whole for restart in restarts]
    for _ in range(STEPS):
        handed = alike([rank * part for rank, part in zip(ranks, parts, strict=True)])
        moved = [new + old for new, old in zip(fresh, handed, strict=True)]
        change = max(abs(new - old) for new, old in zip(moved, ranks, strict=True))
        ranks = moved
        if change < STEADY:
            break
    return ranks


def _alikeness(rows: Sequence[Vector]) -> Callable[[Sequence[float]], list[float]]:
    """What multiplies a column by the matrix of likenesses, which has 0 on its diagonal.

    Two thin products stand for it: sentences to words, words to sentences; less each sentence's likeness to itself.
    """
    width = 1 + max((number for row in rows for number, _ in row), default=0)

    def multiply(column: Sequence[float]) -> list[float]:
        totals = [0.0] * width
        for row, value in zip(rows, column, strict=True):
            for number, weight in row:
                totals[number] += weight * value
        return [
            sum([weight * totals[number] for number, weight in row]) - value if row else 0.0
            for row, value in zip(rows, column, strict=True)
        ]

    return multiply


def spread(rows: Sequence[Vector], scores: Sequence[float], blocks: Sequence[int], count: int) -> list[int]:
    """MMR: the places of the ``count`` sentences that score high and are unlike each other, in order of place.

    Where there are several blocks, sentences of one count as somewhat alike, so that others are heard as well.
    """
    best = max(scores) or 1.0
    having: dict[int, list[tuple[int, float]]] = {}
    for place, row in enumerate(rows):
        for number, weight in row:
            having.setdefault(number, []).append((place, weight))
    said = [0.0] * len(rows)
    heard: set[int] = set()
    several = len(set(blocks)) > 1

    def loss(place: int) -> float:
        repeated = max(said[place], SAME_BLOCK) if blocks[place] in heard else said[place]
        return (1 - FOCUS) * repeated - FOCUS * scores[place] / best

    # What is picked only adds to what was said, so a loss only grows: one that is still true at the top is least.
    waiting = [(loss(place), place) for place in range(len(rows))]
    heapify(waiting)
    picked: list[int] = []
    while waiting and len(picked) < count:
        known, place = heappop(waiting)
        if loss(place) > known:
            heappush(waiting, (loss(place), place))
            continue
        picked.append(place)
        if several:
            heard.add(blocks[place])
        alike: dict[int, float] = {}
        for number, weight in rows[place]:
            for other, its_weight in having[number]:
                alike[other] = alike.get(other, 0.0) + weight * its_weight
        for other, likeness in alike.items():
            said[other] = max(said[other], likeness)
    return sorted(picked)
