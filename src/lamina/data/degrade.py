"""Pictures made worse on purpose, so that a network can learn to make pictures better. NumPy and Pillow only.

A picture is uint8 [height, width, channel]; what is drawn at random comes from a generator that the caller seeds, so
that the same row gives the same pair in every process.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

KINDS = ("super-resolution", "denoise", "deblur", "colourise", "inpaint")
"""What can be undone; each is one way to make a picture worse."""
NOISES = ("gaussian", "poisson")
BLURS = ("gaussian", "motion")
HOLES = ("strokes", "boxes")
STRENGTHS: dict[tuple[str, str], tuple[float, float, str]] = {
    ("denoise", "gaussian"): (25.0, 128.0, "standard deviation in grey levels of 255"),
    ("denoise", "poisson"): (25.0, 128.0, "standard deviation at medium grey, in grey levels of 255"),
    ("deblur", "gaussian"): (1.5, 16.0, "standard deviation in pixels"),
    ("deblur", "motion"): (7.0, 63.0, "length of the movement in pixels"),
    ("inpaint", "strokes"): (0.25, 0.75, "share of the pixels that are missing"),
    ("inpaint", "boxes"): (0.25, 0.75, "share of the pixels that are missing"),
}
"""By kind and way: the usual greatest strength, the greatest allowed, and what it means."""
MEDIUM_GREY = 128.0
LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the luminance (ITU-R BT.601), as in JPEG and in Pillow's grey pictures."""
MOST_SHAPES = 200
"""Strokes or boxes of one mask at most; each covers something, so far fewer are enough."""


@dataclass(frozen=True)
class Degrading:
    """One way to make pictures worse.

    Attributes:
        kind: one of KINDS.
        way: of a kind that has several, which: one of NOISES, BLURS or HOLES; "" for the others.
        strength: the greatest, see STRENGTHS; every picture draws its own from half of it on. 0 where there is none.
        scale: by how much "super-resolution" makes the sides smaller; 1 for the other kinds.
    """

    kind: str
    way: str = ""
    strength: float = 0.0
    scale: int = 1

    def apply(self, picture: Array, random: np.random.Generator) -> Array:
        """A worse picture.

        Args:
            picture: uint8 [height, width, channel]; with "super-resolution" both sides are multiples of `scale`.

        Returns:
            uint8 [height / scale, width / scale, channel]; one channel with "colourise"; with "inpaint" one channel
            more, 0 where a pixel is missing and 255 elsewhere, as in a picture with transparent parts.
        """
        if self.kind == "super-resolution":
            return reduced(picture, self.scale)
        if self.kind == "colourise":
            return grey(picture)
        strength = float(random.uniform(0.5, 1.0)) * self.strength
        changed: Array = _WAYS[self.kind, self.way](picture, strength, random)
        return changed


def reduced(picture: Array, scale: int) -> Array:
    """Sides divided by `scale`, by bicubic interpolation with antialiasing (Pillow)."""
    from PIL import Image

    height, width = picture.shape[0] // scale, picture.shape[1] // scale
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((width, height), Image.Resampling.BICUBIC))
        for plane in picture.transpose(2, 0, 1)
    ]
    return np.stack(planes, axis=2)


def grey(picture: Array) -> Array:
    """uint8 [height, width, 1]: the luminance, as ITU-R BT.601 has it."""
    if picture.shape[2] == 1:
        return picture
    return _bytes(picture.astype(np.float64) @ np.array(LUMA))[:, :, None]


def gaussian_noise(picture: Array, strength: float, random: np.random.Generator) -> Array:
    """Independent normal noise on every value, as of an amplifier."""
    return _bytes(picture + random.normal(0.0, strength, picture.shape))


def poisson_noise(picture: Array, strength: float, random: np.random.Generator) -> Array:
    """Shot noise: the variance grows with the brightness, as where few photons are counted."""
    gain = strength**2 / MEDIUM_GREY
    return _bytes(gain * random.poisson(picture / gain))


def gaussian_blur(picture: Array, strength: float, random: np.random.Generator) -> Array:
    """As out of focus: the mean of the surroundings with weights of a normal distribution; borders are repeated."""
    return _bytes(blurred(picture.astype(np.float64), strength))


def blurred(picture: Array, deviation: float) -> Array:
    """float64 [height, width, channel], each value the mean of its surroundings with normal weights.

    Args:
        deviation: of the weights, in pixels; they end at three deviations. Borders are repeated.
    """
    reach = max(1, math.ceil(3 * deviation))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        width = [(reach, reach) if side == axis else (0, 0) for side in range(3)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(picture, width, mode="edge"), 2 * reach + 1, axis)
        picture = windows @ weights
    return picture


def motion_blur(picture: Array, strength: float, random: np.random.Generator) -> Array:
    """As of a camera that moved along a straight line, in a direction drawn at random; borders are repeated."""
    angle = random.uniform(0, math.pi)
    steps = max(2, math.ceil(2 * strength))
    along = np.linspace(-0.5, 0.5, steps) * strength
    reach = math.ceil(strength / 2)
    padded = np.pad(picture.astype(np.float64), [(reach, reach), (reach, reach), (0, 0)], mode="edge")
    height, width = picture.shape[:2]
    total = np.zeros(picture.shape)
    for down, right in zip(np.rint(along * math.sin(angle)), np.rint(along * math.cos(angle)), strict=True):
        top, left = reach + int(down), reach + int(right)
        total += padded[top : top + height, left : left + width]
    return _bytes(total / steps)


def strokes(picture: Array, strength: float, random: np.random.Generator) -> Array:
    """Bent lines are missing, as scratches or writing would cover."""
    height, width = picture.shape[:2]
    side = min(height, width)

    def draw(canvas: Any) -> None:
        bends = int(random.integers(2, 5))
        places = [(float(random.uniform(0, width)), float(random.uniform(0, height)))]
        for _ in range(bends):
            x, y = places[-1]
            places.append((x + float(random.normal(0, side / 4)), y + float(random.normal(0, side / 4))))
        canvas.line(places, fill=255, width=max(1, round(side * float(random.uniform(0.03, 0.09)))), joint="curve")

    return _with_holes(picture, strength, draw)


def boxes(picture: Array, strength: float, random: np.random.Generator) -> Array:
    """Rectangles are missing."""
    height, width = picture.shape[:2]

    def draw(canvas: Any) -> None:
        tall, wide = (max(1, round(side * float(random.uniform(0.1, 0.35)))) for side in (height, width))
        top, left = int(random.integers(0, height - tall + 1)), int(random.integers(0, width - wide + 1))
        canvas.rectangle([left, top, left + wide - 1, top + tall - 1], fill=255)

    return _with_holes(picture, strength, draw)


def _with_holes(picture: Array, share: float, draw: Callable[[Any], None]) -> Array:
    """Shapes are drawn until so large a share is covered; what they cover is made black and transparent."""
    from PIL import Image, ImageDraw

    mask = Image.new("L", (picture.shape[1], picture.shape[0]))
    canvas = ImageDraw.Draw(mask)
    for _ in range(MOST_SHAPES):
        draw(canvas)
        if np.mean(np.asarray(mask) > 0) >= share:
            break
    missing = np.asarray(mask)[:, :, None] > 0
    return np.concatenate([np.where(missing, 0, picture), np.where(missing, 0, 255)], axis=2).astype(np.uint8)


def _bytes(values: Array) -> Array:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


_WAYS: dict[tuple[str, str], Callable[[Array, float, np.random.Generator], Array]] = {
    ("denoise", "gaussian"): gaussian_noise,
    ("denoise", "poisson"): poisson_noise,
    ("deblur", "gaussian"): gaussian_blur,
    ("deblur", "motion"): motion_blur,
    ("inpaint", "strokes"): strokes,
    ("inpaint", "boxes"): boxes,
}
