"""Pixels of any number type as bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.modalities._files import Unreadable

Array = np.ndarray[Any, Any]
Window = tuple[float, float] | None
"""What is black and what is white, of pixels with more than eight bits."""
PIXEL_LIMIT = 89_478_485
"""A larger picture is refused before it is decoded (Pillow's own limit): a small file can hold a huge one."""


def eight_bits(pixels: Array, window: Window = None) -> Array:
    """uint8 from 16-bit, 32-bit or float pixels; floats up to 1 and integers beyond 255 are scaled.

    Args:
        window: what is black and what is white, of integers; all that 16 bits can hold unless given.
    """
    numbers = np.nan_to_num(pixels.astype(np.float64), posinf=0, neginf=0)
    largest = float(numbers.max(initial=0))
    if window is not None and pixels.dtype.kind in "iu":
        numbers = (numbers - window[0]) * (255 / (window[1] - window[0]))
    elif is_sixteen_bits(pixels) or (pixels.dtype.kind in "iu" and largest > 255):
        numbers = numbers / 257
    elif pixels.dtype.kind == "f" and largest <= 1:
        numbers = numbers * 255
    return np.rint(np.clip(numbers, 0, 255)).astype(np.uint8)


def is_sixteen_bits(pixels: Array) -> bool:
    """In either order of bytes: TIFF has both."""
    return bool(pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2)


def bytes_of(array: Array, window: Window = None) -> Array:
    """uint8 [height, width, channel] from an array: 0..255, 16-bit unsigned, bool, or float 0..1.

    Args:
        window: as of `eight_bits`, of 16-bit pixels.
    """
    pixels = array[:, :, None] if array.ndim == 2 else array
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4 or 0 in pixels.shape:
        raise Unreadable(f"an array of shape {array.shape} is no picture: [height, width] or [height, width, 1 to 4]")
    if pixels.shape[0] * pixels.shape[1] > PIXEL_LIMIT:
        raise Unreadable(f"{pixels.shape[1]} x {pixels.shape[0]} pixels are over the limit of {PIXEL_LIMIT:,}")
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype.kind not in "iuf" or not np.isfinite(pixels).all():
        raise Unreadable("the array holds something else than finite numbers")
    low, high = float(pixels.min()), float(pixels.max())
    limit = 65535 if is_sixteen_bits(pixels) else 255 if pixels.dtype.kind in "iu" else 1
    if low < 0 or high > limit:
        raise Unreadable(
            f"{pixels.dtype.name} pixels must lie between 0 and {limit}, these go from {low:g} to {high:g}"
        )
    return eight_bits(pixels, window if is_sixteen_bits(pixels) else None)
