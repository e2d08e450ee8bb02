"""From a network's vector to one target's outputs: a linear map, for an implicit ensemble one for each member."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from lamina.networks import OutputShape
from lamina.tasks import Layout

READS = "vector"


@dataclass(frozen=True)
class Options:
    """There are none."""


class Vectorial(Protocol):
    """What gives a vector: a network, or the fusion of several."""

    output: OutputShape


class MemberLinear(nn.Module):
    """A linear map of its own for each member: [batch, member, inner] to [batch, member, outer]."""

    def __init__(self, members: int, inner: int, outer: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inner)
        self.weight = nn.Parameter(torch.empty(members, inner, outer).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, outer).uniform_(-bound, bound))

    def forward(self, values: Tensor) -> Tensor:
        return torch.bmm(values.transpose(0, 1), self.weight).transpose(0, 1) + self.bias


def build(layout: Layout, network: Vectorial, options: Options) -> nn.Module:
    """[batch, member, width] to [batch, member, outputs]."""
    shape, outer = network.output, layout.size
    return nn.Linear(shape.width, outer) if shape.members == 1 else MemberLinear(shape.members, shape.width, outer)
