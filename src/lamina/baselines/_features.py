"""Simple features from the encoded arrays: what a careful person would compute without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina.baselines import BaselineFeatures, Block
from lamina.data.schema import Values
from lamina.modalities import Feature

Array = np.ndarray[Any, Any]

CHUNK = 512
ORIENTATIONS = 8
CELLS = 7
SIDE = 32
"""Larger pictures are averaged down to about this side before gradients are taken."""
PIXELS = 14
BANDS = 16
FRAMES = 16
STEPS = 128
FREQUENCIES = 16


def collect(
    features: Mapping[str, Feature], arrays: Mapping[str, Array], texts: Mapping[str, Values] | None = None
) -> BaselineFeatures:
    """The simple features of some rows.

    Args:
        features: by field, what its array is.
        arrays: by field, encoded rows [row, ...].
        texts: by field of kind "tokens", the raw texts; without them the tokens stand for words.
    """
    texts = texts or {}
    blocks = tuple(simple_features(name, item, arrays[name], texts.get(name)) for name, item in features.items())
    return BaselineFeatures(blocks, len(next(iter(arrays.values()))) if arrays else 0)


def simple_features(field: str, feature: Feature, array: Array, raw: Values | None = None) -> Block:
    """The block of one field from its encoded array [row, ...]; text also from its raw values."""
    if feature.kind == "category":
        return Block(field, "codes", np.asarray(array, dtype=np.int32), size=feature.size)
    if feature.kind == "tokens":
        return Block(field, "texts", _texts(array, raw))
    if feature.kind == "image":
        return Block(field, "media", _chunked(image_features, array), raw=_chunked(_small_image, array))
    if feature.kind == "spectrogram":
        return Block(field, "media", _chunked(sound_features, array), raw=_chunked(_small_sound, array))
    if feature.kind == "series":
        return Block(field, "media", _chunked(series_features, array), raw=_chunked(_short_series, array))
    return Block(field, "numbers", _numbers(feature, array))


def _numbers(feature: Feature, array: Array) -> Array:
    numbers = np.array(array, dtype=np.float32).reshape(len(array), -1)
    if feature.details.get("flag") and numbers.shape[1] == 2:
        # The second column says what is missing; trees do better with a gap than with a filled value.
        return np.where(numbers[:, 1:] > 0, np.float32(np.nan), numbers[:, :1])
    return numbers


def _texts(tokens: Array, raw: Values | None) -> Array:
    found = np.empty(len(tokens), dtype=object)
    for row in range(len(tokens)):
        if raw is None:
            found[row] = " ".join(f"t{token}" for token in tokens[row] if token)
        else:
            found[row] = "" if raw[row] is None else str(raw[row])
    return found


def _chunked(function: Any, array: Array) -> Array:
    """`function` of chunks, stacked: the float copies of a chunk are all that is held besides the result."""
    if not len(array):
        return np.asarray(function(np.zeros((1, *array.shape[1:]), array.dtype))[:0])
    return np.concatenate([function(np.asarray(array[at : at + CHUNK])) for at in range(0, len(array), CHUNK)])


def image_features(images: Array) -> Array:
    """Histograms of gradient directions (after Dalal and Triggs 2005), a coarse copy, and color histograms.

    uint8 [row, height, width, channel] to float32 [row, feature].
    """
    picture = images.astype(np.float32) / 255
    factor = max(1, round(max(picture.shape[1:3]) / SIDE))
    small = _averaged(picture, max(1, picture.shape[1] // factor), max(1, picture.shape[2] // factor))
    parts = [_gradients(small.mean(axis=3)), _small_image(images).reshape(len(images), -1)]
    if picture.shape[3] > 1:
        parts.append(_color_histogram(images))
    return np.concatenate(parts, axis=1).astype(np.float32)


def _gradients(grey: Array) -> Array:
    """[row, height, width] to [row, cells * orientations], each row of length one."""
    rows, height, width = grey.shape
    up = np.gradient(grey, axis=1) if height > 1 else np.zeros_like(grey)
    across = np.gradient(grey, axis=2) if width > 1 else np.zeros_like(grey)
    strength = np.hypot(up, across)
    direction = (np.arctan2(up, across) % np.pi) / np.pi * ORIENTATIONS
    first = np.floor(direction).astype(np.int64) % ORIENTATIONS
    share = direction - np.floor(direction)
    cells_up, cells_across = (max(1, min(CELLS, side // 4)) for side in (height, width))
    cell = (np.arange(height) * cells_up // height)[:, None] * cells_across + np.arange(width) * cells_across // width
    size = cells_up * cells_across * ORIENTATIONS
    place = np.arange(rows)[:, None, None] * size + cell[None] * ORIENTATIONS
    histogram = np.bincount((place + first).ravel(), (strength * (1 - share)).ravel(), rows * size)
    histogram += np.bincount((place + (first + 1) % ORIENTATIONS).ravel(), (strength * share).ravel(), rows * size)
    histogram = np.sqrt(histogram.reshape(rows, size))
    return np.asarray(histogram / (np.linalg.norm(histogram, axis=1, keepdims=True) + 1e-6))


def _color_histogram(images: Array) -> Array:
    rows, channels = len(images), images.shape[3]
    place = (np.arange(rows)[:, None] * channels + np.arange(channels))[:, None, None, :] * 8 + images // 32
    counts = np.bincount(place.ravel(), minlength=rows * channels * 8)
    return np.asarray(counts.reshape(rows, channels * 8) / (images.shape[1] * images.shape[2]))


def _small_image(images: Array) -> Array:
    """A copy of at most 14 by 14 pixels, float32 [row, pixels * channel] in 0 to 1."""
    height, width = (min(PIXELS, side) for side in images.shape[1:3])
    small = _averaged(images.astype(np.float32) / 255, height, width)
    return small.reshape(len(images), -1)


def _averaged(array: Array, first: int, second: int) -> Array:
    """Means over a grid of `first` by `second` cells: [row, a, b, ...] to [row, first, second, ...]."""
    for axis, cells in ((1, first), (2, second)):
        size = array.shape[axis]
        if size == cells:
            continue
        starts = np.arange(cells) * size // cells
        counts = np.diff(np.r_[starts, size])
        shape = [1] * array.ndim
        shape[axis] = cells
        array = np.add.reduceat(array, starts, axis=axis) / counts.reshape(shape).astype(np.float32)
    return array


def sound_features(spectrograms: Array) -> Array:
    """Mean, spread, highest value and mean change of every band, and its mean in each third of the sound.

    float16 [row, time, band] to float32 [row, 7 * band]; padding at the end does not count.
    """
    values = spectrograms.astype(np.float32)
    inside, lengths = _inside(values)
    weight = inside[:, :, None] / lengths[:, None, None]
    mean = (values * weight).sum(axis=1)
    spread = np.sqrt(np.maximum((values**2 * weight).sum(axis=1) - mean**2, 0))
    highest = np.where(inside[:, :, None], values, -np.inf).max(axis=1)
    both = (inside[:, 1:] & inside[:, :-1])[:, :, None]
    change = (np.abs(np.diff(values, axis=1)) * both).sum(axis=1) / np.maximum(both.sum(axis=1), 1)
    position = np.arange(values.shape[1])[None] * 3 // np.maximum(lengths, 1)[:, None].astype(np.int64)
    thirds = []
    for third in range(3):
        chosen = (inside & (position == third)).astype(np.float32)
        thirds.append((values * chosen[:, :, None]).sum(axis=1) / np.maximum(chosen.sum(axis=1), 1)[:, None])
    highest = np.where(np.isfinite(highest), highest, 0)
    return np.concatenate([mean, spread, highest, change, *thirds], axis=1).astype(np.float32)


def _inside(values: Array) -> tuple[Array, Array]:
    """Which frames come before the padding, bool [row, time], and how many, float32 [row], at least 1."""
    last = values.shape[1] - np.argmax((values != 0).any(axis=2)[:, ::-1], axis=1)
    empty = ~(values != 0).any(axis=(1, 2))
    lengths = np.where(empty, 1, last)
    return np.arange(values.shape[1])[None] < lengths[:, None], lengths.astype(np.float32)


def _small_sound(spectrograms: Array) -> Array:
    """Means over a grid of at most 16 times by 16 bands, float32 [row, cells]."""
    values = spectrograms.astype(np.float32)
    return _averaged(values, min(FRAMES, values.shape[1]), min(BANDS, values.shape[2])).reshape(len(values), -1)


def series_features(series: Array) -> Array:
    """Moments, range, roughness, spectrum and a coarse copy: float32 [row, time, channel] to [row, feature]."""
    values = series.astype(np.float32)
    mean, spread = values.mean(axis=1), values.std(axis=1)
    steps = np.diff(values, axis=1) if values.shape[1] > 1 else np.zeros_like(values)
    centered = values - mean[:, None]
    skewness = (centered**3).mean(axis=1) / (spread**3 + 1e-6)
    echo = (centered[:, 1:] * centered[:, :-1]).sum(axis=1) / ((centered**2).sum(axis=1) + 1e-6)
    spectrum = np.log1p(np.abs(np.fft.rfft(centered, axis=1))[:, 1 : 1 + FREQUENCIES])
    parts = [mean, spread, values.min(axis=1), values.max(axis=1), np.abs(steps).mean(axis=1), skewness, echo]
    flat = [spectrum.reshape(len(values), -1), _short_series(series)]
    return np.concatenate([*parts, *flat], axis=1).astype(np.float32)


def _short_series(series: Array) -> Array:
    """Means over at most 128 spans of time, float32 [row, span * channel]."""
    values = series.astype(np.float32)
    return _averaged(values, min(STEPS, values.shape[1]), values.shape[2]).reshape(len(values), -1)
