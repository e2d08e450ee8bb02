"""Does a subgroup fare worse? The primary score by category, quarter of a number, period of time, length of text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np

from lamina.data.examples import at
from lamina.data.schema import Field, Values
from lamina.evaluate.intervals import resampled
from lamina.evaluate.results import Slice
from lamina.evaluate.scores import interval
from lamina.modalities._canonical import canonical, column
from lamina.modalities._number_text import decimal_in
from lamina.modalities.number import parse
from lamina.modalities.time import parse as parse_time
from lamina.tasks import LaidOut, Task
from lamina.tasks._scores import Scorer

Array = np.ndarray[Any, Any]

Inputs = Callable[[Array], Mapping[str, tuple[Field, Values]]]
"""Positions among the test rows, int64 [row], to name to (field, raw values there)."""

LEAST = 30
"""Smaller subgroups (and smaller rests) are not judged: their intervals say nothing."""
LEVELS = 8
"""The most frequent values of a category that are looked at."""
FIELDS = 40
ROWS = 10_000
"""At most so many rows, drawn at random, are scored: subgroups need no more."""
REPLICATES = 120
SIGNIFICANCE = 0.05


def slices(task: Task, output: Array, target: Array, inputs: Inputs, seed: int = 0) -> tuple[Slice, ...]:
    """The primary score of every subgroup against all other rows, the largest gaps for the worse first.

    Args:
        output, target: of the test rows.
        inputs: gives the raw values of some test rows: memory stays flat where there are very many.

    A gap is notable if its bootstrap test stays below 0.05 after Holm's correction (1979) for the number of
    subgroups. Subgroups below 30 rows are left out.
    """
    chosen = _sample(len(target), seed)
    output, target = at(output, chosen), at(target, chosen)
    groups = [
        (name, label, member)
        for name, (field, values) in list(inputs(chosen).items())[:FIELDS]
        for label, member in subgroups(field, values)
        if LEAST <= member.sum() <= len(target) - LEAST
    ]
    if not groups:
        return ()
    primary, score = next(iter(task.scores(output, target).items()))
    scored = _scored(task, output, target, primary)
    sides = [[(side, scored(side)) for side in map(np.flatnonzero, (member, ~member))] for _, _, member in groups]
    drawn: list[list[Array]] = [[] for _ in groups]
    rest: list[list[Array]] = [[] for _ in groups]
    for weight in resampled(len(target), REPLICATES, seed):
        for number, ((inside, scorer), (outside, other)) in enumerate(sides):
            drawn[number].append(scorer(weight[:, inside])[primary])
            rest[number].append(other(weight[:, outside])[primary])
    plain = [[float(scorer(np.ones((1, len(side))))[primary][0]) for side, scorer in pair] for pair in sides]
    gaps = [own - other for own, other in plain]
    chances = [_chance(gap, np.concatenate(a) - np.concatenate(b)) for gap, a, b in zip(gaps, drawn, rest, strict=True)]
    notable = holm(chances)
    found = []
    for (name, label, member), (own, _), replicates, gap, stands_out in zip(
        groups, plain, drawn, gaps, notable, strict=True
    ):
        if not math.isfinite(gap):
            continue
        rows = int(member.sum())
        figure = interval(primary, replace(score, value=own), np.concatenate(replicates), rows)
        found.append(Slice(name, label, rows, figure, gap, stands_out))
    worse = 1.0 if score.higher_is_better else -1.0
    return tuple(sorted(found, key=lambda item: (not item.notable, worse * item.gap, item.field, item.value)))


def subgroups(field: Field, values: Values) -> Iterator[tuple[str, Array]]:
    """(name, bool [row]) for every subgroup that the values of one field give, read as its options say."""
    modality, options = field.modality, field.options
    if modality == "category":
        yield from levels_of(values, LEVELS)
    elif modality == "number":
        yield from _quarters(parse(values, decimal_in(options, [values])))
    elif modality == "time":
        yield from _periods(parse_time(values, options.get("day_first"), options.get("unit", "")))
    elif modality == "text":
        yield from _lengths(values)


def levels_of(values: Values, most: int) -> Iterator[tuple[str, Array]]:
    """The `most` frequent values, and the rows without any."""
    texts = canonical(values)
    counts = Counter(text for text in texts if text is not None)
    for text, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]:
        yield text, np.asarray(texts == text)
    nothing = "missing"
    while nothing in counts:  # so a level may be called
        nothing = f"({nothing})"
    yield nothing, np.array([text is None for text in texts], dtype=bool)


def _quarters(numbers: Array) -> Iterator[tuple[str, Array]]:
    present = np.isfinite(numbers)
    yield "missing", ~present
    if not present.any():
        return
    edges = np.unique(np.quantile(numbers[present], [0, 0.25, 0.5, 0.75, 1]))
    for number, (low, high) in enumerate(pairwise(edges)):
        above = numbers >= low if number == 0 else numbers > low
        yield f"{'' if number == 0 else 'over '}{low:.6g} to {high:.6g}", present & above & (numbers <= high)


def _periods(times: Array) -> Iterator[tuple[str, Array]]:
    present = ~np.isnat(times)
    yield "missing", ~present
    if not present.any():
        return
    edges = np.unique(np.quantile(times[present].astype(np.int64), [0, 0.25, 0.5, 0.75, 1]).astype(np.int64))
    whole = times.astype(np.int64)
    for number, (low, high) in enumerate(pairwise(edges)):
        above = whole >= low if number == 0 else whole > low
        first, last = (str(np.datetime64(int(edge), "us").astype("datetime64[D]")) for edge in (low, high))
        yield f"{first} to {last}", present & above & (whole <= high)


def _lengths(values: Values) -> Iterator[tuple[str, Array]]:
    lengths = np.array([len(item) if isinstance(item, str) else 0 for item in column(values)])
    edges = np.unique(np.quantile(lengths, [0, 1 / 3, 2 / 3, 1]))
    for number, (low, high) in enumerate(pairwise(edges)):
        above = lengths >= low if number == 0 else lengths > low
        yield (
            f"{math.ceil(low) if number == 0 else math.floor(low) + 1} to {math.floor(high)} characters",
            (above & (lengths <= high)),
        )


def holm(chances: list[float], level: float = SIGNIFICANCE) -> list[bool]:
    """Which hypotheses are rejected at `level` for the family (Holm 1979); NaN never is."""
    order = sorted((chance, number) for number, chance in enumerate(chances) if math.isfinite(chance))
    rejected = [False] * len(chances)
    for rank, (chance, number) in enumerate(order):
        if chance > level / (len(order) - rank):
            break
        rejected[number] = True
    return rejected


def _chance(gap: float, drawn: Array) -> float:
    """Two-sided probability of such a gap by chance: normal, with the bootstrap's spread.

    Counting replicates beyond zero could not resolve the small probabilities that Holm's correction needs.
    """
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < REPLICATES / 2 or not math.isfinite(gap):
        return math.nan
    spread = float(drawn.std())
    if spread == 0:
        return math.nan
    return 2 * NormalDist().cdf(-abs(gap) / spread)


def _scored(task: Task, output: Array, target: Array, primary: str) -> Callable[[Array], Scorer]:
    """From some rows to the scorer of these rows alone."""
    if not isinstance(task, LaidOut):
        return lambda side: task.scorer(output[side], target[side], primary)
    # Answers that are large are looked at once: a row of no weight is as good as left out.
    whole = task.scorer(output, target, primary)

    def scored(side: Array) -> Scorer:
        def score(weight: Array) -> dict[str, Array]:
            spread = np.zeros((len(weight), len(target)))
            spread[:, side] = weight
            return whole(spread)

        return score

    return scored


def _sample(rows: int, seed: int) -> Array:
    if rows <= ROWS:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, ROWS, replace=False))
