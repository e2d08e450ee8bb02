"""Decoders of pictures, sounds and series: from a vector to a map that grows, or from the vectors of places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from lamina.modalities import Feature
from lamina.networks.blocks.fields import Pixels, lengths, within
from lamina.networks.decoders.places import averaging, cells, grid_of, size_of

SMALLEST = 8
"""The linear map gives a map of at most this side; every stage doubles it."""
NARROWEST, WIDEST = 8, 64
"""Channels of the last and, at most, of the first map."""
MOST_PLACES = 4096
"""Of a series whose channels have places of their own."""


class Growing(nn.Module):
    """[row, width] to [row, channel, *size]: a linear map, then stages of enlarging and convolving.

    Each step is repeated before a convolution, in place of a transposed convolution: that one covers its outputs
    unevenly, and the checkerboard which follows would stand in the errors as well (Odena et al. 2016, "Deconvolution
    and checkerboard artifacts").
    """

    def __init__(self, width: int, size: Sequence[int], channels: int) -> None:
        super().__init__()
        self.size = tuple(size)
        stages = max(0, math.ceil(math.log2(max(size) / SMALLEST)))
        self.first = tuple(math.ceil(side / 2**stages) for side in size)
        flat = len(self.first) == 1
        convolution: Any = nn.Conv1d if flat else nn.Conv2d
        norm: Any = nn.BatchNorm1d if flat else nn.BatchNorm2d
        kernel = 5 if flat else 3
        widths = [min(NARROWEST * 2 ** (stages - number), WIDEST) for number in range(stages + 1)]
        self.entry = nn.Linear(width, widths[0] * math.prod(self.first))
        layers: list[nn.Module] = [nn.Unflatten(1, (widths[0], *self.first)), norm(widths[0]), nn.ReLU()]
        for inner, outer in pairwise(widths):
            layers += [
                nn.Upsample(scale_factor=2, mode="nearest"),
                convolution(inner, outer, kernel, padding=kernel // 2, bias=False),
                norm(outer),
                nn.ReLU(),
            ]
        self.stages = nn.Sequential(*layers, convolution(widths[-1], channels, kernel, padding=kernel // 2))

    def forward(self, vector: Tensor) -> Tensor:
        grown: Tensor = self.stages(self.entry(vector))
        if len(self.size) == 1:
            return grown[:, :, : self.size[0]]
        return grown[:, :, : self.size[0], : self.size[1]]


class Unfolding(nn.Module):
    """[row, *places, width] to [row, channel, *size]: every place tells the part of the map that it stands for.

    One linear map for all places, as in SimMIM (Xie et al. 2022): what is asked must be known by the network itself.
    """

    def __init__(self, width: int, places: Sequence[int], size: Sequence[int], channels: int) -> None:
        super().__init__()
        self.places, self.sides = tuple(places), []
        for axis, (number, side) in enumerate(zip(places, size, strict=True)):
            # More places than steps are averaged down to them first.
            fewer = min(number, side)
            self.register_buffer(f"fewer{axis}", averaging(number, fewer) if fewer < number else None, persistent=False)
            place = cells(side, fewer)
            within = torch.arange(side) - torch.searchsorted(place, place)
            self.sides.append(int(within.max()) + 1)
            self.register_buffer(f"step{axis}", place * self.sides[-1] + within, persistent=False)
        self.out = nn.Linear(width, channels * math.prod(self.sides))

    def forward(self, vectors: Tensor) -> Tensor:
        lacking = self.places[0] - vectors.shape[1]
        if lacking:
            vectors = nn.functional.pad(vectors, (0, 0) * len(self.places) + (0, lacking))
        values = vectors.movedim(-1, 1)
        for axis in range(len(self.places)):
            fewer = getattr(self, f"fewer{axis}")
            if fewer is not None:
                values = (values.movedim(axis + 2, -1) @ fewer.transpose(0, 1)).movedim(-1, axis + 2)
        parts: Tensor = self.out(values.movedim(1, -1))
        # [row, *places, channel, *sides] to [row, channel, place, side, ...]; of each axis the steps that there are.
        parts = parts.reshape(*parts.shape[:-1], -1, *self.sides)
        axes = len(self.places)
        order = [0, axes + 1, *(one for axis in range(axes) for one in (axis + 1, axes + 2 + axis))]
        parts = parts.permute(order)
        for axis in range(axes):
            parts = parts.flatten(axis + 2, axis + 3).index_select(axis + 2, self.get_buffer(f"step{axis}"))
        return parts


def grower(width: int, size: Sequence[int], channels: int, places: Sequence[int] = ()) -> Growing | Unfolding:
    """From [row, width] (or [row, *places, width], where there are `places`) to [row, channel, *size]."""
    return Unfolding(width, places, size, channels) if places else Growing(width, size, channels)


class ImageDecoder(nn.Module):
    """A picture, at most 64 pixels a side; errors are squares on the networks' own standardised scale."""

    def __init__(self, width: int, feature: Feature, places: Sequence[int] = ()) -> None:
        super().__init__()
        self.grid, size = grid_of(feature), size_of(feature)
        self.pixels = Pixels(feature)
        self.grow = grower(width, size, feature.shape[2], places)
        larger = size != tuple(feature.shape[:2])
        for axis, name in enumerate(("rows", "columns")):
            shrink = averaging(feature.shape[axis], size[axis]) if larger else None
            self.register_buffer(f"shrink_{name}", shrink, persistent=False)
            self.register_buffer(f"pool_{name}", averaging(size[axis], self.grid[axis]), persistent=False)

    def forward(self, vector: Tensor) -> Tensor:
        """[row, width] or [row, *places, width] to [row, channel, height, width] of the decoded size."""
        picture: Tensor = self.grow(vector)
        return picture

    def wanted(self, images: Tensor) -> Tensor:
        """What `forward` should give: uint8 [row, height, width, channel] standardised and, where large, averaged."""
        pixels: Tensor = self.pixels(images)
        if isinstance(self.shrink_rows, Tensor) and isinstance(self.shrink_columns, Tensor):
            pixels = self.shrink_rows @ pixels @ self.shrink_columns.transpose(0, 1)
        return pixels

    def errors(self, prediction: Tensor, target: Tensor) -> Tensor:
        """[row, rows, columns] of the grid."""
        squares = (prediction.float() - self.wanted(target)).square().mean(dim=1)
        return self.get_buffer("pool_rows") @ squares @ self.get_buffer("pool_columns").transpose(0, 1)


class SpectrogramDecoder(nn.Module):
    """A sound's spectrogram, at most 64 x 64; errors by stretch of time, over all bands.

    Padding counts for nothing: the errors of what is no padding are weighed up, so that their mean over the places is
    the mean over the sound, however short it is.
    """

    def __init__(self, width: int, feature: Feature, places: Sequence[int] = ()) -> None:
        super().__init__()
        self.grid, (steps, bands) = grid_of(feature), size_of(feature)
        # A place in time tells all bands at once.
        self.grow = grower(width, (steps,), bands, places) if places else grower(width, (steps, bands), 1)
        self.register_buffer("shrink_time", averaging(feature.shape[0], steps), persistent=False)
        self.register_buffer("shrink_bands", averaging(feature.shape[1], bands), persistent=False)
        self.register_buffer("pool", averaging(steps, self.grid[0]), persistent=False)

    def forward(self, vector: Tensor) -> Tensor:
        """[row, width] or [row, place, width] to [row, step, band] of the decoded size."""
        sound: Tensor = self.grow(vector)
        return sound[:, 0] if sound.ndim == 4 else sound.transpose(1, 2)

    def wanted(self, sounds: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` should give, and the share [row, step] of each step that is no padding."""
        used = within(lengths("spectrogram", sounds), sounds.shape[1]).float()
        shrink = self.get_buffer("shrink_time")
        known = used @ shrink.transpose(0, 1)
        means = shrink @ sounds.float() @ self.get_buffer("shrink_bands").transpose(0, 1)
        return means / known.clamp_min(1e-6).unsqueeze(2), known

    def errors(self, prediction: Tensor, target: Tensor) -> Tensor:
        """[row, steps] of the grid."""
        wanted, known = self.wanted(target)
        squares = (prediction.float() - wanted).square().mean(dim=2)
        pool = self.get_buffer("pool").transpose(0, 1)
        return ((squares * known) @ pool) / (known @ pool).mean(dim=1, keepdim=True)


class SeriesDecoder(nn.Module):
    """A series, at most 256 steps; errors by stretch of time, over all channels or of each.

    Args:
        channels: every channel has places of its own, where there are several and not too many.
    """

    def __init__(self, width: int, feature: Feature, places: Sequence[int] = (), channels: bool = False) -> None:
        super().__init__()
        self.grid, (steps,) = grid_of(feature), size_of(feature)
        if channels and 1 < feature.shape[1] <= MOST_PLACES // self.grid[0]:
            self.grid = (*self.grid, feature.shape[1])
        self.grow = grower(width, (steps,), feature.shape[1], places)
        self.register_buffer("shrink", averaging(feature.shape[0], steps), persistent=False)
        self.register_buffer("pool", averaging(steps, self.grid[0]), persistent=False)

    def forward(self, vector: Tensor) -> Tensor:
        """[row, width] or [row, place, width] to [row, step, channel] of the decoded size."""
        series: Tensor = self.grow(vector)
        return series.transpose(1, 2)

    def wanted(self, series: Tensor) -> Tensor:
        """What `forward` should give."""
        return self.get_buffer("shrink") @ series.float()

    def errors(self, prediction: Tensor, target: Tensor) -> Tensor:
        """[row, steps] or [row, steps, channels] of the grid."""
        squares = (prediction.float() - self.wanted(target)).square()
        if len(self.grid) == 2:
            return self.get_buffer("pool") @ squares
        return squares.mean(dim=2) @ self.get_buffer("pool").transpose(0, 1)
