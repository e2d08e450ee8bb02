"""Sets: several labels at once, as a list or a text such as "red|blue"."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Feature, Recognition
from lamina.modalities._canonical import canonical_value, column, map_distinct, object_array
from lamina.modalities._number_text import decimal_of, read_numbers
from lamina.modalities._options import positive, read_options

DELIMITERS = ("|", ";", ",")
Labels = tuple[str, ...]


def labels_of(value: Any, delimiter: str) -> Labels | None:
    """The different labels of one value, sorted; None if it is missing. A list, JSON list or delimited text."""
    if isinstance(value, bytes | bytearray):
        value = bytes(value).decode("utf-8", errors="replace")
    if isinstance(value, str):
        text = value.strip()
        listed = _json_list(text)
        parts: Iterable[Any] = listed if listed is not None else text.split(delimiter) if delimiter else [text]
        if not text:
            return None
    elif isinstance(value, list | tuple | set | frozenset | np.ndarray):
        parts = value.reshape(-1).tolist() if isinstance(value, np.ndarray) else value
    else:
        parts = [value]
        if canonical_value(value) is None:
            return None
    labels = {canonical_value(part) for part in parts} - {None}
    if not labels and isinstance(value, str) and _json_list(value.strip()) is None:
        return None
    return tuple(sorted(label for label in labels if label is not None))


def _json_list(text: str) -> list[Any] | None:
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _split(values: Values, delimiter: str) -> Values:
    """Labels of every row, object [row] of tuples or None."""
    return map_distinct(values, lambda value: labels_of(value, delimiter))


def delimiter_of(chunks: Iterable[Values]) -> str:
    """The delimiter most values hold, of "|", ";", ","; "" where none holds any."""
    counts: Counter[str] = Counter()
    for values in chunks:
        array = column(values)
        if array.dtype.kind != "O":
            continue
        for text in array.tolist():
            if type(text) is str and _json_list(text.strip()) is None:
                counts.update(delimiter for delimiter in DELIMITERS if delimiter in text)
    return max(DELIMITERS, key=lambda delimiter: counts[delimiter]) if counts else ""


def recognise(values: Values, name: str) -> Recognition | None:
    """Lists of labels, or delimited texts whose short parts come from a small, shared vocabulary."""
    array = column(values)
    if array.dtype.kind != "O":
        return None
    delimiter = delimiter_of([array])
    rows = [labels for labels in _split(array, delimiter) if labels is not None]
    several = sum(len(labels) > 1 for labels in rows)
    if len(rows) < 4 or several < max(2, 0.1 * len(rows)):
        return None
    counts = Counter(label for labels in rows for label in labels)
    total = sum(counts.values())
    if not _looks_like_labels(counts, total, len(rows)) or _has_positions(array, delimiter) or _are_numbers(array):
        return None
    lists = any(isinstance(item, list | tuple | set | np.ndarray) or _is_json(item) for item in array)
    form = "lists" if lists else f"texts divided by {delimiter!r}"
    return Recognition(
        0.95 if lists or delimiter != "," else 0.93,
        f"{form} of {len(counts)} labels, {total / len(rows):.1f} to a row, most often {counts.most_common(1)[0][0]!r}",
    )


def _is_json(item: Any) -> bool:
    return isinstance(item, str) and _json_list(item.strip()) is not None


def _looks_like_labels(counts: Counter[str], total: int, rows: int) -> bool:
    """Short names, most of them repeated; numbers only where they are few."""
    if len(counts) < 2 or len(counts) > min(1000, total / 3) or max(counts.values()) < 2:
        return False
    if max(map(len, counts)) > 40 or sum(len(label.split()) * n for label, n in counts.items()) > 3 * total:
        return False
    numeric = len(counts) - len(read_numbers(np.array(list(counts), dtype=object))[1])
    return numeric < len(counts) / 2 or (len(counts) <= 50 and total <= 8 * rows)


def _are_numbers(array: Values) -> bool:
    """Whether the commas rather divide thousands or decimals: "1,200", "0,5"."""
    numbers, errors = read_numbers(array, decimal_of([array]))
    return bool(np.sum(~np.isnan(numbers)) > len(errors))


def _has_positions(array: Values, delimiter: str) -> bool:
    """Whether the parts are rather columns: as many in every row, with other values at each place ("Paris, France")."""
    texts = [item for item in array.tolist() if isinstance(item, str) and item.strip() and not _is_json(item)]
    parts = [[part.strip() for part in text.split(delimiter)] for text in texts] if delimiter else []
    if not parts or len({len(row) for row in parts}) > 1 or len(parts[0]) < 2:
        return False
    places = [set(place) for place in zip(*parts, strict=True)]
    return sum(len(place) for place in places) == len(frozenset().union(*places))


def describe(values: Values) -> dict[str, Json]:
    """Counts, labels a row, and the most frequent labels."""
    array = column(values)
    delimiter = delimiter_of([array])
    rows = _split(array, delimiter)
    present = [labels for labels in rows if labels is not None]
    sizes = [len(labels) for labels in present] or [0]
    counts = Counter(label for labels in present for label in labels)
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return {
        "count": len(rows),
        "missing": (len(rows) - len(present)) / max(len(rows), 1),
        "distinct": len(counts),
        "delimiter": delimiter,
        "labels_min": min(sizes),
        "labels_mean": sum(sizes) / len(sizes),
        "labels_max": max(sizes),
        "top": [[label, count] for label, count in ordered[:10]],
    }


@dataclass(frozen=True)
class Encoder:
    """Sets to float32 [row, label], 1 where the label is in the set.

    A missing set is encoded as the empty one, and labels unknown from training are left out, both without error.

    Options: "delimiter" (found in training; "" for none), "max_labels" (1,000): the most frequent are kept;
    "min_count" (1): rarer labels are left out.
    """

    modality: ClassVar[str] = "set"

    labels: tuple[str, ...]
    """Canonical texts, the most frequent first, equally frequent ones by name."""
    counts: tuple[int, ...]
    """How many training rows have each label."""
    delimiter: str
    missing: int

    @property
    def feature(self) -> Feature:
        """details: "labels", the name of each column."""
        return Feature("numbers", (len(self.labels),), "float32", details={"labels": list(self.labels)})

    @cached_property
    def _index(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(self.labels)}

    @classmethod
    def fit(cls, chunks: Chunks, options: Mapping[str, Json], root: Path | None = None) -> Self:
        """Learn the delimiter and the labels, streaming.

        Raises:
            InputError: no label at all, or a wrong option.
        """
        defaults = {"delimiter": None, "max_labels": 1_000, "min_count": 1}
        chosen = read_options("set", options, defaults)
        most = int(positive("set", "max_labels", chosen["max_labels"]))
        least = int(positive("set", "min_count", chosen["min_count"]))
        delimiter = chosen["delimiter"]
        if delimiter is None:
            delimiter = delimiter_of(chunks())
        elif not isinstance(delimiter, str):
            raise InputError(f"The option 'delimiter' of the modality 'set' is {delimiter!r}.", fix="Give text.")
        counts: Counter[str] = Counter()
        missing = 0
        for values in chunks():
            for labels in _split(values, delimiter):
                missing += labels is None
                counts.update(labels or ())
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        kept = [(label, count) for label, count in ordered[:most] if count >= least]
        if not kept:
            what = f"No label occurs in {least} training values." if counts else "Every training value is missing."
            raise InputError(what, fix="Give the column the role ignore.")
        return cls(tuple(label for label, _ in kept), tuple(count for _, count in kept), delimiter, missing)

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """float32 [row, label]."""
        index, delimiter = self._index, self.delimiter

        def places(value: Any) -> list[int]:
            return [index[label] for label in labels_of(value, delimiter) or () if label in index]

        rows = map_distinct(values, places)
        sizes = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        columns = np.fromiter((place for row in rows for place in row), dtype=np.int64, count=int(sizes.sum()))
        array = np.zeros((len(rows), len(self.labels)), dtype=np.float32)
        array[np.repeat(np.arange(len(rows)), sizes), columns] = 1
        return Encoded(array)

    def decode(self, array: np.ndarray[Any, Any]) -> Values:
        """Sorted lists of labels, object [row]: those with more than 0.5."""
        chosen = np.asarray(array).reshape(-1, len(self.labels)) > 0.5
        return object_array(sorted(self.labels[place] for place in np.flatnonzero(row)) for row in chosen)

    def state(self) -> dict[str, Json]:
        """As JSON."""
        return {
            "labels": list(self.labels),
            "counts": list(self.counts),
            "delimiter": self.delimiter,
            "missing": self.missing,
        }

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`."""
        return cls(**{**state, "labels": tuple(state["labels"]), "counts": tuple(state["counts"])})
