"""How good is a caption? CIDEr-D, BLEU and chrF beside the captions that people gave; pictures can be resampled."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lamina.evaluate import translation
from lamina.evaluate.judged import Judged
from lamina.evaluate.translation import ORDERS, several

Array = np.ndarray[Any, Any]
Weighed = tuple[list[dict[Any, float]], int]
"""Of a text: for each order its n-grams with their weights, and how many words it has."""

CIDER = "cider"
APART = 6.0
"""Words by which lengths may differ until a caption counts much less."""
SCALE = 10.0

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words(text: str) -> list[str]:
    """The words of a caption, in small letters and without marks.

    >>> words("A dog's ball, red.")
    ['a', "dog's", 'ball', 'red']
    """
    return _WORD.findall(text.lower())


def cider(found: Sequence[str], wanted: translation.References) -> Array:
    """float64 [picture], from 0 to 10: how much each caption has in common with those that people gave.

    CIDEr-D (Vedantam, Zitnick & Parikh 2015): n-grams of up to 4 words, each weighted by how few of the pictures have
    it in a reference; in the mean over orders and references, less the more lengths differ.
    """
    references = [[_grams(words(text)) for text in several(one)] for one in wanted]
    pictures: Counter[Any] = Counter()
    for some in references:
        pictures.update({gram for grams, _ in some for order in grams for gram in order})
    total = math.log(max(len(references), 1))

    def weighed(grams: Sequence[Counter[Any]], length: int) -> Weighed:
        rare = [
            {gram: count * (total - math.log(max(pictures[gram], 1))) for gram, count in order.items()}
            for order in grams
        ]
        return rare, length

    rows = []
    for text, some in zip(found, references, strict=True):
        mine = weighed(*_grams(words(text)))
        rows.append(SCALE * np.mean([_alike(mine, weighed(*theirs)) for theirs in some]))
    return np.array(rows, np.float64)


def _grams(tokens: Sequence[str]) -> tuple[list[Counter[Any]], int]:
    """(N-grams of each order, how many words)."""
    grams = [
        Counter(tuple(tokens[place : place + order]) for place in range(len(tokens) - order + 1))
        for order in range(1, ORDERS + 1)
    ]
    return grams, len(tokens)


def _alike(found: Weighed, wanted: Weighed) -> float:
    """In the mean over orders: the cosine of the weights, of which what is said too often does not count."""
    shares = []
    for mine, theirs in zip(found[0], wanted[0], strict=True):
        common = sum(min(weight, theirs.get(gram, 0.0)) * theirs.get(gram, 0.0) for gram, weight in mine.items())
        lengths = _length(mine.values()) * _length(theirs.values())
        shares.append(common / lengths if lengths else 0.0)
    return float(np.mean(shares)) * math.exp(-((found[1] - wanted[1]) ** 2) / (2 * APART**2))


def _length(weights: Iterable[float]) -> float:
    return math.sqrt(sum(weight * weight for weight in weights))


def judged(
    name: str, found: Sequence[str], wanted: translation.References, seconds: float = 0.0, note: str = ""
) -> Judged:
    """All scores as functions of how often each picture counts."""
    each = cider(found, wanted)
    others = translation.judged(name, found, wanted, seconds, note)
    scores = {CIDER: lambda weights: np.asarray(weights @ each / weights.sum(axis=1)), **others.scores}
    return Judged(name, scores, seconds, note)
