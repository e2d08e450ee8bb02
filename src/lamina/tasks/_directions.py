"""Vectors of length 1, for the tasks that answer from what a row is like."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def directions(output: Tensor) -> Tensor:
    """[row, member, size] to [row, size] of length 1: cosine and distance then order neighbors alike."""
    mean = output.float().mean(dim=1)
    length: Tensor = mean.norm(dim=1, keepdim=True)
    return mean / length.clamp_min(1e-12)
