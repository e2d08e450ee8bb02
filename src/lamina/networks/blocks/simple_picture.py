"""The simple answer to a worse picture, as part of the network: enlarged, in grey, or with holes filled from around.

A network that makes pictures better answers how its picture differs from this one (residual learning: Kim et al. 2016,
"Accurate image super-resolution using very deep convolutional networks"), so it begins where a simple tool ends.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from lamina.errors import InputError

SHARPNESS = -0.5
"""The kernel's parameter with the smallest error (Keys 1981); Pillow's bicubic interpolation has the same."""
TO_COLOR = ((0.0, 1.402), (-0.344136, -0.714136), (1.772, 0.0))
"""What blue and red chroma add to red, green and blue (ITU-R BT.601, as in JPEG)."""
SURROUNDINGS = 3
"""A hole is filled with the mean of what is known within so many pixels, or thrice as many, and so on."""


def enlarging(side: int, scale: int) -> Tensor:
    """float32 [side * scale, side]: the matrix of bicubic enlargement along one axis (Keys 1981).

    At the borders the weights of the pixels that are there are divided by their sum, as Pillow does.
    """
    place = (np.arange(side * scale) + 0.5) / scale - 0.5
    distance = np.abs(place[:, None] - np.arange(side))
    near = ((SHARPNESS + 2) * distance - (SHARPNESS + 3)) * distance**2 + 1
    far = SHARPNESS * (((distance - 5) * distance + 8) * distance - 4)
    weights = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    return torch.from_numpy((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


def scale_between(given: tuple[int, ...], wanted: tuple[int, ...]) -> int:
    """How many times the answer is larger than the input, both [channel, height, width].

    Raises:
        InputError: its sides are no multiple of the input's.
    """
    scale = wanted[1] // given[1]
    if scale < 1 or tuple(scale * side for side in given[1:]) != tuple(wanted[1:]):
        raise InputError(
            f"The answer has {wanted[2]} x {wanted[1]} pixels, the input {given[2]} x {given[1]}.",
            fix="Give an answer whose sides are 1, 2, 3, ... times the input's.",
        )
    return scale


class SimplePicture(nn.Module):
    """A worse picture, float32 [batch, channel, height, width] from 0 to 1, as one of the answer's shape.

    Args:
        given, wanted: [channel, height, width] of the input and of the answer.
        hole: the value, from 0 to 1, from which on in every channel a pixel is missing; above 1 for none.

    Attributes:
        scale: how many times larger the answer is.
        coloring: the input is grey, the answer in color: three equal channels to begin with.
    """

    down: Tensor
    right: Tensor
    above: Tensor
    beside: Tensor

    def __init__(self, given: tuple[int, ...], wanted: tuple[int, ...], hole: float) -> None:
        super().__init__()
        self.scale, self.hole, self.longest = scale_between(given, wanted), hole, max(given[1:])
        self.coloring = (given[0], wanted[0]) == (1, 3)
        if given[0] != wanted[0] and not self.coloring:
            raise InputError(
                f"The input has {given[0]} channels, the answer {wanted[0]}.",
                fix="Set the option channels of both fields to 3, or to 1.",
            )
        self.register_buffer("down", enlarging(given[1], self.scale), persistent=False)
        self.register_buffer("right", enlarging(given[2], self.scale), persistent=False)
        if hole <= 1:
            self.register_buffer("above", _around(given[1], self.longest), persistent=False)
            self.register_buffer("beside", _around(given[2], self.longest), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """[batch, *wanted]; in full precision, as it is what the answer is mostly made of."""
        if torch.is_autocast_enabled(values.device.type):
            with torch.autocast(values.device.type, enabled=False):
                return self._simple(values)
        return self._simple(values)

    def _simple(self, values: Tensor) -> Tensor:
        if self.hole <= 1:
            return self._filled(values, self.missing(values))
        if self.scale > 1:
            values = self.down @ values @ self.right.transpose(0, 1)
        return values.expand(-1, 3, -1, -1) if self.coloring else values

    def missing(self, values: Tensor) -> Tensor:
        """float32 [batch, 1, height, width]: 1 where a pixel is a hole."""
        return (values.amin(dim=1, keepdim=True) >= self.hole).float()

    def _filled(self, values: Tensor, missing: Tensor) -> Tensor:
        known = 1 - missing
        filled = values * known
        sums = filled
        for above, beside in zip(self.above, self.beside, strict=True):
            number = above @ known @ beside
            found = (number > 0.5).float() * missing
            filled = filled + found * (above @ sums @ beside) / number.clamp_min(1.0)
            missing = missing - found
        return filled


def _around(side: int, longest: int) -> Tensor:
    """float32 [number, side, side]: matrices that add up the surroundings along one axis, wider and wider.

    Sums over squares are two products with them, whose cost does not grow with the width as a pooling layer's does.
    """
    place = torch.arange(side)
    distance = (place[:, None] - place).abs()
    reaches = [SURROUNDINGS]
    while reaches[-1] < longest:
        reaches.append(3 * reaches[-1])
    return torch.stack([(distance <= reach).float() for reach in reaches])


def colored(luminance: Tensor, chroma: Tensor) -> Tensor:
    """[batch, 3, height, width] in red, green and blue, from luminance [batch, 3, ...] and chroma [batch, 2, ...]."""
    red, green, blue = (
        luminance[:, :1] + weights[0] * chroma[:, :1] + weights[1] * chroma[:, 1:] for weights in TO_COLOR
    )
    return torch.cat([red, green, blue], dim=1)
