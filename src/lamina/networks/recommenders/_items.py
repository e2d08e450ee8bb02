"""The item tower: a vector for every item of the catalogue, from its id and from what is known of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SPREAD = 0.02
"""Standard deviation of fresh vectors: scores begin close to the items' popularity."""


class Items(nn.Module):
    """Vectors [item, width] and a bias of each item, which begins at the logarithm of its popularity.

    An item's vector is its own embedding and a linear map of its features (Kula 2015, "Metadata embeddings for user and
    item cold-start recommendations"), so that items with few interactions share strength through them. In training some
    items are shown without their own embeddings (Volkovs et al. 2017, "DropoutNet"), which teaches the features to
    stand alone: those that nobody had in the training part, the cold ones, have nothing else. They come last in the
    catalogue, and take no part in training, where they could only be learned as what nobody wants.

    Args:
        counts: float32 [item], interactions of each item in the training part, cold ones not among them.
        features: float32 [item, feature], those of cold items at the end; none has no columns.
        width: of the vectors.
        hidden: chance of an item to be shown without its own embedding in a step; without features it is 0.
    """

    counts: Tensor
    features: Tensor
    offset: Tensor

    def __init__(self, counts: Tensor, features: Tensor, width: int, hidden: float) -> None:
        super().__init__()
        self.register_buffer("counts", counts)
        self.register_buffer("features", features)
        self.identity = nn.Embedding(len(counts), width)
        nn.init.normal_(self.identity.weight, std=SPREAD)
        self.described = nn.Linear(features.shape[1], width, bias=False) if features.shape[1] else None
        if self.described is not None:
            nn.init.normal_(self.described.weight, std=SPREAD)
        self.hidden = hidden if self.described is not None else 0.0
        self.bias = nn.Parameter(((counts + 1) / (counts + 1).sum()).log())
        self.cold = len(features) - len(counts)
        if self.cold:
            self.register_buffer("offset", torch.zeros(()))

    def forward(self) -> Tensor:
        """[item, width], without cold items."""
        own = self.identity.weight
        if self.described is None:
            return own
        if self.training and self.hidden:
            own = own * (torch.rand(len(own), 1, device=own.device) >= self.hidden)
        described: Tensor = self.described(self.features[: len(own)])
        return own + described

    def catalogue(self) -> tuple[Tensor, Tensor]:
        """(Vectors [item, width], biases [item]) of all items, cold ones at the end.

        A cold item begins with the bias of those that were had least, as if it had been had one time less than a single
        one of them (Laplace's rule of succession); `offset` is added, which is fitted to how often cold ones are taken.
        """
        vectors = self()
        if not self.cold or self.described is None:
            return vectors, self.bias
        least = self.counts.min()
        bias = self.bias[self.counts == least].mean() - (least + 1).log() + self.offset
        described: Tensor = self.described(self.features[len(vectors) :])
        return torch.cat([vectors, described]), torch.cat([self.bias, bias.expand(self.cold)])

    def folded(self) -> Folded:
        """The same vectors as a table: a sealed model needs no features of items."""
        with torch.no_grad():
            return Folded(*self.catalogue())


class Folded(nn.Module):
    """What `Items` gives of the whole catalogue, as constants."""

    vectors: Tensor
    bias: Tensor

    def __init__(self, vectors: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors.detach().clone())
        self.register_buffer("bias", bias.detach().clone())

    def catalogue(self) -> tuple[Tensor, Tensor]:
        """(Vectors [item, width], biases [item])."""
        return self.vectors, self.bias
