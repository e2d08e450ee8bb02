"""Divide the rows into a training, a validation and a test part, without letting the test part leak."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data import draw
from lamina.data.added import with_added
from lamina.data.content import equal_rows, few_values
from lamina.data.dividing import groups_of, marks, moments_of
from lamina.data.schema import Field, Role, Schema
from lamina.data.target_values import TargetValues, may_lack, read_target, unanswered
from lamina.errors import InputError, nearest

if TYPE_CHECKING:
    from lamina.data.tables import Table
    from lamina.plan import DataPlan

Array = np.ndarray[Any, Any]

FEWEST = 10
"""Rows with a target that are needed to train, validate and test at all."""
MOST_VALIDATION = 10_000
"""More validation rows make no decision better, only slower."""
LATER_SHARE = 0.9
"""From this share of later test rows on, the test data count as coming after the training data."""
WAYS = ("given", "column", "random", "stratified", "time", "group")


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts, sorted int64.

    Attributes:
        how: "given", "column", "random", "stratified", "time" or "group".
        reason: how the rows were divided, for the user to read.
        dropped: (row, reason) of the rows that are in no part.
        equal: int64 [row], the same number for rows with equal inputs, where that was needed; else None.
    """

    train: Array
    validation: Array
    test: Array
    how: str
    reason: str
    dropped: tuple[tuple[int, str], ...] = ()
    equal: Array | None = field(default=None, repr=False, compare=False)

    def to_bytes(self) -> bytes:
        """All of it, in the safetensors format."""
        from safetensors.numpy import save

        parts = {"train": self.train, "validation": self.validation, "test": self.test, "equal": self.equal}
        told = {"how": self.how, "reason": self.reason, "dropped": self.dropped}
        arrays = {name: np.ascontiguousarray(rows) for name, rows in parts.items() if rows is not None}
        return save(arrays, {"told": json.dumps(told)})

    @classmethod
    def from_bytes(cls, content: bytes) -> Split:
        """The inverse of `to_bytes`."""
        from safetensors.numpy import load

        size = int.from_bytes(content[:8], "little")
        told = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["told"])
        rows = load(content)
        dropped = tuple((int(row), str(reason)) for row, reason in told["dropped"])
        parts = (rows["train"], rows["validation"], rows["test"])
        return cls(*parts, told["how"], told["reason"], dropped, rows.get("equal"))


@dataclass(frozen=True)
class _Material:
    """What the ways of splitting look at.

    `strata` has a class for each row, all 0 where there are no classes; `equal` the same number for rows with equal
    inputs, where that is known already.
    """

    table: Table
    schema: Schema
    data: DataPlan
    generator: np.random.Generator
    strata: Array
    stratified_by: str
    equal: Array | None = None


@dataclass(frozen=True)
class _Parts:
    """A way's answer: rows of each part (validation None: still to be carved out), why, and rows left out.

    `units` has the same number for rows that must not be separated, `equal` for rows with equal inputs.
    """

    train: Array
    test: Array
    reason: str
    validation: Array | None = None
    dropped: tuple[tuple[int, str], ...] = ()
    units: Array | None = None
    equal: Array | None = None


def split(table: Table, schema: Schema, data: DataPlan, seed: int, *, test_from: int | None = None) -> Split:
    """Divide the rows; the same data, plan and seed give the same parts.

    Rows without any target are in no part. Where rows are drawn at random, rows with equal inputs stay together,
    unless the inputs take so few different values that equal rows are no copies. Classes with fewer than five
    rows stay in the training part.

    Rows that only training learns from (`table.added`) change nothing in how the others are divided.

    Args:
        data: `split` says how, `column` by which column, `test_share` and `validation_share` how much.
        seed: of the random draws.
        test_from: the first row of test data that was given separately.

    Raises:
        InputError: fewer than 10 rows with a target, a target that never varies, no test or training rows, shares
            that leave nothing, an unknown way, a split column with unknown values, or nothing to divide by.
    """
    if not table.added:
        return _divided(table, schema, data, seed, test_from)
    equal = equal_rows(table, schema.inputs)
    found = _divided(table.without_added(), schema, data, seed, test_from, equal[: table.own])
    return with_added(table, schema, data, found, equal)


def _divided(
    table: Table, schema: Schema, data: DataPlan, seed: int, test_from: int | None, equal: Array | None = None
) -> Split:
    how = _way(data, test_from)
    _check_shares(data)
    targets = [read_target(table, item) for item in schema.targets]
    usable, missing = _usable(table, targets)
    _check_targets(targets, usable)
    strata, by = np.zeros(len(table), dtype=np.int64), ""
    if data.split != "random":
        strata, by = _strata(targets or _labels(table, schema, data), usable, strata)
    if how == "stratified" and not by:
        how = "random"
    generator = np.random.default_rng([seed & 0xFFFFFFFF, 1])
    material = _Material(table, schema, data, generator, strata, by, equal)
    found = _divide(material, how, usable, test_from)
    if found.validation is None:
        found = _carve(material, how, found)
    assert found.validation is not None
    result = Split(
        np.sort(found.train),
        np.sort(found.validation),
        np.sort(found.test),
        how,
        found.reason,
        tuple(sorted((*missing, *found.dropped))),
        found.equal,
    )
    _check_parts(result, targets)
    return result


def _way(data: DataPlan, test_from: int | None) -> str:
    if data.split not in WAYS:
        raise InputError(
            f"There is no way to split called {data.split!r}.", where="data.split", fix=nearest(data.split, WAYS)
        )
    if test_from is not None:
        return "given"
    return "column" if data.split == "given" else data.split


def _check_shares(data: DataPlan) -> None:
    for name, share in (("test_share", data.test_share), ("validation_share", data.validation_share)):
        if not 0 < share < 1:
            raise InputError(
                f"data.{name} is {share}.", where=f"data.{name}", fix="It must lie between 0 and 1, e.g. 0.2."
            )


def _usable(table: Table, targets: list[TargetValues]) -> tuple[Array, list[tuple[int, str]]]:
    """Rows with an answer to learn from, and the others with the reason.

    Of several targets a row may lack some, if their encodings can say so: it counts for those that it has.
    """
    for target in targets:
        if len(table) and target.missing.all():
            raise InputError(
                f"The target {target.field.name!r} has no value in any row.",
                where=f"column {target.field.name}",
                fix="Choose another --target, or give data with answers.",
            )
    reasons = unanswered(targets)
    optional = may_lack(targets)
    usable = np.setdiff1d(np.arange(len(table)), [row for row, _ in reasons])
    for what, rows in (("a target", usable), *((f"the target {t.field.name!r}", t.known(usable)) for t in optional)):
        if len(rows) < FEWEST:
            raise InputError(
                f"Only {len(rows)} rows have {what}; at least {FEWEST} are needed to train, validate and test.",
                where=table.name,
                fix="Give more rows.",
            )
    return usable, reasons


def _check_targets(targets: list[TargetValues], usable: Array) -> None:
    for target in targets:
        values = target.codes if target.codes is not None else target.numbers
        assert values is not None
        found = values[target.known(usable)]
        found = found[~np.isnan(found)]
        if len(found) and (found == found[0]).all():
            shown = target.labels[int(found[0])] if target.codes is not None else f"{found[0]:g}"
            raise InputError(
                f"The target {target.field.name!r} is {shown} in every row: there is nothing to learn.",
                where=f"column {target.field.name}",
                fix="Give rows with other answers as well, or choose another --target.",
            )


def _strata(targets: list[TargetValues], usable: Array, otherwise: Array) -> tuple[Array, str]:
    """The class of each row by the first categorical target (-1: rare), and the target's name ("" if there is none)."""
    for target in targets:
        if target.codes is not None and target.field.modality in ("category", "set", "text"):
            # Rows that lack it, beside other targets, are drawn from together.
            codes = np.where(target.missing, len(target.labels), target.codes)
            counts = np.bincount(codes[usable], minlength=len(target.labels) + 1)
            if target.field.modality == "set":
                # So are rare combinations of labels: each alone would stay in training.
                codes = np.where(counts[codes] >= draw.RARE, codes, len(target.labels))
                counts = np.bincount(codes[usable], minlength=len(target.labels) + 1)
            if counts[counts >= draw.RARE].sum() >= len(usable) / 2:
                return np.where(counts[codes] >= draw.RARE, codes, -1), target.field.name
    return otherwise, ""


def _labels(table: Table, schema: Schema, data: DataPlan) -> list[TargetValues]:
    """Where there are no targets and each class is to give its share: the labels that judge."""
    return [read_target(table, field) for field in schema.with_role("label")] if data.split == "stratified" else []


def _divide(material: _Material, how: str, usable: Array, test_from: int | None) -> _Parts:
    match how:
        case "given":
            assert test_from is not None
            return _given(material, usable, test_from)
        case "column":
            return _by_column(material, usable)
        case "time":
            return _by_time(material, usable)
        case "group":
            return _by_group(material, usable)
        case _:
            return _drawn(material, usable, how)


def _given(material: _Material, usable: Array, test_from: int) -> _Parts:
    train, test = usable[usable < test_from], usable[usable >= test_from]
    fields = material.schema.with_role("split")
    if not fields:
        return _Parts(train, test, "test data was given")
    parts = marks(material.table, fields[0], train)
    marked = [
        (int(row), f"marked for testing in {fields[0].name}, but test data was given") for row in train[parts == "test"]
    ]
    validation = train[parts == "validation"]
    kept = np.setdiff1d(train[parts != "test"], validation)
    reason = "test data was given" + (f", validation rows by {fields[0].name}" if len(validation) else "")
    return _Parts(kept, test, reason, validation if len(validation) else None, tuple(marked))


def _by_column(material: _Material, usable: Array) -> _Parts:
    chosen = _field_of(material, "split", "the split")
    parts = marks(material.table, chosen, usable)
    unknown = sorted({part for part in parts if part not in ("train", "validation", "test", "")})
    if unknown:
        raise InputError(
            f"The column {chosen.name!r} does not say which rows are for testing: it has the value {unknown[0]!r}.",
            where=f"column {chosen.name}",
            fix="Its values must be train, test and, if there is one, validation.",
        )
    dropped = tuple((int(row), f"{chosen.name} does not say which part it belongs to") for row in usable[parts == ""])
    validation = usable[parts == "validation"]
    return _Parts(
        usable[parts == "train"],
        usable[parts == "test"],
        f"by the column {chosen.name}",
        validation if len(validation) else None,
        dropped,
    )


def _field_of(material: _Material, role: Role, purpose: str) -> Field:
    """The field to split by: the one that the plan names, or the one with the role."""
    if material.data.column:
        return material.schema[material.data.column]
    fields = material.schema.with_role(role)
    if not fields:
        raise InputError(
            f"It is not said which column has {purpose}.",
            where="data.split",
            fix=f"Say it with --set schema.COLUMN.role={role}, or split in another way: --set data.split=random",
        )
    return fields[0]


def _by_time(material: _Material, usable: Array) -> _Parts:
    chosen = _field_of(material, "time", "the time")
    moments = moments_of(material.table, chosen)
    known = usable[~np.isnan(moments[usable])]
    dropped = tuple((int(row), f"{chosen.name} has no time") for row in np.setdiff1d(usable, known))
    if len(known) < FEWEST:
        raise InputError(
            f"Only {len(known)} rows have a time in {chosen.name!r}.",
            where=f"column {chosen.name}",
            fix="Correct the times, or split in another way: --set data.split=random",
        )
    train, test = draw.latest(known, moments[known], material.data.test_share)
    if not len(train):
        raise InputError(
            f"All rows have the same time in {chosen.name!r}: none is later than the others.",
            where=f"column {chosen.name}",
            fix="Split in another way: --set data.split=random",
        )
    validation_share = _validation_share(material, len(train))
    rest, validation = draw.latest(train, moments[train], validation_share)
    reason = f"the latest rows by {chosen.name} are for testing, those before them for validation"
    if not len(rest):
        return _Parts(train, test, f"the latest rows by {chosen.name} are for testing", None, dropped)
    return _Parts(rest, test, reason, validation, dropped)


def _by_group(material: _Material, usable: Array) -> _Parts:
    chosen = _field_of(material, "group", "the groups")
    groups = groups_of(material.table, chosen)
    if len(np.unique(groups[usable])) < 2:
        raise InputError(
            f"The column {chosen.name!r} has one group only: no group is left for testing.",
            where=f"column {chosen.name}",
            fix="Choose a column with several groups, or split in another way: --set data.split=random",
        )
    train, test = draw.whole_groups(
        usable, groups[usable], material.strata[usable], material.data.test_share, material.generator
    )
    reason = f"no {chosen.name} is on both sides"
    if len(np.unique(groups[train])) < 2:
        return _Parts(train, test, reason + " of the test; training has one group, of which validation is drawn")
    rest, validation = draw.whole_groups(
        train, groups[train], material.strata[train], _validation_share(material, len(train)), material.generator
    )
    return _Parts(rest, test, reason, validation)


def _drawn(material: _Material, usable: Array, how: str) -> _Parts:
    units, equal, note = _units(material, usable)
    strata = material.strata[usable] if how == "stratified" else np.zeros(len(usable), dtype=np.int64)
    train, test = draw.stratified(usable, units[usable], strata, material.data.test_share, material.generator)
    reason = f"drawn at random, {material.stratified_by} in equal shares" if how == "stratified" else "drawn at random"
    return _Parts(train, test, reason + note, units=units, equal=equal)


def _units(material: _Material, usable: Array) -> tuple[Array, Array, str]:
    """Rows that stay together, int64 [row]; which rows are equal; and a word on it for the user."""
    equal = equal_rows(material.table, material.schema.inputs) if material.equal is None else material.equal
    if len(np.unique(equal[usable])) == len(usable):
        return equal, equal, ""
    if few_values(equal[usable], material.schema.inputs):
        return np.arange(len(equal)), equal, "; equal rows are not kept together, the inputs take few values"
    return equal, equal, "; equal rows stay on one side"


def _carve(material: _Material, how: str, found: _Parts) -> _Parts:
    """The parts with validation rows taken out of the training rows: by group or time where there is one."""
    train = found.train
    share = _validation_share(material, len(train))
    if how in ("given", "column"):
        if fields := material.schema.with_role("group"):
            groups = groups_of(material.table, fields[0])
            if len(np.unique(groups[train])) > 1:
                strata = material.strata[train]
                rest, validation = draw.whole_groups(train, groups[train], strata, share, material.generator)
                note = f"; no {fields[0].name} is in both training and validation"
                return replace(found, train=rest, validation=validation, reason=found.reason + note)
        if fields := material.schema.with_role("time") or _later_tested(material, found):
            moments = moments_of(material.table, fields[0])[train]
            rest, validation = draw.latest(train, moments, share)
            if len(rest) and not np.isnan(moments).any():
                note = f"; the latest training rows by {fields[0].name} are for validation"
                return replace(found, train=rest, validation=validation, reason=found.reason + note)
    units, equal = found.units, found.equal
    if units is None and len(train):
        units, equal, _ = _units(material, train)
    if units is None:
        units = np.arange(len(material.table))
    strata = material.strata[train]
    rest, validation = draw.stratified(train, units[train], strata, share, material.generator, draw.RARE - 2)
    return replace(found, train=rest, validation=validation, equal=equal)


def _later_tested(material: _Material, found: _Parts) -> tuple[Field, ...]:
    """A column of moments by which nearly all test rows come after every training row, if there is one.

    Then the question is how the network does on later rows; validation rows drawn from among the training rows would
    praise what it has learned of single days by heart.
    """
    for item in material.schema.inputs:
        if item.modality != "time":
            continue
        moments = moments_of(material.table, item)
        before, after = moments[found.train], moments[found.test]
        if len(before) and len(after) and np.mean(after > np.nanmax(before, initial=-np.inf)) >= LATER_SHARE:
            return (item,)
    return ()


def _validation_share(material: _Material, rows: int) -> float:
    return min(material.data.validation_share, MOST_VALIDATION / max(rows, 1))


def _check_parts(found: Split, targets: list[TargetValues]) -> None:
    advice = {
        "given": "Give test data with answers.",
        "column": "Mark rows with train and test in the split column.",
    }.get(found.how, "Give more rows, or change --set data.test_share=0.2 and data.validation_share=0.1")
    for name, rows in (("test", found.test), ("training", found.train), ("validation", found.validation)):
        if not len(rows):
            raise InputError(f"There are no {name} rows ({found.how}: {found.reason}).", where="data.split", fix=advice)
    for target in targets:
        values = target.codes if target.codes is not None else target.numbers
        assert values is not None
        for name, rows in (("test", found.test), ("training", found.train), ("validation", found.validation)):
            if not len(target.known(rows)):
                raise InputError(
                    f"None of the {len(rows):,} {name} rows has the target {target.field.name!r}.",
                    where=f"column {target.field.name}",
                    fix=advice,
                )
        seen = values[target.known(found.train)]
        if (seen == seen[0]).all():
            raise InputError(
                f"The training rows have one value only in the target {target.field.name!r} ({found.how} split).",
                where=f"column {target.field.name}",
                fix="Divide the rows in another way, e.g. --set data.split=random, or give other data.",
            )
