"""Exact comparison of vectors of length 1: the nearest rows, and groups of near-duplicates; NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

QUERIES, ROWS = 256, 16_384
"""Queries and rows that are compared at a time, so that memory stays flat."""
SCORED = 65_536
"""Vectors that are scored at a time in float64."""
ROUNDING = 1e-6
"""Of a product of two float32 vectors: a row is as alike as asked if it lacks no more than this."""


def nearest(queries: Array, vectors: Array, top: int) -> tuple[Array, Array]:
    """The `top` rows most like each query, the most alike first; of equals the earlier row.

    Each block of rows is partitioned, not sorted: only what is found is put in order, by its likeness in float64.

    Args:
        queries: float32 [query, size], of length 1.
        vectors: float32 [row, size], of length 1.

    Returns:
        int64 [query, found], the rows, and float64 [query, found], their likeness; `found` is `top`, or all rows.
    """
    number = min(top, len(vectors))
    rows = np.empty((len(queries), number), np.int64)
    likeness = np.empty((len(queries), number))
    for start in range(0, len(queries), QUERIES):
        part = queries[start : start + QUERIES]
        found = _candidates(part, vectors, number)
        rows[start : start + QUERIES], likeness[start : start + QUERIES] = in_order(part, vectors, found)
    return rows, likeness


def in_order(queries: Array, vectors: Array, candidates: Array) -> tuple[Array, Array]:
    """Candidates, int64 [query, candidate], and their likeness in float64, the most alike first, of equals the earlier.

    The same two vectors have the same likeness wherever they stand, which products of whole matrices do not promise.
    """
    scored = likeness_of(queries, vectors, np.repeat(np.arange(len(queries)), candidates.shape[1]), candidates.ravel())
    scored = scored.reshape(candidates.shape)
    order = np.lexsort((candidates, -scored), axis=1)
    return np.take_along_axis(candidates, order, axis=1), np.take_along_axis(scored, order, axis=1)


def likeness_of(ones: Array, others: Array, first: Array, second: Array) -> Array:
    """float64 [pair]: the likeness of `ones[first]` and `others[second]`, at most 1."""
    found = np.empty(len(first))
    for start in range(0, len(first), SCORED):
        place = slice(start, start + SCORED)
        products = ones[first[place]].astype(np.float64) * others[second[place]]
        found[place] = products.sum(axis=1)
    return np.clip(found, -1.0, 1.0)


def alike(vectors: Array, likeness: float) -> Array:
    """int64 [row]: the first row of each row's group, where rows that are at least so alike are in one group.

    A group may be a chain, whose ends are less alike than its links (single linkage).
    """
    groups = Groups(len(vectors))
    for start in range(0, len(vectors), QUERIES):
        one = np.arange(start, min(start + QUERIES, len(vectors)))
        for begin in range(start, len(vectors), ROWS):
            other = np.arange(begin, min(begin + ROWS, len(vectors)))
            groups.join_block(one, other, vectors[one] @ vectors[other].T >= likeness - ROUNDING)
    return groups.roots(np.arange(len(vectors)))


class Groups:
    """Rows that are joined pair by pair: a union-find, in which the first row of a group stands for it."""

    def __init__(self, rows: int) -> None:
        self._parent = np.arange(rows)

    def roots(self, rows: Array) -> Array:
        """int64 [row]: the first row of the group that each is in."""
        found = self._parent[rows]
        while not np.array_equal(above := self._parent[found], found):
            found = above
        self._parent[rows] = found
        return found

    def join(self, first: Array, second: Array) -> None:
        """Join the groups of `first[i]` and `second[i]`, for each i."""
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            low, high = sorted((self._root(one), self._root(other)))
            self._parent[high] = low

    def join_block(self, ones: Array, others: Array, joined: Array) -> None:
        """Join `ones[i]` and `others[j]` wherever `joined[i, j]`.

        In each round every group is joined to one other (Borůvka 1926), so a block in which all is alike costs a few
        rounds and not a step for each of its pairs.
        """
        row, column = np.nonzero(joined)
        while len(row):
            one, other = self.roots(ones[row]), self.roots(others[column])
            apart = one != other
            row, column, one, other = row[apart], column[apart], one[apart], other[apart]
            for side in (one, other):
                _, first = np.unique(side, return_index=True)
                self.join(one[first], other[first])

    def _root(self, row: int) -> int:
        while (above := int(self._parent[row])) != row:
            self._parent[row] = self._parent[above]
            row = above
        return row


def _candidates(queries: Array, vectors: Array, number: int) -> Array:
    """int64 [query, number]: the rows most like each query, in no order."""
    best: Array = np.empty((len(queries), 0), np.float32)
    rows: Array = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(vectors), ROWS):
        products = queries @ vectors[start : start + ROWS].T
        chosen = _largest(products, min(number, products.shape[1]))
        rows = np.hstack([rows, chosen + start])
        best = np.hstack([best, np.take_along_axis(products, chosen, axis=1)])
        chosen = _largest(best, min(number, best.shape[1]))
        rows, best = np.take_along_axis(rows, chosen, axis=1), np.take_along_axis(best, chosen, axis=1)
    return rows


def _largest(values: Array, number: int) -> Array:
    """int64 [row, number]: the places of the largest values of each row, ascending; of equals the earlier places."""
    width = values.shape[1]
    if number == width:
        return np.broadcast_to(np.arange(width), values.shape)
    least = np.partition(values, width - number, axis=1)[:, width - number, None]
    kept = values >= least
    # Only where more are equal to the last one than there is room for, the first of them have to be told apart.
    for row in np.flatnonzero(kept.sum(axis=1) > number):
        equal = np.flatnonzero(values[row] == least[row])
        room = number - int((values[row] > least[row, 0]).sum())
        kept[row, equal[room:]] = False
    return np.nonzero(kept)[1].reshape(len(values), number)
