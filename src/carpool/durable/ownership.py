"""Who has a run, and whether that process still lives: what it takes to claim one.

A process is told by its number, the moment it began, the boot and the pid namespace, so that a number that is used
again is not taken for it. One that is dead is replaced at once; one that has not been heard of for ``SILENCE_S``
seconds, because it was stopped or its machine is out of reach, may be replaced too, and then every write that it
tries after waking is refused by the epoch.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from socket import gethostname

from msgspec.structs import replace

from ..clock import new_id
from ..errors import RunInUse
from .records import Owner, RunHeader

__all__ = ["BEAT_S", "SILENCE_S", "claimed", "is_alive", "refuse_unless_owned", "this_process"]

SILENCE_S = 15.0
BEAT_S = 2.0  # several in a silence, so that one that is late does no harm


def this_process() -> Owner:
    """This process, with a new id for the journal object that asks."""
    pid = os.getpid()
    return Owner(pid=pid, began=_began(pid), boot=_boot(), space=_space(), host=gethostname(), journal=new_id())


def is_alive(owner: Owner, beat: float, now: float) -> bool:
    """Whether ``owner`` can still write; ``now`` and ``beat`` are seconds of the clock that all owners share."""
    if owner.boot == _boot():
        if owner.space == _space() and _began(owner.pid) != owner.began:
            return False
    elif owner.host == gethostname():
        return False  # the machine was booted again
    return abs(now - beat) < SILENCE_S


def claimed(header: RunHeader, owner: Owner, now: float) -> RunHeader:
    """``header`` with ``owner`` in possession, in an epoch of its own."""
    return replace(header, owner=owner, epoch=header.epoch + 1, beat=now, open=True, cancel=False)


def refuse_unless_owned(header: RunHeader | None, run_id: str, owner: Owner, epoch: int) -> RunHeader:
    """:raises RunInUse: when somebody else has taken the run since, or it was removed."""
    if header is None:
        raise RunInUse(run_id, "nobody: it was removed while it ran")
    if header.owner is None or header.owner.journal != owner.journal or header.epoch != epoch:
        raise RunInUse(run_id, f"{header.owner or 'nobody'}, who took it over")
    return header


def _began(pid: int) -> str:
    """When the process began, in ticks since the boot; empty where there is none, or no telling."""
    try:
        # The name, in parentheses, may hold anything; after it come the state and, 19 fields on, the start (proc(5)).
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return "?" if _lives(pid) else ""


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@cache
def _space() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
