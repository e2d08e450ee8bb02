"""Where in a picture, text, sound or series the answer comes from: cover a part (Zeiler & Fergus 2014)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lamina.explain.question import Question
from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]
Row = Mapping[str, Array]
"""Encoded arrays by field, [1, ...]."""

GRID = 14
"""Places of the patch along a picture's side; the patch covers two of them."""
SEGMENTS = 20
BANDS = 8
HAN_AND_KANA = r"\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WORD = re.compile(rf"[{HAN_AND_KANA}]|[^\s{HAN_AND_KANA}]+")
"""What stands between spaces; of Chinese and Japanese, which have none, each character."""
WORDS = 128
"""A longer text is covered some words at a time."""


@dataclass(frozen=True)
class Part:
    """A stretch of the input from `start` to before `end`, and how much the answer loses without it."""

    start: int
    end: int
    contribution: float


def image(model: Model, row: Row, field: str, asked: Question) -> Array:
    """Heat map [height, width]: the mean loss of the quantity when a patch over the pixel has the mean color."""
    height, width = row[field].shape[1:3]
    step_down, step_right = -(-height // GRID), -(-width // GRID)
    boxes = [
        (slice(top, min(top + 2 * step_down, height)), slice(left, min(left + 2 * step_right, width)))
        for top in range(-step_down, height, step_down)
        for left in range(-step_right, width, step_right)
    ]
    boxes = [(slice(max(down.start, 0), down.stop), slice(max(right.start, 0), right.stop)) for down, right in boxes]
    mean = model.inputs[field].encoder.feature.details.get("mean")
    color = np.asarray(mean if mean is not None else row[field][0].mean(axis=(0, 1)))

    def cover(array: Array, box: tuple[slice, slice]) -> None:
        array[box] = np.clip(np.round(color), 0, 255).astype(array.dtype)

    losses = _losses(model, row, field, asked, boxes, cover)
    total, times = np.zeros((height, width)), np.zeros((height, width))
    for box, loss in zip(boxes, losses, strict=True):
        total[box] += loss
        times[box] += 1
    return np.asarray(total / np.maximum(times, 1))


def text(model: Model, row: Row, field: str, asked: Question, value: str, root: Path | None = None) -> list[Part]:
    """Words of the raw text (start and end in characters) and what the quantity loses when each is left out."""
    spans = [match.span() for match in WORD.finditer(value)]
    size = -(-len(spans) // WORDS) or 1
    groups = [(spans[at][0], spans[min(at + size, len(spans)) - 1][1]) for at in range(0, len(spans), size)]
    if not groups:
        return []
    without = np.empty(len(groups), dtype=object)
    for place, (start, end) in enumerate(groups):
        without[place] = value[:start] + value[end:].lstrip() if start == 0 else value[:start].rstrip() + value[end:]
    arrays = model.inputs[field].encoder.encode(without, root).array
    changed = {name: arrays if name == field else np.repeat(array, len(groups), axis=0) for name, array in row.items()}
    losses = asked.values(model, row)[0] - asked.values(model, changed)
    return [Part(start, end, float(loss)) for (start, end), loss in zip(groups, losses, strict=True)]


def audio(model: Model, row: Row, field: str, asked: Question) -> tuple[list[Part], list[Part]]:
    """(stretches of time in frames, groups of bands) and what the quantity loses when each is blanked."""
    spectrogram = row[field][0]
    sounding = np.flatnonzero(np.any(spectrogram != 0, axis=1))
    frames = int(sounding[-1]) + 1 if len(sounding) else len(spectrogram)
    times = _stretches(frames, SEGMENTS)
    bands = _stretches(spectrogram.shape[1], BANDS)

    def blank_time(array: Array, part: tuple[int, int]) -> None:
        array[part[0] : part[1]] = 0

    def blank_band(array: Array, part: tuple[int, int]) -> None:
        array[:, part[0] : part[1]] = 0

    by_time = _losses(model, row, field, asked, times, blank_time)
    by_band = _losses(model, row, field, asked, bands, blank_band)
    return _parts(times, by_time), _parts(bands, by_band)


def series(model: Model, row: Row, field: str, asked: Question) -> list[Part]:
    """Stretches of steps and what the quantity loses when each is at the training part's mean."""
    parts = _stretches(row[field].shape[1], SEGMENTS)

    def flatten(array: Array, part: tuple[int, int]) -> None:
        # Encoded series are standardised: 0 is the mean.
        array[part[0] : part[1]] = 0

    return _parts(parts, _losses(model, row, field, asked, parts, flatten))


def _losses(model: Model, row: Row, field: str, asked: Question, places: Sequence[Any], cover: Any) -> Array:
    """What the quantity loses with each of `places` covered, float64 [place]; a bounded number at a time."""
    before = asked.values(model, row)[0]
    size = model.fitting(256)
    found = []
    for start in range(0, len(places), size):
        part = places[start : start + size]
        changed = {name: np.repeat(array, len(part), axis=0) for name, array in row.items()}
        for array, place in zip(changed[field], part, strict=True):
            cover(array, place)
        found.append(before - asked.values(model, changed))
    return np.concatenate(found)


def _stretches(length: int, most: int) -> list[tuple[int, int]]:
    edges = np.unique(np.linspace(0, length, min(most, max(length, 1)) + 1).round().astype(int))
    return [(int(start), int(end)) for start, end in itertools.pairwise(edges)]


def _parts(places: Sequence[tuple[int, int]], losses: Array) -> list[Part]:
    return [Part(start, end, float(loss)) for (start, end), loss in zip(places, losses, strict=True)]
