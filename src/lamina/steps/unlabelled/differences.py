"""What sets a cluster apart? The fields whose values differ most from those of all other rows, in a sentence each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.data.schema import Values
from lamina.evaluate.scores import digits
from lamina.modalities._canonical import canonical
from lamina.modalities._number_text import decimal_of, read_numbers
from lamina.modalities.set import delimiter_of, labels_of
from lamina.steps.prepare import Prepared

Array = np.ndarray[Any, Any]

MOST_ROWS = 5000
FIELDS, WORDS = 5, 5
"""Fields named of each cluster, and words of one text."""
LEVELS, COUNTED_WORDS = 50, 500
"""The commonest values of a category or set, and words of a text, that are looked at."""
LEAST = 0.2
"""Standard deviations between a cluster and the rest that are worth a word (Cohen 1988: a small effect)."""
CHARACTERS = 2000
"""Of a text, from its beginning."""

_WORD = re.compile(r"[^\W\d_]{3,}")


@dataclass(frozen=True)
class Trait:
    """One thing that can differ between rows.

    Attributes:
        field: it is in.
        label: the value or word that rows have or have not; "" for a number.
        values: float [row], of a number its value or NaN, else 1 where the row has it and 0 where not.
    """

    field: str
    label: str
    values: Array


def traits(prepared: Prepared, rows: Array) -> list[Trait]:
    """All traits of the rows' numbers, categories, sets and texts, from their raw values."""
    found: list[Trait] = []
    for field in prepared.schema.inputs:
        if field.modality in _KINDS:
            raw = field.values(prepared.table.take(rows, list(field.columns)))
            found += _KINDS[field.modality](field.name, raw)
    return found


def _number(field: str, raw: Values) -> Iterator[Trait]:
    yield Trait(field, "", read_numbers(raw, decimal_of([raw]))[0])


def _category(field: str, raw: Values) -> Iterator[Trait]:
    return _having(field, [() if value is None else (str(value),) for value in canonical(raw)], LEVELS)


def _set(field: str, raw: Values) -> Iterator[Trait]:
    delimiter = delimiter_of([raw])
    return _having(field, [labels_of(value, delimiter) or () for value in raw], LEVELS)


def _text(field: str, raw: Values) -> Iterator[Trait]:
    texts = ["" if value is None else str(value)[:CHARACTERS].lower() for value in raw]
    return _having(field, [tuple(set(_WORD.findall(text))) for text in texts], COUNTED_WORDS)


def _having(field: str, items: list[tuple[str, ...]], most: int) -> Iterator[Trait]:
    """The commonest items, each as whether a row has it; of equally common ones the first by name."""
    counts = Counter(item for row in items for item in row)
    for label, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:most]:
        yield Trait(field, label, np.array([label in row for row in items], np.float64))


_KINDS: dict[str, Callable[[str, Values], Iterator[Trait]]] = {
    "number": _number, "category": _category, "set": _set, "text": _text,
}  # fmt: skip


def difference(trait: Trait, inside: Array) -> float:
    """(Mean of the rows inside - mean of the others) / standard deviation of all; 0 where it says nothing."""
    known = np.isfinite(trait.values)
    one, other = trait.values[known & inside], trait.values[known & ~inside]
    spread = float(trait.values[known].std()) if known.any() else 0.0
    if not len(one) or not len(other) or spread <= 1e-9 * max(float(np.abs(trait.values[known]).max()), 1e-300):
        return 0.0
    return float((one.mean() - other.mean()) / spread)


def sets_apart(found: list[Trait], inside: Array) -> tuple[str, ...]:
    """Sentences on what most sets the rows inside apart, the most striking field first; () where nothing does.

    Args:
        inside: bool [row].
    """
    by_field: dict[str, list[tuple[float, Trait]]] = {}
    for trait in found:
        apart = difference(trait, inside)
        if abs(apart) >= LEAST:
            by_field.setdefault(trait.field, []).append((apart, trait))
    ranked = [sorted(pairs, key=lambda pair: -abs(pair[0])) for pairs in by_field.values()]
    ranked.sort(key=lambda pairs: -abs(pairs[0][0]))
    return tuple(_sentence(pairs, inside) for pairs in ranked[:FIELDS])


def _sentence(pairs: list[tuple[float, Trait]], inside: Array) -> str:
    """On one field: a number's means, or the shares of rows that have a value or some words."""
    apart, trait = pairs[0]
    if not trait.label:
        mean, other = (float(np.nanmean(trait.values[rows])) for rows in (inside, ~inside))
        than = "higher" if apart > 0 else "lower"
        return f"{trait.field} is {than}: {digits(mean)} on average, {digits(other)} elsewhere"
    named = [_share(one, inside) for value, one in pairs[:WORDS] if value > 0] or [_share(trait, inside)]
    return f"{trait.field}: {', '.join(named)}"


def _share(trait: Trait, inside: Array) -> str:
    one, other = (float(trait.values[rows].mean()) for rows in (inside, ~inside))
    return f'"{trait.label[:40]}" in {one:.0%} (elsewhere {other:.0%})'
