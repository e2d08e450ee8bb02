"""Item-item nearest neighbors: a user's answer to an item follows from those to similar items.

Sarwar et al. 2001, "Item-based collaborative filtering recommendation algorithms", on what the biases leave over, with
similarities that count for less where few users met both items (Koren 2008, "Factorization meets the neighborhood").
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.baselines import Baseline, BaselineFeatures, Clock
from lamina.baselines._interactions import Biases, best_biases, codes, pair_of
from lamina.baselines._outputs import affordable, number_output
from lamina.tasks import Task

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Array = np.ndarray[Any, Any]

TITLE = "similar items (nearest neighbors)"
NEIGHBORS = (20, 60, 200)
"""Most similar items that are kept of each item; the best number on the validation part is taken."""
COMMON = 30.0
"""A similarity that so many users prove counts for half."""
DRAWN = (0.3, 1.0, 3.0)
"""Similarity without effect that is added to a row's: what few or hardly similar items say is drawn to the biases."""
AT_ONCE = 256
PRODUCTS = 3e7
"""Products of two answers of one user in a second, cautiously."""


def suits(kinds: set[str], task: str, rows: int) -> bool:
    """Numbers asked of tables with categories."""
    return task == "regress" and "category" in kinds


def reads(features: BaselineFeatures) -> bool:
    """Where two categories have many levels."""
    return pair_of(features) is not None


@dataclass(frozen=True)
class ItemNeighbors:
    """Biases, what they left over of each user's answers, and each item's neighbors.

    Attributes:
        biases: of users and items.
        left: [user, item], residuals where the two met.
        met: [user, item], 1 where they did.
        similar: [item, item], similarities of each row's item to its neighbors.
        drawn: see DRAWN.
        turned: are the items in the first of the two columns?
    """

    biases: Biases
    left: csr_matrix
    met: csr_matrix
    similar: csr_matrix
    drawn: float
    turned: bool
    residual: Array
    note: str = ""

    def answer(self, features: BaselineFeatures) -> Array:
        """float32 [row, 2]."""
        return number_output(self.location(*codes(features)), self.residual)

    def location(self, first: Array, second: Array) -> Array:
        """float64 [row] from codes [row]."""
        users, items = (second, first) if self.turned else (first, second)
        effect = np.zeros(len(users))
        for begin in range(0, len(users), 64 * AT_ONCE):
            some = slice(begin, begin + 64 * AT_ONCE)
            near = self.similar[items[some]]
            told = np.asarray(near.multiply(self.left[users[some]]).sum(axis=1)).ravel()
            weight = np.asarray(near.multiply(self.met[users[some]]).sum(axis=1)).ravel()
            effect[some] = told / (weight + self.drawn)
        return np.asarray(self.biases.of(first, second) + effect)


def fit(
    train: BaselineFeatures,
    target: Array,
    task: Task,
    *,
    validation: tuple[BaselineFeatures, Array],
    seed: int,
    seconds: float,
    threads: int = 1,
    clock: Clock = time.monotonic,
) -> Baseline:
    """Fit biases and similarities; number of neighbors and drawing are the best on the validation part.

    Items are the party with more levels.
    """
    from dataclasses import replace

    first, second = codes(train)
    pair = pair_of(train)
    assert pair is not None
    turned = pair[0].size > pair[1].size
    biases, _ = best_biases(train, target, *validation)
    users, items = (second, first) if turned else (first, second)
    sizes = (pair[1].size, pair[0].size) if turned else (pair[0].size, pair[1].size)
    each = float(np.bincount(users)[users].mean()) if len(users) else 0.0
    chosen, note = affordable(train.rows, each / PRODUCTS, seconds, seed)
    residual = (target - biases.of(first, second))[chosen]
    left, met = _matrices(users[chosen], items[chosen], residual, sizes)
    similar = similarities(left, met, max(NEIGHBORS))
    asked, truth = codes(validation[0]), validation[1]
    best: tuple[float, ItemNeighbors] | None = None
    for count in NEIGHBORS:
        fewer = _strongest(similar, count)
        for drawn in DRAWN:
            tried = ItemNeighbors(biases, left, met, fewer, drawn, turned, np.zeros(0), note)
            wrong = truth - tried.location(*asked)
            loss = float((wrong**2).mean()) if len(wrong) else 0.0
            if best is None or loss < best[0]:
                best = loss, replace(tried, residual=wrong)
    assert best is not None
    return best[1]


def _matrices(users: Array, items: Array, residual: Array, sizes: tuple[int, int]) -> tuple[csr_matrix, csr_matrix]:
    """(mean residuals, ones) [user, item] where a known user and a known item met."""
    from scipy.sparse import csr_matrix

    known = (users > 0) & (items > 0)
    where = (users[known], items[known])
    sums = csr_matrix((residual[known], where), shape=sizes)
    count = csr_matrix((np.ones(int(known.sum())), where), shape=sizes)
    sums.sum_duplicates()
    count.sum_duplicates()
    # Both have the same places in the same order.
    sums.data = sums.data / count.data
    count.data = np.ones_like(count.data)
    return sums, count


def similarities(left: csr_matrix, met: csr_matrix, most: int) -> csr_matrix:
    """[item, item]: the `most` highest positive similarities of each item to others.

    The cosine of the residuals of the users that met both, times n / (n + COMMON) for n such users.
    """
    from scipy.sparse import csr_matrix, vstack

    squares = left.multiply(left).tocsr()
    parts = []
    for begin in range(0, left.shape[1], AT_ONCE):
        columns = slice(begin, begin + AT_ONCE)
        products = (left[:, columns].T @ left).toarray()
        common = (met[:, columns].T @ met).toarray()
        lengths = (squares[:, columns].T @ met).toarray() * (met[:, columns].T @ squares).toarray()
        with np.errstate(divide="ignore", invalid="ignore"):
            similar = np.where(lengths > 0, products / np.sqrt(lengths), 0.0) * common / (common + COMMON)
        rows = np.arange(len(similar))
        similar[rows, begin + rows] = 0.0
        parts.append(_strongest(csr_matrix(np.maximum(similar, 0.0)), most))
    return vstack(parts, format="csr")


def _strongest(similar: csr_matrix, most: int) -> csr_matrix:
    """The `most` highest values of each row; of equal ones the first."""
    from scipy.sparse import csr_matrix

    rows = np.repeat(np.arange(similar.shape[0]), np.diff(similar.indptr))
    order = np.lexsort((similar.indices, -similar.data, rows))
    place = np.arange(len(rows)) - similar.indptr[:-1][rows]
    kept = order[place < most]
    return csr_matrix((similar.data[kept], (rows[kept], similar.indices[kept])), shape=similar.shape)
