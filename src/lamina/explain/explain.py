"""`lamina explain MODEL INPUT`: one row's answer, what each field adds to it, and where in a picture, text or sound."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.schema import Json
from lamina.data.windows import WINDOW
from lamina.errors import InputError
from lamina.explain import drawing, occlusion
from lamina.explain.contributions import contributions
from lamina.explain.question import Question, question
from lamina.modalities._files import is_missing
from lamina.model import golden
from lamina.model.rows import RawChunk, Rows, open_rows
from lamina.model.runtime import Model
from lamina.model.steps import Steps, opened, window_around

Array = np.ndarray[Any, Any]
Explained = dict[str, Json]

BACKGROUND = 64
POINTS = 2000
"""Of a series that are drawn."""


def explain_input(model: Model, source: Any, row: int = 0) -> Explained:
    """Explain one row of a table, a picture, a sound, or a JSON object such as '{"age": 31, "color": "red"}'; of one
    long series, for a model of its windows, the window around the row.

    Args:
        source: a path, the JSON of one row, or data in memory as for `Model.predict`.
        row: which row, counted from 0.

    Raises:
        InputError: the data cannot be read, has no such row, or the row cannot be answered.
    """
    if row < 0:
        raise InputError(f"There is no row {row}.", fix="Rows are counted from 0.")
    rows = opened(source, model, 256)
    if isinstance(rows, Steps) and rows.cut is not None:
        first, window = window_around(model, rows, rows.cut, row)
        found = explain(model, {WINDOW: window}, rows.root)
        # Its steps are rows of the series.
        found["fields"][WINDOW] |= {"first": first, "value": f"rows {first} to {first + rows.cut.length - 1}"}
        return found
    return explain(model, raw_row(model, rows, row), rows.root)


def raw_row(model: Model, rows: Rows, row: int) -> dict[str, Any]:
    """One row's raw values by column.

    Raises:
        InputError: there is no such row, or it cannot be read.
    """
    if row < 0:
        raise InputError(f"There is no row {row}.", fix="Rows are counted from 0.")
    before = 0
    for chunk in rows:
        if row < before + len(chunk):
            at = row - before
            if at in chunk.errors:
                raise InputError(f"Row {row} cannot be read: {chunk.errors[at]}.", fix="Correct it or choose another.")
            return {name: chunk.values[name][at] for name in model.columns}
        before += len(chunk)
    raise InputError(f"There is no row {row}: the data has {before} rows.", fix="Rows are counted from 0.")


def explain(
    model: Model,
    row: Mapping[str, Any],
    root: Path | None = None,
    *,
    targets: tuple[str, ...] = (),
    background: list[dict[str, Any]] | None = None,
    seed: int = 0,
) -> Explained:
    """Explain the answer to one raw row, as JSON that `render` draws.

    Args:
        row: raw values by column.
        root: the folder that relative paths in it start from.
        targets: which; all by default.
        background: raw rows to compare with; the model's golden examples by default.

    Raises:
        InputError: a column is missing, or the row cannot be answered.
    """
    chunk = _first(model, [dict(row)])
    arrays, errors = model.encode(chunk.values, root)
    if errors:
        raise InputError(f"The row cannot be answered: {errors[0]}.", fix="Correct the value.")
    compared, rows = _background(model, background, root)
    found: Explained = {"targets": {}, "fields": _fields(model, chunk, arrays)}
    for target in targets or model.targets:
        asked = question(model, target, arrays)
        one: dict[str, Json] = {
            "answer": asked.answer,
            "quantity": asked.text,
            "value": float(asked.values(model, arrays)[0]),
        }
        if len(model.inputs) > 1 and rows:
            shares = contributions(model, arrays, compared, asked, seed=seed)
            one["mean"], one["background"] = shares.mean, shares.background
            one["contributions"] = [
                {"field": name, "value": found["fields"][name]["value"], "contribution": share,
                 "error": shares.error[name]}
                for name, share in sorted(shares.by_field.items(), key=lambda item: -abs(item[1]))
            ]  # fmt: skip
        one["details"] = {
            name: detail
            for name in model.inputs
            if (detail := _detail(model, chunk, arrays, name, asked, root)) is not None
        }
        found["targets"][target] = one
    return found


def render(explanation: Mapping[str, Json]) -> str:
    """The explanation drawn: an HTML fragment with inline SVG and pictures, nothing outside it."""
    return drawing.fragment(explanation)


def page(explanation: Mapping[str, Json]) -> str:
    """A whole HTML page with the explanation drawn."""
    return drawing.page(explanation)


def as_text(explanation: Mapping[str, Json]) -> str:
    """The explanation for a terminal."""
    return drawing.as_text(explanation)


def _first(model: Model, rows: list[dict[str, Any]]) -> RawChunk:
    return next(iter(open_rows(rows, model, max(len(rows), 1))))


def _background(
    model: Model, background: list[dict[str, Any]] | None, root: Path | None
) -> tuple[dict[str, Array], int]:
    """Encoded rows to compare with (those that can be read), and how many."""
    given = background if background is not None else golden.rows_of(model)
    pieces: list[dict[str, Array]] = []
    for chunk in open_rows(list(itertools.islice(given, BACKGROUND)), model, BACKGROUND):
        arrays, errors = model.encode(chunk.values, root)
        usable = [row for row in range(len(chunk)) if row not in errors]
        pieces.append({name: array[usable] for name, array in arrays.items()})
    if not pieces:
        return {}, 0
    joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    return joined, len(next(iter(joined.values())))


def _fields(model: Model, chunk: RawChunk, arrays: Mapping[str, Array]) -> dict[str, Json]:
    """What each field held: as text, and for pictures and sounds as the network saw them."""
    found = {}
    for name, item in model.inputs.items():
        value = item.field.values(chunk.values)[0]
        kind = item.encoder.feature.kind
        shown: dict[str, Json] = {"modality": item.field.modality, "value": _shown(value, kind)}
        if kind == "image":
            shown["picture"] = drawing.picture(arrays[name][0])
        elif kind == "spectrogram":
            shown["picture"] = drawing.spectrogram(arrays[name][0])
        elif kind == "series":
            series = arrays[name][0][:, 0]
            shown["steps"] = len(series)
            shown["points"] = [round(float(point), 4) for point in evenly(series, POINTS)]
        found[name] = shown
    return found


def evenly(series: Array, most: int) -> Array:
    """Steps of a series, [step] or [step, channel]: all of them, or `most` evenly spaced from the first to the last."""
    return series[np.linspace(0, len(series) - 1, min(len(series), most)).round().astype(np.int64)]


def _shown(value: Any, kind: str) -> str:
    if is_missing(value):
        return "(missing)"
    if isinstance(value, bytes):
        return f"({len(value):,} bytes)"
    if kind == "series" or (isinstance(value, np.ndarray) and value.ndim):
        return f"({' x '.join(map(str, np.shape(value)))} values)" if np.shape(value) else "(a series)"
    text = str(value)
    return text if len(text) <= 5000 or kind == "tokens" else text[:5000] + "…"


def _detail(
    model: Model, chunk: RawChunk, arrays: Mapping[str, Array], name: str, asked: Question, root: Path | None
) -> dict[str, Json] | None:
    kind = model.inputs[name].encoder.feature.kind
    if kind == "image":
        heat = occlusion.image(model, arrays, name, asked)
        return {"kind": kind, "heat": [[round(float(value), 6) for value in line] for line in _coarse(heat)]}
    if kind == "tokens":
        value = model.inputs[name].field.values(chunk.values)[0]
        parts = occlusion.text(model, arrays, name, asked, "" if value is None else str(value), root)
        return {"kind": kind, "words": [asdict(part) for part in parts]}
    if kind == "spectrogram":
        times, bands = occlusion.audio(model, arrays, name, asked)
        frames = arrays[name].shape[1]
        return {
            "kind": kind,
            "frames": frames,
            "times": [asdict(part) for part in times],
            "bands": [asdict(part) for part in bands],
        }
    if kind == "series":
        return {"kind": kind, "times": [asdict(part) for part in occlusion.series(model, arrays, name, asked)]}
    return None


def _coarse(heat: Array, side: int = 56) -> Array:
    """The heat map at most `side` cells wide and high, by averaging blocks: no finer than the patch was."""
    step = -(-max(heat.shape) // side)
    rows = np.add.reduceat(heat, np.arange(0, heat.shape[0], step), axis=0)
    cells = np.add.reduceat(rows, np.arange(0, heat.shape[1], step), axis=1)
    counts = np.add.reduceat(np.ones_like(heat), np.arange(0, heat.shape[0], step), axis=0)
    counts = np.add.reduceat(counts, np.arange(0, heat.shape[1], step), axis=1)
    return np.asarray(cells / counts)
