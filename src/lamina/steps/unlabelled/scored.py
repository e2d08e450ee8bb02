"""What gets a score in the task "anomaly": a row, or of one long series a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lamina.data.long_series import WindowTable
from lamina.data.windows import Cut, covered
from lamina.evaluate.judge import along, stretches
from lamina.evaluate.results import Exhibit, Interval
from lamina.steps.prepare import Prepared
from lamina.steps.unlabelled.labels import Labels, usual
from lamina.steps.unlabelled.trained import plain_figure
from lamina.tasks import anomaly

Array = np.ndarray[Any, Any]

POINTS = 600
"""Points of the curve over time."""
STRETCHES = 20
"""Alarms over time that are listed."""


class Scored(Protocol):
    """How the network's scores of table rows become those that are judged."""

    @property
    def noun(self) -> str:
        """What it is called."""
        ...

    @property
    def block(self) -> int:
        """How many in a row are drawn together where intervals are made."""
        ...

    @property
    def cut(self) -> Cut | None:
        """How a long series is cut; None where rows are rows."""
        ...

    def of(self, rows: Array, scores: Array) -> Array:
        """The scores that are judged, of scores [row] of some rows of the table."""
        ...

    def read(self, task: anomaly.Task, rows: Array, outputs: Array) -> Array:
        """[scored, number]: what the scores that are judged are made of (`Task.scores_of`), of the network's outputs
        [row, width] for some rows of the table."""
        ...

    def labels(self, rows: Array) -> Array:
        """The label of each, object; None where there is none."""
        ...

    def ordinary(self, train: Array) -> str:
        """The label of what is ordinary."""
        ...

    def figures(self, alarms: Array, strange: Array, scores: Array) -> dict[str, Interval]:
        """More that can be said where labels tell."""
        ...

    def exhibits(self, task: anomaly.Task, rows: Array, read: Array, strange: Array | None) -> Sequence[Exhibit]:
        """All scores, as a curve, of what `read` gives."""
        ...


@dataclass(frozen=True)
class Rows:
    """Every row by itself."""

    known: Labels | None
    noun: str = "row"
    block: int = 1
    cut: Cut | None = None

    def of(self, rows: Array, scores: Array) -> Array:
        return scores

    def read(self, task: anomaly.Task, rows: Array, outputs: Array) -> Array:
        return np.asarray(outputs[:, :1])

    def labels(self, rows: Array) -> Array:
        assert self.known is not None
        return self.known.values[rows]

    def ordinary(self, train: Array) -> str:
        assert self.known is not None
        return usual(self.known, train)

    def figures(self, alarms: Array, strange: Array, scores: Array) -> dict[str, Interval]:
        return {}

    def exhibits(self, task: anomaly.Task, rows: Array, read: Array, strange: Array | None) -> tuple[Exhibit, ...]:
        scores = task.scores_of(read)
        text = f"Every test row's score, the highest first; an alarm is raised from {task.threshold:.4g} on."
        points = tuple(map(float, np.sort(scores)[::-1]))
        return (Exhibit("Scores of the test rows", text, (), points, level=task.threshold),)


@dataclass(frozen=True)
class Steps:
    """The steps of one long series: each has the mean of what the windows over it say of the stretch it lies in.

    Nothing is adjusted afterwards: to count a whole stretch as found because of one step in it ("point adjustment")
    makes random scores look excellent (Kim et al. 2022, "Towards a rigorous evaluation of time-series anomaly
    detection").
    """

    table: WindowTable
    noun: str = "step"

    @property
    def cut(self) -> Cut:
        return self.table.cut

    @property
    def block(self) -> int:
        return self.cut.length

    def _steps(self, rows: Array) -> Array:
        return covered(self.table.starts[rows], self.cut.length, np.zeros((len(rows), 1, 1)))[0]

    def of(self, rows: Array, scores: Array) -> Array:
        return covered(self.table.starts[rows], self.cut.length, scores[:, None, None])[1][:, 0]

    def read(self, task: anomaly.Task, rows: Array, outputs: Array) -> Array:
        return covered(self.table.starts[rows], self.cut.length, task.stretched(outputs), task.around)[1]

    def labels(self, rows: Array) -> Array:
        return self.table.labels(self._steps(rows))

    def ordinary(self, train: Array) -> str:
        return self.table.ordinary

    def figures(self, alarms: Array, strange: Array, scores: Array) -> dict[str, Interval]:
        """What is found of the stretches of strange steps, a window being near."""
        return {name: plain_figure(value) for name, value in along(alarms, strange, scores, self.cut.length).items()}

    def exhibits(self, task: anomaly.Task, rows: Array, read: Array, strange: Array | None) -> tuple[Exhibit, ...]:
        steps, scores = self._steps(rows), task.scores_of(read)
        every = -(-len(scores) // POINTS)
        points = tuple(float(scores[first : first + every].max()) for first in range(0, len(scores), every))
        alarmed = sorted(stretches(scores > task.threshold), key=lambda part: -scores[part[0] : part[1] + 1].max())
        lines = [
            f"alarm: {self._told(steps, part)}, score {scores[part[0] : part[1] + 1].max():.3g}"
            + (f", in {self._column(read[part[0] : part[1] + 1])}" if read.shape[1] > 1 else "")
            for part in alarmed
        ]
        known = stretches(strange) if strange is not None else []
        lines = lines[:STRETCHES] + [f"strange by the labels: {self._told(steps, part)}" for part in known[:STRETCHES]]
        text = (
            f"The test part's scores over time; an alarm is raised from {task.threshold:.4g} on, the line across."
            + (f" Each point is the highest of {every} steps." if every > 1 else "")
        )
        return (Exhibit("Scores over time", text, (), points, tuple(lines), level=task.threshold, every=every),)

    def _column(self, read: Array) -> str:
        """The column that is strangest in some steps."""
        return self.cut.columns[int(read.max(axis=0).argmax())]

    def _told(self, steps: Array, part: tuple[int, int]) -> str:
        first, last = (self.table.base.place(int(steps[place])) for place in part)
        return first if first == last else f"{first} to {last.rpartition(', ')[2]}"


def scored(prepared: Prepared, labels: Labels | None) -> Scored:
    """What gets a score, of this data."""
    return Steps(prepared.table) if isinstance(prepared.table, WindowTable) else Rows(labels)
