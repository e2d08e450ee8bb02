"""What comes next in a series? The answer is a number for each of the next steps, with an interval that holds 90%."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError
from lamina.modalities import Recognition
from lamina.modalities._canonical import object_array
from lamina.tasks._agreement import Agreement, agreement
from lamina.tasks._options import check_names, choice

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

WAY = "forecast"
"""All five steps are in `lamina/steps/forecast/`: the rows are read in a way of their own."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MIDDLE = QUANTILES.index(0.5)
COVERAGE = QUANTILES[-1] - QUANTILES[0]
"""Share of the truth that intervals are to hold."""
LONGEST = 4096
"""Steps that are forecast at most, and steps of history."""
FEW_WINDOWS = 100
"""Windows of the validation part from which on every step ahead is calibrated by itself."""
WIDEST_STRETCH = 1e3
SETTLED = 1e-3
"""Of a forecast's size: rounding is not smaller than a millionth of it, however narrow the forecast is."""
COLUMNS = ("time", "group")
LISTS = ("known", "past", "static")
COUNTS = ("horizon", "history", "season")
RULES = ("last", "season", "level", "mean")
"""What a network's linear part begins as: the last value, that of the last season, the same moved by how the level has
changed since, the mean of the history."""
OPTIONS = (*COLUMNS, *LISTS, *COUNTS, "rule")


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """No column asks for it by itself: that it goes on is said with --task or --horizon."""
    return None


def check_options(options: Mapping[str, Json], target: str) -> None:
    """Raises InputError for an unknown option, or one that is of the wrong kind or out of range."""
    check_names(options, OPTIONS, target)

    def refuse(name: str, fix: str) -> InputError:
        return InputError(f"The option {name!r} is {options[name]!r}.", where=f"task.options.{name}", fix=fix)

    for name in COLUMNS:
        if not isinstance(options.get(name, ""), str):
            raise refuse(name, f"Name a column: --{name} COLUMN.")
    for name in LISTS:
        given = options.get(name, ())
        if not isinstance(given, list | tuple) or not all(isinstance(part, str) for part in given):
            raise refuse(name, f'Give a list of columns, e.g. --set task.{name}=["price"], or [] for none.')
    choice(options, "rule", RULES, RULES[0], target)
    for name in COUNTS:
        number = options.get(name, 0)
        if type(number) is not int or not 0 <= number <= LONGEST:
            raise refuse(name, f"Give a whole number from 1 to {LONGEST}, or 0 to have it found.")


@dataclass(frozen=True)
class Task:
    """Quantiles of the next steps; outputs are [row, step * quantile], in the target's units, ascending at each step.

    Attributes:
        name: the target's column.
        horizon: steps.
        stretch: of each step, how much further than its quantiles the interval goes, in units of the distance of each
            quantile from the middle; () before calibration.
    """

    task: ClassVar[str] = "forecast"

    name: str
    horizon: int
    stretch: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        return self.horizon * len(QUANTILES)

    def combine(self, output: Tensor) -> Tensor:
        """[row, member, width] to [row, width]: the members' mean."""
        return output.float().mean(dim=1)

    def quantiles(self, output: Array) -> Array:
        """float64 [row, step, quantile]; the outer ones are calibrated."""
        found = np.array(output, np.float64).reshape(-1, self.horizon, len(QUANTILES))
        if self.stretch:
            middle = found[:, :, MIDDLE : MIDDLE + 1]
            further = 1 + np.array(self.stretch)[None, :, None]
            outer = [0, len(QUANTILES) - 1]
            found[:, :, outer] = middle + (found[:, :, outer] - middle) * further
            # Narrowed, an outer quantile could come to lie within an inner one.
            found = np.sort(found, axis=2)
        return found

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": the middle of each step, ".low", ".high": the ends of the 90% interval}; lists of `horizon` numbers."""
        found = self.quantiles(output)
        ends = {"": MIDDLE, ".low": 0, ".high": len(QUANTILES) - 1}
        return {suffix: object_array(found[:, :, place].tolist()) for suffix, place in ends.items()}

    def calibrated(self, output: Array, truth: Array, apart: int = 0) -> Self:
        """A task whose intervals held the wanted share of a validation part.

        Conformalised quantile regression (Romano, Patterson & Candes 2019), with the distance of each quantile from the
        middle as the unit (Kivaranovic, Johnson & Leeb 2020), so that series of any size are calibrated together.
        Windows of one series are not exchangeable, so the share is only nearly promised: it is measured in testing.
        Those that overlap say nearly the same, so the correction for a finite sample counts those that do not.

        Args:
            output: [row, width].
            truth: [row, step], NaN where it is not known.
            apart: how many of the windows there are that do not overlap; 0 for all.
        """
        found = replace(self, stretch=()).quantiles(output)
        low, middle, high = found[:, :, 0], found[:, :, MIDDLE], found[:, :, -1]
        tiny = 1e-9 * np.maximum(np.abs(middle), 1e-9)
        below, above = np.maximum(middle - low, tiny), np.maximum(high - middle, tiny)
        beyond = np.maximum((middle - truth) / below, (truth - middle) / above) - 1
        known = np.isfinite(beyond)
        together = conformal(beyond[known], COVERAGE, apart * self.horizon)
        each = tuple(
            conformal(beyond[known[:, step], step], COVERAGE, apart)
            if known[:, step].sum() >= FEW_WINDOWS
            else together
            for step in range(self.horizon)
        )
        return replace(self, stretch=each)

    def agreement(self, before: Array, after: Array) -> Agreement:
        """Are all quantiles nearly the same, in units of how far those of a row are apart?"""
        one, other = (np.asarray(output, np.float64) for output in (before, after))
        size = np.abs(one).max(axis=1, keepdims=True, initial=0.0)
        unit = np.ptp(one, axis=1, keepdims=True) + SETTLED * size if len(one) else size
        unit = np.where(unit > 0, unit, 1.0)
        return agreement(one / unit, other / unit, np.ones(len(one), bool))

    def spreads(self, answer: Mapping[str, Json]) -> dict[str, float]:
        """How far the quantiles of one series are apart, as in `agreement`."""
        numbers = np.concatenate([np.asarray(part, np.float64) for part in answer.values()])
        return dict.fromkeys(answer, float(np.ptp(numbers) + SETTLED * np.abs(numbers).max()))

    def state(self) -> dict[str, Json]:
        return {**asdict(self), "stretch": list(self.stretch)}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        horizon, stretch = int(state["horizon"]), tuple(float(value) for value in state["stretch"])
        if not 1 <= horizon <= LONGEST or len(stretch) not in (0, horizon) or not np.isfinite(stretch).all():
            raise ValueError(f"{len(stretch)} stretches of {horizon} steps")
        return cls(str(state["name"]), horizon, stretch)


def conformal(scores: Array, share: float, apart: int = 0) -> float:
    """The score that `share` of new ones does not exceed, with the correction for a finite sample; 0 without any.

    Args:
        apart: how many scores that do not depend on each other these are worth; 0 for all of them.

    >>> conformal(np.arange(1.0, 10.0), 0.9)
    9.0
    >>> conformal(np.arange(1.0, 101.0), 0.9), conformal(np.arange(1.0, 101.0), 0.9, apart=33)
    (91.0, 94.0)
    """
    if not len(scores):
        return 0.0
    worth = min(apart or len(scores), len(scores))
    level = min(1.0, np.ceil(share * (worth + 1) - 1e-9) / worth)
    place = int(np.ceil(level * len(scores) - 1e-9)) - 1
    return float(np.clip(np.sort(scores)[min(place, len(scores) - 1)], -1.0, WIDEST_STRETCH))
