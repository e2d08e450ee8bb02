"""A graph that finds nearly all of the nearest vectors in large sets, without looking at most of them.

Hierarchical navigable small worlds (Malkov and Yashunin 2018, "Efficient and robust approximate nearest neighbor search
using hierarchical navigable small world graphs"), by the library `usearch`. What it finds is scored and put in order
exactly, by the vectors themselves; how much it finds is measured on a sample of them.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from lamina.model.nearest import ROUNDING, Groups, in_order, nearest

Array = np.ndarray[Any, Any]

GRAPH_FROM = 50_000
"""Rows from which on a graph can pay: below, comparing with all of them takes milliseconds."""
DUPLICATES_FROM = 100_000
"""Rows from which on a graph pays for near-duplicates: comparing all with all needs no sorting."""
WORTH_BUILDING = 200_000_000
"""Comparisons of queries with rows that take as long as a graph takes to be built (20,000 rows and 10,000 queries)."""
WORTH_READING = 1_000_000
"""Comparisons that take as long as a kept graph takes to be read."""
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 16, 64, 64
"""Neighbors of a vector in the graph; vectors kept in view while one is added, and while one is looked for."""
SAMPLE, RECALL_AT = 200, 10
"""Vectors by which the recall is measured, and how many neighbors of each are looked for."""
NEIGHBORS = 16
"""Of each row, that are looked at for near-duplicates."""
BLOCK = 4096


def installed() -> bool:
    """Whether the library is there (`pip install 'lamina[search]'`)."""
    return find_spec("usearch") is not None


class Graph:
    """The graph over some vectors.

    Attributes:
        vectors: float32 [row, size], of length 1.
        recall: share of the nearest 10 rows of sampled vectors that the graph finds.
    """

    def __init__(self, vectors: Array, built: Any, recall: float) -> None:
        self.vectors, self.recall = vectors, recall
        self._built = built

    def nearest(self, queries: Array, top: int) -> tuple[Array, Array]:
        """As `lamina.model.nearest.nearest`, but a row may be missed."""
        number = min(top, len(self.vectors))
        self._built.expansion_search = max(EXPANSION_SEARCH, 2 * number)
        rows = np.empty((len(queries), number), np.int64)
        likeness = np.empty((len(queries), number))
        for start in range(0, len(queries), BLOCK):
            part = queries[start : start + BLOCK]
            place = slice(start, start + len(part))
            rows[place], likeness[place] = in_order(part, self.vectors, self._found(part, number))
        return rows, likeness

    def alike(self, likeness: float) -> Array:
        """As `lamina.model.nearest.alike`, of each row's 16 nearest."""
        groups = Groups(len(self.vectors))
        for start in range(0, len(self.vectors), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(self.vectors)))
            found, how = self.nearest(self.vectors[rows], NEIGHBORS)
            one, place = np.nonzero(how >= likeness - ROUNDING)
            groups.join(rows[one], found[one, place])
        return groups.roots(np.arange(len(self.vectors)))

    def to_bytes(self) -> bytes:
        """The graph alone, for `read`."""
        return bytes(self._built.save())

    def _found(self, queries: Array, number: int) -> Array:
        """int64 [query, number]; where the graph finds fewer, as of vectors without a way to them, all are compared."""
        # Of one query the library answers in another form.
        asked = np.ascontiguousarray(np.repeat(queries, 2, axis=0) if len(queries) == 1 else queries)
        matches = self._built.search(asked, number)
        found = np.asarray(matches.keys)[: len(queries)].astype(np.int64)
        short = np.flatnonzero(np.asarray(matches.counts)[: len(queries)] < number)
        if len(short):
            found[short] = nearest(queries[short], self.vectors, number)[0]
        return found


def build(vectors: Array) -> Graph:
    """The graph over `vectors`, float32 [row, size] of length 1.

    One thread adds one vector after the other: the same vectors give the same graph.
    """
    from usearch.index import Index

    built = Index(
        ndim=vectors.shape[1],
        metric="ip",
        dtype="f32",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSION_SEARCH,
    )
    built.add(np.arange(len(vectors)), np.ascontiguousarray(vectors), threads=1)
    graph = Graph(vectors, built, recall=0.0)
    graph.recall = measured(graph)
    return graph


def read(content: bytes, vectors: Array, recall: float) -> Graph | None:
    """The graph that `to_bytes` gave for these vectors; None if it is another's.

    The library reads the bytes without suspicion: only what this user has written may come here (`lamina.model.kept`).
    """
    from usearch.index import Index

    built = Index.restore(content)
    if built is None or len(built) != len(vectors) or built.ndim != vectors.shape[1]:
        return None
    return Graph(vectors, built, recall)


def measured(graph: Graph) -> float:
    """Share of the nearest 10 rows of up to 200 vectors, evenly from all, that the graph finds.

    A row counts as found if another one just as alike was found in its place.
    """
    sample = graph.vectors[np.linspace(0, len(graph.vectors) - 1, min(SAMPLE, len(graph.vectors))).astype(np.int64)]
    _, exact = nearest(sample, graph.vectors, RECALL_AT)
    _, found = graph.nearest(sample, RECALL_AT)
    return float((found >= exact[:, -1:] - ROUNDING).mean())
