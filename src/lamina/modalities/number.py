"""Numbers: amounts, measurements, counts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Feature, Recognition
from lamina.modalities._canonical import canonical, column
from lamina.modalities._number_text import decimal_of, read_numbers
from lamina.modalities._options import choice, positive, read_options
from lamina.modalities._sample import stream
from lamina.modalities._scale import Scale

BINS = 48
CODE_NAME = re.compile(
    r"(^|[_\W])(id|code|zip|zipcode|postcode|type|kind|class|label|category|cluster|group|flag)s?$|label$|class$"
)


def parse(values: Values, decimal: str = ".") -> np.ndarray[Any, Any]:
    """Numbers as people write them, float64 [row]; NaN where missing or unreadable.

    Reads "1,234", "$1,200", "12%" (as 12), "(5)" (as -5), "1e3", booleans as 0 and 1. With decimal="," also "1.234,5".
    """
    return read_numbers(values, decimal)[0]


def recognise(values: Values, name: str) -> Recognition | None:
    """Numbers, unless they look like codes: two values only, leading zeros, or a name such as "type_id"."""
    array = column(values)
    if array.dtype.kind in "mM":
        return None
    present = [text for text in canonical(array) if text is not None]
    if not present:
        return None
    if array.dtype.kind == "b" or set(present) <= {"true", "false"}:
        return Recognition(0.2, "true or false")
    decimal = decimal_of([array])
    numbers, errors = read_numbers(array, decimal)
    found = numbers[~np.isnan(numbers)]
    share = len(found) / (len(found) + len(errors)) if len(found) else 0.0
    if share < 0.95:
        return None
    return _judge(found, share, present, name, decimal)


def _judge(found: np.ndarray[Any, Any], share: float, present: list[str], name: str, decimal: str) -> Recognition:
    distinct = len(np.unique(found))
    whole = bool((found == np.rint(found)).all())
    padded = sum(len(text) > 1 and text[0] == "0" and text.isdigit() for text in present)
    if padded:
        return Recognition(0.3, f"digits with leading zeros, such as {_padded(present)!r}, are codes")
    if distinct <= 2 and len(found) > 2:
        return Recognition(0.5, f"numbers, but only {distinct} different ones")
    if whole and distinct <= 50 and distinct < len(found) / 2 and CODE_NAME.search(name.casefold()):
        return Recognition(0.5, f"{distinct} whole numbers under a name that suggests codes")
    if share < 1:
        return Recognition(0.85, f"{share:.1%} of the values are numbers")
    what = "whole numbers" if whole else "numbers"
    comma = ", with decimal commas" if decimal == "," else ""
    if whole and distinct <= 10:
        return Recognition(0.75, f"whole numbers from {found.min():g} to {found.max():g}, {distinct} different ones")
    return Recognition(0.95, f"{what} from {found.min():g} to {found.max():g}{comma}")


def _padded(present: list[str]) -> str:
    return next(text for text in present if len(text) > 1 and text[0] == "0" and text.isdigit())


def describe(values: Values) -> dict[str, Json]:
    """Counts, range, quartiles, mean and spread of the numbers."""
    array = column(values)
    numbers, errors = read_numbers(array, decimal_of([array]))
    found = numbers[~np.isnan(numbers)]
    summary: dict[str, Json] = {
        "count": len(array),
        "missing": (len(array) - len(found) - len(errors)) / max(len(array), 1),
        "unreadable": len(errors),
        "distinct": len(np.unique(found)),
    }
    if not len(found):
        return summary
    low, first, median, third, high = (float(item) for item in np.quantile(found, [0, 0.25, 0.5, 0.75, 1]))
    mean = float(np.mean(found / len(found)) * len(found))
    with np.errstate(over="ignore"):
        spread = float(np.std(found))
    return summary | {
        "whole": bool((found == np.rint(found)).all()),
        "min": low,
        "quartile_1": first,
        "median": median,
        "quartile_3": third,
        "max": high,
        "mean": mean,
        "spread": spread if math.isfinite(spread) else high - low,
        "zeros": float(np.mean(found == 0)),
    }


@dataclass(frozen=True)
class Encoder:
    """Numbers to float32 [row, 1], or [row, 2] with a flag for "missing" where the training part had gaps.

    A missing number is encoded as 0 (the median of training, with "quantile" the middle), without error; a text
    that is no number, and infinity, as missing with an error.

    Options: "transform": "standard" (robust: median, interquartile range), "log", "quantile" (to a normal
    distribution) or "auto": quantile for heavy tails, where smooth clipping would squeeze what matters, else
    standard; "clip": the bound of smooth clipping, 0 for none; "decimal": "auto", "." or ",".
    """

    modality: ClassVar[str] = "number"

    scale: Scale
    decimal: str
    flag: bool
    whole: bool
    bins: tuple[float, ...]
    low: float
    high: float
    mean: float
    count: int
    missing: int

    @property
    def feature(self) -> Feature:
        """details: "bins", at most 48 quantile bin edges of the training values, increasing, in encoded units (left
        out for a constant column), for piecewise-linear embeddings (Gorishniy et al., 2022); "flag": the array's
        second column says what is missing."""
        details: dict[str, Json] = {"flag": self.flag}
        if len(self.bins) > 1:
            details["bins"] = list(self.bins)
        return Feature("numbers", (2,) if self.flag else (1,), "float32", details=details)

    @classmethod
    def fit(cls, chunks: Chunks, options: Mapping[str, Json], root: Path | None = None) -> Self:
        """Learn decimal sign, scale and bins, streaming.

        Raises:
            InputError: no number at all, or a wrong option.
        """
        chosen = read_options("number", options, {"transform": "auto", "clip": 3.0, "decimal": "auto"})
        kind = choice("number", "transform", chosen["transform"], ("auto", "standard", "log", "quantile"))
        decimal = choice("number", "decimal", chosen["decimal"], ("auto", ".", ","))
        clip = float(positive("number", "clip", chosen["clip"], least=0))
        if decimal == "auto":
            decimal = decimal_of(chunks())
        moments = stream(parse(values, decimal) for values in chunks())
        if not moments.count:
            raise _no_number(chunks, decimal)
        scale = Scale.fit(moments.sample, kind, clip)
        return cls(
            scale=scale,
            decimal=decimal,
            flag=moments.missing > 0,
            whole=moments.whole,
            bins=_bins(scale.forward(moments.sample)),
            low=moments.low,
            high=moments.high,
            mean=moments.mean,
            count=moments.count,
            missing=moments.missing,
        )

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """float32 [row, 1 or 2]; see the class for missing and unreadable values."""
        numbers, errors = read_numbers(values, self.decimal)
        gaps = np.isnan(numbers)
        scaled = np.where(gaps, 0.0, self.scale.forward(np.where(gaps, self.mean, numbers))).astype(np.float32)
        array = np.stack([scaled, gaps.astype(np.float32)], axis=1) if self.flag else scaled[:, None]
        return Encoded(array, errors)

    def decode(self, array: np.ndarray[Any, Any]) -> Values:
        """float64 [row], NaN where the flag says missing; whole numbers where training had only such.

        Precise to about 1e-5 of the interquartile range within ten of it around the median; with "quantile", to
        float32 precision between neighboring quantiles and limited to the training range.
        """
        array = np.asarray(array).reshape(len(array), *self.feature.shape)
        numbers = self.scale.backward(array[:, 0])
        if self.whole:
            numbers = np.rint(numbers)
        return np.where(array[:, 1] > 0.5, np.nan, numbers) if self.flag else numbers

    def state(self) -> dict[str, Json]:
        """As JSON."""
        return {**vars(self), "scale": self.scale.state(), "bins": list(self.bins)}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`."""
        return cls(**{**state, "scale": Scale.restore(state["scale"]), "bins": tuple(state["bins"])})


def _bins(scaled: np.ndarray[Any, Any]) -> tuple[float, ...]:
    """Quantile edges of sorted encoded values; all distinct values where they are few."""
    scaled = scaled.astype(np.float32)
    edges = np.unique(scaled)
    if len(edges) > BINS:
        edges = np.unique(np.quantile(scaled, np.linspace(0, 1, BINS), method="nearest"))
    return tuple(float(edge) for edge in edges)


def _no_number(chunks: Chunks, decimal: str) -> InputError:
    for values in chunks():
        for reason in read_numbers(values, decimal)[1].values():
            return InputError(
                f"There is no number among the training values: {reason}.",
                fix="Give the column another modality, such as category or text, or the role ignore.",
            )
    return InputError("Every training value is missing.", fix="Give the column the role ignore.")
