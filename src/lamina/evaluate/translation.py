"""How good is a translation? BLEU and chrF of a whole set of texts, by sums over texts that can be resampled.

BLEU: Papineni et al. 2002, with the words of mteval-v13a and, as sacreBLEU does (Post 2018), exponential smoothing of
orders without a match (Chen & Cherry 2014). chrF: Popović 2015, of up to 6 letters without spaces, recall counting
twice. Both from 0 to 100. Where a text has several references, BLEU counts what any of them has, and the length of the
one that is as long as what was found; chrF takes the reference that is most like it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lamina.evaluate.judged import Judged

Array = np.ndarray[Any, Any]

BLEU, CHRF = "bleu", "chrf"
ORDERS, LETTERS = 4, 6
BETA = 2.0

_MARKS = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
"""Marks that mteval-v13a sets apart from words: a point or comma between digits stays."""


def words(text: str) -> list[str]:
    """The words and marks of a text.

    >>> words("He paid 3.50, didn't he?")
    ['He', 'paid', '3.50', ',', "didn't", 'he', '?']
    """
    text = f" {' '.join(text.split())} "
    for pattern, apart in _MARKS:
        text = pattern.sub(apart, text)
    return text.split()


References = Sequence[str] | Sequence[Sequence[str]]
"""One for each text, or several."""


def several(reference: str | Sequence[str]) -> Sequence[str]:
    """All references of one text."""
    return (reference,) if isinstance(reference, str) else reference


def bleu_sums(found: Sequence[str], wanted: References) -> Array:
    """float64 [text, 2 + 2 * order]: words found, words wanted, then for each order n-grams that match and that there
    are."""
    rows = []
    for one, other in zip(found, wanted, strict=True):
        mine, theirs = words(one), [words(text) for text in several(other)]
        nearest = min(map(len, theirs), key=lambda length: (abs(length - len(mine)), length))
        rows.append([len(mine), nearest, *_matches(mine, theirs, ORDERS)])
    return np.array(rows, np.float64).reshape(len(rows), 2 + 2 * ORDERS)


def bleu(sums: Array) -> Array:
    """[...] of sums over texts [..., 2 + 2 * order]."""
    length, wanted = sums[..., 0], sums[..., 1]
    logs, halvings = np.zeros(length.shape), np.zeros(length.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        for order in range(ORDERS):
            matches, total = sums[..., 2 + 2 * order], sums[..., 3 + 2 * order]
            halvings = halvings + (matches == 0)
            smoothed = np.where(matches > 0, matches, 0.5**halvings) / total
            logs = logs + np.where(total > 0, np.log(smoothed), -np.inf) / ORDERS
        brevity = np.where(length >= wanted, 0.0, 1 - wanted / length)
        # Without a single word that matches there is nothing to smooth.
        found = np.where(sums[..., 2] > 0, 100 * np.exp(logs + brevity), 0.0)
    return np.asarray(found)


def chrf_sums(found: Sequence[str], wanted: References) -> Array:
    """float64 [text, 3 * order]: for each number of letters the strings found, wanted and in both."""
    rows = []
    for one, other in zip(found, wanted, strict=True):
        beside = [_letters(one, text) for text in several(other)]
        rows.append(beside[0] if len(beside) == 1 else beside[int(np.argmax(chrf(np.array(beside))))])
    return np.array(rows, np.float64).reshape(len(rows), 3 * LETTERS)


def _letters(found: str, wanted: str) -> list[float]:
    mine, theirs = ("".join(text.split()) for text in (found, wanted))
    row: list[float] = []
    for order in range(1, LETTERS + 1):
        first, second = (_counted(text, order) for text in (mine, theirs))
        row += [sum(first.values()), sum(second.values()), sum((first & second).values())]
    return row


def chrf(sums: Array) -> Array:
    """[...] of sums over texts [..., 3 * order]."""
    shape = (*sums.shape[:-1], LETTERS)
    found, wanted, both = (sums[..., part::3].reshape(shape) for part in range(3))
    present = (found > 0) & (wanted > 0)
    orders = np.maximum(present.sum(axis=-1), 1)
    precision, recall = (
        np.where(present, both / np.maximum(total, 1), 0.0).sum(axis=-1) / orders for total in (found, wanted)
    )
    below = BETA**2 * precision + recall
    return np.asarray(100 * (1 + BETA**2) * precision * recall / np.where(below > 0, below, 1.0))


def scorer(score: Callable[[Array], Array], sums: Array) -> Callable[[Array], Array]:
    """From how often each text counts, [replicate, text], to the score of each replicate (Koehn 2004)."""
    return lambda weights: score(weights @ sums)


def judged(name: str, found: Sequence[str], wanted: References, seconds: float = 0.0, note: str = "") -> Judged:
    """Both scores as functions of how often each text counts."""
    sums = {BLEU: (bleu, bleu_sums), CHRF: (chrf, chrf_sums)}
    scores = {score: scorer(final, of_texts(found, wanted)) for score, (final, of_texts) in sums.items()}
    return Judged(name, scores, seconds, note)


def _matches(found: Sequence[str], wanted: Sequence[Sequence[str]], orders: int) -> list[float]:
    row: list[float] = []
    for order in range(1, orders + 1):
        mine, theirs = _counted(found, order), Counter[Any]()
        for reference in wanted:
            theirs |= _counted(reference, order)
        row += [sum((mine & theirs).values()), sum(mine.values())]
    return row


def _counted(tokens: Sequence[str], order: int) -> Counter[Any]:
    return Counter(tuple(tokens[place : place + order]) for place in range(len(tokens) - order + 1))
