"""What comes next in a series? The answer is a number for each of the next steps, with intervals around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
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
COVERAGE = (0.9, 0.5)
"""Shares of the truth that intervals are to hold, where nothing is said."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The ends of these intervals, and the middle."""
MOST_INTERVALS, LEAST_SHARE, LARGEST_SHARE = 10, 0.01, 0.99
EXACT = 6
"""Decimals of a share."""
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
COMBINE = ("last", "sum", "mean")
"""What counts of several rows at one step."""
OPTIONS = (*COLUMNS, *LISTS, *COUNTS, "rule", "coverage", "spacing", "combine")


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
    choice(options, "combine", COMBINE, COMBINE[0], target)
    if not isinstance(options.get("spacing", ""), str | int | float):
        raise refuse("spacing", "Give a text, e.g. --set task.spacing=1day, or a number where moments are numbers.")
    shares = _shares(options)
    known = all(type(share) is float and LEAST_SHARE <= share <= LARGEST_SHARE for share in shares)
    if not known or len(set(shares)) < len(shares) or not 1 <= len(shares) <= MOST_INTERVALS:
        raise refuse(
            "coverage",
            f"Give a share from {LEAST_SHARE} to {LARGEST_SHARE}, or a list of up to {MOST_INTERVALS} different ones: "
            "--set task.coverage=0.8, or task.coverage=[0.95,0.8]",
        )
    for name in COUNTS:
        number = options.get(name, 0)
        if type(number) is not int or not 0 <= number <= LONGEST:
            raise refuse(name, f"Give a whole number from 1 to {LONGEST}, or 0 to have it found.")


def _shares(options: Mapping[str, Json]) -> list[Any]:
    given = options.get("coverage", COVERAGE)
    return list(given) if isinstance(given, list | tuple) else [given]


def levels_of(options: Mapping[str, Json]) -> tuple[float, ...]:
    """The quantiles that are learned, ascending: the ends of all intervals, and the middle.

    >>> levels_of({"coverage": 0.8}), levels_of({"coverage": [0.5, 0.9]})
    ((0.1, 0.5, 0.9), (0.05, 0.25, 0.5, 0.75, 0.95))
    """
    ends = [round(0.5 - share / 2, EXACT) for share in sorted(_shares(options), reverse=True)]
    return (*ends, 0.5, *(round(1 - end, EXACT) for end in reversed(ends)))


def shares_of(levels: Sequence[float]) -> tuple[float, ...]:
    """The share that each interval is to hold, the widest first, of such quantiles.

    >>> shares_of((0.05, 0.25, 0.5, 0.75, 0.95))
    (0.9, 0.5)
    """
    return tuple(round(levels[-1 - pair] - levels[pair], EXACT) for pair in range(len(levels) // 2))


@dataclass(frozen=True)
class Task:
    """Quantiles of the next steps; outputs are [row, step * quantile], in the target's units, ascending at each step.

    Attributes:
        name: the target's column.
        horizon: steps.
        stretch: of each interval that is answered, the widest first, and of each step, how much further than its
            quantiles it goes, in units of the distance of each quantile from the middle; () before calibration.
        levels: the quantiles, ascending, as many below the middle as above.
        pairs: intervals that are answered, the widest ones.
        units: of each series of the training part, what errors are scaled by in testing.
    """

    task: ClassVar[str] = "forecast"

    name: str
    horizon: int
    stretch: tuple[tuple[float, ...], ...] = ()
    levels: tuple[float, ...] = QUANTILES
    pairs: int = len(COVERAGE)
    units: Mapping[str, float] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return self.horizon * len(self.levels)

    @property
    def shares(self) -> tuple[float, ...]:
        """What the intervals that are answered are to hold, the widest first."""
        return shares_of(self.levels)[: self.pairs]

    def combine(self, output: Tensor) -> Tensor:
        """[row, member, width] to [row, width]: the members' mean."""
        return output.float().mean(dim=1)

    def quantiles(self, output: Array) -> Array:
        """float64 [row, step, quantile]; the ends of the intervals that are answered are calibrated."""
        count = len(self.levels)
        found = np.array(output, np.float64).reshape(-1, self.horizon, count)
        middle = found[:, :, count // 2 : count // 2 + 1].copy()
        for pair, stretch in enumerate(self.stretch):
            ends = [pair, count - 1 - pair]
            found[:, :, ends] = middle + (found[:, :, ends] - middle) * (1 + np.array(stretch)[None, :, None])
        # Narrowed, an outer quantile could come to lie within an inner one.
        return np.sort(found, axis=2) if self.stretch else found

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": the middle of each step, ".low", ".high": the ends of the widest interval, ".low50", ".high50": of the
        one that is to hold 50%, and so on}; lists of `horizon` numbers.
        """
        found = self.quantiles(output)
        places = {"": len(self.levels) // 2}
        for pair, share in enumerate(self.shares):
            name = percent(share) if pair else ""
            places |= {f".low{name}": pair, f".high{name}": len(self.levels) - 1 - pair}
        return {suffix: object_array(found[:, :, place].tolist()) for suffix, place in places.items()}

    def calibrated(self, output: Array, truth: Array, apart: int = 0) -> Self:
        """A task whose intervals held the wanted shares of a validation part.

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
        return replace(self, stretch=tuple(
            self._stretch(found[:, :, [pair, len(self.levels) // 2, -1 - pair]], truth, share, apart)
            for pair, share in enumerate(self.shares)
        ))  # fmt: skip

    def _stretch(self, found: Array, truth: Array, share: float, apart: int) -> tuple[float, ...]:
        """Of each step, for one interval: its lower end, the middle and its upper end, [row, step, 3]."""
        low, middle, high = np.moveaxis(found, 2, 0)
        tiny = 1e-9 * np.maximum(np.abs(middle), 1e-9)
        below, above = np.maximum(middle - low, tiny), np.maximum(high - middle, tiny)
        beyond = np.maximum((middle - truth) / below, (truth - middle) / above) - 1
        known = np.isfinite(beyond)
        together = conformal(beyond[known], share, apart * self.horizon)
        return tuple(
            conformal(beyond[known[:, step], step], share, apart) if known[:, step].sum() >= FEW_WINDOWS else together
            for step in range(self.horizon)
        )

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
        return {
            **asdict(self),
            "stretch": [list(steps) for steps in self.stretch],
            "levels": list(self.levels),
            "units": dict(self.units),
        }

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        horizon, given = int(state["horizon"]), state["stretch"]
        levels = tuple(float(level) for level in state.get("levels", QUANTILES))
        # Files of before other intervals could be asked for answer, and have calibrated, the widest one only.
        pairs = int(state.get("pairs", 1))
        if "pairs" not in state and given:
            given = [given]
        stretch = tuple(tuple(float(value) for value in steps) for steps in given)
        lengths = {len(steps) for steps in stretch}
        finite = all(np.isfinite(steps).all() for steps in stretch)
        if not 1 <= horizon <= LONGEST or lengths - {horizon} or len(stretch) not in (0, pairs) or not finite:
            raise ValueError(f"{len(stretch)} stretches of {pairs} intervals and {horizon} steps")
        ascending = all(0 < low < high < 1 for low, high in pairwise(levels))
        if len(levels) % 2 == 0 or not 1 <= pairs <= len(levels) // 2 <= MOST_INTERVALS or not ascending:
            raise ValueError(f"{pairs} intervals of the quantiles {levels}")
        units = {str(name): float(unit) for name, unit in state.get("units", {}).items()}
        if not all(0 < unit < np.inf for unit in units.values()):
            raise ValueError("a unit that is no size")
        return cls(str(state["name"]), horizon, stretch, levels, pairs, units)


def percent(share: float) -> str:
    """A share as it stands in the name of a column or score.

    >>> percent(0.5), percent(0.975)
    ('50', '97.5')
    """
    return f"{100 * share:g}"


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
