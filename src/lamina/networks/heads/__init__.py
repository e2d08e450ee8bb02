"""Heads: from a network's vector to one target's outputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class MemberLinear(nn.Module):
    """A linear map of its own for each member: [batch, member, inner] to [batch, member, outer]."""

    def __init__(self, members: int, inner: int, outer: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inner)
        self.weight = nn.Parameter(torch.empty(members, inner, outer).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, outer).uniform_(-bound, bound))

    def forward(self, values: Tensor) -> Tensor:
        return torch.bmm(values.transpose(0, 1), self.weight).transpose(0, 1) + self.bias


def head(members: int, inner: int, outer: int) -> nn.Module:
    """The head of one target: linear, for an implicit ensemble one for each member."""
    return nn.Linear(inner, outer) if members == 1 else MemberLinear(members, inner, outer)
