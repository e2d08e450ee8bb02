"""What each field of one row adds to its answer: Shapley values by sampling (Strumbelj & Kononenko 2014)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.explain.question import Question
from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]

EVALUATIONS = 8192
"""At most so many rows run through the network for one explanation."""
ROUND = 512
ORDERS = 4
"""Random orders for each background row, each forwards and backwards."""


@dataclass(frozen=True)
class Contributions:
    """One row's answer as the background's mean answer plus a share for each field.

    Attributes:
        value: the quantity explained, for the row.
        mean: its mean over the background rows.
        by_field: field to its share; they add up to `value - mean` exactly.
        error: field to the standard error of its share, from sampling orders.
        background: rows compared with.
    """

    value: float
    mean: float
    by_field: Mapping[str, float]
    error: Mapping[str, float]
    background: int


def contributions(
    model: Model,
    row: Mapping[str, Array],
    background: Mapping[str, Array],
    asked: Question,
    orders: int = ORDERS,
    seed: int = 0,
) -> Contributions:
    """Shapley values of the fields, over random orders in which the row's fields replace a background row's.

    Every background row is taken equally often, and every order also backwards (antithetic: Mitchell et al.
    2022), so that shares add up to the answer minus the mean answer, not only on average.

    Args:
        row: encoded arrays by field, [1, ...].
        background: encoded arrays by field, [background row, ...]; used up to what `EVALUATIONS` allows.
        orders: random orders for each background row, each forwards and backwards.
    """
    fields = list(row)
    random = np.random.default_rng(seed)
    there = len(next(iter(background.values())))
    steps = len(fields) + 1
    rows = max(1, min(there, EVALUATIONS // (2 * steps)))
    orders = max(1, min(orders, EVALUATIONS // (2 * steps * rows)))
    chosen = np.sort(random.permutation(there)[:rows])
    walks: list[Array] = []
    numbers: list[int] = []
    for number in np.tile(chosen, orders):
        order = random.permutation(len(fields))
        walks += [order, order[::-1]]
        numbers += [int(number)] * 2
    shares = np.empty((len(walks), len(fields)))
    starts = np.empty(len(walks))
    at = 0
    for values in _walked(model, row, background, asked, walks, numbers):
        for walk in values:
            starts[at] = walk[0]
            shares[at, walks[at]] = np.diff(walk)
            at += 1
    pairs = shares.reshape(-1, 2, len(fields)).mean(axis=1)
    spread = pairs.std(axis=0, ddof=1) / np.sqrt(len(pairs)) if len(pairs) > 1 else np.zeros(len(fields))
    mean = shares.mean(axis=0)
    return Contributions(
        value=float(asked.values(model, row)[0]),
        mean=float(starts.mean()),
        by_field={field: float(mean[place]) for place, field in enumerate(fields)},
        error={field: float(spread[place]) for place, field in enumerate(fields)},
        background=rows,
    )


def _walked(
    model: Model,
    row: Mapping[str, Array],
    background: Mapping[str, Array],
    asked: Question,
    walks: list[Array],
    numbers: list[int],
) -> Iterator[Array]:
    """The quantity along each walk from a background row to the row, [walk, step], some walks at a time."""
    steps = len(row) + 1
    size = max(1, model.fitting(ROUND) // steps)
    for start in range(0, len(walks), size):
        part = slice(start, start + size)
        replaced = np.stack([np.argsort(walk) for walk in walks[part]])
        mixed = {}
        for place, field in enumerate(row):
            own = replaced[:, place, None] < np.arange(steps)[None]
            of_row = np.repeat(np.asarray(numbers[part])[:, None], steps, axis=1).ravel()
            array = background[field][of_row]
            array[own.ravel()] = row[field][0]
            mixed[field] = array
        yield asked.values(model, mixed).reshape(-1, steps)
