"""What every column is and what it is for, decided from a sample, each decision with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import isfile
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina import registry
from lamina.data.column_groups import ColumnGroup, column_groups
from lamina.data.column_roles import (
    CONSTANT,
    EMPTY,
    fold_reason,
    identifier_reason,
    is_id_name,
    is_weight,
    is_whole,
    parts_of,
    split_reason,
)
from lamina.data.content import under
from lamina.data.parties import parties, same_again
from lamina.data.schema import ROLES, Field, Json, Role, Schema, Values
from lamina.errors import InputError, nearest
from lamina.modalities import Recognition
from lamina.modalities._canonical import canonical

if TYPE_CHECKING:
    from lamina.data.tables import Table

Array = np.ndarray[Any, Any]

MOST_ROWS, FEWEST_ROWS, CELLS = 5_000, 500, 400_000
"""Rows that are looked at; fewer of a table with many columns, so that no more than CELLS values are."""
FIRST = 0.2
"""This share of them are the first ones; the others are a random choice."""
CONFIRM = 1_000_000
"""A column that never varies in the sample is read on for at most so many rows, until a second value is found."""
SURE = 0.95
MOST_CLASSES = 100
"""Texts of a target that are still taken for classes."""
FEW_NUMBERS = 10
"""Whole numbers of a target that are still taken for classes."""
_USUAL_TARGETS = ("target", "label", "labels", "class", "y", "outcome")
_SETTINGS = ("modality", "role", "options")
AUDITED = ("category", "number", "time")
"""Modalities that give the groups which fairness is measured by."""
_MEDIA = ("image", "audio", "video")

Overrides = Mapping[str, Mapping[str, Json]]


@dataclass(frozen=True)
class _Sample:
    """Some training rows: their numbers, raw values by column, the rows they were chosen from, and split columns.

    Attributes:
        parties: the columns that name users and items, with the reason.
    """

    rows: Array
    values: Mapping[str, Values]
    among: Array
    split_reasons: Mapping[str, str]
    parties: Mapping[str, str]


def recognise(
    table: Table,
    targets: Sequence[str] = (),
    overrides: Overrides = MappingProxyType({}),
    rows: Array | None = None,
    *,
    judged: bool = False,
) -> Schema:
    """Decide every column's modality and role.

    Args:
        table: the raw data.
        targets: the columns to predict; with none, `label` of a folder of classes.
        overrides: column (or name of a group of numbered columns) to "modality", "role" and "options".
        rows: rows that may be looked at (the training part); None: all that are not marked for testing.
        judged: the task learns without answers: targets, of which there need be none, are labels to judge it by.

    Raises:
        InputError: an unknown column, modality, role or setting; no target; a target that is also ignored
            or that no modality recognises; no input left.
    """
    among = np.arange(len(table), dtype=np.int64) if rows is None else np.asarray(rows, dtype=np.int64)
    if not len(among):
        raise InputError("The data has no rows.", where=table.name, fix="Give data with at least 10 rows.")
    sample = _sample(table, among, overrides)
    groups = column_groups(_groupable(sample.values, targets, overrides))
    _check_overrides(table, overrides, groups)
    wanted = _targets(table, targets, overrides, needed=not judged)
    overrides, groups = _settle(overrides, groups)
    grouped = {column: group for group in groups for column in group.columns}
    fields: list[Field] = []
    for column in table.columns:
        group = grouped.get(column)
        if group is None:
            fields.append(_field(table, column, sample, column in wanted, overrides.get(column, {})))
        elif column == group.columns[0]:
            fields.append(_series(group, overrides.get(group.name, {})))
    _check_audited(fields, judged)
    if judged:
        fields = [replace(field, role="label") if field.role == "target" else field for field in fields]
    schema = Schema(tuple(fields))
    if not schema.inputs:
        raise _no_inputs(schema, table)
    return schema


def _check_audited(fields: Sequence[Field], judged: bool) -> None:
    for field in fields:
        if field.role == "audit" and judged:
            raise InputError(
                f"{field.name!r} has the role audit, and nothing is answered that groups could be compared by.",
                where=f"schema.{field.name}.role",
                fix=f"Leave it out (--set schema.{field.name}.role=ignore), or name a --target.",
            )
        if field.role == "audit" and field.modality not in AUDITED:
            raise InputError(
                f"{field.name!r} holds {field.modality}: that gives no groups to measure fairness by.",
                where=f"schema.{field.name}.modality",
                fix=f"Make a column that names the group of each row, or: --set schema.{field.name}.modality=category",
            )


def _sample(table: Table, among: Array, overrides: Overrides) -> _Sample:
    """The rows to look at; rows that a split column marks for testing are not among them."""
    most = FEWEST_ROWS if table.made else min(MOST_ROWS, max(FEWEST_ROWS, CELLS // len(table.columns)))
    chosen = _choose(among, most)
    values = table.take(chosen, list(table.columns))
    reasons = {column: reason for column in table.columns if (reason := split_reason(column, values[column]))}
    for column in table.columns:
        role = overrides.get(column, {}).get("role")
        if role == "split" or (role is None and column in reasons):
            among = _without_test(table, column, among)
            chosen = _choose(among, most)
            values = table.take(chosen, list(table.columns))
            break
    seen = {name: part for name, part in values.items() if overrides.get(name, {}).get("role") != "audit"}
    return _Sample(chosen, values, among, reasons, parties(seen))


def _choose(among: Array, most: int) -> Array:
    if len(among) <= most:
        return among
    first = int(FIRST * most)
    others = np.random.default_rng(0).choice(len(among) - first, most - first, replace=False) + first
    chosen: Array = among[np.concatenate([np.arange(first), np.sort(others)])]
    return chosen


def visible(table: Table, schema: Schema, rows: Array | None) -> Array:
    """The rows that a choice may look at: of `rows` (None: of all) those that no split column marks for testing."""
    among = np.arange(len(table), dtype=np.int64) if rows is None else np.asarray(rows, dtype=np.int64)
    for field in schema.with_role("split"):
        among = _without_test(table, field.columns[0], among)
    return among


def _without_test(table: Table, column: str, among: Array) -> Array:
    kept = []
    for rows, chunk in table.chunks(among, [column]):
        parts = parts_of(column, chunk[column])
        kept.append(rows[np.array([part not in ("test", None) for part in parts], dtype=bool)])
    left = np.concatenate(kept)
    return left if len(left) else among


def _groupable(values: Mapping[str, Values], targets: Sequence[str], overrides: Overrides) -> dict[str, Values]:
    """Columns of which nothing is said by the user."""
    return {name: part for name, part in values.items() if name not in targets and name not in overrides}


def _settle(
    overrides: Overrides, groups: tuple[ColumnGroup, ...]
) -> tuple[dict[str, Mapping[str, Json]], tuple[ColumnGroup, ...]]:
    """The groups that become one series, and the overrides of the others handed to their columns."""
    settled = dict(overrides)
    series = []
    for group in groups:
        asked = overrides.get(group.name, {})
        modality = asked.get("modality", "series" if group.series else "number")
        if modality == "series":
            series.append(group)
        else:
            settled.update(dict.fromkeys(group.columns, asked))
    return settled, tuple(series)


def _check_overrides(table: Table, overrides: Overrides, groups: tuple[ColumnGroup, ...]) -> None:
    known = [*table.columns, *(group.name for group in groups)]
    for name, entry in overrides.items():
        if name not in known:
            raise InputError(f"There is no column {name!r}.", where=f"schema.{name}", fix=nearest(name, known))
        for setting in entry:
            if setting not in _SETTINGS:
                raise InputError(
                    f"A column has no setting {setting!r}.", where=f"schema.{name}", fix=nearest(setting, _SETTINGS)
                )
        if "role" in entry and entry["role"] not in ROLES:
            raise InputError(
                f"There is no role {entry['role']!r}.",
                where=f"schema.{name}.role",
                fix=nearest(str(entry["role"]), ROLES),
            )
        if "modality" in entry and entry["modality"] not in registry.names("modalities"):
            raise InputError(
                f"There is no modality {entry['modality']!r}.",
                where=f"schema.{name}.modality",
                fix=nearest(str(entry["modality"]), registry.names("modalities")),
            )


def _targets(table: Table, targets: Sequence[str], overrides: Overrides, *, needed: bool) -> tuple[str, ...]:
    wanted = dict.fromkeys([*targets, *(name for name, entry in overrides.items() if entry.get("role") == "target")])
    for name in wanted:
        if name not in table.columns:
            raise InputError(
                f"There is no column {name!r} to predict.", where="--target", fix=nearest(name, table.columns)
            )
        role = overrides.get(name, {}).get("role", "target")
        if role != "target":
            raise InputError(
                f"{name!r} is the target and cannot have the role {role!r} as well.",
                where=f"schema.{name}.role",
                fix=f"Leave that setting out, or choose another --target than {name}.",
            )
    if wanted:
        return tuple(wanted)
    for usual in ("label", "mask", "boxes", "outlines") if needed else ("label", "mask"):
        if {"path", usual} <= set(table.columns) <= {"path", usual, "split"}:
            return (usual,)
    if not needed:
        return ()
    raise _no_target(table)


def _no_target(table: Table) -> InputError:
    usual = [name for name in table.columns if name.casefold() in _USUAL_TARGETS]
    candidates = list(dict.fromkeys([*usual, table.columns[-1]]))
    shown = ", ".join(table.columns[:30]) + (", ..." if len(table.columns) > 30 else "")
    return InputError(
        "It is not said which column is to be predicted.",
        where=table.name,
        fix=f"Say it with --target NAME, perhaps --target {candidates[0]}"
        + (f" (or {', '.join(candidates[1:])})" if candidates[1:] else "")
        + f". Columns: {shown}",
    )


def _series(group: ColumnGroup, asked: Mapping[str, Json]) -> Field:
    role: Role = asked.get("role", "input")
    reason = f"{group.reason}{_said(asked)}" if asked else group.reason
    return Field(group.name, "series", role, group.columns, reason, dict(asked.get("options", {})))


def _field(table: Table, column: str, sample: _Sample, is_target: bool, asked: Mapping[str, Json]) -> Field:
    """One column's field: first its modality, then its role; what the user asked for wins."""
    values = _as_files(sample.values[column], table)
    texts = canonical(sample.values[column])
    folders = is_target and _names_folders(column, sample)
    modality, reason = _modality(column, values, texts, is_target and not folders and "modality" not in asked)
    if folders and modality == "text":
        modality, reason = "category", "the names of the files' folders"
    if modality == "number" and not is_target and column in sample.parties:
        modality, reason = "category", sample.parties[column]
    if asked.get("role") == "audit" and modality in ("text", "set"):
        modality, reason = "category", "its values name groups"
    field = Field(column, asked.get("modality", modality), reason=reason, options=dict(asked.get("options", {})))
    role, why = _role(table, field, texts, sample, is_target, "modality" in asked)
    if asked.get("role") == "input" and hasattr(registry.module("modalities", field.modality), "TARGET_ONLY"):
        raise InputError(
            f"The column {column!r} holds {field.modality}, which can be answers, not inputs.",
            where=f"schema.{column}.role",
            fix=f"Leave it out (--set schema.{column}.role=ignore), or learn to answer it: --target {column}.",
        )
    if "role" in asked:
        role, why = asked["role"], ""
    found = why or ("" if "modality" in asked else reason)
    return replace(field, role=role, reason=f"{found}{_said(asked)}" if found else _said(asked).strip(" ()"))


def _names_folders(column: str, sample: _Sample) -> bool:
    """Is every value the name of a folder that its row's file lies in? Then it is a class, however few files it has."""
    paths = sample.values.get("path")
    if paths is None or column == "path":
        return False
    pairs = zip(paths, sample.values[column], strict=True)
    return all(str(value) in str(path).replace("\\", "/").split("/")[:-1] for path, value in pairs)


def _said(asked: Mapping[str, Json]) -> str:
    said = [f"{key} {asked[key]}" for key in ("modality", "role") if key in asked]
    return f" ({' and '.join(said)} as you asked)" if said else ""


def _modality(column: str, values: Values, texts: Values, is_target: bool) -> tuple[str, str]:
    """The modality that is surest of the column, and why; equal confidence goes to the first by name."""
    present = [text for text in texts if text is not None]
    if not present:
        return "category", EMPTY
    found = _recognitions(column, values, texts)
    if not found:
        if is_target:
            raise InputError(
                f"No modality recognises the target {column!r}, which holds values such as {present[0][:40]!r}.",
                where=f"column {column}",
                fix=f"Say what it is: --set schema.{column}.modality=category (or number), or choose another --target.",
            )
        return "text", "no modality recognises its values"
    best = max(sorted(found), key=lambda name: found[name].confidence)
    distinct = len(set(present))
    if is_target and best == "text" and distinct <= MOST_CLASSES and distinct <= len(present) / 5:
        return "category", f"a target of {distinct} different texts"
    if is_target and best == "number" and "category" in found and is_whole(texts) and distinct <= FEW_NUMBERS:
        return "category", (
            f"a target of {distinct} different whole numbers, taken for classes; "
            f"if they are amounts: --set schema.{column}.modality=number"
        )
    if best == "number" and is_id_name(column) and is_whole(texts) and distinct <= len(present) / 2:
        return "category", f"{distinct} numbers under an identifier's name: names, not amounts"
    return best, found[best].reason


def _recognitions(column: str, values: Values, texts: Values) -> dict[str, Recognition]:
    """What the modalities say of a column, by name."""
    found: dict[str, Recognition] = {}
    # Numbers first: numbers with a fraction are nothing else, and a table may have thousands of such columns.
    for name in sorted(registry.names("modalities"), key=lambda name: name != "number"):
        recognition = registry.module("modalities", name).recognise(values, column)
        if recognition is not None:
            found[name] = recognition
            if name == "number" and recognition.confidence >= SURE and not is_whole(texts):
                break
    return found


def _role(
    table: Table, field: Field, texts: Values, sample: _Sample, is_target: bool, modality_asked: bool
) -> tuple[Role, str]:
    """The role, and why where that says more than the modality's reason."""
    if is_target:
        return "target", ""
    if hasattr(registry.module("modalities", field.modality), "TARGET_ONLY"):
        return "ignore", f"{field.modality} can be answers, not inputs"
    if field.modality in _MEDIA:
        return "input", ""
    name = field.name
    if name in sample.split_reasons:
        return "split", sample.split_reasons[name]
    unchanging = _unchanging(table, name, texts, sample.among)
    if unchanging:
        return "ignore", unchanging
    if reason := fold_reason(name, texts):
        return "ignore", reason
    if field.modality == "number" and is_weight(name, texts):
        return "weight", "weights of the rows by its name"
    plain = not modality_asked and field.modality in ("number", "category", "text")
    if plain and (reason := identifier_reason(name, texts, sample.rows)):
        return "ignore", reason
    named = not modality_asked and field.modality in ("category", "text")
    if named and (reason := same_again(texts, name, sample.parties, sample.values)):
        return "ignore", reason
    if field.reason == "no modality recognises its values":
        return "ignore", field.reason
    return "input", ""


def _unchanging(table: Table, column: str, texts: Values, among: Array) -> str:
    """Why the column can say nothing: empty or constant in all rows (up to CONFIRM); "" if it varies."""
    distinct = set(texts)
    if len(distinct) > 1:
        return ""
    for _, chunk in table.chunks(among[:CONFIRM], [column]):
        distinct |= set(canonical(chunk[column]))
        if len(distinct) > 1:
            return ""
    (value,) = distinct
    return EMPTY if value is None else f"{CONSTANT} ({value[:40]})"


def _as_files(values: Values, table: Table) -> Values:
    """Relative paths of files that exist as absolute ones, since modalities look at the files; others as they are."""
    if table.root is None or values.dtype.kind != "O":
        return values
    some = [value for value in values[:200] if isinstance(value, str) and value][:20]
    if not some or not all(_may_be_path(value) for value in some):
        return values
    root = table.root
    if sum(isfile(root / value.replace("\\", "/")) for value in some) < len(some) / 2:
        return values
    found = np.empty(len(values), dtype=object)
    found[:] = [
        under(root, value.replace("\\", "/")) if isinstance(value, str) and value else value for value in values
    ]
    return found


def _may_be_path(text: str) -> bool:
    return len(text) < 1000 and "\n" not in text and "\0" not in text and "." in text[-6:]


def _no_inputs(schema: Schema, table: Table) -> InputError:
    left_out = [field for field in schema if field.role != "target"]
    if not left_out:
        return InputError(
            "There is no column left to learn from: the target is the only one.",
            where=table.name,
            fix="Give data with at least one column besides the target.",
        )
    reasons = "; ".join(f"{field.name}: {field.reason} [{field.role}]" for field in left_out[:5])
    return InputError(
        f"There is no column left to learn from ({reasons}).",
        where=table.name,
        fix=f"Use one all the same, e.g. --set schema.{left_out[0].name}.role=input, or give more columns.",
    )
