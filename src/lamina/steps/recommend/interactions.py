"""Who had what, in order of time, as numbers; and which interactions train, validate and test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lamina.data.column_roles import parts_of
from lamina.data.schema import Json, Values
from lamina.data.tables import Table
from lamina.errors import InputError
from lamina.modalities._canonical import canonical
from lamina.modalities._instant import day_first_of
from lamina.modalities._moments import are_dates, read_times
from lamina.modalities._number_text import read_numbers
from lamina.plan import Plan
from lamina.tasks.recommend import UNLABELLED, Written

Array = np.ndarray[Any, Any]
FEWEST = 20
"""Interactions that a run needs."""
TRAIN, VALIDATION, TEST = 0, 1, 2
CHUNK = 65_536
MOST_ITEMS = 1_000_000
"""Items of a catalogue: a sealed model answers with no more numbers."""


@dataclass(frozen=True)
class Interactions:
    """All interactions, user after user, of each in order of time (of the table where there is none).

    Attributes:
        user: int32 [interaction], the user's place in `users`.
        item: int32 [interaction], 1 and above: the item's place in `catalogue`, counted from 1; 0 for an item that
            is not in the catalogue.
        part: int8 [interaction], TRAIN, VALIDATION or TEST.
        users: ids.
        catalogue: ids of the items of the training part, the most frequent first; then cold ones, which are known
            before the test part begins although the training part has no interaction with them.
        counts: int64 [item], how often each occurs in the training part; without cold items.
        recency: float64 [interaction], its place in the order of time, from 0 to 1.
        row: int64 [interaction], its row in the table.
        written: how the table writes them.
        dropped: (row, reason) of rows that are no interaction.
        low: rows whose rating is below the threshold.
        again: interactions left out, for the user had the item before.
    """

    user: Array
    item: Array
    part: Array
    users: tuple[str, ...]
    catalogue: tuple[str, ...]
    counts: Array
    recency: Array
    row: Array
    written: Written
    dropped: tuple[tuple[int, str], ...] = ()
    low: int = 0
    again: int = 0
    starts: Array = field(init=False)
    """int64 [user + 1], where each user's interactions begin."""

    def __post_init__(self) -> None:
        starts = np.searchsorted(self.user, np.arange(len(self.users) + 1))
        object.__setattr__(self, "starts", starts.astype(np.int64))

    @property
    def cold(self) -> int:
        """How many items of the catalogue the training part has no interaction with."""
        return len(self.catalogue) - len(self.counts)

    def without_cold(self) -> Interactions:
        """The same with a catalogue of the training part's items only."""
        item = np.where(self.item > len(self.counts), 0, self.item)
        return replace(self, item=item, catalogue=self.catalogue[: len(self.counts)])

    def rows_of(self, part: int) -> int:
        """How many interactions a part has."""
        return int((self.part == part).sum())


def read(table: Table, plan: Plan, described: Iterable[str] | None = None) -> Interactions:
    """All interactions of a table as the plan says.

    Args:
        described: ids of a table of items: all are in the catalogue, for that they exist is known without any
            interaction. Without such a table those of the validation part are, where columns of the interactions
            describe items; of an item that only the test part has nothing is known before.

    Raises:
        InputError: too few interactions, a single user, too many rows without a user, item or time, a part that would
            be empty, or too many items.
    """
    options = plan.task[UNLABELLED].options
    written = _written(table, options)
    raw = _raw(table, plan, written)
    _check_dropped(table, plan, raw.dropped)
    order = np.argsort(raw.time, kind="stable")
    # From here on in order of time; equal moments in the order of the table.
    user, item, row = raw.user[order], raw.item[order], raw.row[order]
    again = 0
    if not options["repeat"]:
        _, firsts = np.unique(user.astype(np.int64) * (len(raw.items) + 1) + item, return_index=True)
        kept = np.sort(firsts)
        again = len(user) - len(kept)
        order, user, item, row = order[kept], user[kept], item[kept], row[kept]
    _check_enough(table, len(user), len(raw.users))
    part = _parts(raw.time[order], plan, None if raw.part is None else raw.part[order])
    if described is None:
        late = np.unique(item[part == VALIDATION])
        described = [raw.items[code] for code in late] if options.get("about_items") else ()
    names, counts, coded = _catalogue(raw.items, item, part, described)
    by_user = np.argsort(user, kind="stable")
    return Interactions(
        user=user[by_user].astype(np.int32), item=coded[by_user], part=part[by_user], users=raw.users,
        catalogue=names, counts=counts, recency=(by_user / max(len(user) - 1, 1)), row=row[by_user],
        written=written, dropped=raw.dropped, low=raw.low, again=again,
    )  # fmt: skip


@dataclass(frozen=True)
class _Raw:
    user: Array
    item: Array
    time: Array
    row: Array
    part: Array | None
    users: tuple[str, ...]
    items: tuple[str, ...]
    dropped: tuple[tuple[int, str], ...]
    low: int


def _written(table: Table, options: Mapping[str, Json]) -> Written:
    """How the table writes interactions."""
    time = options["time"]
    dates = bool(time) and are_dates(table.take(np.arange(min(len(table), 2000)), [time])[time])
    # Decided once, on all dates: the first chunk may hold none that tells.
    day_first = dates and day_first_of(lambda: (values[time] for _, values in table.chunks(None, [time], CHUNK)))[0]
    rating = options["rating"] if options["liked"] else ""
    liked, repeat = float(options["liked"]), bool(options["repeat"])
    return Written(options["user"], options["item"], time, rating, liked, repeat, dates, bool(day_first))


def _raw(table: Table, plan: Plan, written: Written) -> _Raw:
    """Ids to numbers, in the order of the table, chunk by chunk."""
    user_codes: dict[str, int] = {}
    item_codes: dict[str, int] = {}
    found: list[tuple[Array, ...]] = []
    dropped: list[tuple[int, str]] = []
    low = 0
    for rows, values, times, parts in _chunks(table, plan, written):
        users, items = canonical(values[written.user]), canonical(values[written.item])
        ratings = read_numbers(values[written.rating])[0] if written.rating else np.zeros(len(rows))
        whole = np.ones(len(rows), bool)
        for name, missing in (
            (written.user, users == None), (written.item, items == None),  # noqa: E711
            (written.time, np.isnan(times)), (written.rating, np.isnan(ratings)),
        ):  # fmt: skip
            dropped += [(int(rows[place]), f"no {name}") for place in np.flatnonzero(missing & whole)]
            whole &= ~missing
        if written.rating:
            below = whole & (ratings < written.liked)
            low += int(below.sum())
            whole &= ~below
        kept = np.flatnonzero(whole)
        found.append((
            np.array([user_codes.setdefault(key, len(user_codes)) for key in users[kept]], np.int32),
            np.array([item_codes.setdefault(key, len(item_codes)) for key in items[kept]], np.int32),
            times[kept], rows[kept], parts[kept],
        ))  # fmt: skip
    user, item, time, row, part = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    given = part if plan.data.split == "column" else None
    return _Raw(user, item, time, row, given, tuple(user_codes), tuple(item_codes), tuple(dropped), low)


def _chunks(table: Table, plan: Plan, written: Written) -> Iterator[tuple[Array, Mapping[str, Values], Array, Array]]:
    """(Row numbers, raw values, moments, parts by the column that says so, else 0)."""
    column = plan.data.column if plan.data.split == "column" else ""
    columns = dict.fromkeys((*written.columns, *([column] if column else ())))
    for rows, values in table.chunks(None, list(columns), CHUNK):
        times = rows.astype(np.float64)
        if written.time:
            times = read_times(values[written.time], written.dates, written.day_first)
        parts = np.zeros(len(rows), np.int8)
        if column:
            known = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
            parts = np.array([known.get(part or "", TRAIN) for part in parts_of(column, values[column])], np.int8)
        yield rows, values, times, parts


def _check_dropped(table: Table, plan: Plan, dropped: tuple[tuple[int, str], ...]) -> None:
    """Too many rows that are no interaction, or could not even be read, stop the run."""
    bad, total = len(dropped) + len(table.unreadable), len(table) + len(table.unreadable)
    if bad > plan.data.bad_rows * total:
        shown = [f"{table.place(row)}: {reason}" for row, reason in dropped[:3]]
        raise InputError(
            f"{bad:,} of {total:,} rows are no interaction, more than the {plan.data.bad_rows:.1%} allowed.",
            where="; ".join(shown or [f"{place}: {reason}" for place, reason in table.unreadable[:3]]),
            fix="Correct them, name other columns (--set task.user=..., task.item=..., task.time=..., "
            "task.rating=...), or allow more with --set data.bad_rows=0.2",
        )


def _check_enough(table: Table, interactions: int, users: int) -> None:
    if users < 2:
        raise InputError(
            f"All interactions are of {'one user' if users else 'nobody'}: nothing can be learned from others.",
            where=table.name,
            fix="Give interactions of several users, or name their column with --set task.user=COLUMN.",
        )
    if interactions < FEWEST:
        raise InputError(
            f"There are {interactions} interactions.",
            where=table.name,
            fix=f"Give at least {FEWEST}; rows rated below task.liked do not count, nor repetitions unless "
            "task.repeat=true.",
        )


def _parts(times: Array, plan: Plan, given: Array | None) -> Array:
    """int8 [interaction], in order of time: the latest test, those before them validate.

    Interactions of one moment are never on two sides, unless all would be on one.
    """
    if given is not None:
        part = given.copy()
        learn = np.flatnonzero(part == TRAIN)
        if not (part == VALIDATION).any():
            part[learn[_boundary(times[learn], plan.data.validation_share) :]] = VALIDATION
    else:
        part = np.zeros(len(times), np.int8)
        test = _boundary(times, plan.data.test_share)
        part[test:] = TEST
        part[_boundary(times[:test], plan.data.validation_share) : test] = VALIDATION
    for number, name in ((TRAIN, "train"), (VALIDATION, "validate"), (TEST, "test")):
        if not (part == number).any():
            raise InputError(
                f"No interaction is left to {name}.",
                where="data.split",
                fix="Give more interactions, or other shares with --set data.test_share=0.2 data.validation_share=0.1",
            )
    return part


def _boundary(times: Array, share: float) -> int:
    """The first place of the latest `share` of moments in order; at a change of the moment where there is one."""
    place = min(max(round(len(times) * (1 - share)), 1), max(len(times) - 1, 1))
    if place >= len(times):
        return place
    before = int(np.searchsorted(times, times[place], "left"))
    after = int(np.searchsorted(times, times[place], "right"))
    return before if before > 0 else after if after < len(times) else place


def _catalogue(
    items: tuple[str, ...], item: Array, part: Array, described: Iterable[str]
) -> tuple[tuple[str, ...], Array, Array]:
    """(Ids as of `Interactions.catalogue`, how often those of the training part occur, every row's place)."""
    counts = np.bincount(item[part == TRAIN], minlength=len(items))
    known = np.flatnonzero(counts)
    # Of equally frequent items the one that was met first; so the order does not depend on how a library sorts.
    known = known[np.argsort(-counts[known], kind="stable")]
    names = dict.fromkeys((*(items[place] for place in known), *described))
    if len(names) > MOST_ITEMS:
        raise InputError(
            f"There are {len(names):,} items, more than the {MOST_ITEMS:,} that a model can recommend from.",
            fix="Leave out those that are seldom had, or give a shorter table of items.",
        )
    codes = {name: code for code, name in enumerate(names, 1)}
    places = np.array([codes.get(name, 0) for name in items], np.int32)
    return tuple(names), counts[known].astype(np.int64), places[item]


@dataclass(frozen=True)
class Asked:
    """Interactions to be foretold, each from all that its user had before.

    Attributes:
        user: int32 [row].
        target: int32 [row], the item's place in the catalogue from 1; 0 for one that is not in it.
        end: int64 [row], where the history ends in `known`.
        known: int32, all users' interactions with items of the catalogue, one user after the other.
        starts: int64 [user + 1], where each user begins in `known`.
    """

    user: Array
    target: Array
    end: Array
    known: Array
    starts: Array

    def __len__(self) -> int:
        return len(self.user)

    def histories(self, rows: slice | Array, longest: int) -> Array:
        """int32 [row, longest]: the last items before each row, in order, padded with 0 at the end."""
        ends, users = self.end[rows], self.user[rows]
        found = np.zeros((len(ends), longest), np.int32)
        for row, (end, start) in enumerate(zip(ends.tolist(), self.starts[users].tolist(), strict=True)):
            items = self.known[max(start, end - longest) : end]
            found[row, : len(items)] = items
        return found

    def lengths(self) -> Array:
        """int64 [row]: items in each history."""
        return np.asarray(self.end - self.starts[self.user])


MOST_ASKED = {VALIDATION: 10, TEST: 20}
"""Interactions of one user in a part that are asked for: the last ones, so that heavy users do not dominate."""
MOST_ROWS = {VALIDATION: 4_000, TEST: 20_000}
"""Interactions of a part that are asked for in all; beyond, users are drawn."""


def asked(found: Interactions, part: int, seed: int) -> Asked:
    """The interactions of a part, the last `MOST_ASKED` of each user, with what came before each."""
    most_asked, most_rows = MOST_ASKED[part], MOST_ROWS[part]
    in_catalogue = found.item > 0
    before = np.concatenate([[0], np.cumsum(in_catalogue)])
    rows = np.flatnonzero(found.part == part)
    # Counted from each user's last one; rows are user after user, and in order of time.
    users = found.user[rows]
    ends = np.searchsorted(users, users, "right")
    rows = rows[ends - np.arange(len(rows)) <= most_asked]
    if len(rows) > most_rows:
        several = np.unique(found.user[rows])
        share = most_rows / len(rows)
        drawn = np.random.default_rng(seed).permutation(several)[: max(2, int(share * len(several)))]
        rows = rows[np.isin(found.user[rows], drawn)]
    return Asked(
        user=found.user[rows], target=found.item[rows], end=before[rows],
        known=found.item[in_catalogue], starts=before[found.starts],
    )  # fmt: skip
