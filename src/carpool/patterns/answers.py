"""When two answers are the same."""

from __future__ import annotations

__all__ = ["normalise"]

# Only what never carries meaning at an edge: "-5", "$5", "5%" and ".5" stay what they are.
_AROUND = " \"'`*_~,;:!?¿¡«»“”‘’„()[]{}<>"


def normalise(answer: str) -> str:
    """``answer`` without what does not make it another: Unicode compatibility forms (NFKC), case, runs of white
    space, and punctuation or emphasis around it. ``**Paris.**`` and ``paris`` are one answer; ``5`` and ``-5``
    are two."""
    from unicodedata import normalize  # a large table, loaded with the first comparison

    text = " ".join(normalize("NFKC", answer).casefold().split())
    core = text.strip(_AROUND).rstrip(_AROUND + ".")
    while core.startswith(".") and not core[1:2].isdigit():
        core = core[1:].lstrip(_AROUND)
    return core or text
