"""The parser: which commands there are, and what becomes of what can't be parsed. Commands load when called."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import App
from cyclopts.exceptions import CoercionError, CycloptsError, UnusedCliTokensError

from ..errors import ConfigError
from .help_pages import HelpPages
from .terminal import OutputClosedError, Screen, on_one_line
from .usage import EXIT_CODES, FAILED, USAGE, UsageError

__all__ = ["app", "dispatch"]

_EXAMPLE = """\
Try it, offline and without a key:
  carpool run --items 'docs/**/*.md' --task 'What does this say?' \\
      --budget '200k tokens, 40 agents'"""

_RUN = """\
Run a coordination of agents; print its answer and its bill.

The answer goes to stdout, all else to stderr. Where there is no one answer, because the run was interrupted or \
failed, stdout gets what the finished agents answered, each under its name. Ctrl-C stops it in good order; pressed \
again, at once."""

_PLAN = """\
Say what a run may start and spend at most, before anything runs.

Takes the flags of run. Counts files, but reads none. Exit code 4 says that the worst case does not fit the budget."""

_INIT = """\
Write a team file to begin from, with comments; it runs as it is, offline and without a key."""

_CHECK = """\
Say whether a team file is understood, and what it may start and spend at most.

Nothing that it names is imported, started or connected to. Exit code 2 says that it is not understood, and where."""

_MCP = """\
Be an MCP server on standard input and output: map_reduce, vote, debate, review and teams of yours as tools.

The budget is for all calls together, as long as the server runs; a client can give a call less, never more."""

_SHOW = """\
Show a run: the tree of its agents with how they ended, what they cost and how long they took.

With an agent, by name, path or item: what it was asked, and what it answered."""

_VIEW = """\
Show runs in a browser: timeline, tree, budget, every agent; live while a run goes on.

Served on this machine alone, at an address that has a token in it. Nothing is loaded from anywhere else."""

_TRACE = """\
Write a run as one HTML file, which opens offline and shows the same as view.

It has every task and answer of the run in it."""

_RESUME = """\
Go on with a run that was killed, interrupted, or stopped by its budget.

What was finished is used again and not paid for again; what was in flight when the process died counts as spent at \
what it held. The pattern is made anew from the flags of the run, in its folder, so that changed items run again."""

_CANCEL = """\
Ask a run that goes on in another process to stop.

It ends as by Ctrl-C: what has finished is kept, and carpool resume goes on from there."""

_POLICY_CHECK = """\
Say whether a policy file is understood, and what it would do to an action.

Exit code 1 says that the action would be denied, or that an entry denies every
call because its expression does not compile; 2, that the file or what was
typed is not understood."""


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"carpool {version('carpool')}"
    except PackageNotFoundError:
        return "carpool, of a version that is not known: it is not installed"


app = App(
    name="carpool",
    help="Many agents, one budget: bounded in parallel, nothing paid for is lost.",
    help_epilogue=_EXAMPLE,
    help_format="plaintext",
    help_formatter=HelpPages(),
    version=_version,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
app.command("carpool.cli.run:run", name="run", help=_RUN, help_epilogue=EXIT_CODES)
app.command("carpool.cli.plan:plan", name="plan", help=_PLAN)
app.command("carpool.cli.init:init", name="init", help=_INIT, help_epilogue="")
app.command("carpool.cli.check:check", name="check", help=_CHECK, help_epilogue="")
app.command("carpool.cli.schema:schema", name="schema", help="Print the JSON Schema of team files.", help_epilogue="")
app.command("carpool.cli.mcp:mcp", name="mcp", help=_MCP, help_epilogue="")
app.command(
    "carpool.cli.doctor:doctor", name="doctor", help="Say what can be used here, and what to install.", help_epilogue=""
)
app.command("carpool.cli.ps:ps", name="ps", help="List the runs on record, the latest first.", help_epilogue="")
app.command("carpool.cli.show:show", name="show", help=_SHOW, help_epilogue="")
app.command("carpool.cli.resume:resume", name="resume", help=_RESUME, help_epilogue=EXIT_CODES)
app.command("carpool.cli.events:events", name="events", help="Print the events of a run.", help_epilogue="")
app.command("carpool.cli.cancel:cancel", name="cancel", help=_CANCEL, help_epilogue="")
app.command("carpool.cli.rm:rm", name="rm", help="Take runs out of the journal, for good.", help_epilogue="")
app.command("carpool.cli.export:export", name="export", help="Write a run as one JSON document.", help_epilogue="")
app.command("carpool.cli.view:view", name="view", help=_VIEW, help_epilogue="")
app.command("carpool.cli.trace:trace", name="trace", help=_TRACE, help_epilogue="")

_policy = App(name="policy", help="Look at policy files.", help_epilogue="")
_policy.command("carpool.cli.policy:check", name="check", help=_POLICY_CHECK)
app.command(_policy)


def dispatch(arguments: Sequence[str]) -> int:
    """Run the command that ``arguments`` name; a mistake in them is one line on stderr, and so is what the system
    refuses. Of mistakes in a file each has its line."""
    tokens = _with_stdin(arguments)
    try:
        code = app(tokens, exit_on_error=False, print_error=False)
    except (CycloptsError, ConfigError, UsageError) as error:
        command = _command(tokens)
        for line in f"{command}: {_message(error)} (see {command} --help)".splitlines():
            Screen().say((on_one_line(line), ""), wrap=True)
        return USAGE
    except (OutputClosedError, OSError) as error:
        if not getattr(error, "left", isinstance(error, BrokenPipeError)):
            Screen().say((on_one_line(f"{_command(tokens)}: {error}"), ""), wrap=True)
        return FAILED
    return code if isinstance(code, int) else 0


def _command(tokens: Sequence[str]) -> str:
    return " ".join(("carpool", *app.parse_commands(tokens)[0]))


def _with_stdin(arguments: Sequence[str]) -> list[str]:
    """``--items -`` in the form that the parser takes it in: by itself, a hyphen looks to it like an option."""
    found: list[str] = []
    for argument in arguments:
        if argument == "-" and found and found[-1] == "--items":
            found[-1] = "--items=-"
        else:
            found.append(argument)
    return found


def _message(error: CycloptsError | ConfigError | UsageError) -> str:
    if isinstance(error, CoercionError) and error.msg is not None and error.token is not None:
        return f"{error.token.keyword}: {error.msg}"
    if isinstance(error, UnusedCliTokensError):
        return f"don't know what to do with {' '.join(map(repr, error.unused_tokens or ()))}; put quotes around texts"
    return str(error)
