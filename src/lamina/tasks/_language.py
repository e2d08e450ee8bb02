"""Searching for texts with a language model, and how much it should count. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lamina.data.schema import Values
from lamina.tasks._ctc import BLANK, Found, Weights, beam_search, greedy, lengths
from lamina.tasks._edits import edit_distances
from lamina.tasks._ngrams import Ngrams
from lamina.tasks._transcripts import as_texts

Array = np.ndarray[Any, Any]

ROWS = 64
"""Validation rows that the weights are chosen on, evenly spaced: searching takes milliseconds a row."""
DRAFT = Weights(0.4, 0.4)
"""Weights of the search whose candidates are then weighed in all ways."""
LANGUAGE = (0.0, 0.2, 0.4, 0.6, 0.8, 1.1)
SYMBOL = (0.0, 0.4, 0.8, 1.2, 1.8)


def texts_of(log_chances: Array, characters: str, width: int, ngrams: Ngrams | None, weights: Weights | None) -> Values:
    """object [row] of str, from [row, step, symbol]: of the search, or without weights of the most likely path."""
    if weights is None:
        return as_texts(greedy(log_chances), characters)
    found = (candidates[0].symbols for candidates in _searched(log_chances, width, ngrams, weights))
    return as_texts(list(found), characters)


def _searched(log_chances: Array, width: int, ngrams: Ngrams | None, weights: Weights) -> list[list[Found]]:
    heard = lengths(log_chances)
    # Where nothing is likelier than the blank at any step, nothing was said, whatever texts are usual.
    silent = (log_chances.argmax(axis=2) == BLANK).all(axis=1)
    return [
        [Found((), 0.0)] if quiet else beam_search(row[:steps], width, ngrams, weights)
        for row, steps, quiet in zip(log_chances, heard.tolist(), silent.tolist(), strict=True)
    ]


def best_weights(
    log_chances: Array, truths: Sequence[str], characters: str, width: int, ngrams: Ngrams | None
) -> Weights | None:
    """The weights with the fewest word errors, then character errors; None if the most likely path has no more.

    The candidates of one search are weighed in all ways; the best way is then tried by a search of its own.

    Args:
        log_chances: [row, step, symbol] of validation rows.
        truths: their texts.
    """
    chosen = np.unique(np.linspace(0, len(truths) - 1, min(ROWS, len(truths))).round().astype(np.int64))
    rows, wanted = log_chances[chosen], [truths[row] for row in chosen]
    candidates = _searched(rows, width, ngrams, DRAFT if ngrams is not None else Weights())
    options = [Weights(one, other) for one in (LANGUAGE if ngrams is not None else (0.0,)) for other in SYMBOL]

    def weighed(weights: Weights) -> tuple[int, int]:
        best = [max(found, key=lambda item: item.score(weights)).symbols for found in candidates]
        return _errors(wanted, as_texts(best, characters).tolist())

    weights = min(options, key=weighed)
    tried = _errors(wanted, texts_of(rows, characters, width, ngrams, weights).tolist())
    path = _errors(wanted, texts_of(rows, characters, width, ngrams, None).tolist())
    return weights if tried < path else None


def _errors(truths: Sequence[str], answers: Sequence[str]) -> tuple[int, int]:
    """Edits of words and of characters, over all rows."""
    words = edit_distances([text.split() for text in truths], [text.split() for text in answers])
    return int(words.sum()), int(edit_distances(truths, answers).sum())
