"""Series: measurements in a fixed order, one or several channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Feature, Recognition
from lamina.modalities._canonical import object_array
from lamina.modalities._number_text import LARGEST, decimal_of, read_numbers
from lamina.modalities._options import choice, positive, read_options
from lamina.modalities._scale import STEADY, WIDEST
from lamina.modalities._steps import fill, resample, steps_of

Array = np.ndarray[Any, Any]

LONGEST = 2048


def _rows(values: Values, decimal: str = ".") -> Iterator[Array | str | None]:
    """Each row as float64 [time, channel], None (missing) or what is wrong with it."""
    if isinstance(values, np.ndarray) and values.ndim >= 2:
        yield from _wide_rows(values, decimal)
        return
    for value in values:
        yield steps_of(value)


def _wide_rows(values: Values, decimal: str) -> Iterator[Array | str | None]:
    """A series spread over columns, [row, step] or [row, step, channel], typed or as text."""
    numbers, errors = read_numbers(values.reshape(-1), decimal)
    steps = numbers.reshape(len(values), values.shape[1], -1)
    width = steps.shape[1] * steps.shape[2]
    wrong = {place // width: reason for place, reason in reversed(errors.items())} if width else {}
    for row, series in enumerate(steps):
        yield wrong.get(row) or (None if np.isnan(series).all() else series)


def _decimal(chunks: Iterable[Values]) -> str:
    """The decimal sign of series spread over columns, all columns together; of lists always the point."""
    return decimal_of(values.reshape(-1) for values in chunks if isinstance(values, np.ndarray) and values.ndim >= 2)


def recognise(values: Values, name: str) -> Recognition | None:
    """Several columns as one, or lists of at least three numbers in nearly every row."""
    if values.ndim >= 2:
        return Recognition(0.95, f"{values.shape[1]} columns of numbers in order")
    if values.dtype.kind not in "OUS":
        return None
    rows = [row for row in _rows(values) if row is not None]
    series = [row for row in rows if not isinstance(row, str)]
    if not series or len(series) < 0.95 * len(rows):
        return None
    lengths = [len(row) for row in series]
    channels = {row.shape[1] for row in series}
    if float(np.median(lengths)) < 3 or len(channels) > 1:
        return None
    steps = f"{min(lengths)}" if min(lengths) == max(lengths) else f"{min(lengths)} to {max(lengths)}"
    confidence = 0.94 if float(np.median(lengths)) >= 8 or channels != {1} else 0.8
    return Recognition(confidence, f"lists of {steps} numbers" + (f", {max(channels)} channels" * (channels != {1})))


def describe(values: Values) -> dict[str, Json]:
    """Counts, lengths, channels, range and gaps."""
    lengths: list[int] = []
    channels: Counter[int] = Counter()
    low, high, mean, found, gaps, unreadable = np.inf, -np.inf, 0.0, 0, 0, 0
    for row in _rows(values, _decimal([values])):
        if row is None or isinstance(row, str):
            unreadable += row is not None
            continue
        lengths.append(len(row))
        channels[row.shape[1]] += 1
        numbers = row[~np.isnan(row)]
        gaps += row.size - numbers.size
        if numbers.size:
            found += numbers.size
            mean += float(np.mean(numbers / found - mean / found)) * numbers.size
            low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
    summary: dict[str, Json] = {
        "count": len(values),
        "missing": (len(values) - len(lengths) - unreadable) / max(len(values), 1),
        "unreadable": unreadable,
    }
    if not found:
        return summary
    return summary | {
        "length_min": min(lengths),
        "length_median": float(np.median(lengths)),
        "length_max": max(lengths),
        "channels": channels.most_common(1)[0][0],
        "gaps": gaps / (gaps + found),
        "min": low,
        "mean": mean,
        "max": high,
    }


@dataclass(frozen=True)
class Encoder:
    """Series to float32 [row, time, channel], standardised by each channel's training mean and spread.

    A series of another length than `length` is resampled linearly to it (first and last step kept), so that none of
    it is cut off; gaps are filled linearly. A series that is missing, cannot be read or has another number of
    channels is all zeros, with an error; a channel without any number is zeros.

    Options: "length" (the longest training series, at most 2048); "decimal": "auto", "." or ",", for series spread over
    columns (found in training).
    """

    modality: ClassVar[str] = "series"

    length: int
    means: tuple[float, ...]
    """Of each channel over all training steps."""
    spreads: tuple[float, ...]
    """Standard deviations; 1 where a channel is constant."""
    decimal: str = "."
    """The sign in texts, where a series is spread over columns."""

    @property
    def feature(self) -> Feature:
        return Feature("series", (self.length, len(self.means)), "float32")

    @classmethod
    def fit(cls, chunks: Chunks, options: Mapping[str, Json], root: Path | None = None) -> Self:
        """Learn length, channels and their scale, streaming. The number of channels is the most frequent one.

        Raises:
            InputError: no series at all, or a wrong option.
        """
        chosen = read_options("series", options, {"length": 0, "decimal": "auto"})
        decimal = choice("series", "decimal", chosen["decimal"], ("auto", ".", ","))
        if decimal == "auto":
            decimal = _decimal(chunks())
        length = int(positive("series", "length", chosen["length"], least=0))
        widths: Counter[int] = Counter()
        longest, problem = 0, ""
        for values in chunks():
            for row in _rows(values, decimal):
                if row is None or isinstance(row, str):
                    problem = problem or row or ""
                else:
                    widths[row.shape[1]] += 1
                    longest = max(longest, len(row))
        if not widths:
            raise _no_series(problem)
        width = max(widths, key=lambda channels: (widths[channels], -channels))
        means, spreads = _moments(chunks, width, decimal)
        return cls(length or min(longest, LONGEST), means, spreads, decimal)

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """float32 [row, time, channel]."""
        width = len(self.means)
        # Observations of an environment come like this at every step.
        typed = values.ndim == 3 and values.dtype == np.float64 and values.shape[1:] == (self.length, width)
        if typed and bool((np.abs(values) <= LARGEST).all()):
            return Encoded(self._standard(values).astype(np.float32))
        array = np.zeros((len(values), self.length, width), dtype=np.float32)
        errors: dict[int, str] = {}
        for number, row in enumerate(_rows(values, self.decimal)):
            if isinstance(row, str):
                errors[number] = row
            elif row is None or np.isnan(row).all():
                errors[number] = "the series is missing"
            elif row.shape[1] != width:
                errors[number] = f"the series has {row.shape[1]} channels, the training part has {width}"
            else:
                array[number] = self._scaled(row)
        return Encoded(array, errors)

    def _scaled(self, steps: Array) -> Array:
        return self._standard(resample(fill(steps), self.length))

    def _standard(self, steps: Array) -> Array:
        """Standardised float64 of steps [..., channel]."""
        with np.errstate(over="ignore"):
            scaled = (steps - np.array(self.means)) / np.array(self.spreads)
        # A zero has no sign, however it was written: adding 0 takes it off.
        return np.asarray(np.clip(np.nan_to_num(scaled, posinf=WIDEST, neginf=-WIDEST), -WIDEST, WIDEST)) + 0.0

    def decode(self, array: Array) -> Values:
        """Lists of numbers, or with several channels lists of lists [time][channel], of `length` steps each.

        Exact to float32 precision of the channel's range where the series had that length; the filled gaps stay.
        """
        steps = np.asarray(array, dtype=np.float64).reshape(len(array), self.length, len(self.means))
        steps = steps * np.array(self.spreads) + np.array(self.means)
        return object_array((steps[:, :, 0] if len(self.means) == 1 else steps).tolist())

    def state(self) -> dict[str, Json]:
        """As JSON."""
        # Series with a decimal point are kept as they always were: what could read them still can.
        sign = {"decimal": self.decimal} if self.decimal != "." else {}
        return {"length": self.length, "means": list(self.means), "spreads": list(self.spreads), **sign}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`."""
        decimal = state.get("decimal", ".")
        if decimal not in (".", ","):
            raise ValueError(f"the decimal sign {decimal!r}")
        return cls(state["length"], tuple(state["means"]), tuple(state["spreads"]), decimal)


def _moments(chunks: Chunks, width: int, decimal: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all known steps (Chan et al., 1983)."""
    count, mean, squares = np.zeros(width), np.zeros(width), np.zeros(width)
    for values in chunks():
        for row in _rows(values, decimal):
            if row is None or isinstance(row, str) or row.shape[1] != width:
                continue
            known = ~np.isnan(row)
            fresh = known.sum(axis=0)
            total = np.maximum(count + fresh, 1)
            middle = np.where(known, row, 0).sum(axis=0) / np.maximum(fresh, 1)
            gap = np.where(fresh > 0, middle - mean, 0)
            with np.errstate(over="ignore"):
                within = (np.where(known, row - middle, 0) ** 2).sum(axis=0)
                squares = squares + within + gap * (gap * (count * fresh / total))
            mean = mean + gap * fresh / total
            count = count + fresh
    spread = np.sqrt(np.minimum(squares, 1e308) / np.maximum(count, 1))
    # Sums of one number over and over are rounded: a spread of that would blow up whatever comes later.
    varies = spread > STEADY * np.abs(mean)
    return tuple(mean.tolist()), tuple(np.where(varies, spread, 1.0).tolist())


def _no_series(problem: str) -> InputError:
    if problem:
        return InputError(
            f"There is no series of numbers among the training values: {problem}.",
            fix="Give the column another modality, or the role ignore.",
        )
    return InputError("Every training value is missing.", fix="Give the column the role ignore.")
