"""Is something strange here? The answer is an alarm, how strange a row is, and where; learned from ordinary rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.data.windows import LONGEST, Cut, of_stretches
from lamina.errors import InputError
from lamina.modalities import Recognition
from lamina.tasks._agreement import Agreement, agreement
from lamina.tasks._options import check_names
from lamina.tasks._where import Scale, joined, placed, strength

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
TAKEN = ("score", "rarity", "where")
"""What fields may be called as well."""
MOST_PLACES = 4096
"""Of one field."""


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
    """How strange a row is; outputs are [row, 1 + places]: the score, then how strange each place is.

    Attributes:
        name: the answer's name.
        places: (field, grid) in the order of the outputs: () for one place, (rows, columns) of a picture, (steps,) of a
            sound or series, (steps, channels) of a series of several channels.
        rate: the share of ordinary rows that may raise an alarm.
        levels: `LEVELS` quantiles of ordinary rows' scores (validation part), ascending; empty before calibration.
        cut: how rows are cut from one long series; the scores that `levels` are of are then those of its steps.
        limit: the score above which an alarm is raised; None before calibration and in older files.
        scales: by field, what its places are places of; nothing in older files.
        local: a step of a long series is as strange as the places it lies in; else as the windows over it.
        around: of a long series, so many steps to either side count in with each step's score; 0 in older files.
    """

    task: ClassVar[str] = "anomaly"

    name: str
    places: tuple[tuple[str, tuple[int, ...]], ...] = ()
    rate: float = 0.01
    levels: tuple[float, ...] = ()
    cut: Cut | None = None
    limit: float | None = None
    scales: Mapping[str, Scale] = field(default_factory=dict)
    local: bool = False
    around: int = 0

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
        """By field, [row, *grid]: how strange each of its places is."""
        found, start = {}, 1
        for name, grid in self.places:
            size = math.prod(grid)
            found[name] = np.asarray(output)[:, start : start + size].reshape(len(output), *grid)
            start += size
        return found

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": alarm, ".score", ".rarity"}, and where, as far as the method tells.

        Of several fields, or columns of a long series: ".where", the strangest, and ".FIELD", how strange it is. Of a
        picture, sound or series ".where", or ".FIELD.where" where there are several fields: the strangest part of it.
        """
        parts = self.parts(output)
        if self.cut is not None:
            stretches, columns = self.stretched(output), self.cut.columns if self.numbers > 1 else ()
            found = {name: strength(stretches[:, :, at]) for at, name in enumerate(columns)}
            return self._told(self.strangeness(output), found)
        found = {field: strength(part) for field, part in parts.items()} if len(parts) > 1 else {}
        return self._told(self.strangeness(output), found) | self._located(parts)

    def placed(self, output: Array, inputs: Mapping[str, Values], root: Path | None) -> dict[str, Values]:
        """The strangest part of each picture, sound or series as `decode` gives it, but in pixels, seconds or steps of
        the raw values.

        Args:
            inputs: raw values of the input fields by name.
        """
        return {} if self.cut is not None else self._located(self.parts(output), inputs, root)

    @property
    def numbers(self) -> int:
        """How many numbers tell of a stretch of a window: one, or one for each column where they are told apart."""
        return self.places[0][1][1] if self.local and len(self.places[0][1]) == 2 else 1

    def stretched(self, output: Array) -> Array:
        """Of windows of a long series, [window, stretch, number]: how strange each of equal stretches is, one after the
        other; where the method does not tell, the window as a whole. `told_of_steps` reads their means.
        """
        if not self.local:
            return np.asarray(output, np.float64)[:, :1, None]
        (part,) = self.parts(output).values()
        return np.asarray(part, np.float64).reshape(len(part), part.shape[1], self.numbers)

    def strangeness(self, output: Array) -> Array:
        """[row]: how strange each is; where steps have the scores of their stretches, a window has that of its
        strangest step, which the same threshold fits."""
        if not self.local:
            return np.asarray(output)[:, 0]
        assert self.cut is not None
        return np.asarray(
            self.scores_of(of_stretches(self.stretched(output), self.cut.length, self.around)).max(axis=1)
        )

    def scores_of(self, means: Array) -> Array:
        """[step]: the scores, of the means [..., number] of what `stretched` gives of the windows over each."""
        return joined(means)

    def told_of_steps(self, means: Array) -> dict[str, Values]:
        """As `decode`, of the means [step, number] of what `stretched` gives of the windows over each step."""
        assert self.cut is not None
        columns = dict(zip(self.cut.columns, means.T, strict=True)) if self.numbers > 1 else {}
        return self._told(self.scores_of(means), columns)

    def agreement(self, before: Array, after: Array) -> Agreement:
        """How nearly two networks' outputs are the same, and their alarms."""
        one, other = self.strangeness(before), self.strangeness(after)
        edge = np.abs(one - self.threshold)
        return agreement(before, after, (one > self.threshold) == (other > self.threshold), edge)

    def _told(self, scores: Array, parts: Mapping[str, Array]) -> dict[str, Values]:
        scores = np.asarray(scores, np.float64)
        answer: dict[str, Values] = {"": scores > self.threshold, ".score": scores, ".rarity": self.rarity(scores)}
        if parts:
            names = np.array(list(parts), dtype=object)
            answer[".where"] = names[np.stack(list(parts.values()), axis=1).argmax(axis=1)]
            answer |= {_suffix(field): parts[field].astype(np.float64) for field in names[:SHOWN]}
        return answer

    def _located(
        self, parts: Mapping[str, Array], inputs: Mapping[str, Values] | None = None, root: Path | None = None
    ) -> dict[str, Values]:
        """By answer column, the strangest part of each field that has several."""
        return {
            ".where" if len(parts) == 1 else f"{_suffix(name)}.where": placed(
                self.scales[name], part, None if inputs is None else inputs[name], root
            )
            for name, part in list(parts.items())[:SHOWN]
            if name in self.scales
        }

    def state(self) -> dict[str, Json]:
        found = asdict(self)
        # What is not there is not written, so that files without it stay as they were.
        found["scales"] = {name: scale.state() for name, scale in self.scales.items()}
        return {name: part for name, part in found.items() if part or name not in ("scales", "local", "around")}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        places = tuple((str(field), tuple(int(size) for size in grid)) for field, grid in state["places"])
        if any(size < 1 or size > 4096 for _, grid in places for size in grid):
            raise ValueError("a place of no size")
        levels = tuple(float(level) for level in state["levels"])
        cut = None if state.get("cut") is None else Cut.restore(state["cut"])
        limit = None if state.get("limit") is None else float(state["limit"])
        scales = {str(name): Scale.restore(scale) for name, scale in state.get("scales", {}).items()}
        local, around = bool(state.get("local")), int(state.get("around", 0))
        found = cls(str(state["name"]), places, float(state["rate"]), levels, cut, limit, scales, local, around)
        found._check()
        return found

    def _check(self) -> None:
        """ValueError where scales, places and columns do not go together."""
        grids = dict(self.places)
        for name, scale in self.scales.items():
            axes = (1, 2) if scale.kind == "series" else (len(scale.size),)
            if len(grids.get(name, ())) not in axes or math.prod(grids[name]) > MOST_PLACES:
                raise ValueError("a scale without places")
        if not 0 <= self.around <= (0 if self.cut is None else self.cut.length):
            raise ValueError("more steps around one than a window has")
        if not self.local:
            return
        grid = next(iter(grids.values()), ())
        columns = () if self.cut is None else self.cut.columns
        fits = len(grid) in (1, 2) and max(grid) <= MOST_PLACES and grid[1:] in ((), (len(columns),))
        if len(grids) != 1 or not columns or not fits:
            raise ValueError("places that are none of a long series")


def _suffix(field: str) -> str:
    """The answer column of a field's part in the score."""
    return f".{field}" if field not in TAKEN else f".{field}.part"
