"""Items in order: what somebody had, one after the other, as a list or a text such as "31|1029|31"."""

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
from lamina.modalities._auto import whole
from lamina.modalities._canonical import canonical_value, column, object_array
from lamina.modalities._number_text import read_numbers
from lamina.modalities._options import positive, read_options

DELIMITER = "|"
LONGEST = 100_000
"""Items that an encoder remembers at most: a sealed file cannot ask for more."""


def items_of(value: Any) -> tuple[str, ...] | None:
    """The ids in one value, in order; None if it is missing. A list, a JSON list, or a text divided by "|"."""
    if isinstance(value, bytes | bytearray):
        value = bytes(value).decode("utf-8", errors="replace")
    if isinstance(value, str):
        text = value.strip()
        listed = _json_list(text)
        parts: Iterable[Any] = listed if listed is not None else text.split(DELIMITER)
    elif isinstance(value, list | tuple | np.ndarray):
        parts = value.reshape(-1).tolist() if isinstance(value, np.ndarray) else value
    else:
        parts = [value]
    found = tuple(item for part in parts if (item := canonical_value(part)) is not None)
    return found or None


def _json_list(text: str) -> list[Any] | None:
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def recognise(values: Values, name: str) -> Recognition | None:
    """Lists of names in which some stand several times: a set has each of its labels once."""
    array = column(values)
    if array.dtype.kind != "O":
        return None
    several = [items for value in array if _is_list(value) and len(items := items_of(value) or ()) > 1]
    again = sum(len(set(items)) < len(items) for items in several)
    if len(several) < 4 or again < 0.25 * len(several):
        return None
    counts = Counter(item for items in several for item in items)
    numeric = len(counts) - len(read_numbers(object_array(counts))[1])
    if numeric >= len(counts) / 2:
        return None
    return Recognition(
        0.97, f"lists of {len(counts)} items in order, some of them several times in one, e.g. {several[0][0]!r}"
    )


def _is_list(value: Any) -> bool:
    if isinstance(value, str):
        return _json_list(value.strip()) is not None
    return isinstance(value, list | tuple | np.ndarray)


def describe(values: Values) -> dict[str, Json]:
    """Counts, items a row, and the most frequent items."""
    rows = [items_of(value) for value in column(values).tolist()]
    present = [items for items in rows if items is not None]
    sizes = [len(items) for items in present] or [0]
    counts = Counter(item for items in present for item in items)
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return {
        "count": len(rows),
        "missing": (len(rows) - len(present)) / max(len(rows), 1),
        "distinct": len(counts),
        "items_min": min(sizes),
        "items_mean": sum(sizes) / len(sizes),
        "items_max": max(sizes),
        "top": [[item, count] for item, count in ordered[:10]],
    }


@dataclass(frozen=True)
class Encoder:
    """Lists of items to int32 [row, length]: 1 and above are items, in order, and 0 pads at the end.

    The last `length` items are kept. Items unknown from training are left out, and a missing list is an empty one,
    both without error: who has had nothing yet is a case like others.

    Options: "length" (100, at most 100,000); "max_items" (1,000,000): the most frequent are kept; "min_count" (1):
    rarer ones are left out.
    """

    modality: ClassVar[str] = "items"

    items: tuple[str, ...]
    """Canonical texts; the first is encoded as 1."""
    length: int

    @property
    def feature(self) -> Feature:
        return Feature("tokens", (self.length,), "int32", len(self.items) + 1)

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {item: number for number, item in enumerate(self.items, 1)}

    @classmethod
    def fit(cls, chunks: Chunks, options: Mapping[str, Json], root: Path | None = None) -> Self:
        """Learn the items, the most frequent first, streaming.

        Raises:
            InputError: no item at all, or a wrong option.
        """
        chosen = read_options("items", options, {"length": 100, "max_items": 1_000_000, "min_count": 1})
        length = whole("items", "length", chosen["length"], 1, LONGEST)
        most = int(positive("items", "max_items", chosen["max_items"]))
        least = int(positive("items", "min_count", chosen["min_count"]))
        counts: Counter[str] = Counter()
        for values in chunks():
            for value in column(values).tolist():
                counts.update(items_of(value) or ())
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        kept = tuple(item for item, count in ordered[:most] if count >= least)
        if not kept:
            what = f"No item occurs in {least} training values." if counts else "Every training value is missing."
            raise InputError(what, fix="Give the column the role ignore.")
        return cls(kept, length)

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """int32 [row, length]."""
        rows = column(values).tolist()
        array = np.zeros((len(rows), self.length), dtype=np.int32)
        for row, value in enumerate(rows):
            codes = [code for item in items_of(value) or () if (code := self._codes.get(item))][-self.length :]
            array[row, : len(codes)] = codes
        return Encoded(array)

    def decode(self, array: np.ndarray[Any, Any]) -> Values:
        """Lists of items, object [row]."""
        rows = np.asarray(array).reshape(-1, self.length).tolist()
        return object_array([self.items[code - 1] for code in row if code > 0] for row in rows)

    def state(self) -> dict[str, Json]:
        """As JSON."""
        return {"items": list(self.items), "length": self.length}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`."""
        items, length = tuple(map(str, state["items"])), int(state["length"])
        if not items or not 1 <= length <= LONGEST:
            raise ValueError(f"{len(items)} items, lists of {length}")
        return cls(items, length)
