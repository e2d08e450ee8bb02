"""Scores of a sealed model whose every row has an answer and a target beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.tables import read_chunks
from lamina.data.target_values import lacks
from lamina.errors import InputError
from lamina.evaluate.intervals import bootstrap_scores
from lamina.evaluate.results import Interval
from lamina.evaluate.scored import Scored, check_columns
from lamina.evaluate.scores import interval
from lamina.tasks import Task, encode_target

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]


def score(model: Model, data: Any, seed: int) -> Scored:
    """Each target's own scores, with intervals over rows.

    Raises:
        InputError: no column can hold the targets, one is missing, or no row could be scored.
    """
    tasks, reader = model.labelled, read_chunks(data, labelled=True)
    check_columns((*model.columns, *tasks), reader.columns, reader.name)
    outputs: dict[str, list[Array]] = {name: [] for name in tasks}
    targets: dict[str, list[Array]] = {name: [] for name in tasks}
    rows = bad = 0
    for chunk in reader:
        size = len(next(iter(chunk.values.values())))
        encoded, errors = model.encode(chunk.values, reader.root)
        answered = model.outputs(encoded)
        usable = np.ones(size, dtype=bool)
        usable[[*errors, *chunk.errors]] = False
        raw = {name: item.field.values(chunk.values) for name, item in model.inputs.items()}
        found = {name: encode_target(task, chunk.values[name], raw, reader.root) for name, task in tasks.items()}
        scored, wrong = np.zeros(size, dtype=bool), ~usable
        for name, one in found.items():
            # A row without one of several targets counts for the others; one that cannot be read is an error as well.
            told = usable.copy()
            told[list(one.errors)] = False
            outputs[name].append(answered[name][told])
            targets[name].append(one.array[told])
            scored |= told
            failed = np.array(list(one.errors), dtype=np.int64)
            missing = lacks(chunk.values[name][failed], getattr(tasks[name], "decimal", None))
            wrong[failed[~missing]] = True
        rows += size
        bad += int((wrong | ~scored).sum())
    for name in tasks:
        if not sum(map(len, targets[name])):
            raise InputError(
                "No row could be scored." if rows == bad else f"No row has the target {name!r}.",
                where=reader.name,
                fix="Check that the targets hold values the model knows.",
            )
    scores = {
        name: _scores(tasks[name], np.concatenate(outputs[name]), np.concatenate(targets[name]), seed) for name in tasks
    }
    return Scored(rows, bad, scores)


def _scores(task: Task, output: Array, target: Array, seed: int) -> dict[str, Interval]:
    drawn = bootstrap_scores({"": task.scorer(output, target)}, len(target), seed)[""]
    return {
        score: interval(score, value, drawn[score], len(target)) for score, value in task.scores(output, target).items()
    }
