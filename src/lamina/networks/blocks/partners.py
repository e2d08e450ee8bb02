"""What a value of one field went together with in the training rows: the films that a user rated, say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FIRST = 2
"""The first index of a category that stands for a known value: 0 is unknown and 1 is missing."""
AT_ONCE = 1024
"""Values whose partners are added up together where a whole table of them is wanted."""

Array = np.ndarray[Any, Any]


class Partners(nn.Module):
    """A vector for each value of a field from those of its partners: sum over them, by the root of their number.

    Koren 2008, "Factorization meets the neighborhood" (SVD++): which films somebody rated tells of the taste, whatever
    the ratings were. For a training row itself the partner in that row is left out, as a new row's partner was never
    met before. `known` is empty, and the vectors are 0, until `remember`.

    Args:
        size, others: how many indices the field and its partners' field have.
        width: of the vectors.
        most: partners of a value that are remembered at most.
    """

    known: Tensor

    def __init__(self, size: int, others: int, width: int, most: int, spread: float) -> None:
        super().__init__()
        self.register_buffer("known", torch.zeros(size, min(most, others), dtype=torch.int32))
        self.table = nn.Embedding(others, width)
        nn.init.normal_(self.table.weight, std=spread)

    def forward(self, index: Tensor, partner: Tensor) -> Tensor:
        """[batch, width] for the values `index` [batch] in rows with `partner` [batch]."""
        different, place = torch.unique(index, return_inverse=True)
        sums, count = self._sums(different)
        sums, count = sums[place], count[place]
        if self.training:
            met = (self.known[index] == partner.unsqueeze(1)).any(dim=1) & (partner >= FIRST)
            own = torch.where(met, partner, 0)
            sums = sums - self.table(own) * met.unsqueeze(1)
            count = count - met.long()
        return _rooted(sums, count)

    def _sums(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(sums [index, width] of the partners' vectors, their number [index])."""
        known = self.known[index]
        filled = known >= FIRST
        count = filled.sum(dim=1)
        starts = count.cumsum(dim=0) - count
        sums = nn.functional.embedding_bag(known[filled].long(), self.table.weight, starts, mode="sum")
        return sums, count

    @torch.no_grad()
    def folded(self) -> PlainPartners:
        """One vector for each value, for the sealed file."""
        plain = PlainPartners(self.known.shape[0], self.table.embedding_dim)
        for begin in range(0, plain.table.num_embeddings, AT_ONCE):
            some = torch.arange(begin, min(begin + AT_ONCE, plain.table.num_embeddings), device=self.known.device)
            plain.table.weight[some] = _rooted(*self._sums(some))
        return plain

    @torch.no_grad()
    def remember(self, pairs: Array) -> None:
        """Fill `known`; of more partners than there is room for, some from the most to the least frequent ones.

        Args:
            pairs: int64 [pair, 2], different pairs of a value and its partner in ascending order.
        """
        size, most = self.known.shape
        found = np.zeros((size, most), dtype=np.int32)
        starts = np.searchsorted(pairs[:, 0], np.arange(size + 1))
        for value in np.flatnonzero(np.diff(starts)):
            partners = pairs[starts[value] : starts[value + 1], 1]
            if len(partners) > most:
                partners = partners[np.linspace(0, len(partners) - 1, most).astype(np.int64)]
            found[value, : len(partners)] = partners
        self.known.copy_(torch.from_numpy(found))


class PlainPartners(nn.Module):
    """What `Partners` gives outside training, added up beforehand."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(size, width)

    def forward(self, index: Tensor, partner: Tensor) -> Tensor:
        vectors: Tensor = self.table(index)
        return vectors


def _rooted(sums: Tensor, count: Tensor) -> Tensor:
    return sums * count.clamp_min(1).to(sums.dtype).rsqrt().unsqueeze(1)


def different_pairs(batches: Iterable[tuple[Array, Array]], others: int) -> Array:
    """The different pairs of known values in these batches of two columns, int64 [pair, 2] in ascending order."""
    found = np.zeros(0, dtype=np.int64)
    waiting: list[Array] = []
    for first, second in batches:
        both = (first >= FIRST) & (second >= FIRST) & (second < others)
        waiting.append(np.unique(first[both].astype(np.int64) * others + second[both]))
        if sum(map(len, waiting)) > max(len(found), 1_000_000):
            found, waiting = np.unique(np.concatenate([found, *waiting])), []
    found = np.unique(np.concatenate([found, *waiting]))
    return np.stack([found // others, found % others], axis=1)
