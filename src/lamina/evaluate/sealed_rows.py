"""Scores of a sealed model whose every row has an answer and a target beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.pairs import Cutting
from lamina.data.schema import Chunk
from lamina.data.tables import RowChunk, read_chunks
from lamina.data.target_values import lacks
from lamina.errors import InputError
from lamina.evaluate.fairness import fairness, guessed
from lamina.evaluate.intervals import bootstrap_scores
from lamina.evaluate.results import Interval
from lamina.evaluate.scored import Scored, check_columns
from lamina.evaluate.scores import interval
from lamina.modalities._files import Unreadable, objects
from lamina.tasks import Mapped, Task, encode_target, outlined

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]
PARTS = 32
"""Of one picture at most, evenly drawn, where a model answers pictures in parts: their outputs are kept together."""


def score(model: Model, data: Any, seed: int, by: Sequence[str] = ()) -> Scored:
    """Each target's own scores, with intervals over rows; of a model that answers pictures in parts, as in training,
    of parts at the pictures' own size, with intervals over pictures.

    Args:
        by: columns by whose groups answers are compared; the model needs none of them to answer.

    Raises:
        InputError: no column can hold the targets, one is missing, or no row could be scored.
    """
    tasks = model.labelled
    reader = read_chunks(data, labelled=True, outlines=outlined(task.task for task in tasks.values()))
    check_columns((*model.columns, *tasks, *by), reader.columns, reader.name)
    outputs: dict[str, list[Array]] = {name: [] for name in tasks}
    targets: dict[str, list[Array]] = {name: [] for name in tasks}
    units: dict[str, list[Array]] = {name: [] for name in tasks}
    cutting = _cutting(model)
    beside: dict[str, dict[str, list[Array]]] = {
        name: {} if cutting else {column: [] for column in by} for name in tasks
    }
    rows = bad = 0
    for values, broken in (piece for chunk in reader for piece in _pieces(chunk, cutting, reader.root)):
        size = len(next(iter(values.values())))
        encoded, errors = model.encode(values, reader.root)
        answered = model.outputs(encoded)
        usable = np.ones(size, dtype=bool)
        usable[[*errors, *broken]] = False
        raw = {name: item.field.values(values) for name, item in model.inputs.items()}
        found = {name: encode_target(task, values[name], raw, reader.root) for name, task in tasks.items()}
        scored, wrong = np.zeros(size, dtype=bool), ~usable
        for name, one in found.items():
            # A row without one of several targets counts for the others; one that cannot be read is an error as well.
            told = usable.copy()
            told[list(one.errors)] = False
            outputs[name].append(answered[name][told])
            targets[name].append(one.array[told])
            units[name].append((np.full(size, rows) if cutting else rows + np.arange(size))[told])
            for column, parts in beside[name].items():
                parts.append(values[column][told])
            scored |= told
            failed = np.array(list(one.errors), dtype=np.int64)
            missing = lacks(values[name][failed], getattr(tasks[name], "decimal", None))
            wrong[failed[~missing]] = True
        missed = wrong | ~scored
        rows += 1 if cutting else size
        bad += int(missed.any() if cutting else missed.sum())
    for name in tasks:
        if not sum(map(len, targets[name])):
            raise InputError(
                "No row could be scored." if rows == bad else f"No row has the target {name!r}.",
                where=reader.name,
                fix="Check that the targets hold values the model knows.",
            )
    scores, fair = {}, {}
    for name, task in tasks.items():
        output, target = np.concatenate(outputs[name]), np.concatenate(targets[name])
        scores[name] = _scores(task, output, target, np.concatenate(units[name]), seed)
        columns = {column: np.concatenate(parts) for column, parts in beside[name].items()}
        fair[name] = fairness(
            task, output, target, {column: (guessed(column, raw), raw) for column, raw in columns.items()}, seed
        )
    return Scored(rows, bad, scores, fairness={name: found for name, found in fair.items() if found})


def _cutting(model: Model) -> Cutting | None:
    """How parts are cut out of pictures and their truth, for a model that answers pictures in parts; else None."""
    for name, task in model.labelled.items():
        if isinstance(task, Mapped) and task.unscaled:
            item: Any = model.inputs[task.source]
            channels = 4 if item.encoder.transparent == "hole" else item.encoder.channels
            times = task.layout.shape[1] // task.frame.height
            others = 0 if task.task == "segment" else task.layout.shape[0]
            return Cutting(item.field.columns[0], name, *task.window, channels, others, times, parts=PARTS)
    return None


def _pieces(chunk: RowChunk, cutting: Cutting | None, root: Path | None) -> Iterator[tuple[Chunk, set[int]]]:
    """(Values, positions that could not be read): of a chunk, or of the parts of one picture after the other."""
    if cutting is None:
        yield chunk.values, set(chunk.errors)
        return
    for row in range(len(chunk)):
        given = [chunk.values[name][row] for name in cutting.columns]
        try:
            pairs = cutting.pairs(given, 0, range(cutting.needed(given[0], root)), root)
        except Unreadable:
            yield {name: values[row : row + 1] for name, values in chunk.values.items()}, {0}
            continue
        yield {name: objects(part) for name, part in zip(cutting.makes, zip(*pairs, strict=True), strict=True)}, set()


def _scores(task: Task, output: Array, target: Array, units: Array, seed: int) -> dict[str, Interval]:
    drawn = bootstrap_scores({"": task.scorer(output, target)}, len(target), seed, units=units)[""]
    return {
        score: interval(score, value, drawn[score], len(target)) for score, value in task.scores(output, target).items()
    }
