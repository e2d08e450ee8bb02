"""Do groups of people fare otherwise? Answers, errors and calibration by columns that nothing learns from.

Of a class: the share that is answered with it (demographic parity asks for equal ones), true positive rate (equal
opportunity), that and the false positive rate (equalised odds; Hardt, Price & Srebro 2016), precision, accuracy, and
calibration within groups (Kleinberg, Mullainathan & Raghavan 2017). Of a number: mean and signed error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import combinations
from statistics import NormalDist
from typing import Any

import numpy as np

from lamina.data.schema import Field, Values
from lamina.evaluate.intervals import LEVEL, percentile, replicates, resampled, wilson
from lamina.evaluate.results import Disparity, Fairness, Group, Interval
from lamina.evaluate.scores import digits, title
from lamina.evaluate.slices import LEAST, holm, levels_of, subgroups
from lamina.modalities._canonical import canonical
from lamina.modalities._number_text import decimal_in
from lamina.modalities.number import parse
from lamina.tasks import Task, classify, regress

Array = np.ndarray[Any, Any]
Measure = tuple[Array, Array | None]
"""A value [row] whose mean is taken, and the rows [row] that it is a share of; None for a mean over all rows."""

FEWEST = 10
"""A rate of fewer rows, such as the true positive rate of a group with 9 positives, is not told."""
LEVELS = 20
"""The most frequent values of a column that are told apart; all others are one group."""
FEW_NUMBERS = 10
"""So many different numbers are groups by themselves; more are cut at their quartiles."""
ANSWERS = 5
"""Of more than two classes, those most frequent in training are looked at."""
FOUR_FIFTHS = 0.8
"""A ratio of selection rates below is taken for adverse impact (Uniform Guidelines, 29 CFR 1607.4 D, 1978)."""
DRAWS = 20_000
TRADE_OFF = (
    "Where groups differ in their true shares, equal rates of errors and equal calibration cannot hold together "
    "but for perfect answers (Kleinberg et al. 2017): which of them counts is for people to decide."
)


def fairness(
    task: Task, output: Array, target: Array, columns: Mapping[str, tuple[Field, Values]], seed: int = 0
) -> tuple[Fairness, ...]:
    """Figures by group, and how far groups are apart, for every column and every answer that is looked at.

    Args:
        task: calibrated; any but classify and regress has no such figures.
        output, target: [row, width] and encoded targets.
        columns: name to (field, raw values of the same rows).

    Shares have Wilson's intervals (1927), means bootstrap intervals; differences and ratios of two groups, which have
    no row in common, follow from both intervals (Newcombe 1998; Donner & Zou 2012). A gap is notable if the largest
    studentised difference of two groups is more than chance explains, after Holm's correction (1979) for all gaps.
    """
    found: list[Fairness] = []
    chances: list[float] = []
    for column, (field, values) in columns.items():
        members = list(groups(field, values))
        for answer, unit, measures in _asked(task, output, target):
            told = tuple(
                Group(name, int(member.sum()), _figures(measures, member, unit, seed)) for name, member in members
            )
            apart = [_disparity(measure, told) for measure in measures]
            known = [item for item in apart if item is not None]
            chances += [_chance(_of(item.measure, told)) for item in known]
            found.append(Fairness(column, answer, told, tuple(known), ""))
    notable = iter(holm(chances))
    return tuple(_said(item, [next(notable) for _ in item.disparities]) for item in found)


def groups(field: Field, values: Values) -> Iterator[tuple[str, Array]]:
    """(name, bool [row]) of every group that has rows, each row in one; missing values are one by themselves."""
    few = False
    if field.modality == "number":
        numbers = parse(values, decimal_in(field.options, [values]))
        few = len(np.unique(numbers[np.isfinite(numbers)])) <= FEW_NUMBERS
    chosen = levels_of(values, LEVELS) if few or field.modality == "category" else subgroups(field, values)
    left = np.ones(len(values), dtype=bool)
    for name, member in chosen:
        left &= ~member
        if member.any():
            yield name, member
    if left.any():
        yield "all other values", left


def guessed(name: str, values: Values) -> Field:
    """The field of a column of which nothing is known: numbers where all present values are some, else a category."""
    numbers = parse(values, decimal_in({}, [values]))
    present = np.array([text is not None for text in canonical(values)], dtype=bool)
    return Field(name, "number" if np.isfinite(numbers[present]).all() else "category", "audit")


def _asked(task: Task, output: Array, target: Array) -> Iterator[tuple[str, str, dict[str, Measure]]]:
    """(answer that is looked at, unit, measures) for each answer; "" where the answer is a number."""
    if isinstance(task, regress.Task):
        error = np.asarray(task.answers(output), dtype=np.float64) - task.original(target)
        yield "", task.unit, {"mean_error": (np.abs(error), None), "signed_error": (error, None)}
    elif isinstance(task, classify.Task):
        answered, probability = task.answers(output), task.probabilities(output)
        every = np.ones(len(target), dtype=bool)
        often = np.argsort(-np.array(task.counts), kind="stable")[:ANSWERS].tolist()
        for code in [task.positive] if task.width == 2 else often:
            said, true = answered == code, target == code
            yield (
                task.labels[code],
                "",
                {
                    "selection_rate": (said, every),
                    "true_positive_rate": (said, true),
                    "false_positive_rate": (said, ~true),
                    "positive_predictive_value": (true, said),
                    "accuracy": (answered == target, every),
                    "calibration_error": (probability[:, code] - true, None),
                },
            )


def _figures(measures: Mapping[str, Measure], member: Array, unit: str, seed: int) -> dict[str, Interval]:
    """Every measure of a group's rows; none where these are too few."""
    if member.sum() < LEAST:
        return {}
    found: dict[str, Interval] = {}
    means = {name: value[member].astype(np.float64) for name, (value, among) in measures.items() if among is None}
    drawn = _means(means, int(member.sum()), seed)
    for name, (value, among) in measures.items():
        if among is None:
            mean = float(means[name].mean())
            found[name] = Interval(mean, *percentile(mean, drawn[name]), higher_is_better=False, unit=unit)
            continue
        inside = member & among
        rows = int(inside.sum())
        if rows >= FEWEST:
            share = float(value[inside].mean())
            found[name] = Interval(
                share, *wilson(share, rows), higher_is_better=name in ("positive_predictive_value", "accuracy")
            )
    return found


def _means(values: Mapping[str, Array], rows: int, seed: int) -> dict[str, Array]:
    """Bootstrap replicates of each mean."""
    table = np.stack(list(values.values()), axis=1)
    drawn = np.concatenate([weight @ table / rows for weight in resampled(rows, replicates(rows), seed)])
    return dict(zip(values, drawn.T, strict=True))


def _of(measure: str, told: tuple[Group, ...]) -> list[Interval]:
    return [group.figures[measure] for group in told if measure in group.figures]


def _disparity(measure: str, told: tuple[Group, ...]) -> Disparity | None:
    """The largest difference of two groups; None where fewer than two have the measure."""
    known = [group for group in told if measure in group.figures]
    if len(known) < 2:
        return None
    low, *_, high = sorted(known, key=lambda group: group.figures[measure].value)
    least, most = low.figures[measure], high.figures[measure]
    gap = most.value - least.value
    below = math.hypot(most.value - most.low, least.high - least.value)
    above = math.hypot(most.high - most.value, least.value - least.low)
    return Disparity(
        measure,
        low.value,
        high.value,
        Interval(gap, gap - below, gap + above, higher_is_better=False, unit=most.unit),
        ratio(least, most) if measure == "selection_rate" else None,
    )


def ratio(least: Interval, most: Interval) -> Interval | None:
    """`least` over `most`, two shares of different rows, with the interval of Donner & Zou (2012)."""
    if not most.value:
        return None
    first, second = least.value, most.value
    product = first * second

    def end(own: float, other: float, side: float) -> float:
        below = other * (2 * second - other)
        if below <= 0:
            return math.inf if side > 0 else 0.0
        return (product + side * math.sqrt(max(0.0, product**2 - own * (2 * first - own) * below))) / below

    return Interval(first / second, max(0.0, end(least.low, most.high, -1)), end(least.high, most.low, 1))


def _chance(figures: list[Interval]) -> float:
    """Probability that groups which are alike are so far apart: of the largest studentised difference of a pair.

    Drawn from normal errors with the spreads that the intervals tell (as Tukey & Kramer, 1956).
    """
    spread = np.array([(item.high - item.low) / (2 * NormalDist().inv_cdf((1 + LEVEL) / 2)) for item in figures])
    values = np.array([item.value for item in figures])
    if not (np.isfinite(spread).all() and (spread > 0).all()):
        return math.nan

    def largest(middle: Array) -> Array:
        found = np.zeros(len(middle))
        for one, other in combinations(range(len(spread)), 2):
            np.maximum(
                found, np.abs(middle[:, one] - middle[:, other]) / math.hypot(spread[one], spread[other]), out=found
            )
        return found

    seen = largest(values[None])[0]
    drawn = largest(np.random.default_rng(0).normal(size=(DRAWS, len(spread))) * spread)
    return float(1 + (drawn >= seen).sum()) / (1 + DRAWS)


def _said(item: Fairness, notable: list[bool]) -> Fairness:
    """With its marks and the sentence that says it."""
    marked = tuple(
        Disparity(part.measure, part.lowest, part.highest, part.gap, part.ratio, mark)
        for part, mark in zip(item.disparities, notable, strict=True)
    )
    if not marked:
        text = f"Fewer than two groups of {item.column} have {LEAST} or more test rows: nothing can be compared."
        return Fairness(item.column, item.answer, item.groups, marked, text)
    first = marked[0]
    least, most = (
        next(group.figures[first.measure] for group in item.groups if group.value == name)
        for name in (first.lowest, first.highest)
    )
    if item.answer:
        text = (
            f"{item.answer!r} is answered for {100 * least.value:.1f}% of the rows where {item.column} is "
            f"{first.lowest} and {100 * most.value:.1f}% where it is {first.highest}"
        )
        if first.ratio is not None:
            under = first.ratio.value < FOUR_FIFTHS
            text += f": a ratio of {first.ratio.value:.2f}, {'below' if under else 'within'} the rule of four fifths"
    else:
        text = (
            f"The mean error is {digits(least.value)} where {item.column} is {first.lowest} and {digits(most.value)} "
            f"where it is {first.highest}"
        )
        text += f" ({least.unit})" if least.unit else ""
    named = [title(part.measure) for part in marked if part.notable]
    text += (
        f". More than chance explains: the gap{'s' if len(named) > 1 else ''} in {', '.join(named)}."
        if named
        else ". No gap is more than chance explains."
    )
    return Fairness(item.column, item.answer, item.groups, marked, text)
