"""From a pyramid of maps to an answer for every pixel: the expanding half of a U-Net (Ronneberger et al. 2015).

The coarsest map is enlarged step by step; at every step the finer map of that size is put beside it, for the one knows
what is there and the other where exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lamina.networks import Level, Pyramidal
from lamina.networks.blocks.options import share, whole
from lamina.tasks import Layout

READS = "pyramid"


@dataclass(frozen=True)
class Options:
    """How maps grow.

    Attributes:
        decoder_width: channels at the finest level; every coarser one has twice as many, up to `decoder_widest`.
        decoder_widest: most channels of a level.
        upsampling: "interpolate" (bilinear) or "transposed" (a learned, transposed convolution, also called
            deconvolution: sharper, but it may leave a checkerboard, Odena et al. 2016).
        decoder_dropout: on the channels of the last map.
    """

    decoder_width: int = whole(16)
    decoder_widest: int = whole(128)
    upsampling: Literal["interpolate", "transposed"] = "interpolate"
    decoder_dropout: float = share(0.0)


class Grow(nn.Module):
    """A coarse map and the finer one beside it, [batch, channel, height, width] each, to one of the finer size."""

    def __init__(self, inner: int, beside: Level, outer: int, stride: int, transposed: bool) -> None:
        super().__init__()
        self.size = (beside.height, beside.width)
        # Narrowed before it is enlarged: interpolation and a map of single pixels may change places, and this is cheap.
        self.narrow: nn.Module = nn.Conv2d(inner, outer, 1)
        if transposed and stride > 1:
            self.narrow = nn.ConvTranspose2d(inner, outer, stride, stride)
        self.convolve = nn.Sequential(*convolution(outer + beside.channels, outer), *convolution(outer, outer))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        # Halving rounds up, so a transposed convolution may give a row or a column too many.
        coarse = self.narrow(coarse)[:, :, : self.size[0], : self.size[1]]
        merged: Tensor = self.convolve(torch.cat([enlarged(coarse, self.size), fine], dim=1))
        return merged


class MapHead(nn.Module):
    """Maps of a pyramid, the finest first, to flat answers [batch, 1, channel * height * width]."""

    def __init__(self, levels: Sequence[Level], layout: Layout, options: Options) -> None:
        super().__init__()
        channels, height, width = layout.shape
        self.size = (height, width)
        widths = [min(options.decoder_width * 2**number, options.decoder_widest) for number in range(len(levels))]
        coarse, *finer = reversed(list(zip(levels, widths, strict=True)))
        self.entry = nn.Sequential(*convolution(coarse[0].channels, coarse[1], kernel=1))
        transposed = options.upsampling == "transposed"
        self.stages = nn.ModuleList(
            Grow(inner, level, outer, round(above.stride / level.stride), transposed)
            for (above, inner), (level, outer) in pairwise([coarse, *finer])
        )
        self.dropout = nn.Dropout2d(options.decoder_dropout)
        self.exit = nn.Conv2d(widths[0], channels, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        values: Tensor = self.entry(maps[-1])
        for stage, fine in zip(self.stages, reversed(maps[:-1]), strict=True):
            values = stage(values, fine)
        answer: Tensor = enlarged(self.exit(self.dropout(values)), self.size)
        return answer.flatten(1).unsqueeze(1)


def convolution(inner: int, outer: int, kernel: int = 3) -> list[nn.Module]:
    """A convolution that keeps the map's size, its normalisation and ReLU."""
    layer = nn.Conv2d(inner, outer, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return [layer, nn.BatchNorm2d(outer), nn.ReLU(inplace=True)]


def enlarged(values: Tensor, size: tuple[int, int]) -> Tensor:
    """The map [batch, channel, height, width] at a size (height, width), bilinear; as it is where it has that."""
    if tuple(int(side) for side in values.shape[2:]) == size:
        return values
    return functional.interpolate(values, size=size, mode="bilinear", align_corners=False)


def build(layout: Layout, network: Pyramidal, options: Options) -> MapHead:
    """The head for a map on top of a network's pyramid."""
    return MapHead(network.levels, layout, options)
