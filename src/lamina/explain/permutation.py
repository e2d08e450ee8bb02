"""Which inputs matter: how much worse the score gets when one field is shuffled (Breiman 2001; Fisher et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.schema import Chunk, Values
from lamina.evaluate.results import Interval
from lamina.model.runtime import Model
from lamina.tasks import Score, Task

Array = np.ndarray[Any, Any]

ROWS = 1000
REPEATS = 5


def importance(
    model: Model, chunk: Chunk, repeats: int = REPEATS, seed: int = 0, root: Path | None = None
) -> dict[str, dict[str, Interval]]:
    """{target: {field: drop of its primary score}}, the largest first; positive: the field helps.

    Args:
        chunk: raw test rows by column, with the targets that are to be explained; at most `ROWS` are used.
        repeats: how often each field is shuffled; the interval spans these.
        seed: of the shuffling.

    Fields that say the same can each look unimportant: shuffling one leaves the other.
    """
    rows = _some(chunk, seed)
    arrays, errors = model.encode(rows, root)
    targets, usable = _targets(model, rows, errors, root)
    arrays = {name: array[usable] for name, array in arrays.items()}
    targets = {name: target[usable] for name, target in targets.items()}
    if not len(usable) or not targets:
        return {name: {} for name in targets}
    # A field with few bytes a row can be shuffled whole; outputs() cuts the rest into batches that fit.
    before = model.outputs(arrays)
    drops: dict[str, dict[str, list[float]]] = {name: {field: [] for field in model.inputs} for name in targets}
    scores = {name: _primary(model.labelled[name], before[name], targets[name]) for name in targets}
    random = np.random.default_rng(seed)
    for _ in range(repeats):
        for field, array in arrays.items():
            after = model.outputs({**arrays, field: array[random.permutation(len(usable))]})
            for name in targets:
                score = _primary(model.labelled[name], after[name], targets[name])
                sign = 1.0 if score.higher_is_better else -1.0
                drops[name][field].append(sign * (scores[name].value - score.value))
    return {name: _ordered(drops[name], scores[name]) for name in targets}


def _some(chunk: Chunk, seed: int) -> dict[str, Values]:
    rows = len(next(iter(chunk.values())))
    if rows <= ROWS:
        return dict(chunk)
    chosen = np.sort(np.random.default_rng(seed).choice(rows, ROWS, replace=False))
    return {name: values[chosen] for name, values in chunk.items()}


def _targets(model: Model, rows: Chunk, errors: Mapping[int, str], root: Path | None) -> tuple[dict[str, Array], Array]:
    """Encoded targets, and the rows that have inputs and all of them."""
    length = len(next(iter(rows.values())))
    bad = set(errors)
    found = {}
    for name, task in model.labelled.items():
        if name in rows:
            encoded = task.encode(rows[name], root)
            found[name] = encoded.array
            bad |= set(encoded.errors)
    return found, np.array([row for row in range(length) if row not in bad], dtype=np.int64)


def _primary(task: Task, output: Array, target: Array) -> Score:
    return next(iter(task.scores(output, target).values()))


def _ordered(drops: Mapping[str, list[float]], score: Score) -> dict[str, Interval]:
    found = {
        field: Interval(float(np.mean(values)), float(np.min(values)), float(np.max(values)), True, score.unit)
        for field, values in drops.items()
    }
    return dict(sorted(found.items(), key=lambda item: -item[1].value))
