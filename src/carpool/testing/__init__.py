"""What tests of agents need: a scripted runner, a clock that needs no time, cancellation at every await."""

from .bill import Bill, CallMade, Charge
from .cancellation import Ended, Scenario, cancel_at_every_await
from .fault_plan import FaultPlan, Strike
from .journals import check_journal
from .patterns import check_pattern
from .reply import Reply, Script
from .scripted_runner import ScriptedRunner
from .virtual_clock import VirtualClock
from .virtual_loop import Deadlock

__all__ = [
    "Bill",
    "CallMade",
    "Charge",
    "Deadlock",
    "Ended",
    "FaultPlan",
    "Reply",
    "Scenario",
    "Script",
    "ScriptedRunner",
    "Strike",
    "VirtualClock",
    "cancel_at_every_await",
    "check_journal",
    "check_pattern",
]
