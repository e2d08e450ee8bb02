"""Dense layers that encode the window with its covariates and decode every step to come.

Das et al. 2023, "Long-term forecasting with TiDE: time-series dense encoder": covariates are narrowed step by step, all
of the window is read at once, and a decoder of each step sees that step's covariates as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from lamina.networks.blocks.options import share, whole
from lamina.networks.forecasters import Shape
from lamina.networks.forecasters._forecaster import last_layer


@dataclass(frozen=True)
class Options:
    """Sizes of a dense encoder.

    Attributes:
        width: of the hidden layers.
        depth: residual blocks of the encoder, and of the decoder.
        narrow: numbers that a step's covariates are narrowed to.
        step: numbers that the decoder gives to each step.
        dropout: chance of a hidden number to be left out.
    """

    width: int = whole(128)
    depth: int = whole(1)
    narrow: int = whole(4)
    step: int = whole(16)
    dropout: float = share(0.2)


class Residual(nn.Module):
    """A hidden layer beside a linear shortcut, and a norm."""

    def __init__(self, inputs: int, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs), nn.Dropout(dropout)
        )
        self.shortcut, self.norm = nn.Linear(inputs, outputs), nn.LayerNorm(outputs)

    def forward(self, values: Tensor) -> Tensor:
        found: Tensor = self.norm(self.hidden(values) + self.shortcut(values))
        return found


class Tide(nn.Module):
    """See the module."""

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__()
        self.horizon, width, hidden = shape.horizon, options.width, 4 * options.narrow
        # Besides the target itself, the past has a flag of what was observed.
        self.past = Residual(shape.past - 1, hidden, options.narrow, options.dropout)
        self.future = Residual(shape.future, hidden, options.narrow, options.dropout) if shape.future else None
        read = shape.length * (1 + options.narrow) + shape.horizon * options.narrow * bool(shape.future) + shape.about
        sizes = [read] + [width] * options.depth
        self.encoder = nn.Sequential(
            *(Residual(before, width, after, options.dropout) for before, after in pairwise(sizes))
        )
        steps = [width] * options.depth + [shape.horizon * options.step]
        self.decoder = nn.Sequential(
            *(Residual(before, width, after, options.dropout) for before, after in pairwise(steps))
        )
        shown = options.step + options.narrow * bool(shape.future)
        self.each = nn.Sequential(nn.Linear(shown, 2 * options.step), nn.ReLU(), nn.Dropout(options.dropout))
        self.out = last_layer(2 * options.step, shape.outputs)

    def forward(self, past: Tensor, future: Tensor, about: Tensor) -> Tensor:
        """[row, horizon, output]."""
        known = None if self.future is None else self.future(future)
        parts = [past[:, :, 0], self.past(past[:, :, 1:]).flatten(1), about]
        if known is not None:
            parts.append(known.flatten(1))
        steps = self.decoder(self.encoder(torch.cat(parts, dim=1))).unflatten(1, (self.horizon, -1))
        if known is not None:
            steps = torch.cat([steps, known], dim=2)
        found: Tensor = self.out(self.each(steps))
        return found


def build(shape: Shape, options: Options) -> Tide:
    """The encoder and decoder with fresh weights."""
    return Tide(shape, options)
