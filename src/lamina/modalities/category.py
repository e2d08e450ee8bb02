"""Categories: one of a set of names or codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Feature, Recognition
from lamina.modalities._canonical import canonical, canonical_value, column, map_distinct
from lamina.modalities._number_text import decimal_of, read_numbers
from lamina.modalities._options import positive, read_options
from lamina.modalities.number import CODE_NAME

UNKNOWN, MISSING, FIRST = 0, 1, 2
UNKNOWN_TEXT = "(unknown)"
MOST_COUNTED = 1_000_000


def recognise(values: Values, name: str) -> Recognition | None:
    """Few different values, each of them repeated, and not plainly an amount."""
    array = column(values)
    if array.dtype.kind in "mM" or any(isinstance(item, list | tuple | dict | np.ndarray) for item in array[:50]):
        return None
    counts = Counter(text for text in canonical(array) if text is not None)
    total = sum(counts.values())
    if not total:
        return None
    if set(counts) <= {"true", "false"}:
        return Recognition(0.97, "true or false")
    texts = np.array(list(counts), dtype=object)
    numbers, errors = read_numbers(texts, decimal_of([texts]))
    if len(errors) <= 0.05 * len(counts):
        return _judge_numbers(numbers[~np.isnan(numbers)], counts, total, name)
    return _judge_texts(counts, total)


def _judge_numbers(numbers: np.ndarray[Any, Any], counts: Counter[str], total: int, name: str) -> Recognition | None:
    distinct = len(counts)
    repeated = distinct <= total / 2
    if any(len(text) > 1 and text[0] == "0" and text.isdigit() for text in counts) and repeated:
        return Recognition(0.85, f"{distinct} codes, some with leading zeros")
    if not repeated or not bool((numbers == np.rint(numbers)).all()):
        return None
    if distinct <= 2:
        return Recognition(0.8, "2 different whole numbers, as codes have") if distinct == 2 else None
    if distinct <= 50 and CODE_NAME.search(name.casefold()):
        return Recognition(0.85, f"{distinct} whole numbers under a name that suggests codes")
    return Recognition(0.5, f"only {distinct} different whole numbers") if distinct <= 10 else None


def _judge_texts(counts: Counter[str], total: int) -> Recognition | None:
    distinct = len(counts)
    words = sum(len(text.split()) * count for text, count in counts.items()) / total
    letters = sum(len(text) * count for text, count in counts.items()) / total
    most, number = counts.most_common(1)[0]
    # The rows looked at are a sample: in all of them another value may be the most frequent.
    share = f"{number / total:.0%}"
    reason = f"{distinct} different values in the {total:,} looked at, most often {_short(most)!r} ({share})"
    if distinct > 50 and (words > 6 or letters > 60):
        return None
    if distinct <= 50 and distinct <= total / 5:
        return Recognition(0.9 if words <= 8 else 0.7, reason)
    if distinct <= total / 5:
        return Recognition(0.85, reason)
    if distinct <= total / 2:
        return Recognition(0.7 if words <= 3 else 0.4, reason)
    if distinct < 0.9 * total and words <= 3 and letters <= 30:
        return Recognition(0.4, reason)
    return None


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


def describe(values: Values) -> dict[str, Json]:
    """Counts, the most frequent levels, and how many occur once."""
    texts = canonical(values)
    counts = Counter(text for text in texts if text is not None)
    present = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return {
        "count": len(texts),
        "missing": (len(texts) - present) / max(len(texts), 1),
        "distinct": len(counts),
        "once": sum(count == 1 for count in counts.values()),
        "top": [[level, count] for level, count in ordered[:10]],
        "rarest": ordered[-1][1] if ordered else 0,
    }


@dataclass(frozen=True)
class Encoder:
    """Categories to int32 [row]: 0 = unknown, 1 = missing, 2... = `levels` in their order. No row is an error.

    Options: "max_levels" (10,000): the most frequent are kept; "min_count": levels that are rarer in training
    are unknown, so that the network learns what to make of an unknown value; 0 chooses 1 below 1,000 training
    rows, 2 below 100,000, else 5.
    """

    modality: ClassVar[str] = "category"

    levels: tuple[str, ...]
    """Canonical texts, the most frequent first, equally frequent ones by name."""
    counts: tuple[int, ...]
    """How often each level occurs in the training part."""
    unknown: int
    """Training values outside the levels."""
    missing: int

    @property
    def feature(self) -> Feature:
        """size: the number of indices, levels + 2."""
        return Feature("category", (), "int32", size=len(self.levels) + FIRST)

    @cached_property
    def _index(self) -> dict[str | None, int]:
        return {None: MISSING, **{level: number for number, level in enumerate(self.levels, start=FIRST)}}

    @classmethod
    def fit(cls, chunks: Chunks, options: Mapping[str, Json], root: Path | None = None) -> Self:
        """Count the levels, streaming; beyond a million different ones, those seen once so far are forgotten.

        Raises:
            InputError: every value is missing, no level is frequent enough, or a wrong option.
        """
        chosen = read_options("category", options, {"max_levels": 10_000, "min_count": 0})
        most = int(positive("category", "max_levels", chosen["max_levels"]))
        least = int(positive("category", "min_count", chosen["min_count"], least=0))
        counts: Counter[str] = Counter()
        rows = missing = 0
        for values in chunks():
            texts = canonical(values).tolist()
            counts.update(texts)
            rows += len(texts)
            missing += counts.pop(None, 0)  # type: ignore[call-overload]
            if len(counts) > MOST_COUNTED:
                counts = Counter({level: count for level, count in counts.items() if count > 1})
        if rows == missing:
            raise InputError("Every training value is missing.", fix="Give the column the role ignore.")
        least = least or (1 if rows < 1_000 else 2 if rows < 100_000 else 5)
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        kept = [(level, count) for level, count in ordered[:most] if count >= least]
        if not kept:
            raise InputError(
                f"No category occurs {least} times in {rows} training values.",
                fix="Give the column the role ignore, another modality such as text, or the option min_count = 1.",
            )
        known = sum(count for _, count in kept)
        return cls(
            levels=tuple(level for level, _ in kept),
            counts=tuple(count for _, count in kept),
            unknown=rows - missing - known,
            missing=missing,
        )

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """int32 [row]."""
        index = self._index
        return Encoded(map_distinct(values, lambda value: index.get(canonical_value(value), UNKNOWN), np.int32))

    def decode(self, array: np.ndarray[Any, Any]) -> Values:
        """Canonical texts, object [row]; None for missing, "(unknown)" for unknown."""
        names = np.array([UNKNOWN_TEXT, None, *self.levels], dtype=object)
        codes = np.asarray(array).reshape(-1).astype(np.int64)
        return names[np.where((codes < 0) | (codes >= len(names)), UNKNOWN, codes)]

    def state(self) -> dict[str, Json]:
        """As JSON."""
        return {
            "levels": list(self.levels),
            "counts": list(self.counts),
            "unknown": self.unknown,
            "missing": self.missing,
        }

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`."""
        return cls(**{**state, "levels": tuple(state["levels"]), "counts": tuple(state["counts"])})
