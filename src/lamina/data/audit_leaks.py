"""Columns that know the answer, people on both sides of the split, and a future that is known in training."""

from __future__ import annotations

import re
from collections.abc import Iterator
from os.path import getsize, isfile, splitext
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina import registry
from lamina.data.alone import Alone, alone, folds, level_bins, number_bins
from lamina.data.column_roles import IDENTIFIER, is_id_name
from lamina.data.content import FILES, file_path
from lamina.data.findings import AuditFinding, places
from lamina.data.parties import parties
from lamina.data.schema import Field, Schema, Values
from lamina.data.split import Split
from lamina.data.target_values import TargetValues
from lamina.modalities._canonical import canonical
from lamina.modalities._number_text import decimal_in, read_numbers

if TYPE_CHECKING:
    from lamina.data.tables import Table

Array = np.ndarray[Any, Any]

FEWEST = 50
"""With fewer rows a column may look good by chance."""
CERTAIN, NEARLY = 0.999, 0.95
DOMINANT = 0.7
"""A column of this strength that is twice as good as any other deserves a look too."""
GAPS = 0.5
"""Strength from which on a column's gaps tell too much."""
MOST_FILES = 5_000
MOST_MEETINGS = 5_000
"""Rows that are looked at for who meets whom."""

_STAMP = re.compile(r"time|date|stamp|epoch|(?:^|[_\-. ])(?:ts|when|at)$", re.IGNORECASE)

_PEOPLE = re.compile(
    r"(?:^|[_\-. ])(?:user|patient|subject|customer|client|person|speaker|narrator|session|device|household|account|"
    r"player|author|writer|reader|student|participant|owner|employee|machine|sensor|site|hospital|clinic|school|store|"
    r"shop)(?:[_\-. ]?(?:name|no|nr|num|number|key|code))?$",
    re.IGNORECASE,
)


def leaks(
    table: Table, schema: Schema, targets: list[TargetValues], rows: Array, generator: np.random.Generator
) -> list[AuditFinding]:
    """Columns that alone predict a target nearly perfectly, or do so by their gaps."""
    if len(rows) < FEWEST:
        return []
    fold = folds(len(rows), generator)
    found: list[AuditFinding] = []
    scores: dict[str, dict[str, Alone]] = {target.field.name: {} for target in targets}
    for field in schema:
        if field.role == "ignore" and field.reason.startswith(IDENTIFIER):
            values = table.take(rows, list(field.columns))[field.columns[0]]
            found.extend(_identifier_leaks(field, values, targets, rows, fold))
        if field.role != "input" or field.modality in ("text", "series"):
            continue
        if field.modality in FILES:
            found.extend(_file_leaks(table, field, targets, rows, fold))
            continue
        bins, numbers, gaps = _binned(field, table.take(rows, list(field.columns))[field.columns[0]])
        for target in targets:
            whole = alone(bins, numbers, target, rows, fold)
            by_gaps = alone(gaps.astype(np.int64), None, target, rows, fold) if 0.002 < gaps.mean() < 0.998 else None
            if by_gaps is not None and by_gaps.strength >= GAPS:
                found.append(_gap_leak(field, target, gaps, by_gaps))
            if by_gaps is None or by_gaps.strength < max(GAPS, 0.9 * whole.strength):
                scores[target.field.name][field.name] = whole
    for target in targets:
        found.extend(_judge(target, scores[target.field.name]))
    return found


def _binned(field: Field, values: Values) -> tuple[Array, Array | None, Array]:
    """Bins, numbers where there are some, and where values are missing."""
    if field.modality == "number":
        numbers = read_numbers(values, decimal_in(field.options, [values]))[0]
        return number_bins(numbers), numbers, np.isnan(numbers)
    if field.modality == "time":
        moments = registry.module("modalities", "time").parse(values)
        numbers = np.where(np.isnat(moments), np.nan, moments.astype("datetime64[us]").astype(np.int64) / 1e6)
        return number_bins(numbers), numbers, np.isnan(numbers)
    texts = canonical(values)
    return level_bins(texts), None, np.array([text is None for text in texts], dtype=bool)


def _judge(target: TargetValues, scores: dict[str, Alone]) -> Iterator[AuditFinding]:
    name = target.field.name
    strengths = sorted((score.strength for score in scores.values()), reverse=True)
    for column, score in scores.items():
        fix = (
            f"Is `{column}` known before `{name}` is? If not, leave it out: --set schema.{column}.role=ignore"
            if score.strength < CERTAIN
            else f"If `{column}` is `{name}` in other words, leave it out: --set schema.{column}.role=ignore"
        )
        if score.strength >= NEARLY:
            severity = "error" if score.strength >= CERTAIN else "warning"
            text = f"`{column}` alone predicts `{name}` nearly perfectly ({score.text}): it may give the answer away."
        elif score.strength >= DOMINANT and len(strengths) > 1 and strengths[1] < score.strength / 2:
            severity = "warning"
            text = (
                f"`{column}` alone predicts `{name}` far better than any other column ({score.text}): "
                "that is fine if it is known beforehand, and a leak if it is not."
            )
        else:
            continue
        yield AuditFinding("leak", severity, text, 1, (column,), fix)


def _gap_leak(field: Field, target: TargetValues, gaps: Array, score: Alone) -> AuditFinding:
    return AuditFinding(
        "missingness leak",
        "warning",
        f"Whether `{field.name}` is missing (in {gaps.mean():.1%} of the rows) predicts `{target.field.name}` "
        f"({score.text}): perhaps it is filled in afterwards.",
        int(gaps.sum()),
        (field.name,),
        f"If it is filled in after the answer is known, leave it out: --set schema.{field.name}.role=ignore",
    )


def _identifier_leaks(
    field: Field, values: Values, targets: list[TargetValues], rows: Array, fold: Array
) -> Iterator[AuditFinding]:
    """Identifiers whose first part ("spam-1/00017") is the answer: they are left out and must stay so."""
    firsts = first_parts(canonical(values))
    if firsts is None:
        return
    for target in targets:
        score = alone(level_bins(firsts), None, target, rows, fold)
        if score.strength >= NEARLY:
            yield AuditFinding(
                "leak",
                "note",
                f"The first part of `{field.name}` ({firsts[0]}, ...) alone predicts `{target.field.name}` "
                f"({score.text}); the column is left out.",
                1,
                (field.name,),
                "Keep it out. If the parts are sources of the data, test on a source that is not trained on.",
            )


def first_parts(texts: Values) -> Values | None:
    """What stands before the last separator or number of each identifier; None if that groups nothing.

    >>> first_parts(np.array(["a-1/01", "a-1/02", "b/01", "b/02"], object)).tolist()
    ['a-1', 'a-1', 'b', 'b']
    """
    parts = np.empty(len(texts), dtype=object)
    parts[:] = [None if text is None else _first_part(text) for text in texts]
    distinct = {part for part in parts if part}
    return parts if 2 <= len(distinct) <= len(parts) / 2 else None


def _first_part(text: str) -> str:
    separator = max(text.rfind(sign) for sign in "/\\:_-. ")
    return text[:separator] if separator >= 0 else text.rstrip("0123456789")


def _file_leaks(
    table: Table, field: Field, targets: list[TargetValues], rows: Array, fold: Array
) -> Iterator[AuditFinding]:
    """The type or the size of files that give the answer away (all cats are PNG, all dogs JPEG)."""
    some = rows[:MOST_FILES] if len(rows) <= MOST_FILES else rows[:: len(rows) // MOST_FILES + 1]
    fold = fold[: len(some)]
    paths = [file_path(value, table.root) for value in table.take(some, list(field.columns))[field.columns[0]]]
    if len(some) < FEWEST or not any(path is not None for path in paths):
        return
    suffixes = np.array(["" if path is None else splitext(path)[1].casefold() for path in paths], dtype=object)
    sizes = np.array([float(getsize(path)) if path and isfile(path) else np.nan for path in paths])
    for what, bins in (("type", level_bins(suffixes)), ("size", number_bins(sizes))):
        for target in targets:
            score = alone(bins, sizes if what == "size" else None, target, some, fold)
            if score.strength >= NEARLY:
                yield AuditFinding(
                    "leak",
                    "warning",
                    f"The {what} of the files in `{field.name}` alone predicts `{target.field.name}` ({score.text}): "
                    "the classes come from different sources, and a network may learn the sources.",
                    1,
                    (field.name,),
                    "Save all files in the same way (format, quality, length), or collect the classes alike.",
                )


def group_leaks(table: Table, schema: Schema, split: Split) -> list[AuditFinding]:
    """The same people, devices or places in training and test."""
    found = []
    for field in schema:
        if (
            field.role not in ("input", "ignore", "group")
            or len(field.columns) > 1
            or field.modality in (*FILES, "set")
        ):
            continue
        if (field.role == "group" and split.how == "group") or not (
            field.role == "group" or is_id_name(field.name) or (field.modality != "text" and _PEOPLE.search(field.name))
        ):
            continue
        train, others = (_texts(table, field, part) for part in (split.train, split.test))
        kind = f"`{field.name}`"
        if field.reason.startswith(IDENTIFIER):
            firsts = first_parts(np.concatenate([train, others]))
            if firsts is None:
                continue
            train, others, kind = firsts[: len(train)], firsts[len(train) :], f"the first part of `{field.name}`"
        finding = _shared(table, field, kind, train, others, split)
        found.extend([finding] if finding else [])
    return found


def _texts(table: Table, field: Field, rows: Array) -> Array:
    parts = [canonical(chunk[field.columns[0]]) for _, chunk in table.chunks(rows, list(field.columns))]
    return np.concatenate(parts) if parts else np.empty(0, dtype=object)


def _since_1970(values: Values) -> Array:
    """datetime64 [row] of seconds, or parts of them, since 1970; NaT where a number is no moment from 1973 to 2096."""
    numbers = read_numbers(values)[0]
    present = numbers[np.isfinite(numbers)]
    middle = float(np.median(present)) if len(present) else 0.0
    scale = next((scale for scale in (1, 1e3, 1e6, 1e9) if 1e8 <= middle / scale <= 4e9), 0)
    found = np.full(len(numbers), np.datetime64("NaT", "s"))
    if scale:
        with np.errstate(invalid="ignore"):
            inside = (numbers >= 1e8 * scale) & (numbers <= 4e9 * scale)
        found[inside] = (numbers[inside] / scale).astype(np.int64).astype("datetime64[s]")
    return found


def _shared(table: Table, field: Field, kind: str, train: Array, others: Array, split: Split) -> AuditFinding | None:
    known = set(train) - {None}
    if len(known) > 0.9 * len(train) or len(known) < 2:
        return None
    both = np.array([text in known for text in others], dtype=bool)
    if both.mean() < 0.05:
        return None
    values = len(set(others[both]))
    column = field.name
    fix = (
        f"If the model will meet new ones, keep each on one side: --set schema.{column}.role=group"
        if kind == f"`{column}`"
        else "If the model will meet new ones, make a column of that part and give it the role group."
    )
    return AuditFinding(
        "group leak",
        "warning" if both.mean() > 0.2 and kind == f"`{column}`" else "note",
        f"{both.mean():.0%} of the test rows share {kind} with training rows ({values:,} different ones): "
        "the test does not show how well the model does on new ones.",
        int(both.sum()),
        places(table, split.test[both]),
        fix,
    )


def time_leaks(table: Table, schema: Schema, split: Split, rows: Array) -> list[AuditFinding]:
    """A time column, but test rows drawn from all times: grave where rows are in its order, or say who met what when.

    In a table of users and items a number counts as a time too, where it is one of seconds since 1970.
    """
    if split.how not in ("random", "stratified") or len(rows) < 2:
        return []
    some = rows[:: max(1, len(rows) // MOST_MEETINGS)]
    asked = [field.columns[0] for field in schema if field.modality in ("category", "number") and field.role == "input"]
    meeting = bool(parties(table.take(some, asked)))
    found = []
    for field in schema:
        stamps = meeting and field.modality == "number" and bool(_STAMP.search(field.name))
        if not (field.modality == "time" or stamps) or field.role not in ("input", "ignore", "time"):
            continue
        if re.search(r"birth|born|dob", field.name, re.IGNORECASE):
            continue
        values = table.take(rows, list(field.columns))[field.columns[0]]
        moments = _since_1970(values) if stamps else registry.module("modalities", "time").parse(values)
        known = moments[~np.isnat(moments)]
        if len(known) < 2 or known.min() == known.max():
            continue
        ordered = float((known[1:] >= known[:-1]).mean())
        log = ordered > 0.95 or ordered < 0.05
        first, last = (str(moment.astype("datetime64[D]")) for moment in (known.min(), known.max()))
        found.append(
            AuditFinding(
                "time leak",
                "warning" if log or meeting else "note",
                f"`{field.name}` runs from {first} to {last}{', and the rows are in its order' if log else ''}, "
                "but test rows are drawn from all times: the model is tested on a past that it has seen around.",
                len(split.test),
                (field.name,),
                f"If it will predict the future, test on the latest rows: --set schema.{field.name}.role=time",
            )
        )
    return found
