"""How good are lists of recommendations? The place of what was really taken, in every user's mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from lamina.evaluate.judged import Judged, Weighted
from lamina.tasks.recommend import HIDDEN, best

Array = np.ndarray[Any, Any]
TOP = 10
"""Length of the lists that are scored."""
RECALL, NDCG, COVERAGE = f"recall@{TOP}", f"ndcg@{TOP}", "coverage"
BATCH = 512

Answer = Callable[[Array], Array]
"""From row numbers to the scores of all items, [row, item], those of items that must not be recommended lowest."""


class Asked(Protocol):
    """Interactions to be foretold."""

    @property
    def target(self) -> Array:
        """int [row]: the item's place in the catalogue from 1; 0 for one that is not in it."""
        ...

    def __len__(self) -> int: ...


def ranks(scores: Array, target: Array) -> Array:
    """float64 [row]: the target's place among all items, 1 is the first; infinite where it is not in the catalogue.

    Of equal scores the item that comes first in the catalogue counts as higher.
    """
    own = np.take_along_axis(scores, np.maximum(target.astype(np.int64) - 1, 0)[:, None], axis=1)
    before = np.arange(scores.shape[1]) < (target - 1)[:, None]
    place = 1.0 + (scores > own).sum(axis=1) + ((scores == own) & before).sum(axis=1)
    return np.where(target > 0, place, np.inf)


def recall(places: Array, top: int = TOP) -> Array:
    """[row]: 1 where the target is among the first `top`: with one target a row that is recall."""
    return (places <= top).astype(np.float64)


def ndcg(places: Array, top: int = TOP) -> Array:
    """[row]: 1 / log2(1 + place) among the first `top`, else 0 (Jarvelin & Kekalainen 2002, with one target a row)."""
    return np.where(places <= top, 1 / np.log2(1 + np.where(np.isfinite(places), places, 1.0)), 0.0)


def by_user(values: Array, users: Array) -> Array:
    """[user], those in `users` in ascending order: the mean of each one's rows."""
    _, place, counts = np.unique(users, return_inverse=True, return_counts=True)
    return np.bincount(place, weights=values) / counts


def listed(scores: Array) -> Array:
    """int64 [row, TOP]: the best items from 0; -1 where all that is left is in the history, as in a small catalogue."""
    chosen = best(scores, TOP)
    return np.where(np.take_along_axis(scores, chosen, axis=1) > HIDDEN, chosen, -1)


def answered(answer: Answer, which: Asked, lists: bool = False) -> tuple[Array, Array]:
    """([row] the target's place in each answer, [row, TOP] as of `listed` where `lists` are wanted)."""
    places, chosen = [], []
    for start in range(0, len(which), BATCH):
        rows = np.arange(start, min(start + BATCH, len(which)))
        scores = answer(rows)
        places.append(ranks(scores, which.target[rows]))
        if lists:
            chosen.append(listed(scores))
    return np.concatenate(places), np.concatenate(chosen) if lists else np.zeros((0, TOP), np.int64)


def judged(name: str, places: Array, users: Array, seconds: float = 0.0, note: str = "") -> Judged:
    """Recall and NDCG in the mean of users.

    Args:
        places: [row], as of `ranks`.
        users: [row], whose each is; weights say how often each user counts, in ascending order.
    """

    def mean(values: Array) -> Weighted:
        each = by_user(values, users)
        return lambda weights: np.asarray(weights @ each / np.maximum(weights.sum(axis=1), 1e-9))

    return Judged(name, {RECALL: mean(recall(places)), NDCG: mean(ndcg(places))}, seconds, note)


def coverage(lists: Array, items: int) -> float:
    """The share of the catalogue that is recommended to anybody."""
    return len(np.unique(lists[lists >= 0])) / items
