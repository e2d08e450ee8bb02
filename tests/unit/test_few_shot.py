"""Classes from a few examples: each way against scikit-learn or a plain loop, episodes, and hostile states."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from lamina.errors import InputError
from lamina.model.episodes import Measured, best_way, episodes, mean_over_episodes, nearest_shots
from lamina.tasks import few_shot
from lamina.tasks._few_examples import NEIGHBORS, SHARPNESS, STRENGTH, WAYS, held_out, keep, log_probabilities, unit

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(0)
LABELS = ("a", "b", "c")


def clouds(each: int = 12, classes: int = 3, size: int = 6, apart: float = 1.5) -> tuple[Array, Array]:
    """Vectors of length 1 around a middle for each class, and their classes."""
    codes = np.repeat(np.arange(classes), each)
    middles = RANDOM.normal(size=(classes, size)) * apart
    return unit(middles[codes] + RANDOM.normal(size=(len(codes), size))), codes


def task(way: str, each: int = 12) -> few_shot.Task:
    return few_shot.Task.from_examples("kind", way, *clouds(each), LABELS)[0]


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def answered(way: str, vectors: Array, codes: Array, queries: Array, classes: int = 3) -> Array:
    return log_probabilities(way, keep(way, vectors, codes, classes), codes, queries, classes)


def test_prototypes_are_as_near_as_a_loop_finds_them() -> None:
    vectors, codes = clouds()
    queries = clouds()[0]
    wanted = np.array([[-((q - vectors[codes == c].mean(axis=0)) ** 2).sum() for c in range(3)] for q in queries])
    np.testing.assert_allclose(
        softmax(answered("prototypes", vectors, codes, queries)), softmax(wanted / SHARPNESS), 1e-4
    )


def test_neighbors_vote_as_a_loop_counts_them() -> None:
    vectors, codes = clouds()
    queries = clouds()[0]
    for query, found in zip(queries, np.exp(answered("neighbors", vectors, codes, queries)), strict=True):
        likeness = vectors.astype(np.float64) @ query
        votes = np.zeros(3)
        for row in np.argsort(-likeness)[:NEIGHBORS]:
            votes[codes[row]] += np.exp(likeness[row] / SHARPNESS)
        np.testing.assert_allclose(found, (NEIGHBORS * votes / votes.sum() + 1 / 3) / (NEIGHBORS + 1), rtol=1e-4)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_probe_is_scikit_learns_logistic_regression(classes: int) -> None:
    vectors, codes = clouds(classes=classes)
    centred = vectors - vectors.mean(axis=0)
    inputs = np.column_stack([centred / np.sqrt((centred**2).sum(axis=1).mean()), np.ones(len(codes))])
    reference = LogisticRegression(C=1 / (STRENGTH * len(codes)), fit_intercept=False, tol=1e-8, max_iter=5000)
    if classes == 2:
        # Two opposite rows of weights share the penalty that scikit-learn puts on one: half as strong each.
        reference.set_params(C=2 / (STRENGTH * len(codes)))
    wanted = reference.fit(inputs, codes).predict_proba(inputs)
    np.testing.assert_allclose(softmax(answered("probe", vectors, codes, vectors, classes)), wanted, atol=2e-3)


@pytest.mark.parametrize("way", WAYS)
def test_many_problems_at_once_are_answered_as_one_by_one(way: str) -> None:
    problems = [clouds(each=4)[0] for _ in range(5)]
    codes = np.repeat(np.arange(3), 4)
    together = answered(way, np.stack(problems), codes, np.stack(problems[::-1]))
    for number, (known, asked) in enumerate(zip(problems, problems[::-1], strict=True)):
        np.testing.assert_allclose(together[number], answered(way, known, codes, asked), atol=2e-3)


@pytest.mark.parametrize("way", ["prototypes", "neighbors"])
def test_what_is_held_out_is_answered_as_if_it_had_never_been_there(way: str) -> None:
    vectors, codes = clouds(each=5)
    vectors, codes = np.vstack([vectors, clouds(each=1)[0][:1]]), np.append(codes, 3)
    rows, found = held_out(way, vectors, codes, 4)
    assert rows.tolist() == list(range(15)), "the only example of a class cannot be left out"
    for row in rows:
        rest = np.arange(16) != row
        wanted = answered(way, vectors[rest], codes[rest], vectors[row : row + 1], 4)
        np.testing.assert_allclose(found[row], wanted[0], atol=1e-4)


def test_the_probe_holds_out_parts_that_it_was_not_fitted_to() -> None:
    noise, codes = unit(RANDOM.normal(size=(60, 80))), np.repeat(np.arange(3), 20)
    rows, found = held_out("probe", noise, codes, 3)
    fitted = answered("probe", noise, codes, noise)
    assert (fitted.argmax(axis=1) == codes).mean() == 1, "it can learn noise by heart"
    assert (found.argmax(axis=1) == codes[rows]).mean() < 0.6


@pytest.mark.parametrize("way", WAYS)
def test_the_sealed_task_answers_as_the_way_does_and_survives_json(way: str) -> None:
    own = task(way)
    again = few_shot.Task.restore(json.loads(json.dumps(own.state(), allow_nan=False)))
    assert again == own
    output = RANDOM.normal(size=(9, 6)).astype(np.float32)
    answers = again.decode(output)
    assert list(answers) == ["", ".p", ".p.a", ".p.b", ".p.c"]
    np.testing.assert_allclose(sum(answers[f".p.{label}"] for label in LABELS), 1)
    for label, row in zip(answers[""], range(9), strict=True):
        assert answers[".p"][row] == answers[f".p.{label}"][row] == max(answers[f".p.{name}"][row] for name in LABELS)
    for suffix, values in own.decode(output).items():
        assert values.tolist() == answers[suffix].tolist()
    assert all(len(values) == 0 for values in again.decode(np.zeros((0, 6), np.float32)).values())


@pytest.mark.parametrize("way", WAYS)
def test_it_scores_and_encodes_as_classification_does(way: str) -> None:
    vectors, codes = clouds(apart=9)
    own, right = few_shot.Task.from_examples("kind", way, vectors, codes, LABELS)
    assert right.mean() > 0.9
    values = np.array([LABELS[code] for code in codes], dtype=object)
    target = own.encode(values).array
    assert target.tolist() == codes.tolist()
    assert own.scores(vectors, target)["accuracy"].value > 0.9
    assert own.encode(np.array(["d"], dtype=object)).errors
    assert own.row_losses(vectors, target).shape == (len(codes),)


def test_the_temperature_makes_held_out_probabilities_honest() -> None:
    vectors, codes = unit(RANDOM.normal(size=(90, 40))), np.repeat(np.arange(3), 30)
    own, _ = few_shot.Task.from_examples("kind", "probe", vectors, codes, LABELS)
    assert own.scale > 3, "labels of noise leave nothing to be sure of"
    sure, _ = few_shot.Task.from_examples("kind", "probe", *clouds(30, apart=9), LABELS)
    assert sure.scale < own.scale
    assert few_shot.Task.from_examples("kind", "probe", *clouds(3), LABELS)[0].scale == 1


def test_rounding_agrees_and_other_outputs_do_not() -> None:
    own, output = task("prototypes"), RANDOM.normal(size=(40, 6)).astype(np.float32)
    assert own.agreement(output, output + np.float32(1e-6)).holds
    assert not own.agreement(output, output[::-1]).holds


LONG = base64.b64encode(np.zeros(7, "<f4").tobytes()).decode()
INFINITE = base64.b64encode(np.full(18, np.inf, "<f4").tobytes()).decode()


@pytest.mark.parametrize(
    "change",
    [
        {"way": "oracle"}, {"labels": ["a", "a", "b"]}, {"labels": ["a"]}, {"counts": [1, 2]}, {"counts": [0, 1, 2]},
        {"size": 0}, {"size": 10**9}, {"kept": LONG}, {"kept": "%%%"}, {"kept": INFINITE}, {"scale": float("nan")},
        {"scale": 0}, {"codes": [0, 7]}, {"way": "neighbors", "codes": []}, {"labels": [str(n) for n in range(5000)]},
        {"way": "neighbors", "codes": [0] * 50_000},
    ],
    ids=str,
)  # fmt: skip
def test_a_hostile_state_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the runtime tells every kind alike
        few_shot.Task.restore({**task("prototypes").state(), **change})


def test_episodes_are_right_about_classes_that_lie_apart_and_guess_in_noise() -> None:
    vectors, codes = clouds(each=30, classes=6, size=20, apart=9)
    for item in episodes(vectors, codes, episodes=40):
        assert item.ways == 5
        assert item.queries == min(15, 30 - item.shots)
        assert all(interval.value > 0.95 for interval in item.accuracy.values())
    noise = RANDOM.normal(size=(180, 20))
    (item,) = episodes(noise, codes, shots=(5,), ways=4, episodes=100)
    assert item.chance == 0.25
    for interval in item.accuracy.values():
        assert 0.15 < interval.low <= interval.value <= interval.high < 0.35


def test_no_row_is_asked_about_that_is_an_example_too() -> None:
    """Every row has a direction of its own, so only itself could tell a neighbor which class it is of."""
    vectors, codes = np.eye(60), np.repeat(np.arange(3), 20)
    (item,) = episodes(vectors, codes, shots=(5,), episodes=60)
    assert item.accuracy["neighbors"].value < 0.5


def test_the_same_seed_gives_the_same_episodes() -> None:
    vectors, codes = clouds(each=20)
    first, again, other = (episodes(vectors, codes, shots=(1,), episodes=30, seed=seed)[0] for seed in (3, 3, 4))
    for way in WAYS:
        assert first.right[way].tolist() == again.right[way].tolist()
    assert any(first.right[way].tolist() != other.right[way].tolist() for way in WAYS)


def test_classes_with_too_few_examples_take_no_part() -> None:
    vectors, codes = clouds(each=6)
    codes = codes.copy()
    codes[codes == 2] = [2, 3, 4, 5, 6, 7]
    one, five, twenty = episodes(vectors, codes, episodes=10)
    assert one.ways == five.ways == 2
    assert not one.skipped
    assert "0 classes have more than 20 examples" in twenty.skipped
    (three,) = episodes(vectors, codes, ways=3, shots=(1,), episodes=10)
    assert "2 classes have more than 1 example, and 3 are needed" in three.skipped


@pytest.mark.parametrize(
    ("codes", "options", "said"),
    [
        ([0, 0, 0, 0], {}, "1 class"), ([0, 0, 1, 1], {"ways": 3}, "3 classes"),
        ([0, 0, 1, 1], {"ways": 1}, "1 classes"),
        ([0, 0, 1, 1], {"shots": (0,)}, "0 examples"), ([0, 0, 1, 1], {"episodes": 1}, "1 episodes"),
    ],
)  # fmt: skip
def test_wrong_wishes_are_told(codes: list[int], options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        episodes(np.eye(4), np.array(codes), **options)
    assert caught.value.fix


def measured(shots: int, **right: Array) -> Measured:
    return Measured(shots, 2, 5, right, {way: mean_over_episodes(shares, 50) for way, shares in right.items()})


def test_a_simpler_way_is_taken_unless_another_is_clearly_better() -> None:
    base = RANDOM.uniform(0.4, 0.9, 100)
    alike = measured(5, prototypes=base, neighbors=base - 0.1, probe=base + RANDOM.normal(0.0005, 0.05, 100))
    assert best_way(alike)[0] == "prototypes"
    way, other, ahead = best_way(measured(5, prototypes=base, neighbors=base - 0.1, probe=base + 0.05))
    assert (way, other) == ("probe", "prototypes")
    assert ahead is not None
    assert ahead.value == pytest.approx(0.05)
    assert ahead.low <= ahead.value <= ahead.high
    assert (
        best_way(measured(5, prototypes=base, neighbors=base - 0.1, probe=base + 0.05), ["neighbors"])[0] == "neighbors"
    )


def test_the_interval_is_that_of_the_mean() -> None:
    shares = RANDOM.normal(0.7, 0.1, 400)
    found, error = mean_over_episodes(shares, 400), shares.std() / 20
    assert found.low == pytest.approx(shares.mean() - 1.96 * error, abs=0.3 * error)
    assert found.high == pytest.approx(shares.mean() + 1.96 * error, abs=0.3 * error)
    perfect = mean_over_episodes(np.ones(50), 30)
    assert perfect.low < perfect.value == 1, "all right is no proof of perfection"


def test_the_measurement_nearest_to_what_there_is_decides() -> None:
    sizes = [Measured(1), Measured(5), Measured(20, skipped="too few")]
    assert nearest_shots(sizes, np.array([3, 4, 30])) is sizes[0]
    assert nearest_shots(sizes, np.array([30, 40])) is sizes[1]
    assert nearest_shots(sizes[2:], np.array([3])) is None
