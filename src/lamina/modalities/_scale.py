"""How a number becomes a network's input: monotone, bounded, invertible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Self

import numpy as np

from lamina.data.schema import Json

Array = np.ndarray[Any, Any]

QUANTILES = 1000
WIDEST = 1e6
"""A scaled value never exceeds this, so that float32 holds whatever comes."""
STEADY = 1e-12
"""What spreads by less than this share of its mean only varies by rounding."""


@dataclass(frozen=True)
class Scale:
    """A monotone map of float64 numbers to about -3 to 3.

    Attributes:
        kind: "standard": (x - center) / scale; "log": the same of sign(x) log(1 + |x| / unit); "quantile": through
            `knots`, from the training quantiles (`knots`) to the normal distribution's (`places`), linear between.
        clip: with "standard" and "log": smooth clipping to the open interval (-clip, clip), z / sqrt(1 + (z/clip)^2);
            0: none (Holzmüller et al., 2024, "Better by default").
    """

    kind: str
    center: float = 0.0
    scale: float = 1.0
    unit: float = 1.0
    clip: float = 3.0
    knots: tuple[float, ...] = ()
    places: tuple[float, ...] = ()

    @classmethod
    def fit(cls, sample: Array, kind: str, clip: float) -> Self:
        """Learn the map from a sorted sample of finite numbers; kind "auto" decides by the tails."""
        if kind == "auto":
            kind = "quantile" if _heavy_tailed(sample) else "standard"
        if kind == "quantile":
            knots, places = _normal_quantiles(sample)
            return cls("quantile", clip=clip, knots=knots, places=places)
        unit = 1.0
        if kind == "log":
            sizes = np.abs(sample[sample != 0])
            unit = max(float(np.median(sizes)), 1e-300) if len(sizes) else 1.0
            sample = _log(sample, unit)
        center, scale = _robust(sample)
        return cls(kind, center, scale, unit, clip)

    def forward(self, numbers: Array) -> Array:
        """float64 numbers, NaN where missing, to float64 of the same shape, NaN kept."""
        if self.kind == "quantile":
            return np.asarray(np.interp(numbers, self.knots, self.places))
        if self.kind == "log":
            numbers = _log(numbers, self.unit)
        with np.errstate(over="ignore"):
            scaled = np.clip((numbers - self.center) / self.scale, -WIDEST, WIDEST)
        return scaled / np.sqrt(1 + (scaled / self.clip) ** 2) if self.clip else scaled

    def backward(self, scaled: Array) -> Array:
        """The inverse of `forward`; exact to float32 precision where clipping has not flattened the value."""
        scaled = np.asarray(scaled, dtype=np.float64)
        if self.kind == "quantile":
            return np.asarray(np.interp(scaled, self.places, self.knots))
        if self.clip:
            share = np.clip(scaled / self.clip, -1 + 1e-12, 1 - 1e-12)
            scaled = share * self.clip / np.sqrt(1 - share**2)
        with np.errstate(over="ignore"):
            numbers = scaled * self.scale + self.center
            if self.kind == "log":
                numbers = np.sign(numbers) * np.expm1(np.abs(numbers)) * self.unit
        return np.clip(numbers, -1e308, 1e308)

    def state(self) -> dict[str, Json]:
        """As JSON."""
        return {**vars(self), "knots": list(self.knots), "places": list(self.places)}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`."""
        return cls(**{**state, "knots": tuple(state["knots"]), "places": tuple(state["places"])})


def _log(numbers: Array, unit: float) -> Array:
    with np.errstate(over="ignore"):
        return np.sign(numbers) * np.log1p(np.minimum(np.abs(numbers) / unit, 1e300))


def _robust(sample: Array) -> tuple[float, float]:
    """Median and interquartile range; where that is 0, half the range; where that is 0 too, 1."""
    low, center, high = (float(item) for item in np.quantile(sample, [0.25, 0.5, 0.75]))
    scale = high - low
    if scale <= 0:
        scale = (float(sample[-1]) - float(sample[0])) / 2
    return center, scale if scale > 0 else 1.0


def _heavy_tailed(sample: Array) -> bool:
    """More than one value in fifty lies further than four interquartile ranges from the median.

    A normal distribution has none there, a log-normal one with sigma = 1 has 3%. Where most values are equal
    (a range of 0 between the quartiles), as with amounts that are mostly 0, more than ten others make a tail.
    """
    quarter, center, high = np.quantile(sample, [0.25, 0.5, 0.75])
    if high <= quarter:
        return len(np.unique(sample)) > 10
    return float(np.mean(np.abs(sample - center) / 4 > high - quarter)) > 0.02


def _normal_quantiles(sample: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(numbers, their normal scores), both strictly increasing; equal numbers get the middle of their ranks."""
    count = min(QUANTILES, len(sample))
    shares = (np.arange(count) + 0.5) / count
    quantiles = np.quantile(sample, shares, method="inverted_cdf")
    quantiles[0], quantiles[-1] = sample[0], sample[-1]
    knots, where = np.unique(quantiles, return_inverse=True)
    middles = np.bincount(where, weights=shares) / np.bincount(where)
    normal = NormalDist()
    return tuple(knots.tolist()), tuple(normal.inv_cdf(float(share)) for share in middles)
