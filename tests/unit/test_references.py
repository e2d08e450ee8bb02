"""Scores that others compute too, beside the field's reference programs: sacreBLEU and pycocotools."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import sacrebleu
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scenes import scenes

from lamina.evaluate.translation import bleu, bleu_sums, chrf, chrf_sums
from lamina.tasks._average_precision import RANGES, Answer, Judged, Truth

VERSES = (
    "In the beginning, God created the heavens and the earth.",
    "He paid $3.50 (about 1,000.00 pesos) - didn't he?",
    "«¿Quién eres?», dijo; y él respondió: «Yo soy».",
    "And there was evening and there was morning, one day.",
    "Yes.",
)
ANSWERED = (
    "In the beginning God made the heaven and the earth.",
    "He paid 3.50 $ (about 1,000 pesos), did he not?",
    "«¿Quién es usted?», dijo; y él respondió : «Soy yo».",
    "There was an evening, and there was a morning: the first day.",
    "No!",
)


@pytest.mark.parametrize("seed", range(4))
def test_bleu_and_chrf_are_those_of_sacrebleu(seed: int) -> None:
    """Of texts as they are, and of texts whose words were lost, doubled and mixed."""
    random = np.random.default_rng(seed)
    found, wanted = list(ANSWERED), list(VERSES)
    for text in VERSES if seed else ():
        words = np.array(text.split())
        found.append(" ".join(words[np.sort(random.integers(0, len(words), random.integers(1, 2 * len(words))))]))
        wanted.append(text)
    expected = sacrebleu.corpus_bleu(found, [wanted]).score, sacrebleu.corpus_chrf(found, [wanted]).score
    sums = bleu_sums(found, wanted).sum(axis=0), chrf_sums(found, wanted).sum(axis=0)
    assert float(bleu(sums[0])) == pytest.approx(expected[0], abs=1e-9)
    assert float(chrf(sums[1])) == pytest.approx(expected[1], abs=1e-9)
    for one, other in zip(found, wanted, strict=True):
        alone = sacrebleu.corpus_bleu([one], [[other]]).score, sacrebleu.corpus_chrf([one], [[other]]).score
        assert float(bleu(bleu_sums([one], [other])[0])) == pytest.approx(alone[0], abs=1e-9)
        assert float(chrf(chrf_sums([one], [other])[0])) == pytest.approx(alone[1], abs=1e-9)


def evaluated(truths: list[Truth], answers: list[Answer]) -> Any:
    """What pycocotools' COCOeval accumulates."""
    boxes = [
        {
            "id": 0, "image_id": row, "category_id": int(label), "iscrowd": int(crowd), "area": float(area),
            "bbox": [*map(float, edges[:2]), *map(float, edges[2:] - edges[:2])],
        }
        for row, truth in enumerate(truths)
        for edges, label, area, crowd in zip(truth.edges, truth.labels, truth.areas, truth.crowd, strict=True)
    ]  # fmt: skip
    given = [
        {
            "image_id": row, "category_id": int(label), "score": float(score),
            "bbox": [*map(float, edges[:2]), *map(float, edges[2:] - edges[:2])],
        }
        for row, answer in enumerate(answers)
        for edges, label, score in zip(answer.edges, answer.labels, answer.scores, strict=True)
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth_set = COCO()
        truth_set.dataset = {
            "images": [{"id": row} for row in range(len(truths))],
            "categories": [{"id": label} for label in range(3)],
            # 0 stands for "no box" among its matches.
            "annotations": [box | {"id": number} for number, box in enumerate(boxes, 1)],
        }
        truth_set.createIndex()
        evaluation = COCOeval(truth_set, truth_set.loadRes(given), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_pycocotools(seed: int) -> None:
    truths, answers = scenes(seed, rows=20)
    theirs = evaluated(truths, answers)
    judged, plain = Judged(truths, answers, 3), np.ones((1, len(truths)))
    for number, area in enumerate(RANGES):
        # [overlap, recall, class, area, most answers] and [overlap, class, area, most answers]; -1 without boxes.
        precision, recall = theirs["precision"][:, :, :, number, 2], theirs["recall"][:, :, number, 2]
        np.testing.assert_allclose(judged.precision(plain, area)[0], precision[precision > -1].mean(), atol=1e-9)
        np.testing.assert_allclose(judged.recall(plain, area)[0], recall[recall > -1].mean(), atol=1e-9)
