"""Word by word: each word becomes the one that it most likely stands for (`lamina.steps.written.alignment`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from lamina.evaluate.translation import words
from lamina.steps.written.alignment import ROUNDS, learned

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
        found = learned(
            [[read.code(word.lower()) for word in words(text)[:LONGEST]] for text in sources[:MOST_PAIRS]],
            [[written.code(word) for word in words(text)[:LONGEST]] for text in targets[:MOST_PAIRS]],
            rounds,
        )
        best, _ = found.likeliest(len(read.words), 1)
        seen = np.unique(found.read).tolist()
        table = {
            (read.words[one], written.words[other]): float(chance)
            for one, other, chance in zip(found.read.tolist(), found.written.tolist(), found.chance, strict=True)
        }
        return cls({read.words[word]: written.words[int(best[word, 0])] for word in seen}, table)

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
