"""From a vector for every step to log-chances of symbols at every step, for connectionist temporal classification."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.networks import Stepwise
from lamina.networks.blocks.options import share
from lamina.tasks import Layout
from lamina.tasks._ctc import BLANK, PADDING

READS = "sequence"


@dataclass(frozen=True)
class Options:
    """What the head can be told.

    Attributes:
        dropout: on the steps' vectors.
    """

    dropout: float = share(0.1)


class Symbols(nn.Module):
    """[batch, step, inner] to [batch, 1, step * symbol]: log-chances that sum to one at every step.

    At steps of padding, whose vectors are 0, the blank is certain: so the outputs alone say where a sound ends.
    """

    padding: Tensor

    def __init__(self, inner: int, symbols: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(inner, symbols)
        row = torch.full((symbols,), PADDING)
        row[BLANK] = 0.0
        self.register_buffer("padding", row, persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        heard = (values != 0).any(dim=2, keepdim=True)
        chances = self.linear(self.dropout(values)).float().log_softmax(dim=2)
        return torch.where(heard, chances, self.padding).flatten(1).unsqueeze(1)


def build(layout: Layout, network: Stepwise, options: Options) -> nn.Module:
    """[batch, step, width] to [batch, 1, step * symbol].

    Raises:
        InputError: the network's steps are not those that the task counts on.
    """
    steps, symbols = layout.shape
    if network.steps.number != steps:
        raise InputError(
            f"The network gives {network.steps.number} steps (one in {network.steps.stride} frames), "
            f"but the answer has {steps}.",
            where="network",
            fix="Make them alike: of a conformer with network.FIELD.halvings, of a recurrent network with "
            "network.FIELD.patch, or of the answer with task.TARGET.stride.",
        )
    return Symbols(network.steps.width, symbols, options.dropout)
