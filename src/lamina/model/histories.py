"""Rows of interactions for a sealed recommender: they become a history for each user, and an answer for each user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.schema import Field, Values
from lamina.modalities._canonical import canonical, object_array
from lamina.modalities._moments import read_times
from lamina.modalities._number_text import read_numbers
from lamina.model.answers import Part
from lamina.model.forecast import Column, LongTable, as_columns, first, joined
from lamina.model.rows import RawChunk, Rows, open_rows, row_of_json
from lamina.tasks.recommend import Task, Written

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]
ITEMS = "items"
_NAMES = "users of the rows"
"""Beside the columns that the model reads: what each user is called."""


def written(model: Model) -> Written | None:
    """How the interactions that a recommender learned from are written; None of any other model, or an older one."""
    found = (task.rows for task in model.tasks.values() if isinstance(task, Task))
    return next(found, None)


def opened(
    data: Any, model: Model, rows: Written, columns: Sequence[str], batch: int, root: Path | None = None
) -> Rows | None:
    """One row for each user of a table of interactions, in the order in which they begin; None if it is none.

    Histories are made as for training: in order of time, of equal moments in the order of the rows; without rows that
    are rated lower than what counts, and without repetitions where these do not count. A user's row without an item
    only asks. A row that cannot be used is answered by an error of its own, after all users.

    Args:
        columns: of the data.
    """
    history = next((name for name, item in model.inputs.items() if item.field.modality == ITEMS), "")
    if not history or history in columns or not {rows.user, rows.item} & set(columns):
        return None
    about = [column for name, item in model.inputs.items() if name != history for column in item.field.columns]
    names = dict.fromkeys((*rows.columns, *about))
    long = LongTable({name: Column(Field(name, "text")) for name in names}, model.targets)
    if isinstance(data, str) and data.lstrip().startswith("{"):
        data = [row_of_json(data)]
    whole = _held(open_rows(as_columns(data), long, batch, root), rows, tuple(names))
    return Rows(whole.chunks(history, about, model.fitting(batch)), root, lines=Lines(rows.user, model.answer_columns))


@dataclass(frozen=True)
class _Held:
    """All rows together.

    Attributes:
        values: raw, by column.
        users: by user, all rows that can be used.
        order: the rows that are interactions, the earliest first.
        items: canonical ids, object [row].
        errors: (user or None, reason) of each row that cannot be used.
        repeat: as of `Written`.
    """

    values: Mapping[str, Values]
    users: Mapping[str, Sequence[int]]
    order: Array
    items: Values
    errors: Sequence[tuple[str | None, str]]
    repeat: bool

    def chunks(self, history: str, about: Sequence[str], size: int) -> Iterator[RawChunk]:
        """Raw rows of the model's inputs, a user each, and then an error each."""
        place = np.full(len(self.items), -1, np.int64)
        place[self.order] = np.arange(len(self.order))
        users = [(name, np.array(rows, np.int64), "") for name, rows in self.users.items()]
        asked = [*users, *((name, np.zeros(0, np.int64), reason) for name, reason in self.errors)]
        for begin in range(0, len(asked), size):
            some = asked[begin : begin + size]
            raw = {column: object_array(first(self.values[column][rows]) for _, rows, _ in some) for column in about}
            raw[history] = object_array(self._history(place, rows) for _, rows, _ in some)
            raw[_NAMES] = object_array(name for name, _, _ in some)
            yield RawChunk(raw, len(some), {at: reason for at, (_, _, reason) in enumerate(some) if reason})

    def _history(self, place: Array, rows: Array) -> list[str]:
        own = rows[place[rows] >= 0]
        found: list[str] = self.items[own[np.argsort(place[own])]].tolist()
        return found if self.repeat else list(dict.fromkeys(found))


def _held(chunks: Rows, rows: Written, names: Sequence[str]) -> _Held:
    parts = list(chunks)
    values = {name: joined([part.values[name] for part in parts]) for name in names}
    starts = np.cumsum([0, *(len(part) for part in parts)])
    reasons = {
        int(start) + row: reason
        for start, part in zip(starts[:-1], parts, strict=True)
        for row, reason in part.errors.items()
    }
    users, items = canonical(values[rows.user]), canonical(values[rows.item])
    had = items != None  # noqa: E711  (element by element)
    times = np.arange(len(users), dtype=np.float64)
    if rows.time:
        times = read_times(values[rows.time], rows.dates, rows.day_first)
    ratings = read_numbers(values[rows.rating])[0] if rows.rating else np.full(len(users), rows.liked)
    for name, missing in (
        (rows.user, users == None), (rows.time, had & np.isnan(times)), (rows.rating, had & np.isnan(ratings)),  # noqa: E711
    ):  # fmt: skip
        for row in np.flatnonzero(missing).tolist():
            reasons.setdefault(row, f"there is no readable value of {name!r}")
    by_user: dict[str, list[int]] = {}
    for row, user in enumerate(users.tolist()):
        if row not in reasons:
            by_user.setdefault(user, []).append(row)
    usable = had & ~np.isin(np.arange(len(users)), list(reasons)) & (ratings >= rows.liked)
    order = np.flatnonzero(usable)
    order = order[np.argsort(times[order], kind="stable")]
    errors = [(users[row], f"row {row}: {reasons[row]}") for row in sorted(reasons)]
    return _Held(values, by_user, order, items, errors, rows.repeat)


@dataclass(frozen=True)
class Lines:
    """Answers with the id of the user that each is for.

    Attributes:
        user: what the column of users is called.
        answers: the columns of the answers.
    """

    user: str
    answers: Sequence[str]

    @property
    def kinds(self) -> dict[str, str]:
        """ "text", "list" or "numbers" by column."""
        kinds = {name: "numbers" if name.endswith(".p") else "list" for name in self.answers}
        return {self.user: "text", **kinds}

    def of(self, chunk: RawChunk, part: Part) -> Part:
        """The answers to a chunk; where there is none, its reason names the user."""
        names = chunk.values[_NAMES]
        errors = {
            row: reason if names[row] is None else f"{self.user} {names[row]!r}: {reason}"
            for row, reason in part.errors.items()
        }
        return Part(part.rows, {self.user: names, **part.columns}, errors)
