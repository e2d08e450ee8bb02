"""Bag of embeddings for text: the means of token and n-gram embeddings, then a small perceptron.

As in fastText (Joulin et al. 2016, "Bag of tricks for efficient text classification"); n-grams are hashed inside
the graph. On few processor cores this is the fastest strong network for text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.modalities import Feature
from lamina.networks import OutputShape
from lamina.networks.blocks.fields import only_field, trimmed
from lamina.networks.blocks.options import share, whole

ACCEPTS = ("tokens",)

FACTOR = 1_000_003
"""A prime that mixes the tokens of an n-gram into one number; small enough not to overflow int64."""


@dataclass(frozen=True)
class Options:
    """Sizes of a bag of embeddings.

    Attributes:
        width: of the embeddings.
        grams: longest n-gram (1: single tokens only).
        buckets: number of embeddings that n-grams are hashed into, for each n.
        hidden: units of the hidden layer.
        token_dropout: chance of leaving a token or n-gram out during training.
        dropout: on the means and the hidden layer.
    """

    width: int = whole(96)
    grams: int = whole(2)
    buckets: int = whole(32768)
    hidden: int = whole(128)
    token_dropout: float = share(0.1)
    dropout: float = share(0.3)


class GramMean(nn.Module):
    """The weighted mean embedding of a row's n-grams: tokens [batch, length] to [batch, width].

    Every n-gram has a learned importance, as TF-IDF has a counted one; they start equal.

    Attributes:
        order: n; 1 looks tokens up as they are, larger n by hash.
    """

    def __init__(self, order: int, size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.order, self.chance = order, dropout
        self.table = nn.Embedding(size, width)
        nn.init.normal_(self.table.weight, std=1 / math.sqrt(width))
        self.importance = nn.Embedding(size, 1)
        nn.init.zeros_(self.importance.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        count = tokens.shape[1] - self.order + 1
        index = tokens[:, :count]
        for offset in range(1, self.order):
            index = index * FACTOR + tokens[:, offset : offset + count]
            # Folded at every step: three tokens' product would overflow.
            index = index % (2**31 - 1)
        used = tokens[:, self.order - 1 :] != 0
        if self.training and self.chance:
            used = used & (torch.rand(used.shape, device=used.device) >= self.chance)
        if self.order > 1:
            index = index % self.table.num_embeddings
        score = self.importance(index).squeeze(2).masked_fill(~used, -1e9)
        # Where nothing is left of a text, all weights are zero rather than equal.
        weight = score.softmax(dim=1) * used
        mean: Tensor = torch.bmm(weight.unsqueeze(1), self.table(index)).squeeze(1)
        return mean


class Bag(nn.Module):
    """Means over tokens and n-grams, side by side, then a hidden layer; one text field."""

    def __init__(self, name: str, feature: Feature, options: Options) -> None:
        super().__init__()
        self.field = name
        self.grams = nn.ModuleList(
            GramMean(order, feature.size if order == 1 else options.buckets, options.width, options.token_dropout)
            for order in range(1, options.grams + 1)
        )
        self.hidden = nn.Sequential(
            nn.LayerNorm(options.width * options.grams),
            nn.Dropout(options.dropout),
            nn.Linear(options.width * options.grams, options.hidden),
            nn.GELU(),
            nn.Dropout(options.dropout),
        )
        self.output = OutputShape(options.hidden)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, 1, width]."""
        tokens = trimmed("tokens", inputs[self.field]).long()
        if tokens.shape[1] < len(self.grams):
            tokens = nn.functional.pad(tokens, (0, len(self.grams) - tokens.shape[1]))
        vector: Tensor = self.hidden(torch.cat([gram(tokens) for gram in self.grams], dim=1))
        return vector.unsqueeze(1)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """grams, hidden."""
        return [("grams", self.grams), ("hidden", self.hidden)]


def build(features: Mapping[str, Feature], options: Options) -> Bag:
    """A bag of embeddings for the one text field in `features`."""
    return Bag(*only_field("bag", ACCEPTS, features), options)
