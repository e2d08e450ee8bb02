"""Is something strange here? The answer is an alarm, how strange a row is, and where; learned from ordinary rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.data.windows import LONGEST, Cut
from lamina.errors import InputError
from lamina.modalities import Recognition
from lamina.tasks._agreement import Agreement, agreement
from lamina.tasks._options import check_names

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

UNLABELLED = "anomaly"
"""The task needs no target; its answer is called so."""
OPTIONS = ("rate", "normal", "window", "stride", "series")
LEVELS = 201
"""Quantiles of ordinary scores that are kept, to say how rare a score is."""
SHOWN = 12
"""Fields whose part in the score is an answer column of its own."""


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """No column asks for it."""
    return None


def check_options(options: Mapping[str, Json]) -> None:
    """Raises InputError for an unknown option, a rate of alarms that is none, or windows that are none."""
    check_names(options, OPTIONS, UNLABELLED)
    rate = options.get("rate", 0.01)
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 < rate < 1:
        raise InputError(
            f"The rate of alarms is {rate!r}.",
            where="task.options.rate",
            fix="Give the share of ordinary rows that may raise an alarm, between 0 and 1, e.g. 0.01.",
        )
    for name, least in (("window", 0), ("stride", 1)):
        steps = options.get(name, least)
        if not isinstance(steps, int) or isinstance(steps, bool) or not least <= steps <= LONGEST:
            raise InputError(
                f"The {name} of a long series is {steps!r}.",
                where=f"task.options.{name}",
                fix=f"Give a whole number of steps up to {LONGEST:,}"
                + ("; 0 takes rows as they are." if name == "window" else "."),
            )
    columns = options.get("series", ["x"])
    if not isinstance(columns, list) or not columns or not all(isinstance(name, str) for name in columns):
        raise InputError(
            f"The columns of a long series are {columns!r}.",
            where="task.options.series",
            fix='Give their names, e.g. --set \'task.series=["pressure", "flow"]\'',
        )


@dataclass(frozen=True)
class Task:
    """How strange a row is; outputs are [row, 1 + places]: the score, then how much of it lies in each place.

    Attributes:
        name: the answer's name.
        places: (field, grid) in the order of the outputs: () for one place, (rows, columns) of a picture, ...
        rate: the share of ordinary rows that may raise an alarm.
        levels: `LEVELS` quantiles of ordinary rows' scores (validation part), ascending; empty before calibration.
        cut: how rows are cut from one long series; the scores that `levels` are of are then those of its steps.
        limit: the score above which an alarm is raised; None before calibration and in older files.
    """

    task: ClassVar[str] = "anomaly"

    name: str
    places: tuple[tuple[str, tuple[int, ...]], ...] = ()
    rate: float = 0.01
    levels: tuple[float, ...] = ()
    cut: Cut | None = None
    limit: float | None = None

    @property
    def width(self) -> int:
        return 1 + sum(math.prod(grid) for _, grid in self.places)

    @property
    def threshold(self) -> float:
        """The score above which an alarm is raised; infinite before calibration."""
        if self.limit is not None:
            return self.limit
        if not self.levels:
            return math.inf
        return float(np.interp(1 - self.rate, np.linspace(0, 1, len(self.levels)), self.levels))

    def combine(self, output: Tensor) -> Tensor:
        """[row, member, width] to [row, width]: the members' mean."""
        return output.float().mean(dim=1)

    def calibrated(self, output: Array) -> Self:
        """With the quantiles of the scores of ordinary rows, and the limit that the rate asks for.

        A new ordinary row's score is as likely to fall into any of the places between n known ones. So it is above the
        k-th lowest with a chance of (n + 1 - k) / (n + 1), however few there are (Vovk, Gammerman & Shafer 2005,
        "Algorithmic learning in a random world"); of fewer rows than one alarm is worth the highest is the limit.
        """
        scores = np.sort(np.asarray(output, np.float64)[:, 0])
        # What is a whole number but for the rounding is not to be rounded up.
        place = min(math.ceil((len(scores) + 1) * (1 - self.rate) - 1e-9), len(scores))
        levels = tuple(map(float, np.quantile(scores, np.linspace(0, 1, LEVELS))))
        return replace(self, levels=levels, limit=float(scores[max(place, 1) - 1]))

    def rarity(self, scores: Array) -> Array:
        """[row]: the share of ordinary rows that are less strange, 0 to 1."""
        if not self.levels:
            return np.zeros(len(scores))
        levels = np.asarray(self.levels)
        return np.searchsorted(levels, scores, side="left").clip(0, len(levels) - 1) / (len(levels) - 1)

    def parts(self, output: Array) -> dict[str, Array]:
        """By field, [row, *grid]: how much of the score lies in each of its places."""
        found, start = {}, 1
        for field, grid in self.places:
            size = math.prod(grid)
            found[field] = np.asarray(output)[:, start : start + size].reshape(len(output), *grid)
            start += size
        return found

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": alarm, ".score", ".rarity", ".where": the field that is strangest, ".FIELD": its part in the score}."""
        scores = np.asarray(output, np.float64)[:, 0]
        answer: dict[str, Values] = {
            "": scores > self.threshold,
            ".score": scores,
            ".rarity": self.rarity(scores),
        }
        if len(self.places) > 1:
            sums = {field: part.mean(axis=tuple(range(1, part.ndim))) for field, part in self.parts(output).items()}
            names = np.array(list(sums), dtype=object)
            answer[".where"] = names[np.stack(list(sums.values()), axis=1).argmax(axis=1)]
            answer.update({f".{field}": sums[field].astype(np.float64) for field in names[:SHOWN]})
        return answer

    def agreement(self, before: Array, after: Array) -> Agreement:
        """How nearly two networks' outputs are the same, and their alarms."""
        one, other = np.asarray(before)[:, 0], np.asarray(after)[:, 0]
        edge = np.abs(one - self.threshold)
        return agreement(before, after, (one > self.threshold) == (other > self.threshold), edge)

    def state(self) -> dict[str, Json]:
        return asdict(self)

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        places = tuple((str(field), tuple(int(size) for size in grid)) for field, grid in state["places"])
        if any(size < 1 or size > 4096 for _, grid in places for size in grid):
            raise ValueError("a place of no size")
        levels = tuple(float(level) for level in state["levels"])
        cut = None if state.get("cut") is None else Cut.restore(state["cut"])
        limit = None if state.get("limit") is None else float(state["limit"])
        return cls(str(state["name"]), places, float(state["rate"]), levels, cut, limit)
