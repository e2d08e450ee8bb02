"""What an audit says: one plain sentence, where, how many, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lamina.data.tables import Table

SHOWN = 20
"""Places that a finding names at most."""
SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class AuditFinding:
    """Something the audit found.

    Attributes:
        kind: "duplicates", "near duplicates", "conflicting labels", "leak", "missingness leak", "group leak",
            "time leak", "constant", "identifier", "repeated column", "shift", "rare class", "unknown class",
            "imbalance", "outlier", "missing target", "unreadable" or "suspect label"; of what was learned "batch
            statistics", "collapse" or "privacy".
        severity: "error", "warning" or "note".
        text: one plain sentence.
        count: how many rows or columns.
        rows: up to 20 example places.
        fix: what the user can do.
    """

    kind: str
    severity: str
    text: str
    count: int = 0
    rows: tuple[str, ...] = ()
    fix: str = ""


def places(table: Table, rows: Iterable[int]) -> tuple[str, ...]:
    """Where the user finds the first of these rows."""
    return tuple(table.place(int(row)) for row, _ in zip(rows, range(SHOWN), strict=False))


def counted(number: int, what: str) -> str:
    """
    >>> counted(1, "row"), counted(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def listed(names: Iterable[str], most: int = 5) -> str:
    """Names in backquotes, the first ones if there are many."""
    items = list(names)
    shown = ", ".join(f"`{name}`" for name in items[:most])
    return shown + (f" and {len(items) - most} more" if len(items) > most else "")
