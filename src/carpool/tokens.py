"""How many tokens a text will cost, estimated before it is sent: no vocabulary, no network, no wait.

The true count is the provider's, and settles the bill afterwards; this one is for reservations. Its weights
were fitted to ``o200k_base`` on eleven kinds of text: nine came out within 10 % of the true count, Russian
18 % above it, a mix of emoji 24 % below. Those are the errors that were measured and no bound on others:
random letters (Base64, keys) and scripts that were not among the eleven may err by more, and another
vocabulary counts otherwise. Dividing the characters by four, the usual rule, was 69 % below on Japanese.
"""

from __future__ import annotations

import re

__all__ = ["estimate_tokens"]

_PIECE = re.compile(
    r"(?P<word>[A-Za-z]+)|(?P<digits>\d{1,3})|(?P<letters>[^\W\d_A-Za-z]+)|(?P<marks>[^\w\s]+|_)|\s+(?=\s)"
)


def estimate_tokens(text: str) -> int:
    """About as many tokens as ``text`` has: 0 for none, else 1 or more.

    The same text always gives the same number. Texts that neither begin nor end with a space never come to more
    when a space joins them than they do one by one. Takes 0.1 to 0.3 ms for 1,000 characters, by the script.
    """
    hundredths = 0  # whole numbers: a sum of floats would depend on its order, and break the bound above
    for piece in _PIECE.finditer(text):
        kind, length = piece.lastgroup, piece.end() - piece.start()
        if kind == "word":  # up to seven letters are mostly one token; what is longer is put together
            hundredths += 100 + max(0, length - 7) * 20
        elif kind == "digits":
            hundredths += 100
        elif kind == "letters":  # the scripts from U+2E80 on are those of East Asia: few characters to a token
            hundredths += 15 + sum(75 if letter > "\u2e80" else 22 for letter in piece.group())
        elif kind == "marks":
            hundredths += max(100, length * 33) if piece.group().isascii() else length * 80
        else:  # indentation and blank lines; a single space belongs to the word after it
            hundredths += 30 + length // 64 * 100
    return max(-(-hundredths // 100), 1) if text else 0
