"""From chances of symbols at every step to a text, as in connectionist temporal classification. NumPy only.

Symbol 0 is the blank. A path over the steps stands for the text that is left when repeats are merged and blanks
dropped; the chance of a text is the sum over its paths (Graves et al. 2006).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from lamina.tasks._ngrams import Ngrams

Array = np.ndarray[Any, Any]

BLANK = 0
PADDING = -100.0
"""Log-chance of every symbol but the blank, whose chance is 1, at steps beyond the end of the sound."""
EXCLUDED = -30.0
"""Log-chance of all other symbols where an answer is certain."""
LEAST = -9.0
"""A symbol less likely than this at a step, as a logarithm, is not tried there by the search."""
NEVER = -math.inf


def needed(symbols: Sequence[int]) -> int:
    """The fewest steps in which a text fits: one for each symbol, and a blank between two that are equal."""
    return len(symbols) + sum(first == second for first, second in pairwise(symbols))


def lengths(log_chances: Array) -> Array:
    """int64 [row]: the steps of [row, step, symbol] that belong to the sound."""
    heard = log_chances[:, :, 1] != PADDING
    return np.asarray((heard * np.arange(1, heard.shape[1] + 1)).max(axis=1, initial=0))


def certain_of(symbols: Sequence[int], steps: int, count: int) -> Array:
    """float32 [step, symbol]: log-chances that are certain of this text, spoken at once; the rest is padding.

    Raises:
        ValueError: the text does not fit into the steps.
    """
    if needed(symbols) > steps:
        raise ValueError(f"a text that needs {needed(symbols)} steps does not fit into {steps}")
    path, last = [], BLANK
    for symbol in symbols:
        path += [BLANK, symbol] if symbol == last else [symbol]
        last = symbol
    chances = np.full((steps, count), PADDING, dtype=np.float32)
    chances[len(path) :, BLANK] = 0.0
    chances[: len(path)] = EXCLUDED
    chances[np.arange(len(path)), path] = 0.0
    return chances


def greedy(log_chances: Array) -> list[list[int]]:
    """The text of the most likely path of each row, from [row, step, symbol]."""
    best = log_chances.argmax(axis=2)
    kept = best != BLANK
    kept[:, 1:] &= best[:, 1:] != best[:, :-1]
    return [row[chosen].tolist() for row, chosen in zip(best, kept, strict=True)]


@dataclass(frozen=True)
class Weights:
    """What the language model and the length count for, beside the sound.

    Attributes:
        language: of the logarithm of the language model's chance.
        symbol: added for every symbol of the text; a language model alone would prefer short texts.
    """

    language: float = 0.0
    symbol: float = 0.0


@dataclass(frozen=True)
class Found:
    """A text that the search found.

    Attributes:
        symbols: its symbols.
        sound: log-chance of it given the sound, as far as its paths were followed.
        language: log-chance that the language model gives it; 0 without one.
    """

    symbols: tuple[int, ...]
    sound: float
    language: float = 0.0

    def score(self, weights: Weights) -> float:
        """What the search orders by."""
        return self.sound + weights.language * self.language + weights.symbol * len(self.symbols)


class _Prefixes:
    """Beginnings of texts as a tree: each is a number, with what the language model says of it and after it."""

    def __init__(self, ngrams: Ngrams | None, weights: Weights) -> None:
        self.ngrams, self.weights = ngrams, weights
        self.parent, self.symbol = [-1], [BLANK]
        self.language, self.bonus = [0.0], [0.0]
        self.context = ["" if ngrams is None else ngrams.context("")]
        self.children: dict[tuple[int, int], int] = {}

    def child(self, prefix: int, symbol: int) -> int:
        """The number of a prefix with one symbol more."""
        known = self.children.get((prefix, symbol))
        if known is not None:
            return known
        language, context = self.language[prefix], ""
        if self.ngrams is not None:
            # The followers stand in the order of the symbols, without the blank.
            language += float(self.ngrams.after(self.context[prefix])[symbol - 1])
            context = self.ngrams.context(self.context[prefix] + self.ngrams.characters[symbol - 1])
        number = len(self.parent)
        self.children[prefix, symbol] = number
        self.parent.append(prefix)
        self.symbol.append(symbol)
        self.language.append(language)
        gained = self.weights.language * (language - self.language[prefix]) + self.weights.symbol
        self.bonus.append(self.bonus[prefix] + gained)
        self.context.append(context)
        return number

    def found(self, prefix: int, sound: float) -> Found:
        """The whole text that a prefix is, its end too."""
        language = self.language[prefix]
        if self.ngrams is not None:
            language += float(self.ngrams.after(self.context[prefix])[-1])
        symbols = []
        while self.parent[prefix] >= 0:
            symbols.append(self.symbol[prefix])
            prefix = self.parent[prefix]
        return Found(tuple(symbols[::-1]), sound, language)


def beam_search(
    log_chances: Array,
    width: int,
    ngrams: Ngrams | None = None,
    weights: Weights | None = None,
    least: float = LEAST,
) -> list[Found]:
    """The texts with the highest score, best first, by prefix beam search (Hannun et al. 2014, algorithm 1).

    Of every prefix the chance is kept apart for paths that end in a blank and for those that do not, for a symbol
    that follows itself is another one only after a blank.

    Args:
        log_chances: [step, symbol], of one row.
        width: prefixes that are kept after a step.
        ngrams: chances of texts, mixed in as each symbol is added (shallow fusion).
        least: symbols less likely than this are not tried; -inf for none.
    """
    weights = weights or Weights()
    tree = _Prefixes(ngrams, weights)
    beams: dict[int, tuple[float, float]] = {0: (0.0, NEVER)}
    for step in log_chances:
        chances = step.tolist()
        likely = [symbol for symbol in np.argsort(-step, kind="stable").tolist() if symbol != BLANK]
        likely = [symbol for symbol in likely if chances[symbol] >= least]
        after = {prefix: _stayed(chances, tree.symbol[prefix], *ends) for prefix, ends in beams.items()}
        # Paths to a beginning that is kept anyway are added to it, however unlikely they are.
        for longer in [prefix for prefix in beams if tree.parent[prefix] in beams]:
            symbol, parent = tree.symbol[longer], tree.parent[longer]
            if chances[symbol] >= least:
                source = beams[parent][0] if symbol == tree.symbol[parent] else _added(*beams[parent])
                stayed = after[longer]
                after[longer] = stayed[0], _added(stayed[1], source + chances[symbol])
        # Where as many beginnings as are kept go on unchanged, a longer one must be better than the worst of them.
        bar = (
            min(_added(*ends) + tree.bonus[prefix] for prefix, ends in after.items()) if len(after) >= width else NEVER
        )
        for prefix, (blank, other) in beams.items():
            total, last = _added(blank, other), tree.symbol[prefix]
            most = total + tree.bonus[prefix] + weights.symbol
            for symbol in likely:
                if most + chances[symbol] < bar:
                    break
                source = blank if symbol == last else total
                if source == NEVER:
                    continue
                longer = tree.child(prefix, symbol)
                if longer not in beams:
                    after[longer] = NEVER, source + chances[symbol]
        if len(after) > width:
            ranked = sorted(after.items(), key=lambda item: -_added(*item[1]) - tree.bonus[item[0]])
            after = dict(ranked[:width])
        beams = after
    found = [tree.found(prefix, _added(*ends)) for prefix, ends in beams.items()]
    return sorted(found, key=lambda item: -item.score(weights))


def _stayed(chances: Sequence[float], last: int, blank: float, other: float) -> tuple[float, float]:
    """Log-chances of a beginning whose last symbol is `last` after a step without a new one, by how they end."""
    return _added(blank, other) + chances[BLANK], other + chances[last] if last != BLANK else NEVER


def _added(first: float, second: float) -> float:
    """The logarithm of the sum of two chances given as logarithms."""
    if first < second:
        first, second = second, first
    return first if second == NEVER else first + math.log1p(math.exp(second - first))


def align(log_chances: Array, symbols: Sequence[int]) -> list[tuple[int, int]]:
    """(First step, step after the last) of each symbol on the most likely path of a text (Viterbi 1967).

    Args:
        log_chances: [step, symbol].
        symbols: a text that fits into the steps.
    """
    if not symbols:
        return []
    states = np.full(2 * len(symbols) + 1, BLANK)
    states[1::2] = symbols
    # From one symbol straight to the next, unless they are equal.
    skip = np.zeros(len(states), dtype=bool)
    skip[3::2] = states[3::2] != states[1:-2:2]
    scores = np.full(len(states), NEVER)
    scores[:2] = log_chances[0, states[:2]]
    came = np.zeros((len(log_chances), len(states)), dtype=np.int8)
    for step in range(1, len(log_chances)):
        options = np.full((3, len(states)), NEVER)
        options[0], options[1, 1:] = scores, scores[:-1]
        options[2, 2:] = np.where(skip[2:], scores[:-2], NEVER)
        came[step] = options.argmax(axis=0)
        scores = options.max(axis=0) + log_chances[step, states]
    state = len(states) - 1 if scores[-1] >= scores[-2] else len(states) - 2
    path = [state]
    for step in range(len(log_chances) - 1, 0, -1):
        state -= int(came[step, state])
        path.append(state)
    taken = np.array(path[::-1])
    places = [np.flatnonzero(taken == 2 * number + 1) for number in range(len(symbols))]
    return [(int(place[0]), int(place[-1]) + 1) for place in places]
