"""Which group is it in? The answer is a cluster, and how typical the row is of it; learned without any answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError
from lamina.modalities import Recognition
from lamina.tasks._agreement import LARGEST, Agreement, agreement
from lamina.tasks._directions import directions
from lamina.tasks._options import check_names

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

UNLABELLED = "cluster"
"""The task needs no target; its answer is called so."""
OPTIONS = ("clusters", "most")
MOST_TRIED, MOST_CLUSTERS = 20, 1000
"""Numbers of clusters: tried unless the user says otherwise, and that a model may have."""
LEVELS = 101
"""Quantiles of its members' distances that are kept of each cluster, to say how typical a row is."""
SHOWN = 20
"""Clusters whose membership is an answer column of its own."""
LEAST_TEMPERATURE = 1e-9


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """No column asks for it."""
    return None


def check_options(options: Mapping[str, Json]) -> None:
    """Raises InputError for an unknown option, or a number of clusters that is none."""
    check_names(options, OPTIONS, UNLABELLED)
    for name, value in options.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 2 <= value <= MOST_CLUSTERS:
            raise InputError(
                f"The number of clusters is {value!r}.",
                where=f"task.options.{name}",
                fix=f"Give a whole number from 2 to {MOST_CLUSTERS:,}, or leave it out: stability then chooses it.",
            )


@dataclass(frozen=True)
class Task:
    """The nearest of some centroids; outputs are [row, size], vectors of length 1.

    Attributes:
        name: the answer's name.
        size: numbers of a vector.
        centroids: the mean of each cluster's vectors, `size` numbers each, the largest cluster first; none before
            `fitted`.
        temperature: what squared distances are divided by before memberships are made of them.
        levels: of each cluster, `LEVELS` quantiles of its training members' distances, ascending.
    """

    task: ClassVar[str] = "cluster"

    name: str
    size: int
    centroids: tuple[tuple[float, ...], ...] = ()
    temperature: float = 1.0
    levels: tuple[tuple[float, ...], ...] = ()

    @property
    def width(self) -> int:
        return self.size

    @cached_property
    def _centroids(self) -> Array:
        return np.array(self.centroids, np.float64).reshape(-1, self.size)

    def combine(self, output: Tensor) -> Tensor:
        """[row, member, size] to [row, size] of length 1."""
        return directions(output)

    def fitted(self, output: Array, members: Array) -> Self:
        """With the clusters of some rows: their centroids, memberships and typical distances.

        The temperature makes memberships those of an equal mixture of Gaussians with one variance in every direction.
        That variance is the mean squared distance to the centroid over the number of directions in which the
        clusters really extend (the participation ratio of the covariance's eigenvalues), for embeddings have
        many more numbers than directions, and memberships would else all be 0 or 1.

        Args:
            output: [row, size].
            members: int64 [row], each row's cluster.
        """
        vectors = np.asarray(output, np.float64)
        names, members, counts = np.unique(members, return_inverse=True, return_counts=True)
        centroids = np.stack([vectors[members == number].mean(axis=0) for number in range(len(names))])
        order = np.argsort(-counts, kind="stable")
        found = replace(self, centroids=_rows(centroids[order]))
        squares = found.squares(vectors)
        nearest = squares.argmin(axis=1)
        apart = vectors - found._centroids[nearest]
        covariance = apart.T @ apart / len(apart)
        total = float(np.trace(covariance))
        directions_used = total**2 / max(float(np.square(covariance).sum()), 1e-300)
        temperature = max(2 * total / max(directions_used, 1.0), LEAST_TEMPERATURE)
        distances = np.sqrt(squares.min(axis=1))
        steps = np.linspace(0, 1, LEVELS)
        levels = [
            np.quantile(distances[nearest == number], steps) if (nearest == number).any() else np.zeros(LEVELS)
            for number in range(len(names))
        ]
        return replace(found, temperature=temperature, levels=_rows(np.maximum.accumulate(levels, axis=1)))

    def squares(self, output: Array) -> Array:
        """[row, cluster]: squared distances to the centroids."""
        vectors, centroids = np.asarray(output, np.float64), self._centroids
        lengths = np.square(vectors).sum(axis=1, keepdims=True) + np.square(centroids).sum(axis=1)
        return np.asarray(np.maximum(lengths - 2 * vectors @ centroids.T, 0.0))

    def memberships(self, output: Array) -> Array:
        """[row, cluster]: how probably the row belongs to each, summing to 1."""
        scores = -self.squares(output) / self.temperature
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": cluster from 1 on (0: no clusters yet), ".p": membership in it, ".distance" to its centroid,
        ".typicality": the share of its training members that lie farther out, ".p.N": membership in cluster N}."""
        rows = np.arange(len(output))
        if not self.centroids:
            nothing = np.zeros(len(output))
            return {"": rows * 0, ".p": nothing, ".distance": nothing, ".typicality": nothing}
        squares, shares = self.squares(output), self.memberships(output)
        nearest = squares.argmin(axis=1)
        distances = np.sqrt(squares[rows, nearest])
        answer: dict[str, Values] = {
            "": nearest.astype(np.int64) + 1,
            ".p": shares[rows, nearest],
            ".distance": distances,
            ".typicality": self._typicality(nearest, distances),
        }
        return answer | {f".p.{number + 1}": shares[:, number] for number in range(min(len(self.centroids), SHOWN))}

    def _typicality(self, nearest: Array, distances: Array) -> Array:
        found = np.zeros(len(distances))
        for number, levels in enumerate(self.levels):
            inside = nearest == number
            found[inside] = 1 - np.searchsorted(levels, distances[inside]).clip(0, LEVELS - 1) / (LEVELS - 1)
        return found

    def agreement(self, before: Array, after: Array) -> Agreement:
        """How nearly two networks' outputs are the same, and their clusters."""
        if len(self.centroids) < 2:
            return agreement(before, after, np.ones(len(before), dtype=bool))
        squares = self.squares(before)
        same = squares.argmin(axis=1) == self.squares(after).argmin(axis=1)
        order = np.argsort(squares, axis=1)[:, :2]
        first, second = np.take_along_axis(squares, order, axis=1).T
        between = np.linalg.norm(self._centroids[order[:, 0]] - self._centroids[order[:, 1]], axis=1)
        # The distance to the plane between two centroids; numbers that each differ by e move a vector by e sqrt(size).
        edge = (second - first) / np.maximum(2 * between * math.sqrt(self.size), LARGEST)
        return agreement(before, after, same, edge)

    def state(self) -> dict[str, Json]:
        return asdict(self)

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        size, temperature = int(state["size"]), float(state["temperature"])
        centroids, levels = (_numbers(state[name]) for name in ("centroids", "levels"))
        if len(centroids) > MOST_CLUSTERS or len(levels) != len(centroids):
            raise ValueError("too many clusters, or not as many distances")
        if any(len(row) != size or math.hypot(*row) > 1.001 for row in centroids):
            raise ValueError("a centroid that is no mean of vectors of length 1")
        if any(len(row) != LEVELS or list(row) != sorted(row) or row[0] < 0 for row in levels):
            raise ValueError("distances that do not ascend")
        if not LEAST_TEMPERATURE <= temperature < math.inf:
            raise ValueError("a temperature that is none")
        return cls(str(state["name"]), size, centroids, temperature, levels)


def _rows(array: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in array)


def _numbers(rows: Json) -> tuple[tuple[float, ...], ...]:
    found = tuple(tuple(float(number) for number in row) for row in rows)
    if not all(math.isfinite(number) for row in found for number in row):
        raise ValueError("a number that is not finite")
    return found
