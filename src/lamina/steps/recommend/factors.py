"""Matrix factorisation of who had what: alternating least squares for implicit feedback.

Hu, Koren & Volinsky 2008, "Collaborative filtering for implicit feedback datasets": with r_ui the times that user u had
item i, p_ui = 1 where that is more than 0, and confidence c_ui = 1 + weight * r_ui, it minimises

    sum_ui c_ui (p_ui - x_u . y_i)^2 + penalty * (sum_u |x_u|^2 + sum_i |y_i|^2)

over all pairs, those that never met too. Given the items each user is a linear equation, so a history that was never
seen is folded in by solving it: no vectors of users are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
WIDTH, ROUNDS = 32, 8
SETTINGS = ((1.0, 10.0), (3.0, 30.0), (10.0, 10.0))
"""(Weight, penalty) that are tried."""
BATCH = 2_000_000
"""Numbers that are gathered at a time, about."""
PACE = 2e9
"""Multiplications a second, about, for an idea of what there is time for."""
SHARE, USUAL = 0.05, 30.0
"""Share of a budget that fitting may take, and seconds without one."""
FEWEST = 0.01
"""Share of the users below which nothing is learned from the rest of them."""


@dataclass(frozen=True)
class Factors:
    """What is kept of a factorisation.

    Attributes:
        items: float32 [item, width].
        weight, penalty: as in the formula.
    """

    items: Array
    weight: float
    penalty: float

    def scores(self, histories: Array) -> Array:
        """[row, item], from int32 [row, step] padded with 0: how much each item is preferred."""
        used = max(1, int((histories > 0).sum(axis=1).max(initial=0)))
        found = _solved(histories[:, :used], _padded(self.items), self.weight, self.penalty)
        return np.asarray(found @ self.items.T, np.float64)


def share_of_users(interactions: int, users: int, items: int, budget: float) -> float:
    """From how many of the users there is time to learn; 0 where too few would be left.

    Args:
        budget: seconds of the whole run; 0 for none.
    """
    allowed = (SHARE * budget or USUAL) * PACE / (ROUNDS * len(SETTINGS))
    # An equation is made of so many products of two vectors as there are interactions, and solved in width**3.
    each = 2 * interactions * WIDTH**2 + users * WIDTH**3
    found = min(1.0, (allowed - items * WIDTH**3) / each)
    return found if found >= FEWEST else 0.0


def fit(user: Array, item: Array, items: int, weight: float, penalty: float) -> Factors:
    """Factors of all items from pairs of a user and an item, both from 0; the same for the same pairs.

    Args:
        items: how many there are; those without a pair get zeros.
    """
    _, user = np.unique(user, return_inverse=True)
    users = int(user.max()) + 1
    vectors = np.random.default_rng(0).normal(0, 0.1, (items, WIDTH)).astype(np.float32)
    for _ in range(ROUNDS):
        shown = _all(user, item, users, vectors, weight, penalty)
        vectors = _all(item, user, items, shown, weight, penalty)
    return Factors(vectors, weight, penalty)


def _all(row: Array, other: Array, rows: int, vectors: Array, weight: float, penalty: float) -> Array:
    """float32 [row, width]: the best vector of each row, given those of the others that it met."""
    order = np.argsort(row, kind="stable")
    codes, lengths = other[order] + 1, np.bincount(row, minlength=rows)
    starts = np.cumsum(lengths) - lengths
    padded, found = _padded(vectors), np.zeros((rows, vectors.shape[1]), np.float32)
    # Rows of like length go together: padding costs as much as what it pads.
    turn = np.argsort(lengths, kind="stable")
    turn = turn[lengths[turn] > 0]
    while len(turn):
        longest = max(int(lengths[turn[-1]]), vectors.shape[1])
        some, turn = np.split(turn, [-min(max(1, BATCH // (longest * vectors.shape[1])), len(turn))])[::-1]
        place = np.arange(int(lengths[some].max()))
        inside = place < lengths[some, None]
        taken = np.where(inside, codes[np.where(inside, starts[some, None] + place, 0)], 0)
        found[some] = _solved(taken, padded, weight, penalty)
    return found


def _padded(vectors: Array) -> Array:
    """With zeros as the first, for padding."""
    return np.concatenate([np.zeros((1, vectors.shape[1]), np.float32), vectors])


def _solved(codes: Array, vectors: Array, weight: float, penalty: float) -> Array:
    """float32 [row, width]: the best vector of each row, given those that it met, [row, step], 0 for none."""
    codes = np.sort(codes, axis=1)
    once = np.ones(codes.shape, np.float32)
    once[:, 1:] = codes[:, 1:] != codes[:, :-1]
    met = vectors[codes]
    matrix = vectors.T @ vectors + penalty * np.eye(vectors.shape[1], dtype=np.float32)
    matrix = matrix + weight * (met.transpose(0, 2, 1) @ met)
    wanted = (met * (weight + once)[:, :, None]).sum(axis=1)
    return np.asarray(np.linalg.solve(matrix, wanted[:, :, None])[:, :, 0], np.float32)
