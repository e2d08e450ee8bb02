"""Recommenders without a network: what is popular, or popular now, what went with what somebody had, and factors."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lamina.evaluate.recommended import TOP, answered, by_user, recall
from lamina.narrate import Narrator
from lamina.steps.recommend import factors
from lamina.steps.recommend.interactions import TRAIN, Asked, Interactions

Array = np.ndarray[Any, Any]
Scores = Callable[[Array], Array]
"""From histories, int32 [row, step] padded with 0 at the end, to scores of all items [row, item]."""
POPULAR, POPULAR_NOW = "popularity", "recent popularity"
KNN, KNN_RECENT = "item-kNN", "item-kNN with recency"
FACTORS = "matrix factorisation"
RECENT = (0.02, 0.05, 0.1, 0.25)
"""Shares of the training part, the latest, that popularity may be counted in."""
DECAYS = (1.0, 0.95, 0.8, 0.5)
"""What an item counts that came one before another in a history; 1 forgets the order."""
NEIGHBORS = 200
MOST_USED = 100
"""Items of a history that neighbors are looked up for, the last ones."""


@dataclass(frozen=True)
class Simple:
    """A simpler recommender.

    Attributes:
        name, note: for the reader.
        scores: of all items.
        seconds: to fit and choose.
        repeat: items of the history may be recommended again.
        each: float64 [user], recall on the validation part.
    """

    name: str
    scores: Scores
    seconds: float
    repeat: bool
    note: str = ""
    each: Array = field(default_factory=lambda: np.zeros(1))

    @property
    def recall(self) -> float:
        """On the validation part, in the mean of users."""
        return float(self.each.mean())

    def answer(self, which: Asked, memory: int) -> Callable[[Array], Array]:
        """Scores for rows of `which`, from the very histories that the network is given."""

        def scored(rows: Array) -> Array:
            histories = which.histories(rows, memory)
            found = self.scores(histories)
            if not self.repeat:
                seen = np.zeros((len(rows), found.shape[1] + 1), bool)
                np.put_along_axis(seen, histories.astype(np.int64), True, axis=1)
                found = np.where(seen[:, 1:], -np.inf, found)
            return found

        return scored


def fit(
    found: Interactions, validation: Asked, memory: int, repeat: bool, budget: float, narrator: Narrator
) -> tuple[Simple, ...]:
    """Popularity of all time and of late, item-kNN, a factorisation; settings by their recall on the validation part.

    Args:
        budget: seconds of the whole run, of which the factorisation takes a share; 0 for none.
    """
    kept = (found.part == TRAIN) & (found.item > 0)
    user, item, when = found.user[kept], found.item[kept] - 1, found.recency[kept]
    items = len(found.catalogue)
    neighbors = _Neighbors(user, item, items)
    families = {
        POPULAR: [("", _popular(np.bincount(item, minlength=items)))],
        POPULAR_NOW: [
            (f"of the latest {share:.0%} of the training part", _popular(_recent(item, when, share, items)))
            for share in RECENT
        ],
        KNN: [("", neighbors.scores(1.0))],
        KNN_RECENT: [
            (f"each item counts {decay:g} times the next one", neighbors.scores(decay)) for decay in DECAYS[1:]
        ],
    }
    begin = time.monotonic()
    if ways := _factors(user, item, items, budget):
        families[FACTORS] = ways
    else:
        narrator.say(f"{FACTORS}: left out, for the time is too short for so many interactions")
    fitting = {FACTORS: time.monotonic() - begin}
    chosen: dict[str, Simple] = {}
    for name, ways in families.items():
        begin = time.monotonic() - fitting.get(name, 0.0)
        tried = [Simple(name, scores, 0.0, repeat, note) for note, scores in ways]
        results = [_recall(one, validation, memory) for one in tried]
        place = int(np.argmax([each.mean() for each in results]))
        chosen[name] = replace(tried[place], seconds=time.monotonic() - begin, each=results[place])
    # One of the two item-kNN, the one that validates better: the second is no baseline of its own.
    recency = chosen[KNN_RECENT].recall > chosen[KNN].recall
    del chosen[KNN if recency else KNN_RECENT]
    for one in chosen.values():
        note = f" ({one.note})" if one.note else ""
        narrator.say(f"{one.name}{note}: recall@{TOP} {one.recall:.4f} on the validation part")
    return tuple(chosen.values())


def _factors(user: Array, item: Array, items: int, budget: float) -> list[tuple[str, Scores]]:
    """(Note, scores) of the factorisations that are tried; none where the time is too short."""
    users = int(user.max()) + 1
    share = factors.share_of_users(len(user), users, items, budget)
    if not share:
        return []
    note = f", learned from {share:.0%} of the users" if share < 1 else ""
    if share < 1:
        drawn = np.random.default_rng(0).random(users) < share
        user, item = user[drawn[user]], item[drawn[user]]
    return [
        (
            f"ALS, weight {weight:g}, penalty {penalty:g}{note}",
            factors.fit(user, item, items, weight, penalty).scores,
        )
        for weight, penalty in factors.SETTINGS
        if len(user)
    ]


def _recall(one: Simple, which: Asked, memory: int) -> Array:
    places, _ = answered(one.answer(which, memory), which)
    return by_user(recall(places), which.user)


def _popular(counts: Array) -> Scores:
    return lambda histories: np.broadcast_to(counts.astype(np.float64), (len(histories), len(counts)))


def _recent(item: Array, when: Array, share: float, items: int) -> Array:
    """[item]: how often each occurs in the latest `share`; all-time counts decide among equals."""
    late = when >= np.quantile(when, 1 - share)
    always = np.bincount(item, minlength=items)
    return np.asarray(np.bincount(item[late], minlength=items) + always / (always.sum() + 1))


class _Neighbors:
    """Item-kNN: cosine of two items' users (Sarwar et al. 2001), the nearest of each item kept."""

    def __init__(self, user: Array, item: Array, items: int) -> None:
        from scipy import sparse

        taken = sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), shape=(int(user.max()) + 1, items))
        taken.data[:] = 1
        length = np.sqrt(np.maximum(np.asarray(taken.sum(axis=0)).ravel(), 1))
        normal = taken @ sparse.diags(1 / length)
        self.likeness = _nearest((normal.T @ normal).tocsr(), NEIGHBORS)

    def scores(self, decay: float) -> Scores:
        """The sum of the likenesses to the items of a history; the last counts 1, the one before `decay`, ..."""
        from scipy import sparse

        def scored(histories: Array) -> Array:
            length = (histories > 0).sum(axis=1)
            row, step = np.nonzero(histories)
            ago = length[row] - 1 - step
            near = ago < MOST_USED
            weight = (decay ** ago[near]).astype(np.float32)
            shown = sparse.csr_matrix(
                (weight, (row[near], histories[row[near], step[near]] - 1)),
                shape=(len(histories), self.likeness.shape[0]),
            )
            return np.asarray((shown @ self.likeness).todense(), np.float64)

        return scored


def _nearest(likeness: Any, number: int) -> Any:
    """The sparse matrix with the largest `number` of every row, without the diagonal."""
    likeness.setdiag(0)
    likeness.eliminate_zeros()
    for row in range(likeness.shape[0]):
        start, end = likeness.indptr[row : row + 2]
        if end - start > number:
            values = likeness.data[start:end]
            values[values < np.partition(values, -number)[-number]] = 0
    likeness.eliminate_zeros()
    return likeness
