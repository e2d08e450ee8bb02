"""How much? The answer is a number with a 90% interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Recognition
from lamina.modalities._number_text import decimal_of
from lamina.modalities.number import parse
from lamina.tasks import Score
from lamina.tasks._calibrate import FEWEST, conformal_quantile
from lamina.tasks._options import check_names, choice
from lamina.tasks._scores import Scorer, mean_of, median_of, plain, r_squared, root_mean_square, together

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

SCORES = ("rmse", "mae", "r2", "median_ae", "mape")
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
COVERAGE = 0.9
GAUSSIAN = (0.674, 0.842, 1.036, 1.282, 1.645, 1.960)
"""Half widths of LEVELS in standard deviations: what holds until `calibrated` has measured them."""

WEIGHT_LIMIT = 10.0
"""With "log", no row counts more than so many times the average one, nor less than the inverse."""

SCALE_SHARE = 0.1
LOG_SCALE_LIMIT = 7.0


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """Numbers that take more than two values."""
    if field.modality == "number" and description.get("distinct") != 2:
        return Recognition(0.9, "the target is a number: how much?")
    return None


@dataclass(frozen=True)
class Task:
    """One number; outputs are [row, 2]: standardised location and the logarithm of its scale.

    Attributes:
        name: the target's column.
        transform: "none" or "log": what is standardised.
        loss_name: "mse", "mae" or "huber" (Huber 1964, threshold one standard deviation).
        center, spread: mean and standard deviation of the transformed training targets.
        low, high: answers are clipped to these: the training range widened by half of it on both sides, and not
            below 0 when no training value was.
        correction: factor on the answer; with "log" it undoes the bias of transforming back (Duan 1983).
        quantiles: half widths of the intervals of LEVELS, in units of the predicted scale (Lei et al. 2018).
        decimal: "." or ",", as the training part writes numbers.
        relative: whether the mean absolute percentage error makes sense: every training value is well above 0.
    """

    task: ClassVar[str] = "regress"

    name: str
    transform: str
    loss_name: str
    center: float
    spread: float
    low: float
    high: float
    primary: str = "rmse"
    unit: str = ""
    relative: bool = False
    decimal: str = "."
    correction: float = 1.0
    quantiles: tuple[float, ...] = GAUSSIAN

    @property
    def width(self) -> int:
        return 2

    @classmethod
    def fit(cls, field: Field, chunks: Chunks, options: Mapping[str, Json]) -> Self:
        """Learn the scaling, streaming. Options: "transform" (auto, none, log), "loss" (mse, mae, huber),
        "primary" (a score's name), "unit" (shown with the scores).

        "auto" takes the logarithm when every value is positive, the skewness exceeds 1 and the logarithm at
        least halves it.

        Raises:
            InputError: no number, one value only, a logarithm of values that are not positive, or a wrong option.
        """
        check_names(options, ("transform", "loss", "primary", "unit"), field.name)
        asked = choice(options, "transform", ("auto", "none", "log"), "auto", field.name)
        loss = choice(options, "loss", ("mse", "mae", "huber"), "mse", field.name)
        decimal = decimal_of(chunks())
        moments = _moments(field, chunks, decimal)
        if asked == "log" and moments.low <= 0:
            raise InputError(
                f"Target {field.name!r} has the value {moments.low:g}: it has no logarithm.",
                where=f"task.{field.name}.options.transform",
                fix="Use transform = none.",
            )
        log = asked == "log" or (asked == "auto" and moments.wants_log)
        low, high = _sensible(moments.low, moments.high)
        center, spread = (moments.log_mean, moments.log_spread) if log else (moments.mean, moments.spread)
        relative = moments.low > 0 and moments.low >= 0.01 * moments.mean
        known = SCORES if relative else SCORES[:-1]
        primary = choice(options, "primary", known, "rmse", field.name)
        unit = str(options.get("unit", ""))
        return cls(
            field.name, "log" if log else "none", loss, center, spread, low, high, primary, unit, relative, decimal
        )

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """float32 [row], standardised; 0 and an error where there is no number."""
        numbers = parse(values, self.decimal)
        with np.errstate(invalid="ignore", divide="ignore"):
            standard = ((np.log(numbers) if self.transform == "log" else numbers) - self.center) / self.spread
        errors = {}
        for row in np.flatnonzero(~np.isfinite(standard)):
            value = values[row]
            errors[int(row)] = (
                f"{numbers[row]:g} has no logarithm (train with transform = none)"
                if np.isfinite(numbers[row])
                else f"the answer is missing or no number: {value!r}"
            )
        return Encoded(np.where(np.isfinite(standard), standard, 0).astype(np.float32), errors)

    def loss(self, output: Tensor, target: Tensor, options: Mapping[str, Json]) -> Tensor:
        """Loss of the location [row], mean over members, and a small share for the scale.

        The scale is fitted to the residual with a Laplace likelihood that gets no gradient into the location.
        It is weighted with the residual itself: where the location is good, the shared part of the network
        is left in peace. With "log" and RMSE as the primary score, rows count in proportion to their value: the
        logarithm's squared error alone makes much of small values, which RMSE hardly sees.
        """
        import torch

        residual = output[..., 0].float() - target.float()[:, None]
        size = residual.abs()
        log_scale = output[..., 1].float().clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)
        if self.loss_name == "mse":
            location = residual**2
        elif self.loss_name == "mae":
            location = size
        else:
            location = torch.nn.functional.huber_loss(residual, torch.zeros_like(residual), reduction="none")
        wrong = size.detach()
        scale = wrong * (wrong * torch.exp(-log_scale) + log_scale)
        losses = (location + SCALE_SHARE * scale).mean(dim=1)
        if self.transform == "log" and self.loss_name == "mse" and self.primary == "rmse":
            # exp(spread^2 / 2) is the mean of a log-normal value in units of its median.
            size_of_value = torch.exp(target.float() * self.spread - 0.5 * self.spread**2)
            losses = losses * size_of_value.clamp(1 / WEIGHT_LIMIT, WEIGHT_LIMIT)
        return losses

    def combine(self, output: Tensor) -> Tensor:
        """Mean over members: [row, member, 2] to [row, 2]."""
        return output.float().mean(dim=1)

    def calibrated(self, output: Array, target: Array) -> Self:
        """With the correction for transforming back and the intervals' widths from the validation part."""
        if len(target) < FEWEST:
            return self
        wrong = np.abs(_location(output) - target) / _scale(output)
        quantiles = tuple(conformal_quantile(wrong, level) for level in LEVELS)
        fitted = replace(self.uncalibrated(), quantiles=quantiles)
        if self.transform == "none":
            return fitted
        answer, truth = fitted.answers(output), self.original(target)
        # The factor that is best for the squared error, drawn towards 1 where validation rows are few.
        ratio = float((answer * truth).sum() / (answer * answer).sum())
        ratio = float(np.clip(1 + (ratio - 1) * len(target) / (len(target) + 100), 0.5, 2.0))
        return replace(fitted, correction=ratio)

    def uncalibrated(self) -> Self:
        """Without what `calibrated` learned: for another model's outputs."""
        return replace(self, correction=1.0, quantiles=GAUSSIAN)

    def original(self, standard: Array) -> Array:
        """Standardised values in the target's own unit, float64."""
        value = np.asarray(standard, dtype=np.float64) * self.spread + self.center
        if self.transform == "log":
            # Far outside the range the exponential would overflow before it is clipped.
            value = np.exp(np.minimum(value, math.log(self.high) + 1))
        return value

    def answers(self, output: Array) -> Array:
        """float64 [row], the number answered."""
        return np.clip(self.original(_location(output)) * self.correction, self.low, self.high)

    def intervals(self, output: Array, level: float = COVERAGE) -> tuple[Array, Array]:
        """Lower and upper ends, float64 [row] each, for one of LEVELS; the answer lies between them."""
        half = self.quantiles[LEVELS.index(level)] * _scale(output)
        location, answer = _location(output), self.answers(output)
        low = np.clip(self.original(location - half), self.low, self.high)
        high = np.clip(self.original(location + half), self.low, self.high)
        return np.minimum(low, answer), np.maximum(high, answer)

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": number, ".low", ".high": ends of its 90% interval}."""
        low, high = self.intervals(output)
        return {"": self.answers(output), ".low": low, ".high": high}

    def spreads(self, answer: Mapping[str, Json]) -> dict[str, float]:
        """The spread of the training part; where that is of logarithms, what it makes of each number."""
        sizes = {suffix: abs(value) if self.transform == "log" else 1.0 for suffix, value in answer.items()}
        return {suffix: self.spread * size for suffix, size in sizes.items()}

    def scorer(self, output: Array, target: Array, only: str = "") -> Scorer:
        """The scores, or `only` one, as a function of how often each row counts; the primary one comes first."""
        answer, truth = self.answers(output), self.original(target)
        error = np.abs(answer - truth)
        scores = {
            "rmse": root_mean_square(error),
            "mae": mean_of(error),
            "r2": r_squared(answer, truth),
            "median_ae": median_of(error),
        }
        if self.relative:
            scores["mape"] = mean_of(error / np.maximum(np.abs(truth), 1e-12))
        return together(scores, self.primary, only)

    def scores(self, output: Array, target: Array) -> dict[str, Score]:
        """RMSE, MAE, R2, median absolute error, and where it makes sense the mean absolute percentage error."""
        values = plain(self.scorer(output, target), len(target))
        units = {name: "" if name in ("r2", "mape") else self.unit for name in values}
        return {name: Score(value, name == "r2", units[name]) for name, value in values.items()}

    def row_losses(self, output: Array, target: Array) -> Array:
        """Absolute error in the target's unit, [row]."""
        return np.asarray(np.abs(self.answers(output) - self.original(target)))

    def state(self) -> dict[str, Json]:
        return {**asdict(self), "quantiles": list(self.quantiles)}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        return cls(**{**state, "quantiles": tuple(state["quantiles"])})


def _location(output: Array) -> Array:
    return np.asarray(output)[:, 0].astype(np.float64)


def _scale(output: Array) -> Array:
    log_scale = np.asarray(output)[:, 1].astype(np.float64)
    return np.asarray(np.exp(np.clip(log_scale, -LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)))


def _sensible(low: float, high: float) -> tuple[float, float]:
    margin = 0.5 * (high - low)
    return (max(0.0, low - margin) if low >= 0 else low - margin), high + margin


@dataclass(frozen=True)
class _Moments:
    low: float
    high: float
    mean: float
    spread: float
    skewness: float
    log_mean: float = 0.0
    log_spread: float = 1.0
    log_skewness: float = 0.0

    @property
    def wants_log(self) -> bool:
        return self.low > 0 and self.skewness > 1 and abs(self.log_skewness) <= 0.5 * self.skewness


def _moments(field: Field, chunks: Chunks, decimal: str) -> _Moments:
    """Range, mean, spread and skewness of the target and of its logarithm, in two passes over the chunks."""
    count, total, log_total, low, high = 0, 0.0, 0.0, math.inf, -math.inf
    for values in chunks():
        numbers = _finite(values, decimal)
        if not len(numbers):
            continue
        count += len(numbers)
        total += float(numbers.sum())
        low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
        log_total += float(np.log(numbers).sum()) if low > 0 else 0.0
    if not count:
        raise InputError(
            f"The target {field.name!r} has no number in the training part.",
            fix="Choose another target with --target, or predict a class with --task classify.",
        )
    if low == high:
        raise InputError(
            f"The target {field.name!r} has one value only: {low:g} in all {count} training rows.",
            fix="Give data in which the target varies, or choose another target with --target.",
        )
    mean, log_mean = total / count, log_total / count
    powers, log_powers = np.zeros(2), np.zeros(2)
    for values in chunks():
        numbers = _finite(values, decimal)
        powers += _central(numbers - mean)
        if low > 0:
            log_powers += _central(np.log(numbers) - log_mean)
    spread, skewness = _shape(powers / count)
    if low <= 0:
        return _Moments(low, high, mean, spread, skewness)
    return _Moments(low, high, mean, spread, skewness, log_mean, *_shape(log_powers / count))


def _finite(values: Values, decimal: str) -> Array:
    numbers = parse(values, decimal)
    return np.asarray(numbers[np.isfinite(numbers)], dtype=np.float64)


def _central(deviation: Array) -> Array:
    return np.array([(deviation**2).sum(), (deviation**3).sum()])


def _shape(moments: Array) -> tuple[float, float]:
    """Standard deviation and skewness from the second and third central moment."""
    spread = math.sqrt(moments[0])
    if not spread or not math.isfinite(spread):
        return 1.0, 0.0
    return spread, float(moments[1] / spread**3)
