"""A causal transformer over the history: the order counts.

Kang & McAuley 2018, "Self-attentive sequential recommendation" (SASRec), with rotary positions (Su et al. 2021), norms
before the layers (Xiong et al. 2020), and a first token that stands for the user.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.networks.blocks.attention import EncoderLayer, Rotary
from lamina.networks.blocks.options import share, whole


@dataclass(frozen=True)
class Options:
    """Sizes of a transformer over histories.

    Attributes:
        width: of the vectors of items and of the layers.
        depth: layers.
        heads: of attention.
        expansion: width of the feed-forward layers as a multiple.
        dropout: chance of a number in the embedded history and in the layers to be left out.
    """

    width: int = whole(64)
    depth: int = whole(2)
    heads: int = whole(2)
    expansion: int = whole(2)
    dropout: float = share(0.2)


class Sequential(nn.Module):
    """See the module."""

    def __init__(self, steps: int, options: Options) -> None:
        super().__init__()
        width, each = options.width, options.width // options.heads
        if options.width % (2 * options.heads):
            raise InputError(
                f"A width of {width} cannot be divided among {options.heads} heads of an even width.",
                where="network.width",
                fix="Choose a width that is a multiple of twice the heads.",
            )
        self.rotary = Rotary(steps + 1, each)
        self.dropout = nn.Dropout(options.dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(width, options.heads, options.expansion, False, options.dropout, 0.0, causal=True)
            for _ in range(options.depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, start: Tensor, items: Tensor) -> Tensor:
        """States [row, 1 + step, width]."""
        values = self.dropout(torch.cat([start.unsqueeze(1), items], dim=1))
        for layer in self.layers:
            values = layer(values, None, self.rotary)
        states: Tensor = self.norm(values)
        return states


def build(steps: int, options: Options) -> Sequential:
    """The transformer with fresh weights."""
    return Sequential(steps, options)
