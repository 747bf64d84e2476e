"""One recorded call of an agent: what was asked, what came of it, what its lease was told; as a line of JSON.

Secrets are taken out of all three, and before the digest is made: so a digest in a file that is passed around lets
nobody try out what stood there, and a recording is found again when a secret that it was made with has changed.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Literal, cast

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, replace

from ..budget import Lease
from ..content import content_digest, original
from ..errors import BudgetExhausted
from ..runtime import Runtime
from ..secrets import Redactor
from ..types import AgentOutput, AgentSpec, BudgetSnapshot, TokenAccounting
from .recorded_error import RecordedError, revived

__all__ = ["LeaseEntry", "Recorded", "Request", "decode", "encode", "replay", "request_of", "without"]

LeaseEntry = tuple[Literal["reserve", "charge"], TokenAccounting | None]
"""What a runner told its lease or asked of it; a reservation without tokens asks only whether it may go on."""


class Request(Struct, frozen=True, kw_only=True):
    """Who is asked what, without secrets. ``spec`` has the fields that are not at their default."""

    digest: str
    spec: dict[str, Any]
    task: str

    @property
    def agent(self) -> str:
        """The name in the original spec."""
        return str(self.spec.get("name", ""))


class Recorded(Request, frozen=True, kw_only=True):
    """A request and its end: ``output`` or ``raised``.

    ``count`` tells calls of the same content apart, in the order in which they were asked, from 1. ``lease`` is what
    was granted, in its order; a reservation that was refused is not there. ``line`` is where it stands in its file.
    """

    count: int
    output: AgentOutput | None = None
    raised: RecordedError | None = None
    lease: list[LeaseEntry] = []
    line: int = 0


# Asking


def request_of(spec: AgentSpec, task: str, runtime: Runtime) -> Request:
    """What a call is recognised by: the spec it was derived from and the whole task, without secrets, and without
    the path of the agent's workspace, which is another one each time.

    :raises TypeError: for ``metadata`` with a key that is no string.
    """
    redactor = runtime.team.redactor
    metadata = spec.metadata
    if runtime.workspace is not None and metadata.get("workspace") == str(runtime.workspace):
        metadata = {name: value for name, value in metadata.items() if name != "workspace"}
    asked = original(spec)
    asked = replace(
        asked,
        name=redactor.text(asked.name),
        system_prompt=redactor.text(asked.system_prompt),
        tools=[redactor.text(tool) for tool in asked.tools],
        metadata=cast("dict[str, Any]", redactor.value(metadata)),
        model=asked.model and redactor.text(asked.model),
    )
    task = redactor.text(task)
    return Request(digest=content_digest(asked, task), spec=_told(asked), task=task)


def without(redactor: Redactor, output: AgentOutput) -> AgentOutput:
    """``output`` without secrets."""
    outcome = output.outcome
    if outcome is not None:
        evidence = [
            replace(each, description=redactor.text(each.description), data=redactor.value(each.data))
            for each in outcome.evidence
        ]
        outcome = replace(outcome, summary=redactor.text(outcome.summary), evidence=evidence)
    return replace(
        output,
        name=redactor.text(output.name),
        answer=redactor.text(output.answer),
        error=output.error and redactor.text(output.error),
        outcome=outcome,
        tools_used=[redactor.text(tool) for tool in output.tools_used],
    )


# Answering


def replay(recorded: Recorded, spec: AgentSpec, runtime: Runtime) -> AgentOutput:
    """What came of the call, under the name that ``spec`` has now, once the same is booked on its lease.

    :raises BudgetExhausted: when what a model call has spent, and had reserved, does not fit now.
    :raises Exception: what was raised then, of its own class if that is carpool's or Python's, else of one of its name.
    """
    output = recorded.output
    if runtime.lease is not None:
        left_open = _book(runtime.lease, recorded.lease)
        untold = output is None or output.tokens is None
        if left_open is not None and not _granted(runtime.lease, left_open) and untold:
            runtime.lease.charge(left_open)  # nobody said what it spent: it counts in full
    if output is None:
        raise revived(recorded.raised or RecordedError(type="ValueError", text="nothing was recorded but the call"))
    return replace(output, name=spec.name)


def _book(lease: Lease, entries: list[LeaseEntry]) -> TokenAccounting | None:
    """Charge what was charged, out of reservations as far as it was. Returns the reservation that was left open.

    The agents come in another order now, and all at once. So that nothing is refused that was granted then: reserved is
    what was spent, not the worst case, which may have been all that the budget had left; what is refused is booked all
    the same, as long as it fits beside what is spent (the purse may count that as overrun); and where it was asked only
    whether it may go on, it may.
    """
    reserved: TokenAccounting | None = None
    for what, tokens in entries:
        if tokens is None:
            _granted(lease, None)  # the answer was yes then
            continue
        if what == "reserve":
            reserved = tokens
            continue
        within = _NOTHING if reserved is None else _lesser(reserved, tokens)
        if within.total_tokens or within.cost_usd:
            try:
                lease.reserve(within)
            except BudgetExhausted as refusal:
                if not _fits(within, refusal.snapshot):
                    raise
        lease.charge(tokens)
        reserved = None
    return reserved


def _fits(tokens: TokenAccounting, purse: BudgetSnapshot) -> bool:
    """Whether only what others hold, or a price that nobody knows, stands in the way of ``tokens``."""
    limits = purse.limits
    sums = (
        (purse.input_tokens + tokens.input_tokens, limits.max_input_tokens),
        (purse.output_tokens + tokens.output_tokens, limits.max_output_tokens),
        (purse.total_tokens + tokens.total_tokens, limits.max_total_tokens),
        (round(purse.cost_usd + tokens.cost_usd, 9), limits.max_cost_usd),  # in whole nano-dollars, as it is booked
    )
    return all(limit is None or spent <= limit for spent, limit in sums)


def _granted(lease: Lease, tokens: TokenAccounting | None) -> bool:
    try:
        lease.reserve(tokens)
    except BudgetExhausted:
        return False
    return True


def _lesser(one: TokenAccounting, other: TokenAccounting) -> TokenAccounting:
    return TokenAccounting(
        input_tokens=min(one.input_tokens, other.input_tokens),
        output_tokens=min(one.output_tokens, other.output_tokens),
        cost_usd=min(one.cost_usd, other.cost_usd),
        priced=one.priced,
    )


# Writing and reading


def encode(recorded: Recorded) -> bytes:
    """A line of JSON with its end. NaN and infinities become null; what is no JSON, the name of its type."""
    fields = _told(recorded)
    fields["lease"] = [[what, None if tokens is None else _told(tokens)] for what, tokens in recorded.lease]
    if not recorded.lease:
        del fields["lease"]
    try:
        text = json.dumps(fields, ensure_ascii=False, allow_nan=False)
    except ValueError:
        fields = json.loads(json.dumps(fields), parse_constant=lambda _: None)
        text = json.dumps(fields, ensure_ascii=False, allow_nan=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half a character, as some models emit: only an escape can write it
        return json.dumps(fields).encode() + b"\n"


def decode(line: bytes, number: int) -> Recorded:
    """What ``encode`` wrote; unknown keys are ignored. ``json`` and not msgspec, which reads no half a character.

    :raises ValueError: when it is no recorded call.
    """
    try:
        fields = json.loads(line)
        recorded = msgspec.convert(fields, Recorded)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if (recorded.output is None) == (recorded.raised is None):
        raise ValueError("it has neither `output` nor `raised`" if recorded.output is None else "it has both ends")
    return msgspec.structs.replace(recorded, line=number)


def _told(value: Struct) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for field in _fields(type(value)):
        found: Any = getattr(value, field.name)
        default = field.default if field.default_factory is NODEFAULT else field.default_factory()
        if found == default:
            continue
        if isinstance(found, Struct):
            told[field.encode_name] = _told(found)
        else:
            told[field.encode_name] = msgspec.to_builtins(found, str_keys=True, enc_hook=_by_name)
    return told


@cache
def _fields(kind: type[Struct]) -> tuple[FieldInfo, ...]:
    return msgspec.structs.fields(kind)  # it reads annotations anew each time, at the price of all else here together


def _by_name(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


_NOTHING = TokenAccounting()
