"""Pictures side by side: what is made, while it learns and afterwards."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LEAST_SIDE = 56
"""Small pictures are enlarged to at least this side, so that a person can see them."""


def sheet(pictures: Array, across: int) -> bytes:
    """A PNG of uint8 pictures [row, height, width, channel], `across` in a row, with a thin gap between them."""
    from PIL import Image

    rows, height, width, channels = pictures.shape
    down = -(-rows // across)
    canvas = np.full((down, across, height + 1, width + 1, channels), 255, np.uint8)
    canvas.reshape(down * across, height + 1, width + 1, channels)[:rows, :height, :width] = pictures
    whole = canvas.transpose(0, 2, 1, 3, 4).reshape(down * (height + 1), across * (width + 1), channels)
    picture = Image.fromarray(whole[:, :, 0] if channels == 1 else whole)
    times = -(-LEAST_SIDE // max(height, width))
    if times > 1:
        picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def side_by_side(files: Sequence[Path], across: int) -> bytes:
    """A PNG of the first pictures of each row of several sheets, one sheet after the other."""
    from PIL import Image

    columns = []
    for file in files:
        with Image.open(file) as whole:
            columns.append(whole.crop((0, 0, whole.width // across, whole.height)))
    width, height = columns[0].size
    found = Image.new(columns[0].mode, (width * len(columns), height))
    for place, column in enumerate(columns):
        found.paste(column, (place * width, 0))
    buffer = io.BytesIO()
    found.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def as_uri(content: bytes) -> str:
    """A PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
