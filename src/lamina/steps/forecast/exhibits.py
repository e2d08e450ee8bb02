"""What the report shows of forecasts: the history, the forecast with its interval and the truth; the error by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.evaluate.forecasts import by_step
from lamina.evaluate.results import Exhibit
from lamina.steps.forecast.prepare import Prepared
from lamina.tasks.forecast import Task, percent

Array = np.ndarray[Any, Any]
SHOWN = 6
"""Forecasts that are drawn."""
LONGEST = 240
"""Steps of the history that are drawn at most."""


def exhibits(prepared: Prepared, task: Task, quantiles: Array, truth: Array) -> tuple[Exhibit, ...]:
    """Some forecasts of the test part, and how the error grows with the steps ahead."""
    panel, windows = prepared.panel, prepared.test
    share = percent(task.shares[0])
    found = [
        _forecast(prepared, row, quantiles[row], truth[row], share) for row in chosen(windows.series, windows.origins)
    ]
    if panel.horizon > 1:
        errors = by_step(quantiles, truth)
        found.append(Exhibit(
            "Error by steps ahead", f"Mean absolute error of {task.name!r}, over all forecasts of the test part.",
            points=tuple(float(value) for value in errors),
        ))  # fmt: skip
    return tuple(found)


def chosen(series: Array, origins: Array) -> list[int]:
    """Rows of some series and origins: of few series several origins, of many series one each."""
    order = np.lexsort((origins, series))
    places = np.unique(np.linspace(0, len(order) - 1, min(len(order), SHOWN)).astype(np.int64))
    return [int(row) for row in order[places]]


def _forecast(prepared: Prepared, row: int, quantiles: Array, truth: Array, share: str) -> Exhibit:
    panel = prepared.panel
    series, origin = prepared.test.series[row : row + 1], prepared.test.origins[row : row + 1]
    back = min(max(panel.encoder.length, panel.horizon), LONGEST)
    history = panel.tracks.values(series, origin, np.arange(-back, 0))[0]
    grid, clock = panel.encoder.grid, panel.encoder.clock
    begin = clock.text(int(grid.moments(origin)[0]), grid.days)
    name, middle = panel.names[int(series[0])], quantiles[:, quantiles.shape[1] // 2]
    return Exhibit(
        f"{name}, from {begin}" if name else f"From {begin}",
        f"What was, what was forecast with the interval that is to hold {share}%, and what came.",
        fan={
            "history": history.tolist(), "truth": truth.tolist(), "middle": middle.tolist(),
            "low": quantiles[:, 0].tolist(), "high": quantiles[:, -1].tolist(),
        },
    )  # fmt: skip
