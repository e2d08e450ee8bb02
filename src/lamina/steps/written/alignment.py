"""Which word stands for which, learned from pairs of texts alone by expectation and maximisation.

IBM Model 1 (Brown et al. 1993, "The mathematics of statistical machine translation"): every word of a text comes from
one word of the other text, or from none, wherever they stand; with a `tension`, rather from one at about the same place
(Dyer et al. 2013, "A simple, fast, and effective reparameterization of IBM Model 2"). Words are numbers; NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

ROUNDS = 5
NOTHING = 0
"""The number that stands for no word; none that is read may have it."""
UNREAD = 0.08
"""Chance that a word comes from none, where places count (Dyer et al. 2013)."""


@dataclass(frozen=True)
class Chances:
    """How likely words become others; only pairs that were seen in one pair of texts.

    Attributes:
        read, written: int64 [pair], the two words; sorted by the first, then by the second.
        chance: float64 [pair]; those of one word that is read sum to 1.
    """

    read: Array
    written: Array
    chance: Array

    def likeliest(self, words: int, most: int) -> tuple[Array, Array]:
        """(int32 [word, most] what each word that is read most likely becomes, float32 [word, most] how likely).

        The likeliest first; where there are fewer, 0 with a chance of 0.
        """
        order = np.lexsort((-self.chance, self.read))
        read = self.read[order]
        rank = np.arange(len(read)) - np.searchsorted(read, read)
        kept = rank < most
        others, chances = np.zeros((words, most), np.int32), np.zeros((words, most), np.float32)
        others[read[kept], rank[kept]] = self.written[order][kept]
        chances[read[kept], rank[kept]] = self.chance[order][kept]
        return others, chances


def learned(
    read: Sequence[Sequence[int]], written: Sequence[Sequence[int]], rounds: int = ROUNDS, tension: float = 0.0
) -> Chances:
    """Chances from pairs of texts, each a sequence of words; empty texts tell nothing.

    Args:
        read, written: the two sides, in the same order.
        tension: how much words come from about their own place; 0: not at all. 4 is usual between languages whose
            words are ordered alike.
    """
    sides, lengths, priors = [], [], []
    for source, target in zip(read, written, strict=True):
        if len(target) == 0:
            continue
        own = np.array([NOTHING, *source], np.int64)
        # For each word that is written all those that it may come from, one after the other.
        sides.append(np.stack([np.tile(own, len(target)), np.repeat(np.array(target, np.int64), len(own))]))
        lengths.append(np.full(len(target), len(own)))
        if tension:
            priors.append(_near(len(source), len(target), tension).ravel())
    if not sides:
        empty = np.zeros(0, np.int64)
        return Chances(empty, empty, np.zeros(0))
    from_, to = np.concatenate(sides, axis=1)
    width = int(to.max()) + 1
    place, size = from_ * width + to, (int(from_.max()) + 1) * width
    pairs = np.arange(size)
    if size > len(place):
        # Of many words few pairs are ever seen; of few, sorting all that are would take longer than the rest.
        pairs, place = np.unique(place, return_inverse=True)
    source_of, target_of = pairs // width, pairs % width
    counts_of = np.concatenate(lengths)
    starts = np.cumsum(counts_of) - counts_of
    prior = np.concatenate(priors) if tension else None
    chances = np.ones(len(pairs))
    for _ in range(rounds):
        each = chances[place] if prior is None else chances[place] * prior
        each /= np.repeat(np.maximum(np.add.reduceat(each, starts), np.finfo(np.float64).tiny), counts_of)
        counts = np.bincount(place, weights=each, minlength=len(pairs))
        totals = np.maximum(np.bincount(source_of, weights=counts), np.finfo(np.float64).tiny)
        chances = counts / totals[source_of]
    seen = chances > 0
    return Chances(source_of[seen], target_of[seen], chances[seen])


def _near(read: int, written: int, tension: float) -> Array:
    """float32 [written, 1 + read]: how likely each place comes from none and from each other one."""
    if not read:
        return np.ones((written, 1), np.float32)
    own, other = (np.arange(written) + 0.5) / written, (np.arange(read) + 0.5) / read
    near = np.exp(-tension * np.abs(own[:, None] - other))
    near *= (1 - UNREAD) / near.sum(axis=1, keepdims=True)
    return np.concatenate([np.full((written, 1), UNREAD), near], axis=1).astype(np.float32)
