"""Tasks without answers, how they are judged, and search: against scikit-learn and by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from lamina.data.split import Split
from lamina.errors import InputError
from lamina.model.search import Index
from lamina.steps.unlabelled import judge
from lamina.steps.unlabelled.labels import Labels, of_ordinary, ordinary, usual
from lamina.tasks import anomaly, embed

RANDOM = np.random.default_rng(0)
PLACES = (("price", ()), ("photo", (2, 3)))


def test_an_alarm_is_raised_for_the_asked_share_of_ordinary_rows() -> None:
    output = RANDOM.normal(size=(5000, 8)).astype(np.float32)
    task = anomaly.Task("anomaly", PLACES, rate=0.05).calibrated(output)
    answers = task.decode(output)
    assert answers[""].mean() == pytest.approx(0.05, abs=0.005)
    assert answers[".rarity"].min() >= 0
    assert answers[".rarity"].max() <= 1
    assert np.all(np.diff(answers[".rarity"][np.argsort(output[:, 0])]) >= 0)


def test_the_strangest_field_is_named() -> None:
    output = np.zeros((2, 8), np.float32)
    output[0, 1], output[1, 2:] = 3.0, 2.0
    assert anomaly.Task("anomaly", PLACES).decode(output)[".where"].tolist() == ["price", "photo"]
    parts = anomaly.Task("anomaly", PLACES).parts(output)
    assert parts["photo"].shape == (2, 2, 3)
    assert parts["price"].shape == (2,)


def test_before_calibration_there_is_no_alarm() -> None:
    assert not anomaly.Task("anomaly").decode(np.full((3, 1), 1e9, np.float32))[""].any()


@pytest.mark.parametrize(
    "task",
    [anomaly.Task("anomaly", PLACES, 0.1).calibrated(RANDOM.normal(size=(50, 8))), embed.Task("embedding", 12)],
)
def test_the_state_is_strict_json_and_empty_rows_decode(task: anomaly.Task | embed.Task) -> None:
    again = type(task).restore(json.loads(json.dumps(task.state(), allow_nan=False)))
    assert again == task
    assert all(len(values) == 0 for values in again.decode(np.zeros((0, task.width), np.float32)).values())


def test_an_embedding_has_length_one_and_holds_even_for_nothing() -> None:
    task = embed.Task("embedding", 4)
    output = task.combine(torch.tensor([[[3.0, 0.0, 4.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]]))
    np.testing.assert_allclose(output[0], [0.6, 0, 0.8, 0])
    assert torch.isfinite(output).all()
    assert task.decode(output.numpy())[""][0] == pytest.approx([0.6, 0, 0.8, 0])


@pytest.mark.parametrize("task", [anomaly.Task("anomaly", PLACES), embed.Task("embedding", 8)])
def test_rounding_agrees_and_another_network_does_not(task: anomaly.Task | embed.Task) -> None:
    output = RANDOM.normal(size=(40, 8)).astype(np.float32)
    assert task.agreement(output, output + np.float32(1e-6)).holds
    assert not task.agreement(output, output + np.float32(0.01)).holds


@pytest.mark.parametrize("ties", [False, True])
def test_detections_are_scored_as_scikit_learn_does(ties: bool) -> None:
    strange = RANDOM.random(300) < 0.2
    score = RANDOM.normal(size=300) + strange
    score = score.round(0) if ties else score
    weights = RANDOM.integers(0, 3, (4, 300)).astype(np.float64)
    found = judge.detections("", score, strange)
    for row in weights:
        kept = row > 0
        truth, values, weight = strange[kept], score[kept], row[kept]
        auc = roc_auc_score(truth, values, sample_weight=weight)
        precision = average_precision_score(truth, values, sample_weight=weight)
        assert found.scores["auc"](row[None])[0] == pytest.approx(auc)
        assert found.scores["average_precision"](row[None])[0] == pytest.approx(precision)


def test_probes_see_classes_that_lie_apart_and_none_in_noise() -> None:
    codes = RANDOM.integers(0, 3, 400)
    apart = np.eye(3)[codes] * 5 + RANDOM.normal(size=(400, 3))
    noise = RANDOM.normal(size=(400, 3))
    once = np.ones((1, 100))
    for vectors, low, high in ((apart, 0.95, 1.0), (noise, 0.15, 0.55)):
        found = judge.probes("", vectors[:300], codes[:300], vectors[300:], codes[300:], seed=0)
        for score in found.scores.values():
            assert low <= score(once)[0] <= high


def test_rows_without_a_label_teach_the_probes_nothing() -> None:
    codes = np.array([0, 1, -1, -1])
    near = judge.probes("", np.eye(4), codes, np.eye(4)[:2], np.array([0, 1]), seed=0)
    assert near.scores["knn_accuracy"](np.ones((1, 2)))[0] == 1


def labels(*values: str | None) -> Labels:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return Labels("kind", column)


def test_ordinary_rows_are_those_with_the_label() -> None:
    known = labels("fine", "odd", "fine", None, "fine", "fine", "odd")
    parts = Split(np.arange(4), np.array([4, 5]), np.array([6]), "random", "", ())
    train, validation = of_ordinary(parts, known, ordinary(known, {"normal": "fine"}))
    assert train.tolist() == [0, 2]
    assert validation.tolist() == [4, 5]
    assert usual(known, np.arange(7)) == "fine"
    with pytest.raises(InputError, match="No row is labelled"):
        ordinary(known, {"normal": "good"})
    with pytest.raises(InputError, match="no column of labels"):
        ordinary(None, {"normal": "fine"})


def test_search_finds_the_nearest_and_keeps_places() -> None:
    vectors = RANDOM.normal(size=(50, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.arange(50) * 2
    index = Index(vectors, rows, tuple(f"{row}.png" for row in rows), {1: "torn"})
    found = index.search(vectors[[7, 3]], top=3)
    assert [items[0].row for items in found] == [14, 6]
    assert found[0][0].name == "14.png"
    exact = np.sort(vectors @ vectors[7])[::-1][:3]
    assert [item.likeness for item in found[0]] == pytest.approx(exact.tolist(), abs=1e-6)
    assert len(index.search(vectors[:1], top=1000)[0]) == 50
