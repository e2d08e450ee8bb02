"""Classical ways to make pictures better, for comparison: each a function of whole arrays. NumPy and Pillow only.

Pictures are uint8 [row, height, width, channel].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lamina.data.degrade import LUMA, blurred

Array = np.ndarray[Any, Any]
Method = Callable[[Array], Array]

ROWS = 64
"""Pictures that are worked on together: memory stays flat."""
TUNED_ON = 200
"""Training rows that a filter's strength is chosen on."""
SEARCHED, PATCH = 3, 1
"""Of non-local means: reach of the search and of a patch, in pixels."""
DIFFUSION_STEPS = 400
LEVELS = 256
TO_CHROMA = ((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""Blue and red chroma of red, green and blue (ITU-R BT.601, as in JPEG)."""


@dataclass(frozen=True)
class Classical:
    """One way, ready to use.

    Attributes:
        title: for the reader.
        improve: uint8 [row, height, width, channel] to [row, height * scale, width * scale, channels of the answer].
        note: what was chosen, and on what.
    """

    title: str
    improve: Method
    note: str = ""


def identity(pictures: Array) -> Array:
    """The picture as it is."""
    return pictures


def bicubic(pictures: Array, scale: int) -> Array:
    """Enlarged by bicubic interpolation (Pillow)."""
    from PIL import Image

    return _resized(pictures, scale, Image.Resampling.BICUBIC)


def lanczos(pictures: Array, scale: int) -> Array:
    """Enlarged with a windowed sinc (Lanczos 3, Pillow)."""
    from PIL import Image

    return _resized(pictures, scale, Image.Resampling.LANCZOS)


def _resized(pictures: Array, scale: int, way: Any) -> Array:
    from PIL import Image

    rows, height, width, channels = pictures.shape
    found = np.empty((rows, height * scale, width * scale, channels), np.uint8)
    for row in range(rows):
        for channel in range(channels):
            plane = Image.fromarray(np.ascontiguousarray(pictures[row, :, :, channel]))
            found[row, :, :, channel] = np.asarray(plane.resize((width * scale, height * scale), way))
    return found


def median(pictures: Array) -> Array:
    """The median of each pixel's 3 x 3 surroundings; borders are repeated."""
    return _in_parts(pictures, lambda part: np.median(_shifted(part, 1), axis=0))


def non_local_means(pictures: Array, strength: float) -> Array:
    """The mean of the surroundings, weighted by how alike the patches around two pixels are (Buades et al. 2005).

    Args:
        strength: standard deviation of the noise, in grey levels; squared differences that it explains count as 0.
    """

    def one(part: Array) -> Array:
        values = part.astype(np.float32)
        total, weights = np.zeros_like(values), np.zeros(values.shape[:3], np.float32)
        for other in _shifted(values, SEARCHED):
            difference = np.square(other - values).mean(axis=3)
            alike = np.mean(_shifted(difference[..., None], PATCH), axis=0)[..., 0]
            weight = np.exp(-np.maximum(alike - 2 * strength**2, 0) / strength**2)
            total += weight[..., None] * other
            weights += weight
        return np.asarray(total / weights[..., None])

    return _in_parts(pictures, one)


def noise_of(pictures: Array) -> float:
    """Standard deviation of the noise, in grey levels, from what a Laplacian leaves (Immerkaer 1996)."""
    values = pictures.astype(np.float64)
    rows = values[:, :-2] - 2 * values[:, 1:-1] + values[:, 2:]
    both = rows[:, :, :-2] - 2 * rows[:, :, 1:-1] + rows[:, :, 2:]
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(both).mean())


def unsharp(pictures: Array, deviation: float, amount: float) -> Array:
    """What a blurred copy lacks is added once more, `amount` times."""

    def one(part: Array) -> Array:
        values = part.astype(np.float64)
        # The blur works on one picture: rows are laid side by side as channels.
        rows, height, width, channels = values.shape
        flat = values.transpose(1, 2, 0, 3).reshape(height, width, rows * channels)
        soft = blurred(flat, deviation).reshape(height, width, rows, channels).transpose(2, 0, 1, 3)
        return np.asarray(values + amount * (values - soft))

    return _in_parts(pictures, one)


def three_greys(pictures: Array) -> Array:
    """A grey picture in three equal channels."""
    return np.repeat(pictures, 3, axis=3)


def mean_chroma(pictures: Array, truth: Array) -> Array:
    """float64 [level, 2]: the mean chroma of the training pictures' pixels by luminance; where there are none, the
    mean of all.
    """
    level = pictures[..., 0].reshape(-1)
    chroma = truth.reshape(-1, 3) @ np.array(TO_CHROMA).T
    counts = np.bincount(level, minlength=LEVELS)
    sums = np.stack([np.bincount(level, chroma[:, axis], LEVELS) for axis in (0, 1)], axis=1)
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], chroma.mean(axis=0))


def colored(pictures: Array, chroma: Array) -> Array:
    """A grey picture in the color that its luminance has on average."""
    luminance, (blue, red) = pictures[..., 0].astype(np.float64), np.moveaxis(chroma[pictures[..., 0]], -1, 0)
    shares = np.array(LUMA)
    first, last = luminance + 2 * (1 - shares[0]) * red, luminance + 2 * (1 - shares[2]) * blue
    middle = (luminance - shares[0] * first - shares[2] * last) / shares[1]
    return _bytes(np.stack([first, middle, last], axis=-1))


def mean_filled(pictures: Array, hole: int) -> Array:
    """Holes in the mean color of what is known of the picture."""
    missing = _missing(pictures, hole)
    known = np.where(missing, 0, pictures).sum(axis=(1, 2), keepdims=True)
    mean = known / np.maximum((~missing).sum(axis=(1, 2), keepdims=True), 1)
    return _bytes(np.where(missing, mean, pictures))


def diffused(pictures: Array, hole: int) -> Array:
    """Holes filled as heat spreads into them from their edges: every pixel becomes the mean of its four neighbours."""

    def one(part: Array) -> Array:
        missing = _missing(part, hole)
        values = mean_filled(part, hole).astype(np.float32)
        for _ in range(DIFFUSION_STEPS):
            around = np.pad(values, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="edge")
            mean = (around[:, :-2, 1:-1] + around[:, 2:, 1:-1] + around[:, 1:-1, :-2] + around[:, 1:-1, 2:]) / 4
            values = np.where(missing, mean, values)
        return values

    return _in_parts(pictures, one)


def _missing(pictures: Array, hole: int) -> Array:
    return np.asarray((pictures == hole).all(axis=3, keepdims=True))


def _shifted(values: Array, reach: int) -> list[Array]:
    """[row, height, width, channel] moved by up to `reach` pixels in either direction; borders are repeated."""
    height, width = values.shape[1:3]
    around = np.pad(values, [(0, 0), (reach, reach), (reach, reach), (0, 0)], mode="edge")
    places = range(2 * reach + 1)
    return [around[:, down : down + height, right : right + width] for down in places for right in places]


def _in_parts(pictures: Array, function: Method) -> Array:
    found = np.empty(pictures.shape, np.uint8)
    for start in range(0, len(pictures), ROWS):
        found[start : start + ROWS] = _bytes(function(pictures[start : start + ROWS]))
    return found


def _bytes(values: Array) -> Array:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def suited(pictures: Array, truth: Array, *, kind: str, scale: int, hole: int, seed: int) -> list[Classical]:
    """What suits a task, the simplest first; strengths are chosen on some of the training rows given.

    Args:
        pictures, truth: of the training part, worse and better.
        kind: what is undone (`lamina.data.degrade.KINDS`), or "given".
        scale: how many times larger the better pictures are.
        hole: the value that marks a missing pixel; -1 for none.
    """
    if scale > 1:
        return [
            Classical("bicubic enlargement", lambda asked: bicubic(asked, scale)),
            Classical("Lanczos enlargement", lambda asked: lanczos(asked, scale)),
        ]
    if (pictures.shape[3], truth.shape[3]) == (1, 3):
        chroma = mean_chroma(pictures, truth)
        return [
            Classical("left grey", three_greys),
            Classical("mean color by luminance", lambda asked: colored(asked, chroma)),
        ]
    if hole >= 0:
        return [
            Classical("mean color in the holes", lambda asked: mean_filled(asked, hole)),
            Classical("diffusion into the holes", lambda asked: diffused(asked, hole)),
        ]
    random = np.random.default_rng(seed)
    some = np.sort(random.choice(len(pictures), min(TUNED_ON, len(pictures)), replace=False))
    few, wanted = np.asarray(pictures[some]), np.asarray(truth[some])
    found = [Classical("left as it is", identity)]
    if kind in ("denoise", "given"):
        noise = noise_of(few)
        found.append(Classical("median filter", median))
        strengths = [max(noise * factor, 0.5) for factor in (0.75, 1.0, 1.5)]
        ways: dict[str, Method] = {
            f"noise of {strength:.1f} grey levels": partial(non_local_means, strength=strength)
            for strength in strengths
        }
        found.append(_best("non-local means", ways, few, wanted))
    if kind in ("deblur", "given"):
        sharper: dict[str, Method] = {
            f"radius {deviation:g}, amount {amount:g}": partial(unsharp, deviation=deviation, amount=amount)
            for deviation in (1.0, 2.0)
            for amount in (0.5, 1.0, 2.0)
        }
        found.append(_best("unsharp mask", sharper, few, wanted))
    return found


def _best(title: str, ways: dict[str, Method], pictures: Array, truth: Array) -> Classical:
    """The way with the least squared error on these pairs."""

    def wrong(name: str) -> float:
        return float(np.square(ways[name](pictures).astype(np.float64) - truth).mean())

    best = min(ways, key=wrong)
    return Classical(title, ways[best], f"{best}, chosen on {len(pictures)} training rows")
