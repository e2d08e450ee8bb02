"""Scores of a sealed recommender: the last item of each history is hidden and foretold, or one that is given beside."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.tables import read_chunks
from lamina.errors import InputError, nearest
from lamina.evaluate.judged import compared
from lamina.evaluate.recommended import COVERAGE, coverage, judged, listed, ranks
from lamina.evaluate.results import Interval
from lamina.evaluate.scored import Scored
from lamina.modalities._canonical import canonical, object_array
from lamina.modalities.items import items_of
from lamina.tasks.recommend import HIDDEN, Task

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]
HISTORIES = "histories"
MOST_NUMBERS = 1 << 24
"""Scores of items that are held at a time."""


def score(model: Model, data: Any, seed: int, target: str = "", normal: str = "") -> Scored:
    """Recall and NDCG of the first ten, by the functions that the fifth step of training scores with.

    Every history counts alike; an item that the model does not know counts as missed. Where a model recommends nothing
    twice, a target that is in the history already can be nobody's answer: it is left out, as in training.

    Args:
        data: a table with a column of histories, as `lamina predict` reads it, and what describes their users.
        target: the column of what was taken next; by default the last item of each history is hidden, and foretold
            from those before. A row without either counts as an error.
        normal: of detectors only.

    Raises:
        InputError: a column is missing, no history has a next item, or `normal` was given.
    """
    if normal:
        raise InputError("Which label is ordinary is asked of detectors of anomalies.", fix="Leave --normal out.")
    ((name, task),) = model.tasks.items()
    assert isinstance(task, Task)
    history = next(item.field.columns[0] for item in model.inputs.values() if item.field.modality == "items")
    # Answers are as wide as the catalogue, of which there may be a million items.
    reader = read_chunks(data, max(1, min(256, MOST_NUMBERS // task.width)))
    _check(reader.name, reader.columns, (*model.columns, *((target,) if target else ())), history)
    codes = {item: place for place, item in enumerate(task.items, 1)}
    places, lists, rows, unknown = list[Array](), list[Array](), 0, 0
    for chunk in reader:
        histories = [items_of(value) or () for value in chunk.values[history]]
        taken = canonical(chunk.values[target]) if target else [items[-1] if items else None for items in histories]
        kept = [row for row, item in enumerate(taken) if item is not None and row not in chunk.errors]
        shown = [list(histories[row] if target else histories[row][:-1]) for row in kept]
        values = {column: chunk.values[column][kept] for column in model.columns} | {history: object_array(shown)}
        encoded, errors = model.encode(values, reader.root)
        scores = model.outputs(encoded)[name]
        wanted = np.array([codes.get(str(taken[row]), 0) for row in kept], np.int64)
        own = np.take_along_axis(scores, np.maximum(wanted - 1, 0)[:, None], axis=1)[:, 0]
        usable = (wanted == 0) | (own > HIDDEN)
        usable[list(errors)] = False
        places.append(ranks(scores, wanted)[usable])
        lists.append(listed(scores)[usable])
        unknown += int((wanted[usable] == 0).sum())
        rows += len(chunk)
    foretold, best = np.concatenate(places), np.concatenate(lists)
    if not len(foretold):
        raise InputError(
            "No history has a next item that could be foretold.",
            where=reader.name,
            fix=f"Give in {history!r} what each user had, the oldest first; the last item is hidden and foretold. Or "
            "name the column of what was taken next: --target COLUMN",
        )
    users = np.arange(len(foretold))
    found, _ = compared(judged("", foretold, users), (), len(users), seed)
    figures = {**found, COVERAGE: Interval(coverage(best, task.width), math.nan, math.nan)}
    how = f"{target!r} is foretold from {history!r}" if target else f"the last item of each {history} is hidden"
    note = f"{how}; {unknown:,} items that the model does not know count as missed"
    return Scored(rows, rows - len(foretold), {name: figures}, HISTORIES, HISTORIES, notes=(note,))


def _check(where: str, columns: tuple[str, ...], wanted: tuple[str, ...], history: str) -> None:
    for name in wanted:
        if name not in columns:
            more = (
                " with a row for each user and what that user had, the oldest first, as a list or as in 31|1029|17"
                if name == history
                else ""
            )
            raise InputError(
                f"The data has no column {name!r}.",
                where=where,
                fix=f"Give a table{more}. {nearest(name, columns)}" if more else nearest(name, columns),
            )
