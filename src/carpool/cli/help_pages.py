"""How help looks: two columns, no boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

__all__ = ["HelpPages"]

_NAMES = 30  # characters for the left column, in every panel


class HelpPages:
    """A help formatter for cyclopts."""

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        if usage:
            console.print(str(usage).strip(), style="bold", markup=False, highlight=False)

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        if description:
            console.print()
            # Inside of what cyclopts wraps it in, which ends with an empty line.
            console.print(getattr(description, "primary_renderable", description))

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        from rich.table import Table

        entries = [entry for entry in panel.entries if entry.display_labels]
        if not entries:
            return
        rows = Table.grid(padding=(0, 2, 0, 0))
        rows.add_column(width=2)
        rows.add_column(width=_NAMES, style="cyan", overflow="fold")
        rows.add_column(overflow="fold")
        for entry in entries:
            rows.add_row("", " ".join(entry.display_labels_with_metavar), entry.description)
        console.print()
        console.print(str(panel.title), style="bold", markup=False, highlight=False)
        console.print(rows)
