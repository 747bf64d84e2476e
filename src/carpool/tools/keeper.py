"""Keeps one command, as a process between us and it: starts it, and ends all that came of it, also when we die.

A program of its own, started by ``process`` as ``keeper.py LEASH STATUS PARENT COUNT SIZE``. The leash is a pipe of
which only the parent holds the other end. What comes out of it first is the order: SIZE bytes, each string ended by
NUL, COUNT arguments and then the environment's ``NAME=value``. A byte after that asks the command to end. The end
of the leash, also when the kernel closes it after a SIGKILL, ends the command and all its descendants at once.

On STATUS it says, a line each: ``pid`` N; then ``exit`` CODE (negative: a signal), or ``errno`` N when the command
could not be started. When it has ended, nobody is left.

On Linux it is the reaper of its descendants: who loses its parent becomes its child, also with a session of its
own, so that none is lost sight of. Elsewhere it knows the command's process group, and nobody beyond.

Every command waits until this is loaded. So it imports little: ``signal`` alone would take 4 ms more than its 12.
"""

import ctypes
import os
import select
import sys

__all__ = ["main"]

_SIGKILL, _SIGPIPE, _SIGTERM, _SIGCONT, _SIGXFSZ = 9, 13, 15, 18, 25
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_LOOKS_MS = 1_000  # for a parent that died while a fork of it holds the leash, and for orphans to reap
_LOOKS_BLINDLY_MS = 20  # for the end of the command too, where the kernel does not tell
_TRIES_MS = (0, 1, 2, 4, 8, 16, *[50] * 80)  # whom SIGKILL has not ended by then, nobody can: 4 s


def main() -> None:
    leash, status, parent, count, size = map(int, sys.argv[1:])
    for end in (leash, status):
        os.set_inheritable(end, False)
    order = _order(leash, size, parent)
    if order is None:
        return
    _reap_descendants()
    keeper = os.getpid()
    command = os.fork()
    if command == 0:
        _become(order[:count], order[count:], status, keeper)
    code = None
    try:
        _say(status, b"pid %d\n" % command)
        _let_go()
        code = _watch(command, leash, parent)
    finally:
        code = _end_family(command, code)
    if code is not None:
        _say(status, b"exit %d\n" % code)


# The command


def _order(leash: int, size: int, parent: int) -> list[bytes] | None:
    """The strings of the order, or ``None`` when the parent has gone before it said them all."""
    said = b""
    poll = select.poll()
    poll.register(leash, select.POLLIN)
    while len(said) < size:
        if poll.poll(_LOOKS_MS):
            piece = os.read(leash, size - len(said))
            if not piece:
                return None
            said += piece
        elif os.getppid() != parent:
            return None
    return said.split(b"\0")[:-1]


def _become(arguments: list[bytes], variables: list[bytes], status: int, keeper: int) -> None:
    """Be the command. Never returns."""
    try:
        os.setsid()
        library = ctypes.CDLL(None)
        if sys.platform == "linux":
            library.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)  # a keeper can be killed too
            if os.getppid() != keeper:
                os._exit(127)
        for number in (_SIGPIPE, _SIGXFSZ):
            library.signal(number, None)  # the default, as it was before Python ignored them
        environment = dict(each.split(b"=", 1) for each in variables)
        os.execvpe(arguments[0], arguments, environment)  # noqa: S606 - that there is no shell is the point
    except OSError as error:
        _say(status, b"errno %d\n" % (error.errno or 0))
    finally:
        os._exit(127)


def _say(status: int, line: bytes) -> None:
    try:  # noqa: SIM105 - contextlib is slow to load
        os.write(status, line)
    except BrokenPipeError:  # nobody is left to hear it
        pass


def _let_go() -> None:
    """Hold nothing of the command's: its pipes end with it, and its folder can be removed."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.close(nothing)
    os.chdir("/")


def _watch(command: int, leash: int, parent: int) -> int | None:
    """The command's exit code, once it has ended; ``None`` as soon as it is to be ended."""
    poll = select.poll()
    poll.register(leash, select.POLLIN)
    looks_ms = _LOOKS_BLINDLY_MS
    if hasattr(os, "pidfd_open"):
        try:
            poll.register(os.pidfd_open(command), select.POLLIN)
            looks_ms = _LOOKS_MS
        except OSError:  # a kernel before 5.3, or a sandbox
            pass
    while True:
        ready = [descriptor for descriptor, _ in poll.poll(looks_ms)]
        code, _ = _reaped(command)
        if code is not None:
            return code
        if leash in ready:
            if not os.read(leash, 64):
                return None
            _signal(command, _SIGTERM)
        elif os.getppid() != parent:
            return None


# Its family


def _reap_descendants() -> None:
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        library.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        library.prctl(_PR_SET_PDEATHSIG, _SIGCONT, 0, 0, 0)  # the command may have stopped us by then


def _reaped(command: int) -> tuple[int | None, bool]:
    """The command's exit code, if it is among those that have ended by now; and whether anybody is left."""
    code = None
    while True:
        try:
            ended, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code, False
        if ended == 0:
            return code, True
        if ended == command:
            code = os.waitstatus_to_exitcode(how)


def _end_family(command: int, found: int | None) -> int | None:
    """Kill everybody and wait for them; the command's exit code, unless it was ``found`` before."""
    poll = select.poll()
    _signal(command, _SIGKILL)
    for pause_ms in _TRIES_MS:
        poll.poll(pause_ms)
        code, somebody = _reaped(command)
        found = found if code is None else code
        if not somebody:
            break
        for straggler in _descendants() if pause_ms else []:  # as a rule there is none outside the command's group
            _signal(straggler, _SIGKILL)
    return found


def _signal(process: int, number: int) -> None:
    """To ``process`` and all of its group, in one step, which no member escapes by forking.

    The group is ours in whole: each is of a session that a descendant made.
    """
    try:
        group = os.getpgid(process)
    except ProcessLookupError:
        group = process  # it has ended; if it is the command, others of its group may be there
    try:
        if group == os.getpgrp():
            os.kill(process, number)  # it has not yet come to a session of its own
        else:
            os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if sys.platform == "linux" else []:  # noqa: PTH208 - pathlib is slow to load
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(name))
    found = list(children.get(os.getpid(), []))
    for process in found:  # it grows meanwhile
        found += children.get(process, [])
    return found


if __name__ == "__main__":
    main()
