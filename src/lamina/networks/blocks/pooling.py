"""From a map or a sequence to one vector."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

MapPooling = Literal["average", "maximum", "mixed", "statistics"]
SequencePooling = Literal["mean", "maximum", "mean_maximum", "attention"]


def pool_map(values: Tensor, how: MapPooling, mask: Tensor | None = None) -> Tensor:
    """[batch, channel, *space] to [batch, channel]; "statistics" to [batch, 2 * channel * second axis of space].

    Args:
        values: the last map of a convolutional network, one or two axes of space.
        how: "mixed" is the mean of average and maximum (Lee et al. 2016); "statistics" are mean and standard
            deviation over the first axis of space alone, of every channel at every place of the second
            (Snyder et al. 2018, "X-vectors"): of a sound, what each range of frequencies does over time.
        mask: bool [batch, first axis of space]: the part that is no padding.
    """
    if how == "statistics":
        return _statistics(values, mask)
    space = tuple(range(2, values.ndim))
    if mask is None:
        average, maximum = values.mean(space), values.amax(space)
    else:
        shaped = mask.reshape(mask.shape[0], 1, mask.shape[1], *([1] * (values.ndim - 3)))
        other = values.shape[3:].numel()
        average = (values * shaped).sum(space) / (mask.sum(1, keepdim=True) * other)
        maximum = values.masked_fill(~shaped, torch.finfo(values.dtype).min).amax(space)
    if how == "average":
        return average
    return maximum if how == "maximum" else (average + maximum) / 2


def _statistics(values: Tensor, mask: Tensor | None) -> Tensor:
    """Means, then standard deviations, over the first axis of space: [batch, 2 * channel * rest of space]."""
    steps = values.transpose(1, 2).flatten(2)
    inside = steps.new_ones(steps.shape[:2]) if mask is None else mask.to(steps.dtype)
    weight = (inside / inside.sum(1, keepdim=True)).unsqueeze(2)
    mean = (steps * weight).sum(1, keepdim=True)
    # The slope of the root at 0 has no bound; a sound of a single step has no deviation.
    deviation = ((steps - mean).square() * weight).sum(1).add(1e-4).sqrt()
    return torch.cat([mean.squeeze(1), deviation], dim=1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """[batch, step, width] to [batch, width]: the mean over the steps where mask [batch, step] is True."""
    weight = mask.unsqueeze(2).to(values.dtype)
    return (values * weight).sum(1) / weight.sum(1).clamp_min(1.0)


def masked_maximum(values: Tensor, mask: Tensor) -> Tensor:
    """[batch, step, width] to [batch, width]: the maximum over the steps where mask [batch, step] is True."""
    return values.masked_fill(~mask.unsqueeze(2), torch.finfo(values.dtype).min).amax(1)


class PoolSequence(nn.Module):
    """[batch, step, width] with mask [batch, step] to [batch, self.width].

    "attention" weighs the steps by a learned score (Lin et al. 2017, "A structured self-attentive sentence
    embedding", one hop).
    """

    def __init__(self, width: int, how: SequencePooling) -> None:
        super().__init__()
        self.how, self.width = how, 2 * width if how == "mean_maximum" else width
        self.score = nn.Linear(width, 1) if how == "attention" else None

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        if self.score is not None:
            score = self.score(values).masked_fill(~mask.unsqueeze(2), torch.finfo(values.dtype).min)
            answer: Tensor = (values * score.softmax(dim=1)).sum(1)
            return answer
        if self.how == "mean":
            return masked_mean(values, mask)
        if self.how == "maximum":
            return masked_maximum(values, mask)
        return torch.cat([masked_mean(values, mask), masked_maximum(values, mask)], dim=1)
