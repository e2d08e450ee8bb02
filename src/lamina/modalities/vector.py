"""Vectors: a fixed number of numbers in one column, such as measurements, an embedding or an observation.

Unlike the steps of a series, the numbers have no order in time: each place means something of its own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Feature, Recognition
from lamina.modalities._canonical import MISSING, object_array
from lamina.modalities._number_text import LARGEST
from lamina.modalities._options import choice, positive, read_options
from lamina.modalities._scale import STEADY

Array = np.ndarray[Any, Any]

SCALES = ("standard", "none")
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
BLOCK = 1024
"""Rows that are counted in at once; always the same ones, so that the sums do not depend on the chunks."""


def _rows(values: Values) -> Iterator[Array | str | None]:
    """Each row as float64 [number], None (missing) or what is wrong with it."""
    for value in values:
        yield _row(value)


def _row(value: Any) -> Array | str | None:
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None
    if isinstance(value, bytes | bytearray):
        value = bytes(value).decode("utf-8", errors="replace")
    if isinstance(value, str):
        text = value.strip()
        if text.casefold() in MISSING:
            return None
        value = _from_text(text)
        if value is None:
            return f"cannot read {_short(text)!r} as a vector: write it as [1, 2.5, ...]"
    if not isinstance(value, list | tuple | np.ndarray):
        return f"{_short(str(value))!r} is no vector: give a list of numbers"
    if isinstance(value, np.ndarray) and value.dtype.kind not in "fiubO":
        return f"an array of {value.dtype} is no vector: give numbers"
    try:
        numbers = np.array(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return "not every part of the vector is a number: give a flat list of numbers"
    if numbers.ndim != 1:
        return f"a vector has one axis, this has {numbers.ndim}: give a flat list of numbers"
    return numbers if len(numbers) else None


def _from_text(text: str) -> list[Any] | None:
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "…"


def recognise(values: Values, name: str) -> Recognition | None:
    """Lists of numbers, all of one length; whatever else recognises them is surer of it.

    Texts are left to the other modalities: "[3, 4]" may well be a name.
    """
    if values.ndim != 1 or values.dtype.kind != "O":
        return None
    lists = present = 0
    lengths: Counter[int] = Counter()
    for value in values:
        row = _row(value)
        present += row is not None
        if isinstance(row, np.ndarray):
            lists += not isinstance(value, str | bytes | bytearray)
            lengths[len(row)] += 1
        # A column of something else is told by its first rows.
        if present >= 20 and lists < present / 2:
            return None
    if not lists or lists < present / 2 or len(lengths) > 1 or lengths.total() < 0.95 * present:
        return None
    return Recognition(0.5, f"lists of {next(iter(lengths))} numbers")


def describe(values: Values) -> dict[str, Json]:
    """Counts, lengths, and the range of all numbers."""
    sizes: Counter[int] = Counter()
    low, high, mean, found, unreadable = np.inf, -np.inf, 0.0, 0, 0
    for row in _rows(values):
        if row is None or isinstance(row, str):
            unreadable += row is not None
            continue
        sizes[len(row)] += 1
        numbers = row[np.abs(row) <= LARGEST]
        if numbers.size:
            found += numbers.size
            mean += float(np.mean(numbers / found - mean / found)) * numbers.size
            low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
    summary: dict[str, Json] = {
        "count": len(values),
        "missing": (len(values) - sizes.total() - unreadable) / max(len(values), 1),
        "unreadable": unreadable,
    }
    if not found:
        return summary
    size = sizes.most_common(1)[0][0]
    return summary | {"size": size, "other_sizes": sizes.total() - sizes[size], "min": low, "mean": mean, "max": high}


@dataclass(frozen=True)
class Encoder:
    """Vectors to float32 [row, size].

    A vector that is missing, of another length, or holds anything but finite numbers is an error of its row, and is
    encoded as the training vectors' mean.

    Options: "size" (the most frequent length of the training part); "scale": "standard" (each place to mean 0 and
    standard deviation 1 of the training part) or "none" (as they are).
    """

    modality: ClassVar[str] = "vector"

    means: tuple[float, ...]
    """Of each place."""
    spreads: tuple[float, ...]
    """Standard deviations; 1 where a place is constant."""
    scale: str = "standard"

    @property
    def feature(self) -> Feature:
        return Feature("numbers", (len(self.means),), "float32")

    @cached_property
    def _moments(self) -> tuple[Array, Array]:
        return np.array(self.means, np.float64), np.array(self.spreads, np.float64)

    @classmethod
    def fit(cls, chunks: Chunks, options: Mapping[str, Json], root: Path | None = None) -> Self:
        """Learn length, means and spreads, streaming.

        Raises:
            InputError: no vector at all, or a wrong option.
        """
        chosen = read_options("vector", options, {"size": 0, "scale": "standard"})
        scale = choice("vector", "scale", chosen["scale"], SCALES)
        size = int(positive("vector", "size", chosen["size"], least=0))
        sizes: Counter[int] = Counter()
        problem = ""
        for values in chunks():
            for row in _rows(values):
                if isinstance(row, str) or row is None:
                    problem = problem or row or ""
                elif not np.isfinite(row).all():
                    problem = problem or "a vector holds something else than finite numbers"
                else:
                    sizes[len(row)] += 1
        if size and sizes and not sizes[size]:
            problem = f"they have {sizes.most_common(1)[0][0]} numbers, and the option size is {size}"
        if not sizes or (size and not sizes[size]):
            raise _no_vector(problem)
        size = size or max(sizes, key=lambda length: (sizes[length], -length))
        means, spreads = _moments_of(chunks, size)
        return cls(means, spreads, scale)

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """float32 [row, size]; numbers in a 2-D array [row, size] are read at once."""
        if values.ndim == 2 and values.dtype.kind in "fiub":
            return self._encoded(values)
        size = len(self.means)
        errors: dict[int, str] = {}
        kept: list[int] = []
        vectors: list[Array] = []
        for number, row in enumerate(_rows(values)):
            if row is None:
                errors[number] = f"the vector is missing: give {size} numbers"
            elif isinstance(row, str):
                errors[number] = row
            elif len(row) != size:
                errors[number] = _wrong_length(len(row), size)
            else:
                kept.append(number)
                vectors.append(row)
        array = np.tile(self._missing, (len(values), 1))
        if kept:
            found = self._encoded(np.array(vectors))
            array[kept] = found.array
            errors |= {kept[row]: reason for row, reason in found.errors.items()}
        return Encoded(array, dict(sorted(errors.items())))

    @property
    def _missing(self) -> Array:
        """float32 [size]: what stands for a vector that cannot be read."""
        means = np.array(self.means, np.float32)
        return means if self.scale == "none" else np.zeros_like(means)

    def _encoded(self, numbers: Array) -> Encoded:
        """From numbers [row, size]."""
        rows, size = len(numbers), len(self.means)
        if numbers.shape[1] != size:
            reason = _wrong_length(numbers.shape[1], size)
            return Encoded(np.tile(self._missing, (rows, 1)), dict.fromkeys(range(rows), reason))
        if numbers.dtype.kind != "f":
            numbers = numbers.astype(np.float64)
        if self.scale == "none" and numbers.dtype == np.float32:
            array = numbers.copy()
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                means, spreads = self._moments
                array = (numbers if self.scale == "none" else (numbers - means) / spreads).astype(np.float32)
        finite = np.isfinite(array)
        if finite.all():
            return Encoded(array)
        wrong = np.flatnonzero(~finite.all(axis=1))
        array[wrong] = self._missing
        reason = "the vector holds a number that is missing, infinite or beyond what float32 holds: give finite numbers"
        return Encoded(array, dict.fromkeys(wrong.tolist(), reason))

    def decode(self, array: Array) -> Values:
        """Lists of `size` numbers, exact to float32 precision of each place's spread."""
        numbers = np.asarray(array, dtype=np.float64).reshape(len(array), len(self.means))
        if self.scale == "standard":
            means, spreads = self._moments
            numbers = numbers * spreads + means
        return object_array(numbers.tolist())

    def state(self) -> dict[str, Json]:
        """As JSON."""
        return {"means": list(self.means), "spreads": list(self.spreads), "scale": self.scale}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`."""
        return cls(tuple(state["means"]), tuple(state["spreads"]), state["scale"])


def _wrong_length(found: int, size: int) -> str:
    return f"the vector has {found} numbers, the training part has {size}: give {size}"


def _moments_of(chunks: Chunks, size: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each place, blocks of rows merged as in Chan, Golub & LeVeque (1983)."""
    count, mean, squares = 0, np.zeros(size), np.zeros(size)
    for block in _blocks(chunks, size):
        middle = block.mean(axis=0)
        gap, total = middle - mean, count + len(block)
        with np.errstate(over="ignore"):
            within = ((block - middle) ** 2).sum(axis=0)
            squares = squares + within + gap * (gap * (count * len(block) / total))
        mean = mean + gap * (len(block) / total)
        count = total
    spread = np.sqrt(np.minimum(squares, 1e308) / max(count, 1))
    varies = spread > STEADY * np.abs(mean)
    return tuple(mean.tolist()), tuple(np.where(varies, spread, 1.0).tolist())


def _blocks(chunks: Chunks, size: int) -> Iterator[Array]:
    """The readable vectors of that length, BLOCK rows at a time whatever the chunks; the last block may be smaller."""
    waiting: list[Array] = []
    for values in chunks():
        for row in _rows(values):
            # One number beyond would be the mean and the spread of all: its own row is the error.
            if isinstance(row, np.ndarray) and len(row) == size and bool((np.abs(row) <= LARGEST_FLOAT32).all()):
                waiting.append(row)
                if len(waiting) == BLOCK:
                    yield np.array(waiting)
                    waiting = []
    if waiting:
        yield np.array(waiting)


def _no_vector(problem: str) -> InputError:
    if problem:
        return InputError(
            f"There is no vector of numbers among the training values: {problem}.",
            fix="Give the column another modality, or the role ignore.",
        )
    return InputError("Every training value is missing.", fix="Give the column the role ignore.")
