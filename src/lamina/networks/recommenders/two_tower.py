"""Two towers: a history pooled with weights of recency and sent through dense layers, beside the vectors of items.

Covington et al. 2016, "Deep neural networks for YouTube recommendations": the history is a bag of vectors, and its
pooled mean goes through dense layers. Here it is pooled several times, over longer and longer memories that are
learned, so that what was last can count for more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.networks.blocks.options import share, whole

MEMORIES = (1.0, 5.0, 100.0)
"""Items after which an item counts for 1/e, before training: only the last one, some, nearly all."""


@dataclass(frozen=True)
class Options:
    """Sizes of two towers.

    Attributes:
        width: of the vectors of items and users.
        hidden: of the dense layers.
        dropout: chance of a number in the pooled history and in the hidden layer to be left out.
    """

    width: int = whole(64)
    hidden: int = whole(128)
    dropout: float = share(0.2)


class Recent(nn.Module):
    """Means of the items before each position, weighted by how long ago they were.

    The weight of an item n places back is exp(-n / memory), in as many ways as there are memories.
    """

    ago: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.memories = nn.Parameter(torch.tensor([math.log(memory) for memory in MEMORIES]))
        # Position t comes after t items: item s is t - 1 - s places back, and one not yet seen infinitely many.
        ago = torch.arange(steps + 1).unsqueeze(1) - 1.0 - torch.arange(steps).unsqueeze(0)
        self.register_buffer("ago", torch.where(ago < 0, 1e9, ago), persistent=False)

    def forward(self, items: Tensor) -> Tensor:
        """[row, step, width] to [row, 1 + step, memory * width]; zeros before the first item."""
        steps = items.shape[1]
        ago = self.ago[: steps + 1, :steps]
        weight = torch.exp(-ago.unsqueeze(0) * torch.exp(-self.memories).reshape(-1, 1, 1))
        weight = weight / weight.sum(dim=2, keepdim=True).clamp_min(1e-9)
        pooled = [weight[number] @ items for number in range(len(MEMORIES))]
        return torch.cat(pooled, dim=2)


class TwoTower(nn.Module):
    """The user tower: see the module."""

    def __init__(self, steps: int, options: Options) -> None:
        super().__init__()
        width = options.width
        self.recent = Recent(steps)
        self.entry = nn.Linear((1 + len(MEMORIES)) * width, options.hidden)
        self.exit = nn.Linear(options.hidden, width)
        self.activation, self.dropout = nn.GELU(), nn.Dropout(options.dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, start: Tensor, items: Tensor) -> Tensor:
        """States [row, 1 + step, width]."""
        pooled = self.recent(items)
        start = start.unsqueeze(1).expand(-1, pooled.shape[1], -1)
        known = self.dropout(torch.cat([start, pooled], dim=2))
        plain = start + pooled.unflatten(2, (len(MEMORIES), -1)).mean(dim=2)
        states: Tensor = self.norm(plain + self.exit(self.dropout(self.activation(self.entry(known)))))
        return states


def build(steps: int, options: Options) -> TwoTower:
    """The user tower with fresh weights."""
    return TwoTower(steps, options)
