"""Word by word: each word becomes the one that it most often stands beside, by a table that is learned by EM.

IBM Model 1 (Brown et al. 1993, "The mathematics of statistical machine translation"): every word of a text comes from
one word of the other text, or from none, wherever they stand. NumPy only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lamina.evaluate.translation import words

Array = np.ndarray[Any, Any]

ROUNDS = 5
MOST_PAIRS = 8_000
"""Pairs of texts that are learned from, at most."""
LONGEST = 60
"""Words of a text that are looked at."""
NOTHING = ""
"""The word that stands for none."""
_CLOSE = frozenset(".,;:!?)]»")


@dataclass(frozen=True)
class WordTable:
    """Each word of one language with the word of the other that it most likely becomes.

    Attributes:
        best: by word in small letters.
        chances: by pair of words (from, to), how likely one becomes the other.
    """

    best: Mapping[str, str]
    chances: Mapping[tuple[str, str], float]

    @classmethod
    def fit(cls, sources: Sequence[str], targets: Sequence[str], rounds: int = ROUNDS) -> Self:
        """Learn from pairs of texts."""
        read, written = _Coded(), _Coded()
        read.code(NOTHING)
        groups, pairs_of = [], []
        for source, target in zip(sources[:MOST_PAIRS], targets[:MOST_PAIRS], strict=True):
            own = [0, *(read.code(word.lower()) for word in words(source)[:LONGEST])]
            theirs = [written.code(word) for word in words(target)[:LONGEST]]
            # For each word that is written all those that it may come from, one after the other.
            pairs_of.append(np.stack([np.tile(own, len(theirs)), np.repeat(theirs, len(own))], axis=1))
            groups.append(np.full(len(theirs), len(own)))
        both = np.concatenate(pairs_of).astype(np.int64)
        pairs, place = np.unique(both[:, 0] * len(written.words) + both[:, 1], return_inverse=True)
        source_of, target_of = pairs // len(written.words), pairs % len(written.words)
        lengths = np.concatenate(groups)
        starts = np.cumsum(lengths) - lengths
        chances = np.ones(len(pairs))
        for _ in range(rounds):
            each = chances[place]
            share = each / np.repeat(np.add.reduceat(each, starts), lengths)
            counts = np.bincount(place, weights=share, minlength=len(pairs))
            chances = counts / np.bincount(source_of, weights=counts)[source_of]
        order = np.lexsort((-chances, source_of))
        firsts = order[np.unique(source_of[order], return_index=True)[1]]
        best = {read.words[source_of[pair]]: written.words[target_of[pair]] for pair in firsts.tolist()}
        table = {
            (read.words[one], written.words[other]): float(chance)
            for one, other, chance in zip(source_of.tolist(), target_of.tolist(), chances, strict=True)
        }
        return cls(best, table)

    def translate(self, text: str) -> str:
        """Each word by itself; an unknown one stays."""
        found = ""
        for word in words(text):
            other = self.best.get(word.lower(), word)
            found += other if other in _CLOSE or not found else f" {other}"
        return found


class _Coded:
    """Words, numbered in the order of their coming."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._numbers: dict[str, int] = {}

    def code(self, word: str) -> int:
        number = self._numbers.setdefault(word, len(self.words))
        if number == len(self.words):
            self.words.append(word)
        return number


def commonest(texts: Sequence[str]) -> str:
    """The commonest words, as many as a text has on average: what can be said without reading anything."""
    split = [words(text) for text in texts]
    counts = Counter(word for text in split for word in text)
    length = max(1, round(sum(map(len, split)) / max(len(split), 1)))
    return " ".join(word for word, _ in counts.most_common(length))
