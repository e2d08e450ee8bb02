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
UNJUDGED = -1
"""In masks made from outlines: where a crowd is."""
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
    """int32 [height, width]: the mask's values; of outlines the place of the label in `labels`, UNJUDGED of a crowd.

    Args:
        size: (height, width) of the picture that the mask is for; None where that is not known, e.g. of polygons alone.
        apart: number the outlines 1, 2, ... instead.

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


def _filled(drawn: polygons.Outlines, size: tuple[int, int] | None, labels: Sequence[str], apart: bool) -> Array:
    from PIL import Image, ImageDraw

    if size is not None and drawn.size not in (None, size):
        raise Unreadable(
            f"the outlines are of a picture of {drawn.size[1]} x {drawn.size[0]} pixels, its picture has "
            f"{size[1]} x {size[0]}: make them equal"
        )
    height, width = size or drawn.size or _extent(drawn)
    canvas = Image.new("I", (width, height), 0)
    pen = ImageDraw.Draw(canvas)
    for number, thing in enumerate(drawn.things, 1):
        if not (apart or thing.crowd or thing.label in labels):
            raise Unreadable(f"the polygon's label {thing.label!r} is no class of the training part")
        code = UNJUDGED if thing.crowd else number if apart else labels.index(thing.label)
        if thing.points:
            pen.polygon(thing.points, fill=code)
        for inside, top, left in thing.inside(height, width):
            canvas.paste(code, (left, top), Image.fromarray(np.uint8(255) * inside))
    return np.asarray(canvas, dtype=np.int32)


def _extent(drawn: polygons.Outlines) -> tuple[int, int]:
    """(height, width) of the smallest picture that the outlines fit into."""
    corners = [thing.extent() for thing in drawn.things]
    height, width = (max(1, int(max((corner[axis] for corner in corners), default=0)) + 1) for axis in (1, 0))
    if height * width > PIXEL_LIMIT:
        raise Unreadable(f"a polygon reaches to pixel {width - 1:.6g}, {height - 1:.6g}: no picture is so large")
    return height, width


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
