"""How good are answers from a few examples? Many small problems of N classes with K examples each.

Vinyals et al. 2016, "Matching networks for one shot learning". NumPy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamina.errors import InputError
from lamina.evaluate.intervals import percentile, replicates, resampled, wilson
from lamina.evaluate.results import Interval
from lamina.tasks._few_examples import WAYS, keep, log_probabilities, unit

Array = np.ndarray[Any, Any]

SHOTS, USUAL_WAYS, EPISODES = (1, 5, 20), 5, 200
QUERIES = 15
"""Rows of each class that an episode asks about, as in Snell et al. 2017; fewer where there are not as many."""
BLOCK = 2_000_000
"""Numbers of the vectors that are looked at together, so that memory stays flat."""


@dataclass(frozen=True)
class Measured:
    """Episodes with one number of examples for each class.

    Attributes:
        shots: examples of each class that are given.
        ways: classes of an episode.
        queries: rows of each class that are asked about.
        right: by way of answering, float64 [episode]: the share of right answers, on the same episodes.
        accuracy: by way of answering, its mean over episodes, with the bootstrap interval of that mean.
        skipped: why nothing was measured; "" where something was.
    """

    shots: int
    ways: int = 0
    queries: int = 0
    right: Mapping[str, Array] = field(default_factory=dict)
    accuracy: Mapping[str, Interval] = field(default_factory=dict)
    skipped: str = ""

    @property
    def chance(self) -> float:
        """What guessing gets right."""
        return 1 / self.ways if self.ways else 0.0


def episodes(
    embeddings: Array,
    labels: Array,
    *,
    ways: int = 0,
    shots: Sequence[int] = SHOTS,
    episodes: int = EPISODES,
    seed: int = 0,
) -> list[Measured]:
    """Accuracy of each way of answering, for each number of examples.

    Classes with fewer than shots + 1 rows take no part: one row at least has to be asked about.

    Args:
        embeddings: [row, size].
        labels: int64 [row], the classes from 0 on.
        ways: classes of an episode; 0 for five, or all where there are fewer.
        shots: examples of each class that are given.

    Raises:
        InputError: one class only, or a number out of range.
    """
    counts = np.bincount(labels)
    classes = int((counts > 0).sum())
    _check(classes, ways, shots, episodes)
    vectors, rows_of = unit(embeddings), [np.flatnonzero(labels == code) for code in range(len(counts))]
    found = []
    for number in shots:
        usable = np.flatnonzero(counts > number)
        if len(usable) < max(2, ways):
            found.append(Measured(number, skipped=_too_few(number, len(usable), max(2, ways))))
            continue
        chosen = ways or min(USUAL_WAYS, len(usable))
        queries = min(QUERIES, int(counts[usable].min()) - number)
        drawn = _drawn([rows_of[code] for code in usable], chosen, number + queries, episodes, seed)
        right = _right(vectors, drawn, number)
        asked = len(np.unique(drawn[:, :, number:]))
        accuracy = {way: mean_over_episodes(shares, asked, seed) for way, shares in right.items()}
        found.append(Measured(number, chosen, queries, right, accuracy))
    return found


def mean_over_episodes(shares: Array, rows: int, seed: int = 0) -> Interval:
    """The mean of [episode], with its bootstrap interval (Efron 1979); Wilson's for `rows` where all are alike."""
    value, (low, high) = float(shares.mean()), _bootstrapped(shares, seed)
    if low == high and value in (0.0, 1.0):
        low, high = wilson(value, rows)
    return Interval(value, low, high)


def best_way(measured: Measured, allowed: Sequence[str] = WAYS, seed: int = 0) -> tuple[str, str, Interval | None]:
    """(The way to take, the runner-up, by how much it is ahead of that on the same episodes).

    A way that is better only within the 95% interval of the paired difference gives way to a simpler one.
    """
    right = measured.right
    order = sorted(allowed, key=lambda way: -float(right[way].mean()))
    chosen = next(way for way in allowed if _reaches(right[way], right[order[0]], seed))
    others = [way for way in order if way != chosen]
    if not others:
        return chosen, "", None
    apart = right[chosen] - right[others[0]]
    return chosen, others[0], Interval(float(apart.mean()), *_bootstrapped(apart, seed))


def nearest_shots(measured: Sequence[Measured], counts: Array) -> Measured | None:
    """The measurement to decide by, for classes of which there are `counts` examples; None where nothing was measured.

    It is the one with most examples, but not more than the median class has; where all have more, the one with fewest.
    """
    done = sorted((item for item in measured if not item.skipped), key=lambda item: item.shots)
    at_hand = float(np.median(counts))
    return next((item for item in reversed(done) if item.shots <= at_hand), done[0] if done else None)


def _bootstrapped(values: Array, seed: int) -> tuple[float, float]:
    weights = np.concatenate(list(resampled(len(values), replicates(len(values)), seed)))
    return percentile(float(values.mean()), weights @ values / len(values))


def _reaches(one: Array, best: Array, seed: int) -> bool:
    return _bootstrapped(one - best, seed)[1] >= 0


def _check(classes: int, ways: int, shots: Sequence[int], episodes: int) -> None:
    if classes < 2:
        raise InputError(
            f"There are examples of {classes} class{'' if classes == 1 else 'es'}.",
            fix="Give labelled examples of at least two classes.",
        )
    if ways and not 2 <= ways <= classes:
        raise InputError(
            f"Episodes of {ways} classes cannot be drawn from {classes}.",
            where="--ways",
            fix=f"Give a number from 2 to {classes}, or leave it out.",
        )
    for number in shots:
        if not 1 <= number <= 10_000:
            raise InputError(f"{number} examples of a class.", where="--shots", fix="Give numbers from 1 on: 1,5,20")
    if not 2 <= episodes <= 100_000:
        raise InputError(f"{episodes} episodes.", where="--episodes", fix="Give a number from 2 to 100,000.")


def _too_few(shots: int, usable: int, needed: int) -> str:
    many = "class has" if usable == 1 else "classes have"
    return f"{usable} {many} more than {shots} example{'' if shots == 1 else 's'}, and {needed} are needed"


def _drawn(rows_of: Sequence[Array], ways: int, each: int, episodes: int, seed: int) -> Array:
    """int64 [episode, class, row]: `each` different rows of `ways` different classes, drawn anew for each episode."""
    generator = np.random.default_rng(seed)
    found = np.empty((episodes, ways, each), np.int64)
    for number in range(episodes):
        for place, code in enumerate(generator.choice(len(rows_of), ways, replace=False)):
            found[number, place] = generator.choice(rows_of[code], each, replace=False)
    return found


def _right(vectors: Array, drawn: Array, shots: int) -> dict[str, Array]:
    """By way of answering, [episode]: the share of right answers, many episodes at a time."""
    number, ways, each = drawn.shape
    codes, truth = np.repeat(np.arange(ways), shots), np.repeat(np.arange(ways), each - shots)
    block = max(1, BLOCK // (ways * each * vectors.shape[1]))
    found = {way: np.empty(number) for way in WAYS}
    for start in range(0, number, block):
        part = drawn[start : start + block]
        known = vectors[part[:, :, :shots].reshape(len(part), -1)]
        asked = vectors[part[:, :, shots:].reshape(len(part), -1)]
        for way, shares in found.items():
            logits = log_probabilities(way, keep(way, known, codes, ways), codes, asked, ways)
            shares[start : start + block] = (logits.argmax(axis=-1) == truth).mean(axis=-1)
    return found
