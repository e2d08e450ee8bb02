"""Average precision against a slow reference written from COCO's definition, and cases counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scenes import scenes

from lamina.tasks._average_precision import OVERLAPS, RANGES, Answer, Judged, Truth

Array = np.ndarray[Any, Any]


def overlap(first: Array, second: Array, crowd: bool) -> float:
    """Of two boxes, number by number."""
    wide = min(first[2], second[2]) - max(first[0], second[0])
    high = min(first[3], second[3]) - max(first[1], second[1])
    common = max(wide, 0.0) * max(high, 0.0)
    own = (first[2] - first[0]) * (first[3] - first[1])
    other = (second[2] - second[0]) * (second[3] - second[1])
    return float(common / (own if crowd else own + other - common))


def picture(truth: Truth, answer: Answer, label: int, area: tuple[float, float], least: float) -> tuple[list[Any], int]:
    """[(score, right, ignored)] of one picture, and how many boxes count."""
    boxes = [place for place in range(len(truth.labels)) if truth.labels[place] == label]
    ignore = {box: bool(truth.crowd[box]) or not area[0] <= truth.areas[box] <= area[1] for box in boxes}
    asked = [place for place in range(len(answer.labels)) if answer.labels[place] == label]
    asked.sort(key=lambda place: -answer.scores[place])
    taken: set[int] = set()
    found = []
    for place in asked[:100]:
        best, size = None, min(least, 1 - 1e-10)
        for box in sorted(boxes, key=lambda box: ignore[box]):
            if box in taken and not truth.crowd[box]:
                continue
            if best is not None and not ignore[best] and ignore[box]:
                break
            shared = overlap(answer.edges[place], truth.edges[box], bool(truth.crowd[box]))
            if shared >= size:
                best, size = box, shared
        edges = answer.edges[place]
        own = (edges[2] - edges[0]) * (edges[3] - edges[1])
        ignored = ignore[best] if best is not None else not area[0] <= own <= area[1]
        if best is not None:
            taken.add(best)
        found.append((answer.scores[place], best is not None, ignored))
    return found, sum(not ignored for ignored in ignore.values())


def reference(truths: list[Truth], answers: list[Answer], label: int, area: str, least: float) -> tuple[float, float]:
    """(AP, recall) at one overlap, by the definition; NaN where nothing is to be found."""
    parts = [picture(truth, answer, label, RANGES[area], least) for truth, answer in zip(truths, answers, strict=True)]
    wanted = sum(count for _, count in parts)
    if not wanted:
        return float("nan"), float("nan")
    ordered = sorted((item for part, _ in parts for item in part), key=lambda item: -item[0])
    right = wrong = 0
    curve = []
    for _, hit, ignored in ordered:
        right += hit and not ignored
        wrong += not hit and not ignored
        curve.append((right / wanted, right / max(right + wrong, 1)))
    total = 0.0
    for recall in np.linspace(0, 1, 101):
        total += max((precision for share, precision in curve if share >= recall), default=0.0)
    return total / 101, curve[-1][0] if curve else 0.0


@pytest.mark.parametrize("area", list(RANGES))
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_agrees_with_the_definition(seed: int, area: str) -> None:
    truths, answers = scenes(seed)
    judged = Judged(truths, answers, 3)
    plain = np.ones((1, len(truths)))
    expected = np.array([[reference(truths, answers, label, area, least) for least in OVERLAPS] for label in range(3)])
    for label in range(3):
        precision, recall = judged.of_class(plain, label, area)
        np.testing.assert_allclose(precision[0], expected[label, :, 0], atol=1e-12)
        np.testing.assert_allclose(recall[0], expected[label, :, 1], atol=1e-12)
    np.testing.assert_allclose(judged.precision(plain, area)[0], np.nanmean(expected[..., 0]), atol=1e-12)
    np.testing.assert_allclose(judged.recall(plain, area)[0], np.nanmean(expected[..., 1]), atol=1e-12)
    assert np.isfinite(expected).any()


def test_weights_are_repetitions() -> None:
    """A picture that counts three times is as three pictures alike."""
    truths, answers = scenes(5)
    times = np.random.default_rng(0).integers(0, 4, len(truths))
    weighted = Judged(truths, answers, 3).precision(np.stack([times, np.ones_like(times)]).astype(float))
    again = np.repeat(np.arange(len(truths)), times)
    repeated = Judged([truths[row] for row in again], [answers[row] for row in again], 3)
    np.testing.assert_allclose(weighted[0], repeated.precision(np.ones((1, len(again))))[0], atol=1e-12)
    assert weighted[0] != weighted[1]


def one(edges: list[list[float]], *scores: float) -> Answer:
    return Answer(np.array(edges, dtype=float).reshape(-1, 4), np.zeros(len(edges), int), np.array(scores))


def true(edges: list[list[float]]) -> Truth:
    boxes = np.array(edges, dtype=float).reshape(-1, 4)
    size = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return Truth(boxes, np.zeros(len(boxes), int), size, np.zeros(len(boxes), bool))


def test_by_hand() -> None:
    """Two boxes, three answers: right, wrong, right. Precision is 1 up to a recall of 0.5, then 2/3."""
    truth = true([[0, 0, 10, 10], [20, 20, 30, 30]])
    answer = one([[0, 0, 10, 10], [50, 50, 60, 60], [20, 20, 30, 30]], 0.9, 0.8, 0.7)
    precision, recall = Judged([truth], [answer], 1).of_class(np.ones((1, 1)), 0)
    np.testing.assert_allclose(precision[0], (51 * 1 + 50 * 2 / 3) / 101)
    np.testing.assert_allclose(recall[0], 1)


def test_overlap_counts_at_each_threshold() -> None:
    """An overlap of 0.72 is enough for 0.50 to 0.70, not for 0.75."""
    truth, answer = true([[0, 0, 10, 10]]), one([[0, 0, 10, 7.2]], 0.5)
    precision, _ = Judged([truth], [answer], 1).of_class(np.ones((1, 1)), 0)
    np.testing.assert_allclose(precision[0], [1, 1, 1, 1, 1, 0, 0, 0, 0, 0], atol=1e-12)


def test_a_second_answer_to_one_box_is_wrong_and_none_at_all_is_no_precision() -> None:
    truth = true([[0, 0, 10, 10], [40, 40, 50, 50]])
    doubled = one([[0, 0, 10, 10], [0, 0, 10, 9.9], [40, 40, 50, 50]], 0.9, 0.8, 0.7)
    plain = np.ones((1, 1))
    np.testing.assert_allclose(Judged([truth], [doubled], 1).precision(plain), (51 + 50 * 2 / 3) / 101)
    assert Judged([truth], [one([])], 1).precision(plain)[0] == 0
    assert np.isnan(Judged([true([])], [doubled], 1).precision(plain)[0])


def test_places_and_names_are_told_apart() -> None:
    """Three things: one found and named, one found under another name by the surer of two answers, one not found."""
    truth = Truth(
        np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [0, 20, 10, 30]], dtype=np.float64),
        np.array([0, 1, 1, 0]),
        np.full(4, 100.0),
        np.array([False, False, False, True]),
    )
    answer = Answer(
        np.array([[0, 0, 10, 9], [20, 0, 30, 10], [20, 0, 30, 9], [40, 0, 44, 10], [0, 20, 10, 30]], dtype=np.float64),
        np.array([0, 0, 1, 1, 0]),
        np.array([0.9, 0.8, 0.7, 0.6, 0.95]),
    )
    judged = Judged([truth, truth], [answer, Answer(*(np.asarray(part)[:0] for part in vars(answer).values()))], 2)
    found, named, wanted = judged.by_place(0.5)
    assert (found.tolist(), named.tolist(), wanted.tolist()) == ([2, 0], [1, 0], [3, 3])
    # Only surer answers: the second thing is then found by none.
    assert judged.by_place(0.85)[0].tolist() == [1, 0]
