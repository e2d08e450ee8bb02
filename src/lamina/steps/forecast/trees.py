"""Gradient-boosted trees on lags: one model for all steps and series, which is told how far ahead a step is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.baselines.trees import boost, predicted
from lamina.modalities._grid import WAVES
from lamina.modalities._tracks import CENTER, PLAIN, SPREAD
from lamina.steps.forecast.series import Panel

Array = np.ndarray[Any, Any]
MOST_ROWS = 150_000
"""Pairs of a window and a step that are learned from."""
RECENT = 8
"""Lags right before the origin."""
RECENT_OTHERS = 3
"""Steps right before the origin that other columns are looked up at."""
CYCLES = 3
"""Seasons back that a step's own place is looked up, with its neighbors in the last one."""
CHUNK = 256


def fit(
    panel: Panel,
    training: tuple[Array, Array],
    validation: tuple[Array, Array],
    about: Array,
    *,
    seed: int,
    seconds: float,
) -> tuple[Callable[[Array, Array], Array], str]:
    """(Forecasts of windows, a note): LightGBM with the absolute error as its loss, stopped early on validation.

    Args:
        about: [series, feature], what describes each series.
    """
    train, wanted, note = _sample(panel, training, about, seed, MOST_ROWS)
    checked, truth, _ = _sample(panel, validation, about, seed, MOST_ROWS // 3)
    settings: dict[str, Any] = {
        "objective": "regression_l1", "metric": "l1", "learning_rate": 0.05, "num_leaves": 63, "min_data_in_leaf": 20,
        "feature_fraction": 0.8, "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 1.0, "seed": seed,
        "num_threads": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1,
    }  # fmt: skip
    booster, late = boost(settings, (train, wanted), (checked, truth), [], seconds, time.monotonic, 50)
    notes = [note, "boosting was stopped to save time" if late else ""]

    def points(series: Array, origins: Array) -> Array:
        parts = []
        for start in range(0, len(series), CHUNK):
            own = series[start : start + CHUNK], origins[start : start + CHUNK]
            features, center, spread = _features(panel, *own, about)
            found = predicted(booster, features.reshape(-1, features.shape[2])).reshape(features.shape[:2])
            parts.append(center + spread * found)
        return np.concatenate(parts) if parts else np.zeros((0, panel.horizon))

    return points, "; ".join(filter(None, notes))


def _sample(panel: Panel, windows: tuple[Array, Array], about: Array, seed: int, most: int) -> tuple[Array, Array, str]:
    """([row, feature], [row] targets in units of their windows, a note), of pairs drawn of windows and steps."""
    generator = np.random.default_rng(seed)
    each = min(panel.horizon, max(1, most // max(len(windows[0]), 1)))
    count = min(len(windows[0]), max(1, most // each))
    chosen = np.sort(generator.choice(len(windows[0]), count, replace=False))
    rows, targets = [], []
    for start in range(0, count, CHUNK):
        part = chosen[start : start + CHUNK]
        series, origins = windows[0][part], windows[1][part]
        features, center, spread = _features(panel, series, origins, about)
        truth = (panel.tracks.values(series, origins, np.arange(panel.horizon)) - center) / spread
        steps = np.argsort(generator.random(truth.shape), axis=1)[:, :each]
        rows.append(np.take_along_axis(features, steps[:, :, None], axis=1).reshape(-1, features.shape[2]))
        targets.append(np.take_along_axis(truth, steps, axis=1).reshape(-1))
    found, wanted = np.concatenate(rows), np.concatenate(targets)
    known = np.isfinite(wanted)
    pairs = len(windows[0]) * panel.horizon
    note = f"fitted on {int(known.sum()):,} of {pairs:,} pairs of a window and a step" if pairs > most else ""
    return found[known], wanted[known], note


def _features(panel: Panel, series: Array, origins: Array, about: Array) -> tuple[Array, Array, Array]:
    """(float32 [window, step, feature], center and spread [window, 1]); a value of the target that is not there is NaN.

    All that a network is told is in them, most of the window in short: of the other columns' past their last steps and
    their means.
    """
    encoder, season, horizon = panel.encoder, panel.season, panel.horizon
    windows = panel.tracks.windows(series, origins)
    center, spread = (windows[:, 0, place].astype(np.float64)[:, None] for place in (CENTER, SPREAD))
    back = max(encoder.length, CYCLES * season + 1)
    lags = (panel.tracks.values(series, origins, np.arange(-back, 0)) - center) / spread
    recent = lags[:, -RECENT:]
    shares = [lags[:, -size:] for size in (max(season, 4), encoder.length)]
    means = np.stack([np.where(np.isfinite(part), part, 0).mean(axis=1) for part in shares], axis=1)
    others = windows[:, : encoder.length, PLAIN + len(encoder.parts) * WAVES :]
    known = others[:, -RECENT_OTHERS:].reshape(len(series), -1)
    common = np.concatenate(
        [recent, means, np.log(spread), center / spread, known, others.mean(axis=1), about[series]], axis=1
    )
    steps = np.arange(horizon)
    own = back + steps % season - season * np.arange(1, CYCLES + 1)[:, None]
    around = back + np.stack([steps % season - season - 1, (steps % season - season + 1)])
    seasonal = np.stack(
        [np.where(places < back, lags[:, np.clip(places, 0, back - 1)], np.nan) for places in [*own, *around]], axis=2
    )
    ahead = windows[:, encoder.length :, list(encoder.feature.details["future"])]
    parts = [
        np.broadcast_to(common[:, None, :], (len(series), horizon, common.shape[1])), seasonal, ahead,
        np.broadcast_to(steps[None, :, None], (len(series), horizon, 1)),
        np.broadcast_to(series[:, None, None], (len(series), horizon, 1)),
    ]  # fmt: skip
    return np.concatenate(parts, axis=2).astype(np.float32), center, spread
