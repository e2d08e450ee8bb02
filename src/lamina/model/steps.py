"""A long series at work: windows are cut as they were for training, and every step gets the mean of what those over it
say of the stretch that it lies in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.windows import WINDOW, Cover, Cut, as_cells, measured, streamed
from lamina.errors import InputError
from lamina.model import forecast, histories
from lamina.model.answers import Part
from lamina.model.rows import RawChunk, Rows, open_rows, row_of_json
from lamina.tasks import anomaly

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Steps(Rows):
    """Raw rows that are the steps of one long series."""

    cut: Cut | None = None


@dataclass(frozen=True)
class _Raw:
    """What `open_rows` has to find: a row for each step."""

    columns: tuple[str, ...]
    inputs: Mapping[str, Any]
    targets: tuple[str, ...] = ()

    def fitting(self, batch: int) -> int:
        return batch


def opened(data: Any, model: Model, batch: int, root: Path | None = None) -> Rows:
    """Raw rows; for a forecaster, of a long table's series; for a model of windows, the steps of one long series; for a
    recommender and a table of interactions, its users."""
    interactions = histories.written(model)
    if interactions is not None:
        users = histories.opened(data, model, interactions, _columns(data), batch, root)
        return users if users is not None else open_rows(data, model, batch, root)
    cut = cut_of(model)
    if cut is None or WINDOW in _columns(data):
        return forecast.opened(data, model, batch, root)
    rows = open_rows(data, _Raw(cut.columns, {}), max(batch, 4 * cut.length), root)
    return Steps(rows.chunks, rows.root, cut=cut)


def cut_of(model: Model) -> Cut | None:
    """How the model's windows are cut from a long series; None if it reads rows."""
    return next((cut for task in model.tasks.values() if (cut := getattr(task, "cut", None)) is not None), None)


def _columns(data: Any) -> tuple[str, ...]:
    """The columns of raw rows, as far as they are said at the beginning."""
    if isinstance(data, str) and data.lstrip().startswith("{"):
        data = row_of_json(data)
    if isinstance(data, Mapping):
        return tuple(map(str, data))
    if isinstance(data, list | tuple) and all(isinstance(row, Mapping) for row in data):
        return tuple(map(str, data[0])) if data else (WINDOW,)
    from lamina.data.tables import read_chunks

    return read_chunks(data, 1).columns


def answered(model: Model, rows: Rows, cut: Cut) -> Iterator[Part]:
    """An answer for each step, in order; its score is the mean of what the windows over it say of its stretch of them.

    Raises:
        InputError: the series is shorter than a window.
    """
    errors: dict[int, str] = {}
    (name,), task = model.tasks, _task(model)
    cover = Cover(cut.length, task.numbers, task.around)
    seen = 0
    for starts, windows, seen in streamed(_measured(rows, cut, errors), cut):
        for piece in range(0, len(starts), model.fitting(256)):
            some = slice(piece, piece + model.fitting(256))
            encoded, gaps = model.encode({WINDOW: as_cells(windows[some])})
            strange = task.stretched(model.outputs(encoded)[name])
            # A window of gaps alone tells nothing: nor do its steps, then.
            strange[list(gaps)] = np.nan
            cover.add(starts[some], strange)
        # One more window may end at the end, wherever that is.
        yield from _part(model, name, cover, min(int(starts[-1]) + 1, seen - cut.length), errors)
    if not seen:
        raise _short(model, cut)
    yield from _part(model, name, cover, seen, errors, ended=True)


def window_around(model: Model, rows: Rows, cut: Cut, step: int) -> tuple[int, Any]:
    """(The first step of the window around a step, the window as a raw value); no more is read than it takes.

    Raises:
        InputError: there is no such step, it cannot be read, or the series is shorter than a window.
    """
    errors: dict[int, str] = {}
    kept, first = np.empty((0, len(cut.columns))), 0
    for chunk in _measured(rows, cut, errors):
        kept = np.concatenate([kept, chunk])
        if step in errors:
            raise InputError(f"Row {step} cannot be read: {errors[step]}.", fix="Correct it or choose another.")
        if first + len(kept) >= step + cut.length:
            break
        spare = max(min(step - cut.length, first + len(kept) - 2 * cut.length) - first, 0)
        kept, first = kept[spare:], first + spare
    seen = first + len(kept)
    if seen < cut.length:
        raise _short(model, cut)
    if step >= seen:
        raise InputError(f"There is no row {step}: the data has {seen} rows.", fix="Rows are counted from 0.")
    start = min(max(step - cut.length // 2, 0), seen - cut.length)
    return start, as_cells(kept[None, start - first : start - first + cut.length])[0]


def _short(model: Model, cut: Cut) -> InputError:
    return InputError(
        f"The series is shorter than the model's windows of {cut.length:,} steps.",
        where=model.where,
        fix=f"Give at least {cut.length:,} consecutive rows.",
    )


def _task(model: Model) -> anomaly.Task:
    (task,) = model.tasks.values()
    assert isinstance(task, anomaly.Task)
    return task


def _measured(rows: Iterable[RawChunk], cut: Cut, errors: dict[int, str]) -> Iterator[Array]:
    """The steps' numbers, chunk by chunk; what is wrong with a step is kept in `errors` by its number."""
    first = 0
    for chunk in rows:
        steps, reasons = measured(chunk.values, cut.columns, cut.decimal)
        errors.update({first + step: reason for step, reason in {**reasons, **chunk.errors}.items()})
        first += len(chunk)
        yield steps


def _part(
    model: Model, name: str, cover: Cover, until: int, errors: dict[int, str], ended: bool = False
) -> Iterator[Part]:
    first, means = cover.first, cover.take(until, ended)
    if not len(means):
        return
    told = _task(model).told_of_steps(np.nan_to_num(means))
    inside = {step: errors.pop(step) for step in sorted(errors) if step < first + len(means)}
    unknown = {
        int(step): "every window over this step is without numbers" for step in np.flatnonzero(np.isnan(means[:, 0]))
    }
    found = unknown | {step - first: reason for step, reason in inside.items()}
    answers = {f"{name}{suffix}": values for suffix, values in told.items()}
    yield Part(len(means), answers, dict(sorted(found.items())))
