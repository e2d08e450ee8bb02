"""Losses of maps of classes; only training imports this."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from lamina.data.schema import Json


def cross_entropy_and_dice(output: Tensor, target: Tensor, unknown: int, options: Mapping[str, Json]) -> Tensor:
    """[row] from logits [row, class, height, width] and classes [row, height, width].

    The mean cross entropy over the labelled pixels, plus one minus the soft Dice of each class but the first that the
    row's target holds, averaged. The one looks at every pixel, the other at how well areas overlap, however small they
    are. Pixels that are `unknown` count for neither.
    """
    known = target != unknown
    labels = torch.where(known, target, 0).long()
    log_probability = torch.log_softmax(output, dim=1)
    losses = -log_probability.gather(1, labels.unsqueeze(1)).squeeze(1)
    smoothing = float(options.get("label_smoothing", 0.0))
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * log_probability.mean(dim=1)
    weight = known.float()
    if options.get("class_weights"):
        weight = weight * torch.tensor(options["class_weights"], device=output.device)[labels]
    entropy = (losses * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1e-9)
    return entropy + _dice(log_probability.exp(), labels, known)


def _dice(probability: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """[row]: one minus the mean soft Dice of the classes beyond the first that occur in the row."""
    wanted = functional.one_hot(labels, probability.shape[1]).permute(0, 3, 1, 2)[:, 1:] * known.unsqueeze(1)
    found = probability[:, 1:] * known.unsqueeze(1)
    shared = (found * wanted).sum((2, 3))
    sizes = found.sum((2, 3)) + wanted.sum((2, 3))
    # One pixel added to both keeps the quotient steady where areas are tiny.
    missed = 1 - (2 * shared + 1) / (sizes + 1)
    there = (wanted.sum((2, 3)) > 0).float()
    return (missed * there).sum(1) / there.sum(1).clamp_min(1.0)


def parts_of(ids: Tensor, unknown_id: int, unknown: int) -> Tensor:
    """int64 [row, height, width]: 0 background, 1 inside an instance, 2 on its border, from instances' numbers."""
    edge = torch.zeros_like(ids, dtype=torch.bool)
    across, down = ids[:, :, 1:] != ids[:, :, :-1], ids[:, 1:] != ids[:, :-1]
    edge[:, :, 1:] |= across
    edge[:, :, :-1] |= across
    edge[:, 1:] |= down
    edge[:, :-1] |= down
    parts = (ids > 0).long() + (edge & (ids > 0)).long()
    return torch.where(ids == unknown_id, unknown, parts)
