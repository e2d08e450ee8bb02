"""Average precision of boxes as COCO defines it (Lin et al. 2014; the reference is pycocotools' COCOeval). NumPy only.

Answers of one class, the surest first, take the true box of that class they overlap most, if it overlaps enough and is
not taken. Precision, made to fall with recall, is read at 101 recalls; AP is its mean, over ten overlaps (0.50 to 0.95)
and over the classes that occur. Which answer takes which box is settled picture by picture, once; what is left is to
count, so the scores of many reweightings of the pictures (bootstrap) cost one cumulative sum each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.tasks._boxes import areas, intersection_over_union

Array = np.ndarray[Any, Any]

OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MOST = 100
"""Answers of one class in one picture that count, the surest ones."""
RANGES: Mapping[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""Areas in pixels; both ends belong to a range."""
BLOCK = 4_000_000
"""Weighted answers that are counted at once."""
PICTURES = 512
"""Pictures that are compared at once."""


@dataclass(frozen=True)
class Truth:
    """The true boxes of one picture: edges [box, 4] in pixels, labels int [box], areas [box], crowd bool [box]."""

    edges: Array
    labels: Array
    areas: Array
    crowd: Array


@dataclass(frozen=True)
class Answer:
    """The answered boxes of one picture: edges [box, 4] in pixels, labels int [box], scores [box]."""

    edges: Array
    labels: Array
    scores: Array


@dataclass(frozen=True)
class _Matched:
    """Answers of one class in one range of areas, over all pictures, by falling score.

    Attributes:
        scores: float [answer].
        row: int [answer], the picture.
        hit: bool [overlap, answer], takes a true box.
        ignored: bool [overlap, answer], is neither right nor wrong.
        wanted: float [row], true boxes that count.
    """

    scores: Array
    row: Array
    hit: Array
    ignored: Array
    wanted: Array


def match(
    truths: Sequence[Truth], answers: Sequence[Answer], label: int, area: tuple[float, float]
) -> tuple[list[Array], list[Array], list[Array], list[int]]:
    """Of some pictures, one class: scores, hit [overlap, answer], ignored [overlap, answer], true boxes that count.

    A true box that is a crowd or outside `area` is ignored, and so is an answer that takes one, or that takes none and
    is itself outside. A crowd may be taken many times. The surest answers of all pictures choose first, then the second
    ones, and so on: within a picture that is their order, and pictures do not meet.
    """
    chosen = [_surest(answer, label) for answer in answers]
    mine = [np.flatnonzero(truth.labels == label) for truth in truths]
    rows, most, boxes = len(truths), max(map(len, chosen), default=0), max(map(len, mine), default=0)
    shared = np.full((rows, most, boxes), -1.0)
    crowd, outside = np.zeros((rows, boxes), dtype=bool), np.ones((rows, boxes), dtype=bool)
    for row, (truth, answer, own, asked) in enumerate(zip(truths, answers, mine, chosen, strict=True)):
        crowd[row, : len(own)] = truth.crowd[own]
        outside[row, : len(own)] = truth.crowd[own] | (truth.areas[own] < area[0]) | (truth.areas[own] > area[1])
        if len(own) and len(asked):
            shared[row, : len(asked), : len(own)] = intersection_over_union(
                answer.edges[asked], truth.edges[own], truth.crowd[own]
            )
    hit, ignored = _taken(shared, crowd, outside)
    for row, (answer, asked) in enumerate(zip(answers, chosen, strict=True)):
        size = areas(answer.edges[asked])
        beyond = (size < area[0]) | (size > area[1])
        ignored[row, :, : len(asked)] |= ~hit[row, :, : len(asked)] & beyond
    return (
        [answer.scores[asked] for answer, asked in zip(answers, chosen, strict=True)],
        [hit[row, :, : len(asked)] for row, asked in enumerate(chosen)],
        [ignored[row, :, : len(asked)] for row, asked in enumerate(chosen)],
        (~outside).sum(axis=1).tolist(),
    )


def _surest(answer: Answer, label: int) -> Array:
    found = np.flatnonzero(answer.labels == label)
    return np.asarray(found[np.argsort(-answer.scores[found], kind="stable")][:MOST])


def _taken(shared: Array, crowd: Array, outside: Array) -> tuple[Array, Array]:
    """Which answers take a box, and which of those take an ignored one: bool [row, overlap, answer] each.

    An answer takes the free box it overlaps most, one that counts before an ignored one; of equal ones the last, as the
    reference does.

    Args:
        shared: [row, answer, box], -1 where there is none.
        crowd, outside: bool [row, box].
    """
    rows, most, boxes = shared.shape
    hit = np.zeros((rows, len(OVERLAPS), most), dtype=bool)
    ignored = np.zeros_like(hit)
    free = np.ones((rows, len(OVERLAPS), boxes), dtype=bool)
    if not boxes:
        return hit, ignored
    least = np.minimum(OVERLAPS, 1 - 1e-10)[None, :, None]
    for place in range(most):
        overlap = shared[:, place, None, :]
        enough = free & (overlap >= least)
        counting = enough & ~outside[:, None]
        group = np.where(counting.any(axis=2, keepdims=True), counting, enough)
        box = boxes - 1 - np.argmax(np.where(group, overlap, -2.0)[..., ::-1], axis=2)
        hit[:, :, place] = group.any(axis=2)
        ignored[:, :, place] = hit[:, :, place] & np.take_along_axis(outside, box, axis=1)
        row, number = np.nonzero(hit[:, :, place])
        free[row, number, box[row, number]] = crowd[row, box[row, number]]
    return hit, ignored


class Judged:
    """Answers and truth of some pictures, compared once; scores for any weights of the pictures.

    Args:
        truths, answers: of each picture.
        classes: how many labels there are.
    """

    def __init__(self, truths: Sequence[Truth], answers: Sequence[Answer], classes: int) -> None:
        self.rows, self.classes = len(truths), classes
        self.truths, self.answers = truths, answers
        self._matched: dict[tuple[int, str], _Matched] = {}
        self._last: tuple[Any, dict[Any, Array]] = (None, {})

    def occurs(self, area: str) -> bool:
        """Is there any true box in that range of areas?"""
        low, high = RANGES[area]
        return any(bool((~truth.crowd & (truth.areas >= low) & (truth.areas <= high)).any()) for truth in self.truths)

    def precision(self, weight: Array, area: str = "all", overlaps: slice = slice(None)) -> Array:
        """AP, mean over overlaps and over the classes that occur: [replicate, row] to [replicate]; NaN with none."""
        each = np.stack([self.of_class(weight, label, area)[0][:, overlaps] for label in range(self.classes)], axis=2)
        return _mean(each.reshape(len(weight), -1))

    def recall(self, weight: Array, area: str = "all") -> Array:
        """Share of the true boxes that are found at all, mean over overlaps and classes: COCO's AR at 100 answers."""
        each = np.stack([self.of_class(weight, label, area)[1] for label in range(self.classes)], axis=2)
        return _mean(each.reshape(len(weight), -1))

    def by_row(self, threshold: float) -> tuple[Array, Array, Array]:
        """Of each picture at an overlap of 0.5: right answers, all answers, true boxes; of those at least so sure."""
        right, said, wanted = np.zeros((3, self.rows))
        for label in range(self.classes):
            found = self._of(label, "all")
            counts = (found.scores >= threshold) & ~found.ignored[0]
            said += np.bincount(found.row, counts, self.rows)
            right += np.bincount(found.row, counts & found.hit[0], self.rows)
            wanted += found.wanted
        return right, said, wanted

    def by_place(self, threshold: float) -> tuple[Array, Array, Array]:
        """Of each picture, whatever the names: true boxes found, those of them with the right name, true boxes.

        At an overlap of 0.5, by answers at least so sure, the surest first, each for one box. It says what is missing
        where AP is low: places, or names.
        """
        found, named, wanted = np.zeros((3, self.rows))
        for row, (truth, answer) in enumerate(zip(self.truths, self.answers, strict=True)):
            free = ~truth.crowd
            wanted[row] = free.sum()
            order = np.argsort(-answer.scores, kind="stable")
            order = order[answer.scores[order] >= threshold]
            if not len(order) or not free.any():
                continue
            shared = intersection_over_union(answer.edges[order], truth.edges, np.zeros_like(truth.crowd))
            for own, overlaps in zip(order.tolist(), shared, strict=True):
                box = int(np.argmax(np.where(free, overlaps, -1.0)))
                if free[box] and overlaps[box] >= OVERLAPS[0]:
                    free[box] = False
                    found[row] += 1
                    named[row] += answer.labels[own] == truth.labels[box]
        return found, named, wanted

    def f1(self, weight: Array, threshold: float) -> Array:
        """F1 over all classes of the answers at least so sure, at an overlap of 0.5; 1 where there is nothing."""
        right, said, wanted = (weight @ part for part in self.by_row(threshold))
        return np.where(said + wanted > 0, 2 * right / np.maximum(said + wanted, 1e-12), 1.0)

    def best_threshold(self) -> float:
        """How sure an answer must be for the highest F1 over all classes, halfway to the next less sure one."""
        found = [self._of(label, "all") for label in range(self.classes)]
        counts = [~part.ignored[0] for part in found]
        scores = np.concatenate([part.scores[own] for part, own in zip(found, counts, strict=True)])
        hit = np.concatenate([part.hit[0][own] for part, own in zip(found, counts, strict=True)])
        wanted = sum(float(part.wanted.sum()) for part in found)
        if not hit.any():
            return 0.5
        order = np.argsort(-scores, kind="stable")
        descending, right = scores[order], np.cumsum(hit[order])
        quality = 2 * right / (np.arange(1, len(right) + 1) + wanted)
        # Answers of one score are given together: only the last of them is a place to cut.
        quality[:-1][descending[:-1] == descending[1:]] = -1
        best = int(np.argmax(quality))
        following = descending[best + 1] if best + 1 < len(descending) else 0.0
        return float(np.clip((descending[best] + following) / 2, 1e-6, 1 - 1e-6))

    def of_class(self, weight: Array, label: int, area: str = "all") -> tuple[Array, Array]:
        """(AP, recall) of one class, [replicate, overlap] each; NaN where the class does not occur."""
        if self._last[0] is not weight:
            self._last = (weight, {})
        known = self._last[1]
        if (label, area) not in known:
            found = self._of(label, area)
            size = max(1, BLOCK // max(len(found.row), 1))
            parts = [_counted(found, weight[start : start + size]) for start in range(0, len(weight), size)]
            known[label, area] = np.concatenate(parts, axis=1)
        precision, recall = known[label, area]
        return precision, recall

    def _of(self, label: int, area: str) -> _Matched:
        if (label, area) not in self._matched:
            scores: list[Array] = [np.zeros(0)]
            hit: list[Array] = [np.zeros((len(OVERLAPS), 0), dtype=bool)]
            ignored, wanted = list(hit), list[int]()
            for start in range(0, self.rows, PICTURES):
                part = slice(start, start + PICTURES)
                found = match(self.truths[part], self.answers[part], label, RANGES[area])
                scores, hit, ignored = scores + found[0], hit + found[1], ignored + found[2]
                wanted += found[3]
            sure = np.concatenate(scores)
            order = np.argsort(-sure, kind="stable")
            self._matched[label, area] = _Matched(
                sure[order],
                np.repeat(np.arange(self.rows), [len(some) for some in scores[1:]])[order],
                np.concatenate(hit, axis=1)[:, order],
                np.concatenate(ignored, axis=1)[:, order],
                np.array(wanted, dtype=np.float64),
            )
        return self._matched[label, area]


def _counted(found: _Matched, weight: Array) -> Array:
    """[2, replicate, overlap]: AP and recall."""
    result = np.full((2, len(weight), len(OVERLAPS)), np.nan)
    wanted = weight @ found.wanted
    some = np.flatnonzero(wanted > 0)
    if not len(some):
        return result
    counts = weight[np.ix_(some, found.row)]
    plain = np.cumsum(counts, axis=1)
    for number in range(len(OVERLAPS)):
        ignored, hit = found.ignored[number], found.hit[number] & ~found.ignored[number]
        so_far = np.cumsum(np.where(ignored, 0.0, counts), axis=1) if ignored.any() else plain
        # Precision is highest right where something is found: only those places are looked at.
        places = np.flatnonzero(hit)
        right = np.cumsum(counts[:, places], axis=1)
        # Of a picture that is not drawn nothing counts; spacing keeps 0 / 0 away, as in the reference.
        precise = right / (so_far[:, places] + np.spacing(1))
        falling = np.maximum.accumulate(precise[:, ::-1], axis=1)[:, ::-1]
        share = right / wanted[some, None]
        result[0, some, number] = _at_recalls(share, falling)
        result[1, some, number] = share[:, -1] if len(places) else 0.0
    return result


def _at_recalls(share: Array, precision: Array) -> Array:
    """Mean precision at the 101 recalls, 0 where a recall is never reached: [replicate, place] twice to [replicate].

    Each place stands for the recalls that it is the first to reach.
    """
    reached = np.searchsorted(RECALLS, share, side="right")
    return np.asarray((precision * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(RECALLS))


def _mean(values: Array) -> Array:
    """The mean of each row's numbers, NaN left out; NaN where all are."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, np.where(known, values, 0).sum(axis=1) / np.maximum(count, 1), np.nan)
