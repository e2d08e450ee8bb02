"""Boxes: a feature pyramid, and at each place of its levels classes, distances to four sides, and how well they fit.

Coarse maps know what there is, fine ones where it is: from the coarsest downwards each level is added to the next finer
one (feature pyramid, Lin et al. 2017). The same small convolutions then read all levels, each with a normalisation of
its own, since things look alike at every size, but the levels' numbers do not (FCOS, Tian et al. 2019; NAS-FPN, Ghiasi
et al. 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lamina.errors import InputError
from lamina.networks import Level, Pyramidal
from lamina.networks.blocks.options import whole
from lamina.tasks import Layout

READS = "pyramid"
BESIDES = 5
"""Values of a place besides the classes: four distances and how well they fit."""
RARE = 0.01
"""The chance of each class at the start: most places are empty (Lin et al. 2017, "focal loss")."""


@dataclass(frozen=True)
class Options:
    """Sizes of the head.

    Attributes:
        finest: stride of the finest level in pixels.
        levels: how many levels, each with twice the stride.
        head_width: channels of the levels and of the convolutions.
        head_depth: convolutions before the classes, and before the distances.
    """

    finest: int = whole(8)
    levels: int = whole(3)
    head_width: int = whole(64)
    head_depth: int = whole(2)


class Pyramid(nn.Module):
    """Maps of the wanted strides, all of one width, each knowing what the coarser ones know."""

    def __init__(self, levels: Sequence[Level], strides: Sequence[int], width: int) -> None:
        super().__init__()
        own = {level.stride: place for place, level in enumerate(levels)}
        self.chosen = [own[stride] for stride in strides if stride in own]
        # Where the network ends before, its coarsest map is halved on.
        self.coarser = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            for _ in range(len(strides) - len(self.chosen))
        )
        self.entries = nn.ModuleList(
            nn.Sequential(nn.Conv2d(levels[place].channels, width, 1, bias=False), nn.BatchNorm2d(width))
            for place in self.chosen
        )
        self.exits = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            for _ in strides
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """[batch, width, height, width of the map] for each stride, the finest first."""
        found = [entry(maps[place]) for entry, place in zip(self.entries, self.chosen, strict=True)]
        for halve in self.coarser:
            found.append(halve(found[-1]))
        for place in range(len(found) - 2, -1, -1):
            size = found[place].shape[2:]
            found[place] = found[place] + functional.interpolate(found[place + 1], size=size, mode="nearest")
        return [leave(values) for leave, values in zip(self.exits, found, strict=True)]


class Tower(nn.Module):
    """Convolutions that all levels share, each level with a normalisation of its own."""

    def __init__(self, width: int, depth: int, levels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1, bias=False) for _ in range(depth))
        self.norms = nn.ModuleList(nn.ModuleList(nn.BatchNorm2d(width) for _ in range(depth)) for _ in range(levels))

    def forward(self, values: Tensor, level: int) -> Tensor:
        norms = cast(nn.ModuleList, self.norms[level])
        for convolution, norm in zip(self.convolutions, norms, strict=True):
            values = torch.relu(norm(convolution(values)))
        return values


class Places(nn.Module):
    """[batch, 1, place * (class + 5)] from a network's maps."""

    def __init__(self, levels: Sequence[Level], classes: int, options: Options) -> None:
        super().__init__()
        strides = [options.finest * 2**number for number in range(options.levels)]
        self.pyramid = Pyramid(levels, strides, options.head_width)
        self.classes = Tower(options.head_width, options.head_depth, len(strides))
        self.sides = Tower(options.head_width, options.head_depth, len(strides))
        self.class_exit = nn.Conv2d(options.head_width, classes, 1)
        self.side_exit = nn.Conv2d(options.head_width, BESIDES, 1)
        nn.init.normal_(self.class_exit.weight, std=0.01)
        nn.init.normal_(self.side_exit.weight, std=0.01)
        assert self.class_exit.bias is not None
        assert self.side_exit.bias is not None
        nn.init.constant_(self.class_exit.bias, -math.log((1 - RARE) / RARE))
        with torch.no_grad():
            # Boxes of about four strides a side are in the middle of what a level is for.
            self.side_exit.bias.copy_(torch.tensor([math.log(2.0)] * 4 + [0.0]))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        parts = []
        for level, values in enumerate(self.pyramid(maps)):
            found = torch.cat(
                [self.class_exit(self.classes(values, level)), self.side_exit(self.sides(values, level))], dim=1
            )
            parts.append(found.flatten(2).transpose(1, 2))
        return torch.cat(parts, dim=1).flatten(1).unsqueeze(1)


def build(layout: Layout, network: Pyramidal, options: Options) -> Places:
    """The head for `layout` (place, class + 5) on a network's maps.

    Raises:
        InputError: the network gives no map with the finest stride.
    """
    strides = [level.stride for level in network.levels]
    if options.finest not in strides:
        raise InputError(
            f"Boxes are looked for every {options.finest} pixels, and the network gives maps every "
            f"{', '.join(map(str, strides))} pixels.",
            where="network",
            fix="Choose another network, or set its option halvings so that there is such a map (for resnet).",
        )
    classes = layout.shape[1] - BESIDES
    head = Places(network.levels, classes, options)
    places = _count(network.levels, options)
    if places != layout.shape[0]:
        raise InputError(
            f"The network's maps have {places:,} places, and the task asks for {layout.shape[0]:,}.",
            where="network",
            fix="Choose another network for these pictures: its maps must halve as often as their strides say.",
        )
    return head


def _count(levels: Sequence[Level], options: Options) -> int:
    """Places of all levels."""
    sizes = {level.stride: (level.height, level.width) for level in levels}
    total = 0
    high = wide = 0
    for number in range(options.levels):
        high, wide = sizes.get(options.finest * 2**number, (math.ceil(high / 2), math.ceil(wide / 2)))
        total += high * wide
    return total
