"""A deconvolutional network: from noise, and a class where there are any, to a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from lamina.networks.adversarial import growth

SMALLEST = 5
"""The linear map gives a map of at least this side; every stage doubles it."""
WIDEST = 8
"""Channels of the smallest map, at most, as a multiple of the largest's."""
NOISE, CLASS = "noise", "class"
ANY = 1
"""The code of a class that is not said; 0, a class that is not known, is read as it."""


class Stage(nn.Module):
    """Look at the map, then double it by a transposed convolution: what is small costs little.

    The kernel of 4 is a multiple of the stride of 2, so that every output is covered by as many weights (Odena et al.
    2016, "Deconvolution and checkerboard artifacts").
    """

    def __init__(self, inner: int, outer: int, looks: bool) -> None:
        super().__init__()
        self.look: nn.Module | None = None
        if looks:
            self.look = nn.Sequential(nn.Conv2d(inner, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner))
        self.up = nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outer)

    def forward(self, values: Tensor) -> Tensor:
        """[row, inner, height, width] to [row, outer, 2 height, 2 width]."""
        if self.look is not None:
            values = torch.relu(values + self.look(values))
        return torch.relu(self.norm(self.up(values)))


class Generator(nn.Module):
    """Radford et al. 2016, "Unsupervised representation learning with deep convolutional generative adversarial
    networks", with a residual convolution in each stage.

    Args:
        shape: (height, width, channels) of a picture.
        noise: how many numbers of noise a picture is made from.
        classes: 0 for none.
        width: channels of the largest map.
    """

    def __init__(self, shape: tuple[int, int, int], noise: int, classes: int, width: int, looks: bool = True) -> None:
        super().__init__()
        self.size, self.noise, self.classes = shape, noise, classes
        self.first, doublings = growth(*shape[:2], SMALLEST)
        widths = [min(width * 2 ** (doublings - number), width * WIDEST) for number in range(doublings + 1)]
        self.known = nn.Embedding(classes, noise) if classes else None
        self.entry = nn.Linear(noise * (2 if classes else 1), widths[0] * math.prod(self.first), bias=False)
        self.entry_norm = nn.BatchNorm2d(widths[0])
        self.stages = nn.Sequential(*(Stage(inner, outer, looks) for inner, outer in pairwise(widths)))
        self.exit = nn.Conv2d(widths[-1], shape[2], 3, padding=1)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[row, channel, height, width] from -1 to 1.

        Args:
            inputs: "noise", [row, noise] standard normal, and "class", int [row], where there are classes: 1 and
                below for any.
        """
        start = inputs[NOISE].float()
        if self.known is not None:
            start = torch.cat([start, self.known(inputs[CLASS].long().clamp(ANY, self.classes - 1))], dim=1)
        # Channels last: convolutions on processors are then faster by a fifth.
        values = self.entry(start).unflatten(1, (-1, *self.first)).contiguous(memory_format=torch.channels_last)
        values = self.stages(torch.relu(self.entry_norm(values)))
        picture: Tensor = torch.tanh(self.exit(values))
        return picture[:, :, : self.size[0], : self.size[1]]
