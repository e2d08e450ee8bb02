"""Pairs of rows and how alike they are: from a table of pairs, or drawn from rows with labels; needs no PyTorch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.schema import Values
from lamina.data.tables import ChunkReader, read_chunks
from lamina.errors import InputError, nearest
from lamina.evaluate.verification import Members
from lamina.modalities._canonical import canonical, canonical_value
from lamina.model.answers import plain
from lamina.model.nearest import likeness_of
from lamina.model.rows import is_of_files
from lamina.model.search import BATCH, Index, embedding_of

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]

ONE, OTHER, SAME = "one", "other", "same"
"""The columns of a table of pairs; the last may be missing."""
YES = frozenset({"1", "true", "yes", "y", "same"})
NO = frozenset({"0", "false", "no", "n", "different"})
APART_FROM = 4
"""From so many labels on each half of the pairs has labels of its own."""
WITNESSES = 20
"""From so many labels on intervals are made by drawing labels; of fewer, by drawing rows."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows.

    Attributes:
        ones, others: what each pair's rows are called.
        likeness: float64 [pair], NaN where a row could not be read.
        same: int8 [pair], 1 the same, 0 different, -1 not known.
        errors: pair to the reason why it has no likeness.
        judging: bool [pair], the pairs that judge where the others choose the threshold; all, where nothing is chosen.
        notes: what the user should know about them.
        members: int64 [pair] each, what stands on either side, a label or a row; None where that is not known.
    """

    ones: tuple[str, ...]
    others: tuple[str, ...]
    likeness: Array
    same: Array
    errors: Mapping[int, str]
    judging: Array
    notes: tuple[str, ...] = ()
    members: Members | None = None

    def known(self, chosen: Array) -> tuple[Array, Array]:
        """(Likeness, bool same) of the chosen pairs of which both are known."""
        kept = self._kept(chosen)
        return self.likeness[kept], self.same[kept] == 1

    def members_of(self, chosen: Array) -> Members | None:
        """What stands in the pairs that `known` gives."""
        if self.members is None:
            return None
        kept = self._kept(chosen)
        return self.members[0][kept], self.members[1][kept]

    def _kept(self, chosen: Array) -> Array:
        return chosen & (self.same >= 0) & np.isfinite(self.likeness)


def is_table_of_pairs(reader: ChunkReader) -> bool:
    """Whether data has the two columns of values to be compared."""
    return {ONE, OTHER} <= set(reader.columns)


def of_table(model: Model, reader: ChunkReader) -> Pairs:
    """The pairs of a table with the columns `one`, `other` and perhaps `same`; each value is embedded once.

    Relative paths start from the table's folder.

    Raises:
        InputError: the model reads several columns, or `same` holds something else than yes or no.
    """
    column = _only_column(model)
    ones: list[Any] = []
    others: list[Any] = []
    same: list[int] = []
    unreadable: dict[int, str] = {}
    for chunk in reader:
        unreadable.update({len(ones) + row: reason for row, reason in chunk.errors.items()})
        if SAME in chunk.values:
            same += [_same(value, row) for row, value in enumerate(chunk.values[SAME].tolist(), start=len(same) + 1)]
        ones += chunk.values[ONE].tolist()
        others += chunk.values[OTHER].tolist()
    places: dict[Hashable, int] = {}
    values: list[Any] = []
    first, second = (np.array([_place(value, places, values) for value in side], np.int64) for side in (ones, others))
    vectors, errors = _vectors(model, column, values, reader.root)
    likeness = likeness_of(vectors, vectors, first, second)
    for pair, both in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        reasons = [errors[place] for place in dict.fromkeys(both) if place in errors]
        if reasons and pair not in unreadable:
            unreadable[pair] = "; ".join(reasons)
    likeness[sorted(unreadable)] = np.nan
    return Pairs(
        _called(ones),
        _called(others),
        likeness,
        np.array(same or [-1] * len(ones), np.int8),
        dict(sorted(unreadable.items())),
        np.ones(len(ones), bool),
    )


def of_labels(index: Index, labels: Values, number: int, seed: int) -> Pairs:
    """Pairs drawn from labelled rows: half of them the same, half of them choosing the threshold and half judging.

    From 4 labels on no label is in both halves of the pairs; with fewer no row is. No pair is drawn twice, and all are
    as likely to be: a label with many rows gives more of the same pairs.

    Args:
        labels: object [row of the index], text or None for a row without one.
        number: of pairs in all; fewer where there are not so many.

    Raises:
        InputError: a half has no two rows of one label, or none of two labels.
    """
    random = np.random.default_rng(seed)
    names = sorted({label for label in labels if label is not None})
    numbers = {name: place for place, name in enumerate(names)}
    codes = np.array([-1 if label is None else numbers[label] for label in labels], np.int64)
    halves = _by_label(codes, len(names), random) if len(names) >= APART_FROM else _by_row(codes, random)
    found: list[tuple[Array, Array, int, bool]] = []
    for judging, half in enumerate(halves):
        for same in (1, 0):
            share = (number + 2 * judging + same) // 4
            one, other = _drawn(codes, half, share, same == 1, random)
            found.append((one, other, same, judging == 1))
    first, second = (np.concatenate([part[side] for part in found]) for side in (0, 1))
    sizes = [len(part[0]) for part in found]
    return Pairs(
        tuple(_name(index, place) for place in first),
        tuple(_name(index, place) for place in second),
        likeness_of(index.vectors, index.vectors, first, second),
        np.repeat(np.array([part[2] for part in found], np.int8), sizes),
        {},
        np.repeat(np.array([part[3] for part in found]), sizes),
        (_how_apart(names),),
        (codes[first], codes[second]) if len(names) >= WITNESSES else (first, second),
    )


def labels_of(data: Any, index: Index, target: str) -> Values:
    """The labels of an index's rows, object [row]: a column of a table, or the names of the folders that files lie in.

    Raises:
        InputError: there is no such column, or no folders of classes.
    """
    reader = read_chunks(data)
    if target and target not in reader.columns:
        raise InputError(f"There is no column {target!r}.", where=reader.name, fix=nearest(target, reader.columns))
    if not target and not is_of_files(reader.columns):
        raise InputError(
            "It is not said which rows are the same.",
            where=reader.name,
            fix="Name the column that says it (--target COLUMN), or give a table of pairs: one,other,same",
        )
    if target:
        found = np.concatenate([canonical(chunk.values[target]) for chunk in reader])[index.rows]
        return np.asarray(found, dtype=object)
    # Not by the index's names: those of long paths are cut short.
    paths = np.concatenate([np.asarray(chunk.values["path"], dtype=object) for chunk in reader])[index.rows]
    found = np.empty(len(paths), dtype=object)
    found[:] = [PurePosixPath(str(path).replace("\\", "/")).parent.name or None for path in paths]
    return found


def _only_column(model: Model) -> str:
    embedding_of(model)
    if len(model.columns) != 1:
        raise InputError(
            f"The model reads {len(model.columns)} columns ({', '.join(model.columns[:10])}), "
            "so a value alone is no row of its.",
            where="the table of pairs",
            fix="Compare two rows as JSON (lamina verify MODEL '{...}' '{...}'), or all rows of a table by a column "
            "that says which are the same (lamina verify MODEL TABLE --target COLUMN).",
        )
    return model.columns[0]


def _same(value: Any, row: int) -> int:
    text = canonical_value(value)
    if text is None:
        return -1
    if text.casefold() in YES | NO:
        return int(text.casefold() in YES)
    raise InputError(
        f"The column {SAME!r} says {text[:50]!r} in row {row}.",
        where="the table of pairs",
        fix="Write 1 or 0, yes or no, true or false, or leave the cell empty.",
    )


def _called(values: Sequence[Any]) -> tuple[str, ...]:
    """As they stand in the table: a missing value is empty."""
    return tuple("" if value is None else str(value) for value in values)


def _place(value: Any, places: dict[Hashable, int], values: list[Any]) -> int:
    """The value's place among those to be embedded, each of them once."""
    # A list or an array is only equal to itself here: it is embedded as often as it occurs.
    key = (type(value), value) if isinstance(value, Hashable) else len(values)
    if key not in places:
        places[key] = len(values)
        values.append(value)
    return places[key]


def _vectors(model: Model, column: str, values: Sequence[Any], root: Path | None) -> tuple[Array, dict[int, str]]:
    """float32 [value, size], zeros where a value could not be read, and the reason by its place."""
    answer = embedding_of(model)
    size = model.tasks[answer].width
    vectors, errors = np.zeros((len(values), size), np.float32), dict[int, str]()
    step = model.fitting(BATCH)
    for start in range(0, len(values), step):
        part = np.empty(len(values[start : start + step]), dtype=object)
        part[:] = [plain(value) for value in values[start : start + step]]
        arrays, wrong = model.encode({column: part}, root)
        kept = np.array([row for row in range(len(part)) if row not in wrong], np.int64)
        errors.update({start + row: reason for row, reason in wrong.items()})
        if len(kept):
            vectors[start + kept] = model.outputs({name: array[kept] for name, array in arrays.items()})[answer]
    return vectors, errors


def _by_label(codes: Array, labels: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Rows in two halves, each label in one; labels of several rows, which alone have pairs, are dealt out first."""
    sizes = np.bincount(codes[codes >= 0], minlength=labels)
    shuffled = random.permutation(labels)
    dealt = shuffled[np.argsort(sizes[shuffled] < 2, kind="stable")]
    half = np.empty(labels, np.int64)
    half[dealt] = np.arange(labels) % 2
    return np.flatnonzero((codes >= 0) & (half[codes] == 0)), np.flatnonzero((codes >= 0) & (half[codes] == 1))


def _by_row(codes: Array, random: np.random.Generator) -> tuple[Array, Array]:
    """Rows in two halves, each label's rows dealt out to both."""
    shuffled = random.permutation(np.flatnonzero(codes >= 0))
    ordered = shuffled[np.argsort(codes[shuffled], kind="stable")]
    return np.sort(ordered[::2]), np.sort(ordered[1::2])


def _drawn(codes: Array, half: Array, number: int, same: bool, random: np.random.Generator) -> tuple[Array, Array]:
    """Different pairs of rows of a half, all of one label or of two, drawn evenly without drawing one twice."""
    rows = half[np.argsort(codes[half], kind="stable")]
    ordered = codes[rows]
    ends = np.searchsorted(ordered, ordered, side="right")
    # With the rows sorted by label, the later partners of a row are one stretch: of its own label, or after it.
    begins, stops = (np.arange(1, len(rows) + 1), ends) if same else (ends, np.full(len(rows), len(rows)))
    counts = stops - begins
    total = int(counts.sum())
    if total == 0:
        kind = "no two rows of one label" if same else "only one label"
        raise InputError(
            f"There are too few labelled rows: one half of them has {kind}.",
            where="the labels",
            fix="Give more rows, at least two of each of four labels.",
        )
    chosen = np.sort(random.choice(total, min(number, total), replace=False, shuffle=False))
    sums = np.cumsum(counts)
    one = np.searchsorted(sums, chosen, side="right")
    other = begins[one] + chosen - (sums[one] - counts[one])
    return rows[one], rows[other]


def _name(index: Index, place: int) -> str:
    return index.names[place] or f"row {int(index.rows[place])}"


def _how_apart(names: Sequence[str]) -> str:
    if len(names) >= APART_FROM:
        return f"{len(names):,} labels; none of those whose pairs chose the threshold is among those that judge"
    return f"only {len(names)} labels: they are in both halves of the pairs, each row in one"
