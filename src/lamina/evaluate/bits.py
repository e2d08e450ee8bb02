"""How well is a text told? Bits per byte, with an interval over blocks of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.evaluate.intervals import percentile, replicates, resampled
from lamina.evaluate.results import Interval

Array = np.ndarray[Any, Any]

BITS, PERPLEXITY = "bits_per_byte", "perplexity"
BLOCK = 512
"""Tokens that are resampled together, for neighbours are alike; fewer where the text is short."""
FEWEST_BLOCKS = 40
MOST_TOLD = 1_000_000
"""Tokens of a text that are told for a figure, at most: the first ones."""


@dataclass(frozen=True)
class Blocks:
    """Consecutive parts of a text, by their first tokens, and the bytes of each."""

    bounds: Array
    sizes: Array

    def __len__(self) -> int:
        return len(self.sizes)

    def bits(self, nats: Array, weights: Array) -> Array:
        """[replicate]: bits per byte, from what tokens cost and how often each block counts, [replicate, block]."""
        each = np.add.reduceat(nats, self.bounds) / math.log(2)
        return np.asarray(weights @ each / np.maximum(weights @ self.sizes, 1e-9))

    def perplexity(self, nats: Array, weights: Array) -> Array:
        """[replicate]: the perplexity of a token, likewise."""
        tokens = np.diff(np.append(self.bounds, len(nats)))
        return np.asarray(np.exp(weights @ np.add.reduceat(nats, self.bounds) / np.maximum(weights @ tokens, 1e-9)))

    def drawn(self, seed: int) -> Array:
        """[replicate, block]: how often each is drawn."""
        return np.concatenate(list(resampled(len(self), replicates(len(self)), seed)))


def blocks_of(sizes: Array) -> Blocks:
    """Blocks of a text whose tokens, all but the first, have these sizes in bytes."""
    length = max(1, min(BLOCK, len(sizes) // FEWEST_BLOCKS))
    bounds = np.arange(0, len(sizes), length)
    return Blocks(bounds, np.add.reduceat(sizes, bounds).astype(np.float64))


def bits_per_byte(blocks: Blocks, nats: Array, weights: Array) -> tuple[Interval, Array]:
    """(Bits per byte with the interval, the replicates that it is from).

    Args:
        nats: [token], what each costs.
        weights: [replicate, block], how often each block counts.
    """
    value, draws = float(blocks.bits(nats, np.ones((1, len(blocks))))[0]), blocks.bits(nats, weights)
    return figure(value, *percentile(value, draws)), draws


def perplexity(blocks: Blocks, nats: Array, weights: Array) -> Interval:
    """The perplexity of a token, with an interval from the same draws of blocks as that of bits per byte."""
    value = float(blocks.perplexity(nats, np.ones((1, len(blocks))))[0])
    return Interval(value, *percentile(value, blocks.perplexity(nats, weights)), False, "")


def figure(value: float, low: float = math.nan, high: float = math.nan) -> Interval:
    """Bits per byte as a score."""
    return Interval(value, low, high, False, "bits")
