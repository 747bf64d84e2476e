"""The name of an agent's folder: plain ASCII, whatever the agent and the run are called."""

from __future__ import annotations

import re
from hashlib import sha256

__all__ = ["folder_name"]

_MOST_OF_AGENT = 40
_MOST_OF_RUN = 24


def folder_name(agent: str, run_id: str) -> str:
    """``<agent>-<run>``, at most 83 characters of ``a-z 0-9 _ -``, beginning and ending with a letter or digit.

    What had to be changed in either part is marked by a digest of the part as it was, so that look-alikes stay
    apart, on file systems too that fold case or normalise Unicode. There is no dot and always a hyphen inside:
    so it is never ``..``, ``.git`` or a device's name. That no two folders have one name is seen to where they
    are made.
    """
    return f"{_plain(agent, 'agent', _MOST_OF_AGENT)}-{_plain(run_id, 'run', _MOST_OF_RUN)}"


def _plain(text: str, otherwise: str, most: int) -> str:
    slug = re.sub(r"[^a-z0-9_-]+", "-", text.lower())[:most].strip("-_")
    if slug and slug == text:
        return slug
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{slug or otherwise}-{digest}"
