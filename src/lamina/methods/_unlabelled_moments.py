"""What is usual: running means and spreads of errors on training rows, saved with the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

DECAY = 0.99
"""Of the running moments: they tell of the last hundred batches."""
LEAST_SPREAD = 0.1
"""Of a place, as a share of its field's mean spread: else a corner that is always empty would outweigh all others."""
FOLLOWED = 32
"""Rows of each batch whose errors are followed: enough, at a small part of the step's cost."""


class Moments(nn.Module):
    """Running mean and variance of each column of [row, width], and numbers as standard deviations from that mean."""

    mean: Tensor
    variance: Tensor
    followed: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("followed", torch.zeros((), dtype=torch.int64))

    def forward(self, values: Tensor, least: Tensor | float = 0.0) -> Tensor:
        """[row, width], of a spread of at least `least`."""
        spread = self.variance.sqrt().clamp_min(1e-6)
        return (values - self.mean) / torch.maximum(spread, torch.as_tensor(least, device=spread.device))

    def follow(self, values: Tensor) -> None:
        """Count these in."""
        self.followed += 1
        count = self.followed.float()
        # As for the average of weights: the errors of the first steps are forgotten quickly.
        decay = ((1 + count) / (10 + count)).clamp_max(DECAY) * (count > 1)
        variance, mean = torch.var_mean(values.float(), dim=0, correction=0)
        apart = mean - self.mean
        self.variance.copy_(decay * self.variance + (1 - decay) * (variance + decay * apart.square()))
        self.mean.add_(apart * (1 - decay))


class Surprise(nn.Module):
    """Errors by field and place as standard deviations above what is usual there.

    Of a field with several places, what exceeds the usual is squared: a strange spot in a large picture must not vanish
    among places that are as ever. The fields then count alike, whatever their number of places.

    Args:
        counts: places of each field.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        super().__init__()
        self.counts = list(counts)
        self.places, self.fields = Moments(sum(counts)), Moments(len(counts))

    def forward(self, errors: Tensor) -> Tensor:
        """[row, 1 + places] from [row, places]: the mean over the fields, then every place."""
        far, fields = self._far(errors)
        return torch.cat([self.fields(fields).mean(dim=1, keepdim=True), far], dim=1)

    def _far(self, errors: Tensor) -> tuple[Tensor, Tensor]:
        """Every place's error in standard deviations, and every field's excess."""
        spreads = torch.split(self.places.variance.sqrt(), self.counts)
        far = self.places(errors, torch.cat([part.mean().expand(len(part)) * LEAST_SPREAD for part in spreads]))
        fields = [part if part.shape[1] == 1 else _excess(part) for part in torch.split(far, self.counts, dim=1)]
        return far, torch.cat(fields, dim=1)

    def follow(self, errors: Tensor) -> None:
        """Count these in, [row, places]."""
        self.places.follow(errors)
        self.fields.follow(self._far(errors)[1])


def _excess(far: Tensor) -> Tensor:
    """[row, 1]: the root of the mean square of what is above 0."""
    return far.clamp_min(0.0).square().mean(dim=1, keepdim=True).sqrt()


def flat(errors: Mapping[str, Tensor]) -> Tensor:
    """[row, places of all fields] from [row, *grid] by field."""
    # Not by `len`: the exported graph would be fixed to one number of rows.
    return torch.cat([part.reshape(part.shape[0], -1) for part in errors.values()], dim=1)
