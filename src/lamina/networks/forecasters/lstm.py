"""A recurrent network reads the window step by step; dense layers decode each step to come from its last state.

Hochreiter & Schmidhuber 1997 for the network; all steps are decoded at once, as in Wen et al. 2017, "A multi-horizon
quantile recurrent forecaster", so that errors do not add up from step to step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.networks.blocks.options import share, whole
from lamina.networks.forecasters import Shape
from lamina.networks.forecasters._forecaster import last_layer


@dataclass(frozen=True)
class Options:
    """Sizes of a recurrent forecaster.

    Attributes:
        width: of the state.
        depth: layers of the recurrent network.
        step: numbers that each step to come is given of the state.
        dropout: chance of a number between layers to be left out.
    """

    width: int = whole(64)
    depth: int = whole(1)
    step: int = whole(16)
    dropout: float = share(0.1)


class Recurrent(nn.Module):
    """See the module."""

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__()
        between = options.dropout if options.depth > 1 else 0.0
        self.lstm = nn.LSTM(shape.past, options.width, options.depth, batch_first=True, dropout=between)
        self.horizon = shape.horizon
        self.context = nn.Linear(options.width, shape.horizon * options.step)
        shown = options.step + options.width + shape.future + shape.about
        self.each = nn.Sequential(nn.Linear(shown, options.width), nn.GELU(), nn.Dropout(options.dropout))
        self.out = last_layer(options.width, shape.outputs)

    def forward(self, past: Tensor, future: Tensor, about: Tensor) -> Tensor:
        """[row, horizon, output]."""
        states, _ = self.lstm(past)
        last = states[:, -1]
        each = self.context(last).unflatten(1, (self.horizon, -1))
        common = torch.cat([last, about], dim=1).unsqueeze(1).expand(-1, self.horizon, -1)
        found: Tensor = self.out(self.each(torch.cat([each, future, common], dim=2)))
        return found


def build(shape: Shape, options: Options) -> Recurrent:
    """The recurrent network with fresh weights."""
    return Recurrent(shape, options)
