"""Runs functions at once, each in a thread of its own, with switches as frequent as Python makes them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence


def together(functions: Sequence[Callable[[], object]], *, within_s: float = 20.0) -> None:
    """Start all at the same moment; raise what any of them raised; fail if one is stuck."""
    gate = threading.Barrier(len(functions))
    raised: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            gate.wait(within_s)
            function()
        except BaseException as error:
            raised.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=run, args=(each,), daemon=True) for each in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(within_s)
    finally:
        sys.setswitchinterval(before)
    if raised:
        raise raised[0]
    assert not any(thread.is_alive() for thread in threads), "a thread is stuck"
