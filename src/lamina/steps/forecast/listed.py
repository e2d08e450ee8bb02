"""What is kept of every test forecast and of every series: forecasts.csv and series.csv in the run folder."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lamina.evaluate.forecasts import inside
from lamina.evaluate.results import Exhibit
from lamina.evaluate.scores import digits
from lamina.files import replacing
from lamina.steps.forecast.prepare import Prepared, Windows
from lamina.tasks.forecast import Task, percent

Array = np.ndarray[Any, Any]
FORECASTS, SERIES = "forecasts.csv", "series.csv"
MOST_LINES = 500_000
"""Lines of forecasts that are written; of more, those from the latest origins."""
WORST = 10
"""Series that the report names."""


@dataclass(frozen=True)
class Told:
    """How one series of the test part was forecast.

    Attributes:
        forecasts: from how many origins.
        mase, mae: the mean absolute error, in units of the series' training part and in the target's.
        coverage: the share of the truth that the widest interval held.
        unit: of the scaled error.
    """

    name: str
    forecasts: int
    mase: float
    mae: float
    coverage: float
    unit: float


def by_series(prepared: Prepared, quantiles: Array, truth: Array) -> list[Told]:
    """Every series that was forecast, the worst first by scaled error; those of which nothing came, last.

    Args:
        quantiles: [window, step, quantile].
        truth: [window, step].
    """
    series, units = prepared.test.series, prepared.panel.units
    apart, held = np.abs(quantiles[:, :, quantiles.shape[2] // 2] - truth), inside(quantiles, truth, 0)
    known, found = np.isfinite(truth), []
    sums = [np.bincount(series, np.nansum(each, axis=1), len(units)) for each in (apart, held, known)]
    for number in np.unique(series).tolist():
        error, within, count = (float(each[number]) for each in sums)
        mae, share = (error / count, within / count) if count else (math.nan, math.nan)
        unit, forecasts = float(units[number]), int((series == number).sum())
        found.append(Told(prepared.panel.names[number], forecasts, mae / unit, mae, share, unit))
    return sorted(found, key=lambda one: -one.mase if math.isfinite(one.mase) else math.inf)


def exhibit(found: Sequence[Told], task: Task) -> Exhibit | None:
    """The series that are forecast worst; None where there is one only."""
    if len(found) < 2:
        return None
    share = percent(task.shares[0])
    return Exhibit(
        "The worst series",
        f"By scaled error, of {len(found):,}; all of them are in {SERIES}, and every forecast in {FORECASTS}, both in "
        "the run folder.",
        lines=tuple(
            f"{one.name}: scaled error {digits(one.mase)}, mean absolute error {digits(one.mae)}, "
            f"the {share}% interval held {one.coverage:.0%}"
            for one in found[:WORST]
        ),
    )


def write_series(path: Path, found: Iterable[Told], prepared: Prepared) -> None:
    """A line for each series, the worst first."""
    with replacing(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        group = prepared.panel.encoder.group or "series"
        writer.writerow([group, "forecasts", "mase", "mae", "coverage", "unit"])
        for one in found:
            figures = (f"{value:.6g}" for value in (one.mase, one.mae, one.coverage, one.unit))
            writer.writerow([one.name, one.forecasts, *figures])


def write_forecasts(path: Path, prepared: Prepared, task: Task, outputs: Array, truth: Array) -> int:
    """A line for each step of each test forecast: series, moment, steps ahead, what came, and what was forecast.

    Returns:
        How many of the forecasts are written.
    """
    panel = prepared.panel
    chosen = latest(prepared.test, panel.horizon)
    windows, encoder, answers = prepared.test.at(chosen), panel.encoder, task.decode(outputs[chosen])
    clock, names = (
        encoder.clock,
        [f"{task.name}.forecast" if not suffix else f"{task.name}{suffix}" for suffix in answers],
    )
    steps = np.unique(windows.origins[:, None] + np.arange(panel.horizon))
    moments = {
        step: clock.text(moment, encoder.grid.days)
        for step, moment in zip(steps.tolist(), encoder.grid.moments(steps).tolist(), strict=True)
    }
    group = [encoder.group] if encoder.group else []
    with replacing(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*group, encoder.time, "ahead", task.name, *names])
        for row, place in enumerate(chosen.tolist()):
            name = [panel.names[int(windows.series[row])]] if group else []
            origin, own = int(windows.origins[row]), [values[row] for values in answers.values()]
            for step in range(panel.horizon):
                came = truth[place, step]
                shown = f"{came:.8g}" if math.isfinite(came) else ""
                forecast = (f"{values[step]:.8g}" for values in own)
                writer.writerow([*name, moments[origin + step], step + 1, shown, *forecast])
    return len(chosen)


def latest(windows: Windows, horizon: int) -> Array:
    """int64, the windows that are written: all, or those from the latest origins; by series and origin."""
    kept = np.argsort(-windows.origins, kind="stable")[: max(1, MOST_LINES // horizon)]
    return np.asarray(kept[np.lexsort((windows.origins[kept], windows.series[kept]))])
