"""A transformer over patches of the window.

Nie et al. 2023, "A time series is worth 64 words: long-term forecasting with transformers" (PatchTST): pieces of the
series are the tokens, all series share the weights. Unlike there, the covariates of a patch's steps are in its token,
and each step to come is decoded together with what is known of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.networks.blocks.attention import EncoderLayer
from lamina.networks.blocks.options import share, whole
from lamina.networks.forecasters import Shape
from lamina.networks.forecasters._forecaster import last_layer

MOST_PATCHES = 32
"""Patches are made longer where there would be more."""


@dataclass(frozen=True)
class Options:
    """Sizes of a transformer over patches.

    Attributes:
        width: of the tokens.
        depth: layers.
        heads: of attention.
        expansion: width of the feed-forward layers as a multiple.
        patch: steps of a patch; they overlap by half. 0: a 32nd of the window, at least 4.
        step: numbers that each step to come is given of the window.
        dropout: chance of a number in the layers to be left out.
    """

    width: int = whole(64)
    depth: int = whole(2)
    heads: int = whole(4)
    expansion: int = whole(2)
    patch: int = whole(0, 0)
    step: int = whole(16)
    dropout: float = share(0.2)


class Patches(nn.Module):
    """See the module."""

    steps: Tensor

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__()
        width = options.width
        if width % options.heads:
            raise InputError(
                f"A width of {width} cannot be divided among {options.heads} heads.",
                where="network.width",
                fix="Choose a width that is a multiple of the heads.",
            )
        size = min(options.patch or max(4, 2 * -(-shape.length // (MOST_PATCHES + 1))), shape.length)
        stride = max(1, size // 2)
        number = 1 + -(-(shape.length - size) // stride)
        # Patches end with the newest step; the first one may begin before the oldest, which is then repeated.
        first = shape.length - size - stride * (number - 1)
        steps = first + stride * torch.arange(number).unsqueeze(1) + torch.arange(size)
        self.register_buffer("steps", steps.clamp_min(0), persistent=False)
        self.embed = nn.Linear(size * shape.past, width)
        self.places = nn.Parameter(torch.randn(number, width) * 0.02)
        self.layers = nn.ModuleList(
            EncoderLayer(width, options.heads, options.expansion, False, options.dropout, 0.0)
            for _ in range(options.depth)
        )
        self.norm, self.horizon = nn.LayerNorm(width), shape.horizon
        self.read = nn.Linear(number * width, shape.horizon * options.step)
        shown = options.step + shape.future + shape.about
        self.each = nn.Sequential(nn.Linear(shown, width), nn.GELU(), nn.Dropout(options.dropout))
        self.out = last_layer(width, shape.outputs)

    def forward(self, past: Tensor, future: Tensor, about: Tensor) -> Tensor:
        """[row, horizon, output]."""
        tokens = self.embed(past[:, self.steps].flatten(2)) + self.places
        for layer in self.layers:
            tokens = layer(tokens, None, None)
        found = self.read(self.norm(tokens).flatten(1)).unflatten(1, (self.horizon, -1))
        known = about.unsqueeze(1).expand(-1, self.horizon, -1)
        answer: Tensor = self.out(self.each(torch.cat([found, future, known], dim=2)))
        return answer


def build(shape: Shape, options: Options) -> Patches:
    """The transformer with fresh weights."""
    return Patches(shape, options)
