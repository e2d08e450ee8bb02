"""Masks as people have them: pictures of one channel, arrays, or polygons in JSON; to one number for each pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamina.modalities import polygons
from lamina.modalities._files import Unreadable, is_missing
from lamina.modalities._frame import Frame
from lamina.modalities._pixels import PIXEL_LIMIT
from lamina.modalities.image import header, raw_pixels

Array = np.ndarray[Any, Any]
LARGEST_VALUE = 65_535
OPAQUE = 255
"""Of a channel that says how opaque a mask is, where that says nothing."""


def size_of(value: Any, root: Path | None) -> tuple[int, int]:
    """(height, width) of a picture, upright, from its header.

    Raises:
        Unreadable: it is no picture, and why.
    """
    found = header(value, root)
    return found.height, found.width


def read_mask(
    value: Any, root: Path | None, size: tuple[int, int] | None, labels: Sequence[str] = (), *, apart: bool = False
) -> Array:
    """int32 [height, width]: the mask's values; of polygons the place of the label in `labels`.

    Args:
        size: (height, width) of the picture that the mask is for; None where that is not known, e.g. of polygons alone.
        apart: number the polygons 1, 2, ... instead.

    Raises:
        Unreadable: there is no mask, it cannot be read, or is not as large as its picture.
    """
    if is_missing(value):
        raise Unreadable("there is no mask")
    drawn = polygons.read(value)
    if drawn is not None:
        return _filled(drawn, size, labels, apart)
    mask = raw_pixels(value, root)
    if mask.ndim == 3:
        if mask.shape[2] in (2, 4) and (mask[:, :, -1] == OPAQUE).all():
            mask = mask[:, :, :-1]
        if not (mask == mask[:, :, :1]).all():
            raise Unreadable("the mask has colors: give one number for each pixel (a PNG in grey or with a palette)")
        mask = mask[:, :, 0]
    if size is not None and mask.shape != size:
        raise Unreadable(
            f"the mask is {mask.shape[1]} x {mask.shape[0]} pixels, its picture {size[1]} x {size[0]}: make them equal"
        )
    if mask.dtype.kind == "f" and not np.isfinite(mask).all():
        raise Unreadable("the mask holds something else than finite numbers")
    whole = mask.astype(np.int32)
    if (whole != mask).any() or whole.min(initial=0) < 0 or whole.max(initial=0) > LARGEST_VALUE:
        raise Unreadable(f"a mask holds whole numbers from 0 to {LARGEST_VALUE}")
    return whole


def _filled(
    drawn: Sequence[polygons.Polygon],
    size: tuple[int, int] | None,
    labels: Sequence[str],
    apart: bool,
) -> Array:
    from PIL import Image, ImageDraw

    if size is None:
        corners = [corner for _, points in drawn for corner in points]
        size = (
            max(1, int(max((y for _, y in corners), default=0)) + 1),
            max(1, int(max((x for x, _ in corners), default=0)) + 1),
        )
        if size[0] * size[1] > PIXEL_LIMIT:
            raise Unreadable(f"a polygon reaches to pixel {size[1] - 1:.6g}, {size[0] - 1:.6g}: no picture is so large")
    canvas = Image.new("I", (size[1], size[0]), 0)
    pen = ImageDraw.Draw(canvas)
    for number, (label, points) in enumerate(drawn, 1):
        if not apart and label not in labels:
            raise Unreadable(f"the polygon's label {label!r} is no class of the training part")
        pen.polygon(points, fill=number if apart else labels.index(label))
    return np.asarray(canvas, dtype=np.int32)


def laid(mask: Array, frame: Frame, outside: int) -> Array:
    """[frame.height, frame.width]: a mask as its picture is encoded; `outside` where the picture is padded."""
    from PIL import Image

    place = frame.place(*mask.shape)
    found = np.full((frame.height, frame.width), outside, dtype=mask.dtype)
    if mask.shape == (place.height, place.width):
        scaled = mask
    else:
        picture = Image.fromarray(mask.astype(np.int32), "I")
        scaled = np.asarray(picture.resize((place.width, place.height), Image.Resampling.NEAREST))
    place.of(found)[:] = scaled.astype(mask.dtype)
    return found


def resized(maps: Array, height: int, width: int) -> Array:
    """float32 [channel, height, width] from maps of another size, bilinear."""
    from PIL import Image

    if maps.shape[1:] == (height, width):
        return np.asarray(maps, dtype=np.float32)
    pictures: Iterator[Any] = (Image.fromarray(np.ascontiguousarray(one, dtype=np.float32), "F") for one in maps)
    bilinear = Image.Resampling.BILINEAR
    return np.stack([np.asarray(picture.resize((width, height), bilinear)) for picture in pictures])
