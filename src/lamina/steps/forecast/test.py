"""Step 5: forecast the test part from one origin after the other, beside simpler tools; show, seal, prove, report."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from lamina.data.findings import counted
from lamina.data.schema import Chunk, Json
from lamina.evaluate.forecasts import COVERED, ERRORS, MAE, MASE, clusters, covered, judged
from lamina.evaluate.intervals import percentile, replicates, resampled
from lamina.evaluate.judged import compared
from lamina.evaluate.results import Interval, Results, Seal, Slice, TargetResult
from lamina.evaluate.verdict import FEWEST, verdict
from lamina.model import golden
from lamina.plan import Plan
from lamina.steps.apart import Documents, network_document, rows_document, seal
from lamina.steps.finish import Course, versions_of
from lamina.steps.forecast.exhibits import exhibits
from lamina.steps.forecast.learner import Learner
from lamina.steps.forecast.listed import FORECASTS, SERIES, by_series, exhibit, write_forecasts, write_series
from lamina.steps.forecast.prepare import Prepared, Windows, raw_rows, task_of
from lamina.tasks.forecast import Task

Array = np.ndarray[Any, Any]
PROVEN = 1_000
"""Test windows that the sealed model must answer as the network does."""
COUNTED = {"series": ("series", "series"), "origins": ("origin", "origins")}


def test(course: Course, prepared: Prepared, learner: Learner) -> Results:
    """Score, compare, seal, prove, show, report."""
    plan, run, narrator = course.plan, course.run, course.narrator
    narrator.step("Test")
    task = calibrated(plan, prepared, learner)
    outputs, truth = learner.outputs(prepared.test), truth_of(prepared, prepared.test)
    quantiles = task.quantiles(outputs)
    found = assessed(prepared, task, outputs, course.seconds, plan.seed)
    course.tell(found)
    documents = Documents(data_document(plan, prepared), network_document(learner.network), versions_of(plan, run))
    proof = _sealed(course, prepared, learner, task, found, outputs, documents)
    course.tell_seal(proof, "test windows answered again from lists of raw values")
    told = by_series(prepared, quantiles, truth)
    write_series(run.folder / SERIES, told, prepared)
    kept = write_forecasts(run.folder / FORECASTS, prepared, task, outputs, truth)
    narrator.say(f"{FORECASTS}: {kept:,} of {len(outputs):,} test forecasts; {SERIES}: {len(told):,} series")
    worst = exhibit(told, task)
    return course.finish(
        (found,), proof, data=documents.data, network=documents.network, versions=documents.versions,
        audit=prepared.panel.findings,
        exhibits=(*exhibits(prepared, task, quantiles, truth), *([worst] if worst else [])),
    )  # fmt: skip


def calibrated(plan: Plan, prepared: Prepared, learner: Learner) -> Task:
    """The task with intervals that held the wanted shares of the validation part, and the units of scaled errors."""
    windows, panel = prepared.validation, prepared.panel
    task = replace(task_of(plan), units=dict(zip(panel.names, panel.units.tolist(), strict=True)))
    return task.calibrated(learner.outputs(windows), truth_of(prepared, windows), windows.apart(panel.horizon))


def truth_of(prepared: Prepared, windows: Windows) -> Array:
    """float64 [window, step], NaN where it is not known."""
    return prepared.panel.tracks.values(windows.series, windows.origins, np.arange(prepared.panel.horizon))


def assessed(prepared: Prepared, task: Task, outputs: Array, seconds: float, seed: int) -> TargetResult:
    """Scores with intervals over series or origins, beside the simpler forecasts."""
    panel, windows = prepared.panel, prepared.test
    truth, units = truth_of(prepared, windows), panel.units[windows.series]
    cluster, drawn = clusters(windows.series, windows.origins)
    count = int(cluster.max()) + 1
    primary = MAE if len(panel.names) == 1 else MASE
    quantiles = task.quantiles(outputs)
    judge = partial(judged, truth=truth, units=units, cluster=cluster, primary=primary, levels=task.levels)
    own = judge("", quantiles, seconds=seconds)
    others = []
    for one in prepared.simpler:
        begin = time.monotonic()
        theirs = one.quantiles(windows.series, windows.origins, panel.units)
        spent = one.seconds + time.monotonic() - begin
        others.append(judge(one.name, theirs, seconds=spent, note=one.note))
    scores, baselines = compared(own, others, count, seed, lower=ERRORS)
    kind, text = verdict(primary, scores[primary], seconds, baselines, count, COUNTED[drawn])
    text += (
        f" Forecast were {counted(panel.horizon, 'step')} from {counted(len(np.unique(windows.origins)), 'origin')} of "
        f"{len(np.unique(windows.series)):,} series, {counted(len(windows), 'forecast')} in all; "
        + (f"intervals are over {drawn}." if count > 1 else f"of one {COUNTED[drawn][0]} there is no interval.")
    )
    known = np.isfinite(truth)
    coverage = {
        "wanted": task.shares[0], "measured": asdict(scores[COVERED]),
        "mean_size": float((quantiles[:, :, -1] - quantiles[:, :, 0])[known].mean()),
    }  # fmt: skip
    levels = [
        {"level": share, "coverage": scores[covered(share, not pair)].value} for pair, share in enumerate(task.shares)
    ]
    middle = quantiles[:, :, quantiles.shape[2] // 2]
    shown = np.unique(np.linspace(0, int(known.sum()) - 1, min(int(known.sum()), 1000)).astype(np.int64))
    return TargetResult(
        target=task.name, task="forecast", scores=scores, verdict=text, verdict_kind=kind, baselines=baselines,
        coverage=coverage, calibration={"points": levels} if len(levels) > 1 else None,
        scatter={"expected": truth[known][shown].tolist(), "answered": middle[known][shown].tolist()},
        slices=slices(prepared, quantiles, truth, units if primary == MASE else np.ones_like(units), cluster, seed),
    )  # fmt: skip


def slices(
    prepared: Prepared, quantiles: Array, truth: Array, units: Array, cluster: Array, seed: int
) -> tuple[Slice, ...]:
    """The first score nearer to and further from the origin: thirds of the horizon."""
    each = np.abs(quantiles[:, :, quantiles.shape[2] // 2] - truth) / units[:, None]
    parts = [part for part in np.array_split(np.arange(truth.shape[1]), 3) if len(part)]
    if len(parts) < 2:
        return ()
    count = int(cluster.max()) + 1
    weights = np.concatenate(list(resampled(count, replicates(count), seed)))
    found = []
    for part in parts:
        rest = np.setdiff1d(np.arange(truth.shape[1]), part)
        (value, drawn), (other, other_drawn) = (_mean(each[:, steps], cluster, weights) for steps in (part, rest))
        low, high = percentile(value, drawn) if count > 1 else (math.nan, math.nan)
        gap_low, gap_high = percentile(value - other, drawn - other_drawn, 1 - 0.05 / len(parts))
        name = f"{part[0] + 1} to {part[-1] + 1}" if len(part) > 1 else f"{part[0] + 1}"
        rows = int(np.isfinite(truth[:, part]).sum())
        notable = count >= FEWEST and bool(gap_low > 0 or gap_high < 0)
        found.append(Slice("steps ahead", name, rows, Interval(value, low, high, False), value - other, notable))
    return tuple(found)


def _mean(values: Array, cluster: Array, weights: Array) -> tuple[float, Array]:
    """(The mean of what is known, its replicates)."""
    known = np.isfinite(values)
    sums = np.bincount(cluster, weights=np.where(known, values, 0).sum(axis=1))
    counts = np.bincount(cluster, weights=known.sum(axis=1))
    if not counts.sum():
        return math.nan, np.full(len(weights), math.nan)
    return float(sums.sum() / counts.sum()), np.asarray(weights @ sums / np.maximum(weights @ counts, 1e-12))


def data_document(plan: Plan, prepared: Prepared) -> dict[str, Json]:
    """The `data` part of the results."""
    panel = prepared.panel
    ways = {
        "time": "time: the latest part tests, the part before it validates",
        "given": "the test data that was given continues the series; the part before it validates",
    }
    return {
        **rows_document(plan, prepared.table, panel.long.dropped),
        **dict(zip(("train", "validation", "test"), panel.counts, strict=True)),
        "series": len(panel.names), "season": panel.season,
        "spacing": panel.encoder.grid.describe(panel.encoder.clock.dates),
        "split": ways[plan.data.split],
    }  # fmt: skip


def _sealed(
    course: Course, prepared: Prepared, learner: Learner, task: Task, found: TargetResult, outputs: Array,
    documents: Documents,
) -> Seal:  # fmt: skip
    """Seal, and prove on raw windows."""
    count = len(prepared.test)
    rows = np.unique(np.linspace(0, count - 1, min(PROVEN, count)).astype(np.int64))
    kept = prepared.test.at(rows[:: max(1, len(rows) // golden.USUAL)][: golden.USUAL])
    with learner.method.evaluating() as module:
        return seal(
            course, module, prepared.fields, prepared.encoders, task, found, documents,
            as_texts(raw_rows(prepared, kept)), _chunks(prepared, rows), outputs[rows],
        )  # fmt: skip


def as_texts(rows: Mapping[str, Array]) -> dict[str, Array]:
    """Raw rows whose tables are JSON texts: these can be kept in a file."""
    from lamina.model.forecast import table_text

    found = dict(rows)
    for name, values in rows.items():
        if len(values) and isinstance(values[0], Mapping):
            found[name] = np.array([table_text(value) for value in values], object)
    return found


def _chunks(prepared: Prepared, rows: Array, size: int = 64) -> Iterator[Chunk]:
    return (raw_rows(prepared, prepared.test.at(rows[start : start + size])) for start in range(0, len(rows), size))
