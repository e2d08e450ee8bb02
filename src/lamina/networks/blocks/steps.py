"""Tokens, frames of sound and steps of series as a sequence of vectors."""

from __future__ import annotations

import torch.nn.functional as functional
from torch import Tensor, nn

from lamina.modalities import Feature


class StepInput(nn.Module):
    """[batch, step] tokens or [batch, step, band] numbers to [batch, patch, width].

    Args:
        feature: of kind "tokens", "spectrogram" or "series".
        width: of the embedding.
        patch: how many steps of numbers are read as one; the last patch is filled up with zeros.
    """

    def __init__(self, feature: Feature, width: int, patch: int) -> None:
        super().__init__()
        self.tokens = feature.kind == "tokens"
        self.patch = 1 if self.tokens else min(patch, feature.shape[0])
        self.project: nn.Module
        if self.tokens:
            self.project = nn.Embedding(feature.size, width, padding_idx=0)
        else:
            self.project = nn.Linear(self.patch * feature.shape[1], width)

    def patches(self, steps: int) -> int:
        """How many patches `steps` steps make."""
        return -(-steps // self.patch)

    def forward(self, values: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """The sequence of vectors, and the number of patches of each row that are not all padding."""
        if self.tokens:
            return self.project(values.long()), length
        values = values.float()
        if self.patch > 1:
            count = self.patches(values.shape[1])
            values = functional.pad(values, (0, 0, 0, count * self.patch - values.shape[1]))
            values = values.reshape(-1, count, self.patch * values.shape[2])
        return self.project(values), (length + self.patch - 1) // self.patch


def padded_steps(values: Tensor, mask: Tensor, number: int) -> Tensor:
    """[batch, step, width] with 0 at padding, brought to `number` steps: what `Stepwise.sequence` gives."""
    return functional.pad(values * mask.unsqueeze(2).to(values.dtype), (0, 0, 0, number - values.shape[1]))
