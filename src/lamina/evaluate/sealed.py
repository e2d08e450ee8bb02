"""Scores of a sealed model on labelled data; NumPy and ONNX Runtime only."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.tables import read_chunks
from lamina.errors import InputError, nearest
from lamina.evaluate.intervals import bootstrap_scores
from lamina.evaluate.scores import interval

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]


def score_model(model: Model, data: Any, seed: int = 0) -> dict[str, Any]:
    """Answer labelled data and score the answers.

    Args:
        data: a table or folder with the model's input columns and its targets.

    Returns:
        {"rows", "errors", "targets": {target: {score: {"value", "low", "high", ...}}}}; a row that cannot be
        answered, or whose target is missing or unknown to the model, counts as an error.

    Raises:
        InputError: a column is missing, or no row could be scored.
    """
    reader = read_chunks(data)
    missing = [name for name in (*model.columns, *model.tasks) if name not in reader.columns]
    if missing:
        raise InputError(
            f"The data has no column {missing[0]!r}.",
            where=reader.name,
            fix=f"Scoring needs the inputs and the targets. {nearest(missing[0], reader.columns)}",
        )
    outputs: dict[str, list[Array]] = {name: [] for name in model.tasks}
    targets: dict[str, list[Array]] = {name: [] for name in model.tasks}
    rows = bad = 0
    for chunk in reader:
        size = len(next(iter(chunk.values.values())))
        encoded, errors = model.encode(chunk.values, reader.root)
        answered = model.outputs(encoded)
        usable = np.ones(size, dtype=bool)
        usable[[*errors, *chunk.errors]] = False
        found = {name: task.encode(chunk.values[name]) for name, task in model.tasks.items()}
        for one in found.values():
            usable[list(one.errors)] = False
        for name in model.tasks:
            outputs[name].append(answered[name][usable])
            targets[name].append(found[name].array[usable])
        rows += size
        bad += int(size - usable.sum())
    if rows == bad:
        raise InputError(
            "No row could be scored.", where=reader.name, fix="Check that the targets hold values the model knows."
        )
    scored = {
        name: _scores(model, name, np.concatenate(outputs[name]), np.concatenate(targets[name]), seed)
        for name in model.tasks
    }
    return {"rows": rows, "errors": bad, "targets": scored}


def _scores(model: Model, name: str, output: Array, target: Array, seed: int) -> dict[str, Any]:
    task = model.tasks[name]
    drawn = bootstrap_scores({name: task.scorer(output, target)}, len(target), seed)[name]
    return {
        score: asdict(interval(score, value, drawn[score], len(target)))
        for score, value in task.scores(output, target).items()
    }
