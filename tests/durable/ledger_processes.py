"""Processes that share a purse, as a test starts, commands, freezes and kills them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("ledger_member.py")
WITHIN_S = 50.0


class Refused(Exception):
    """The error that the process met."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Process:
    """One of them; ``does`` waits for the answer, ``starts`` does not."""

    def __init__(self, place: str, **options: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, PROGRAM, place, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def ready(self) -> Process:
        self.answer()
        return self

    def does(self, command: str, *arguments: Any) -> Any:
        self.starts(command, *arguments)
        return self.answer()

    def starts(self, command: str, *arguments: Any) -> None:
        self._process.stdin.write(json.dumps([command, *arguments]) + "\n")
        self._process.stdin.flush()

    def answer(self, within_s: float = WITHIN_S) -> Any:
        ready, _, _ = select.select([self._process.stdout], [], [], within_s)
        assert ready, "no answer"
        line = self._process.stdout.readline()
        assert line, "it is dead"
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"], answer["text"])
        return answer.get("answer")

    def has_answered(self) -> bool:
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                pipe.close()
            except OSError:
                continue

    @property
    def pid(self) -> int:
        return self._process.pid


@contextmanager
def processes(place: str, count: int, **options: Any) -> Iterator[list[Process]]:
    """``count`` of them, ready; what is left of them afterwards is killed."""
    started = [Process(place, **options) for _ in range(count)]
    try:
        yield [process.ready() for process in started]
    finally:
        for process in started:
            process.kill()
