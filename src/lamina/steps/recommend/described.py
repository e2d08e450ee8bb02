"""A table of items beside the interactions: what is known of each, of those too that nobody has had."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.examples import cache_folder
from lamina.data.schema import Json, Values
from lamina.data.tables import Table, open_table
from lamina.errors import InputError
from lamina.modalities._canonical import canonical
from lamina.plan import Plan
from lamina.run import Run
from lamina.tasks.recommend import UNLABELLED

Array = np.ndarray[Any, Any]
CHUNK = 65_536
FINGERPRINT = "items"
"""What the run folder's `prepared.json` calls the hash of the table."""


@dataclass(frozen=True)
class Described:
    """A table of items.

    Attributes:
        table: one row for each item; of several the first counts.
        places: id to its row.
        column: of the ids.
        left_out: rows without an id, or with one that came before.
    """

    table: Table
    places: Mapping[str, int]
    column: str
    left_out: int

    def values(self, name: str, items: Sequence[str]) -> Values:
        """Object [item]: the raw values of a column; None for items that the table does not have."""
        rows = np.array([self.places.get(item, -1) for item in items], np.int64)
        known = rows >= 0
        found = np.full(len(items), None, dtype=object)
        found[known] = self.table.take(rows[known], [name])[name]
        return found


def opened(options: Mapping[str, Json], base: Path) -> Table | None:
    """The table that the task's options name, if they do.

    Args:
        base: the folder that a relative path starts from.
    """
    place = str(options.get("items") or "")
    if not place:
        return None
    local = "://" not in place and not Path(place).is_absolute()
    return open_table(str(base / place) if local else place, cache_folder() / "tables")


def by_id(table: Table, column: str) -> Described:
    """A table of items by the ids in `column`.

    Raises:
        InputError: it has no such column, or no ids in it.
    """
    if column not in table.columns:
        raise InputError(
            f"{table.name} has no column {column!r}, by which the interactions name their items.",
            where="task.options.items",
            fix=f"Call the column of its ids {column!r}. There are: {', '.join(table.columns)}",
        )
    places: dict[str, int] = {}
    for rows, values in table.chunks(None, [column], CHUNK):
        for row, item in zip(rows.tolist(), canonical(values[column]).tolist(), strict=True):
            if item is not None:
                places.setdefault(item, row)
    if not places:
        raise InputError(
            f"No row of {table.name} has a value of {column!r}.",
            where="task.options.items",
            fix="Give a table with a row for each item.",
        )
    return Described(table, places, column, len(table) - len(places))


def opened_again(run: Run, plan: Plan, base: Path) -> Described | None:
    """The table of items of a run that is gone on with.

    Raises:
        InputError: it is another table than the run was started with.
    """
    options = plan.task[UNLABELLED].options
    table = opened(options, base)
    if table is None:
        return None
    known = json.loads(run.prepared.read_text(encoding="utf-8")).get(FINGERPRINT)
    if table.fingerprint != known:
        raise InputError(
            f"The items in {options['items']} are not what the run {run.folder} was started with.",
            fix="Put the old table back, or start a new run with `lamina train`.",
        )
    return by_id(table, options["item"])
