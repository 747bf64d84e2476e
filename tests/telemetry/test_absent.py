"""Without OpenTelemetry carpool is what it was, and says what is missing when it is asked for."""

from __future__ import annotations

import subprocess
import sys

RUNS = """
import sys
from carpool import AgentSpec, SharedInfra, Vote

async def runner(spec, task, runtime, mailbox):
    return "x"

infra = SharedInfra()
assert Vote([AgentSpec("a", "")]).run_sync("t", runner=runner, infra=infra).answer == "x"
"""
ABSENT = "import sys\nsys.modules['opentelemetry'] = sys.modules['opentelemetry.trace'] = None\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)


def test_a_run_loads_nothing_of_it() -> None:
    done = run(RUNS + "assert not [name for name in sys.modules if 'opentelemetry' in name or 'telemetry' in name]")

    assert done.returncode == 0, done.stderr


def test_without_it_carpool_works_and_instrument_says_what_to_install() -> None:
    code = """
from carpool.errors import ConfigError
from carpool.telemetry import export, instrument
for ask in (lambda: instrument(infra), lambda: export(infra.log)):
    try:
        ask()
    except ConfigError as error:
        assert str(error) == "telemetry needs the extra otel: pip install 'carpool[otel]'", error
    else:
        raise AssertionError("it should have been refused")
assert infra.log._wakers == set()
"""
    done = run(ABSENT + RUNS + code)

    assert done.returncode == 0, done.stderr


def test_the_api_alone_is_enough() -> None:
    """The SDK and the packages of the conventions belong to the application."""
    code = """
blocked = [name for name in ("opentelemetry.sdk", "opentelemetry.semconv")]
for name in blocked:
    sys.modules[name] = None
from carpool.telemetry import export, instrument
with instrument(infra) as telemetry:
    result = Vote([AgentSpec("a", "")]).run_sync("t", runner=telemetry.runner(runner, content=True), infra=infra)
assert result.answer == "x" and telemetry.failures == 0
export(infra.log)
"""
    done = run(RUNS + code)

    assert done.returncode == 0, done.stderr
