"""Anomalies put into an ordinary series, of several kinds: one true anomaly tells too little of who finds more.

Semi-synthetic: the series is real, what is strange in it is made here, from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lamina.model.runtime import Model
from lamina.model.steps import cut_of
from lamina.steps.unlabelled import simple

Array = np.ndarray[Any, Any]

EACH = 6
"""Series with an anomaly of each kind."""
LEAST, MOST = 10, 80
"""Steps of an anomaly."""
SPIKES, LONGEST_SPIKE = 12, 5
"""Series with a spike, and its steps at most."""
MARGIN = 200
"""Steps before and after it, at least."""


def _noise(part: Array, spread: float, random: np.random.Generator) -> Array:
    return part + random.normal(0, 0.3 * spread, len(part))


def _flat(part: Array, spread: float, random: np.random.Generator) -> Array:
    return np.full(len(part), part[0])


def _uneven(part: Array, spread: float, random: np.random.Generator) -> Array:
    """Time runs ahead and comes back."""
    steps = np.arange(len(part))
    ahead = np.sin(np.linspace(0, np.pi, len(part))) * random.uniform(5, 20)
    return np.asarray(np.interp(steps + ahead, steps, part))


def _scaled(part: Array, spread: float, random: np.random.Generator) -> Array:
    return np.asarray(part + np.hanning(len(part)) * (part - part.mean()) * random.choice([-0.6, 0.8]))


def _reversed(part: Array, spread: float, random: np.random.Generator) -> Array:
    return part[::-1]


def _bump(part: Array, spread: float, random: np.random.Generator) -> Array:
    return np.asarray(part + np.hanning(len(part)) * random.choice([-1, 1]) * 0.7 * spread)


KINDS: dict[str, Callable[[Array, float, np.random.Generator], Array]] = {
    "noise": _noise,
    "flat": _flat,
    "uneven": _uneven,
    "scaled": _scaled,
    "reversed": _reversed,
    "bump": _bump,
}


def cases(ordinary: Array, seed: int = 0) -> list[tuple[str, Array, Array]]:
    """(kind, the series with an anomaly, bool [step] where it is)."""
    random, found = np.random.default_rng(seed), []
    for kind in (kind for _ in range(EACH) for kind in KINDS):
        length = int(random.integers(LEAST, MOST))
        first = int(random.integers(MARGIN, len(ordinary) - MARGIN - length))
        series, strange = ordinary.copy(), np.zeros(len(ordinary), bool)
        strange[first : first + length] = True
        series[strange] = KINDS[kind](series[strange], float(ordinary.std()), random)
        found.append((kind, series, strange))
    return found


def spikes(ordinary: Array, seed: int = 0) -> list[tuple[str, Array, Array]]:
    """As `cases`: a few steps that are all too high or too low."""
    random, found = np.random.default_rng(seed), []
    for _ in range(SPIKES):
        length = int(random.integers(1, LONGEST_SPIKE + 1))
        first = int(random.integers(MARGIN, len(ordinary) - MARGIN - length))
        series, strange = ordinary.copy(), np.zeros(len(ordinary), bool)
        strange[first : first + length] = True
        series[strange] += random.choice([-1, 1]) * random.uniform(0.3, 1.0) * float(ordinary.std())
        found.append(("spike", series, strange))
    return found


def mean_aucs(
    model: Model, column: str, train: Array, injected: Sequence[tuple[str, Array, Array]]
) -> dict[str, float]:
    """Mean AUC over steps of the sealed model and of the simple tools, which see the same windows.

    Args:
        injected: as `cases` and `spikes` give them.
    """
    from sklearn.metrics import roc_auc_score

    (name,) = model.tasks
    cut = cut_of(model)
    assert cut is not None, "a model of windows"
    length = cut.length
    known = sliding_window_view(train, length)
    found: dict[str, list[float]] = {"lamina": [], "an isolation forest": [], "nearest neighbors": []}
    for _, series, strange in injected:
        windows = sliding_window_view(series, length)
        answers = model.predict([{column: value} for value in series.tolist()]).to_rows()
        scores = {
            "lamina": np.array([row[f"{name}.score"] for row in answers]),
            "an isolation forest": _of_steps(simple.isolation(known, windows, 0)[0], len(series)),
            "nearest neighbors": _of_steps(simple.nearest(known, windows)[0], len(series)),
        }
        for tool, values in scores.items():
            found[tool].append(float(roc_auc_score(strange, values)))
    return {tool: float(np.mean(values)) for tool, values in found.items()}


def _of_steps(scores: Array, steps: int) -> Array:
    """The mean of what the windows over each step have."""
    length = steps - len(scores) + 1
    ones = np.ones(length)
    return np.convolve(scores, ones) / np.convolve(np.ones(len(scores)), ones)
