"""Places: the cells that a field is cut into, so that errors can say where.

A picture has at most 8 x 8 of them, a series or sound at most 16 stretches of time, any other field one. Errors are
averaged over a cell, and masks cover whole cells: a place is the same for both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.modalities import Feature

PICTURE_PLACES, TIME_PLACES = 8, 16
PICTURE_SIDE, TIME_STEPS = 64, 256
"""The finest resolution that is decoded: larger arrays are averaged down to it first. What an error says of a place is
hardly changed by that, and finer maps would cost most of the training."""


def grid_of(feature: Feature) -> tuple[int, ...]:
    """() for numbers, categories and tokens, (rows, columns) for an image, (steps,) for a spectrogram or series."""
    if feature.kind == "image":
        return tuple(min(PICTURE_PLACES, side) for side in size_of(feature))
    if feature.kind in ("spectrogram", "series"):
        return (min(TIME_PLACES, size_of(feature)[0]),)
    return ()


def size_of(feature: Feature) -> tuple[int, ...]:
    """The size that is decoded: (rows, columns) of an image, (steps, bands) of a spectrogram, (steps,) of a series."""
    if feature.kind == "image":
        shrink = -(-max(feature.shape[:2]) // PICTURE_SIDE)
        return tuple(-(-side // shrink) for side in feature.shape[:2])
    if feature.kind == "spectrogram":
        return tuple(-(-side // -(-side // PICTURE_SIDE)) for side in feature.shape)
    if feature.kind == "series":
        return (-(-feature.shape[0] // -(-feature.shape[0] // TIME_STEPS)),)
    return ()


def cells(length: int, parts: int) -> Tensor:
    """int64 [length]: which of `parts` equal parts each step lies in.

    >>> cells(5, 2).tolist()
    [0, 0, 0, 1, 1]
    """
    return torch.arange(length) * parts // length


def averaging(length: int, parts: int) -> Tensor:
    """float32 [parts, length]: the matrix that averages each part's steps.

    A matrix, not a pooling layer: it serves any length, also where parts differ by a step, and exports as it is.
    """
    inside = (cells(length, parts) == torch.arange(parts).unsqueeze(1)).float()
    return inside / inside.sum(dim=1, keepdim=True)


def spread(mask: Tensor, feature: Feature) -> Tensor:
    """A mask of places, bool [row, *grid], as one of the array: [row, height, width], [row, time], or as it is."""
    for axis, (places, size) in enumerate(zip(grid_of(feature), size_of(feature), strict=False)):
        place = cells(size, places)[cells(feature.shape[axis], size)]
        mask = mask.index_select(axis + 1, place.to(mask.device))
    return mask
