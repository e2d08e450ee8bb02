"""From a history to a score of every item in the catalogue."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from lamina.modalities import Feature
from lamina.networks.recommenders._items import SPREAD, Items

HISTORY, ANSWER = "history", "recommended"
"""What the input of items in order and the output are called."""
MASKED = -1e9
"""The score of an item that must not be recommended, for it is in the history."""


class About(nn.Module):
    """What is known of somebody before the first item: a learned vector, and a map of the features of users.

    Args:
        features: encoded fields of kind "numbers" or "category", by name.
    """

    def __init__(self, features: Mapping[str, Feature], width: int) -> None:
        super().__init__()
        self.anybody = nn.Parameter(torch.randn(width) * SPREAD)
        self.names = list(features)
        self.maps = nn.ModuleList(
            nn.Embedding(feature.size, width) if feature.kind == "category" else nn.Linear(feature.shape[0], width)
            for feature in features.values()
        )
        for module in self.maps:
            nn.init.normal_(cast(Tensor, module.weight), std=SPREAD)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[row, width]."""
        start = self.anybody.expand(inputs[HISTORY].shape[0], -1)
        for name, module in zip(self.names, self.maps, strict=True):
            values = inputs[name]
            start = start + module(values.long() if isinstance(module, nn.Embedding) else values.float())
        return start


class Recommender(nn.Module):
    """Items, somebody's history and features, and a network between them.

    Args:
        items: the item tower.
        about: features of users.
        network: as a module of `lamina.networks.recommenders` builds it.
        steps: items of a history that the network reads, the last ones.
        repeat: items of the history may be recommended again.
    """

    def __init__(self, items: Items, about: About, network: nn.Module, steps: int, repeat: bool) -> None:
        super().__init__()
        self.items, self.about, self.network = items, about, network
        self.steps, self.repeat = steps, repeat

    def states(self, inputs: Mapping[str, Tensor], vectors: Tensor) -> Tensor:
        """[row, 1 + step, width]: what is known before the first item, after it, and so on.

        Args:
            inputs: "history" [row, step], 0 at the end is padding; and the features of users.
            vectors: of the items, [item, width].
        """
        history = inputs[HISTORY].long()
        shown = functional.embedding((history - 1).clamp_min(0), vectors) * math.sqrt(vectors.shape[1])
        states: Tensor = self.network(self.about(inputs), shown * (history > 0).unsqueeze(2))
        return states

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"recommended": logits [row, 1, item]} after the whole history, of which all items are masked."""
        history = inputs[HISTORY].long()
        length = (history > 0).sum(dim=1)
        recent, left = self._last(history, length)
        vectors, bias = self.items.catalogue()
        states = self.states({**inputs, HISTORY: recent}, vectors)
        state = states.gather(1, left.reshape(-1, 1, 1).expand(-1, 1, states.shape[2])).squeeze(1)
        logits = state @ vectors.T + bias
        if not self.repeat:
            seen = torch.zeros(history.shape[0], vectors.shape[0] + 1, device=logits.device)
            logits = torch.where(seen.scatter(1, history, 1.0)[:, 1:] > 0, MASKED, logits)
        return {ANSWER: logits.unsqueeze(1)}

    def _last(self, history: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """([row, steps] the last items of each history, padded at the end; [row] how many)."""
        left = length.clamp_max(self.steps)
        place = torch.arange(self.steps, device=history.device).unsqueeze(0)
        taken = ((length - left).unsqueeze(1) + place).clamp_max(history.shape[1] - 1)
        return history.gather(1, taken) * (place < left.unsqueeze(1)), left

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Its parts from input to output."""
        return [("items", self.items), ("about", self.about), ("network", self.network)]
