"""Stochastic depth: a residual branch is left out at random during training."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """Leaves a residual branch out for random rows of the batch (Huang et al. 2016).

    Kept branches are scaled up, so that evaluation needs no change; [batch, ...] to the same shape.
    """

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.chance = chance

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.chance == 0.0:
            return branch
        shape = (branch.shape[0],) + (1,) * (branch.ndim - 1)
        kept = torch.rand(shape, device=branch.device) >= self.chance
        return branch * kept / (1.0 - self.chance)


def chances(highest: float, blocks: int) -> list[float]:
    """The chance of leaving out each of `blocks` blocks: from 0 at the first linearly to `highest` at the last."""
    return [highest * number / max(blocks - 1, 1) for number in range(blocks)]
