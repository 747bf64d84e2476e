"""What a bench hands back, and how it looks as plain text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Report", "Table", "Target"]


@dataclass(frozen=True)
class Target:
    """A promise beside what was measured. Reported, never asserted."""

    promise: str
    measured: str
    reached: bool


@dataclass(frozen=True)
class Table:
    """``rows`` of plain values. ``formats`` are applied column by column, to numbers only."""

    columns: list[str]
    rows: list[list[Any]]
    formats: dict[str, str] = field(default_factory=dict)
    rule_between: bool = True  # a thin line wherever the first column changes

    def lines(self) -> list[str]:
        cells = [[self._shown(name, value) for name, value in zip(self.columns, row, strict=True)] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(self.columns, *cells, strict=True)]
        numeric = [not any(isinstance(row[place], str) for row in self.rows) for place in range(len(self.columns))]

        def line(texts: list[str]) -> str:
            padded = (
                text.rjust(width) if right else text.ljust(width)
                for text, width, right in zip(texts, widths, numeric, strict=True)
            )
            return "  ".join(padded).rstrip()

        rule = "  ".join("─" * width for width in widths)
        lines = [line(self.columns), rule]
        before = ""
        for row in cells:
            if self.rule_between and before and row[0] != before:
                lines.append("")
            lines.append(line([row[0] if row[0] != before or not self.rule_between else "", *row[1:]]))
            before = row[0]
        return lines

    def records(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def _shown(self, name: str, value: Any) -> str:
        if value is None:
            return "·"
        if isinstance(value, str):
            return value
        return format(value, self.formats.get(name, ","))


@dataclass(frozen=True)
class Report:
    """One bench: ``notes`` say how the numbers were got and how to read them."""

    name: str
    title: str
    tables: list[Table]
    targets: list[Target]
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        lines = [self.title, "═" * len(self.title), ""]
        for table in self.tables:
            lines += [*table.lines(), ""]
        lines += [f"  {note}" for note in self.notes]
        if self.targets:
            lines += [""] if self.notes else []
            promises = max(len(target.promise) for target in self.targets)
            measures = max(len(target.measured) for target in self.targets)
            lines += [
                f"{'✓' if target.reached else '✗'} {target.promise:<{promises}}  {target.measured:>{measures}}  "
                f"{'reached' if target.reached else 'not reached'}"
                for target in self.targets
            ]
        return "\n".join(lines) + "\n"

    def data(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "title": self.title,
            "tables": [table.records() for table in self.tables],
            "targets": [vars(target) for target in self.targets],
            "notes": self.notes,
        }
