"""Baselines: features mean what they say, answers have the network's form, and signal is found."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from lamina import registry
from lamina.baselines import BaselineFeatures, Block
from lamina.baselines._features import (
    collect,
    image_features,
    series_features,
    simple_features,
    sound_features,
)
from lamina.baselines._matrix import for_linear, for_trees
from lamina.baselines._outputs import affordable, class_output
from lamina.baselines._run import SHARES, compare, fitting, suited
from lamina.modalities import Feature
from lamina.tasks import Task, classify, regress, tag

Array = np.ndarray[Any, Any]


def table(rows: int, seed: int = 0) -> tuple[BaselineFeatures, Array]:
    """Two numbers with gaps and a category; the signal is in the first number and the category."""
    generator = np.random.default_rng(seed)
    numbers = generator.normal(0, 1, (rows, 2)).astype(np.float32)
    codes = generator.integers(2, 5, rows).astype(np.int32)
    signal = 1.5 * numbers[:, 0] + (codes == 3) * 1.5 + generator.normal(0, 0.5, rows)
    numbers[generator.random(rows) < 0.1, 1] = np.nan
    blocks = (Block("x", "numbers", numbers), Block("kind", "codes", codes, size=5))
    return BaselineFeatures(blocks, rows), signal


def meetings(rows: int, seed: int = 0) -> tuple[BaselineFeatures, Array]:
    """60 users and 80 items; the signal is a bias of each."""
    generator = np.random.default_rng(seed)
    users, items = generator.integers(2, 62, rows).astype(np.int32), generator.integers(2, 82, rows).astype(np.int32)
    high, good = generator.normal(0, 1, 62), generator.normal(0, 1, 82)
    blocks = (Block("user", "codes", users, size=62), Block("item", "codes", items, size=82))
    return BaselineFeatures(blocks, rows), high[users] + good[items] + generator.normal(0, 0.3, rows)


def a_task(name: str) -> Task:
    """A task of each kind."""
    if name == "classify":
        return classify.Task("y", ("a", "b", "c"), (10, 10, 10), "accuracy")
    if name == "tag":
        return tag.Task("y", ("a", "b"), (10, 10), 30, "|")
    return regress.Task("y", "none", "mse", 0.0, 1.0, -9.0, 9.0)


def target_of(name: str, signal: Array) -> Array:
    if name == "classify":
        return np.digitize(signal, [-0.5, 1.5]).astype(np.int64)
    if name == "tag":
        return np.stack([signal > 0, signal > 1.5], axis=1).astype(np.float32)
    return (signal / 2).astype(np.float32)


@pytest.mark.parametrize("task_name", ["classify", "regress", "tag"])
@pytest.mark.parametrize("name", registry.names("baselines"))
def test_every_baseline_answers_like_a_network_and_finds_signal(name: str, task_name: str) -> None:
    module, task = registry.module("baselines", name), a_task(task_name)
    kinds = {"series"} if name == "neighbors" else {"numbers", "category"}
    if not module.suits(kinds, task_name, 600):
        assert (name, task_name) == ("histogram_trees", "tag") or name in (
            "biases",
            "item_neighbors",
            "empty_map",
            "no_boxes",
            "pixels",
            "threshold",
            "usual_boxes",
        )
        return
    features, signal = table(1200)
    if name in ("biases", "item_neighbors"):
        features, signal = meetings(1200)
    if name == "neighbors":
        dense = np.stack([signal, signal**2], axis=1).astype(np.float32)
        features = BaselineFeatures((Block("s", "media", dense, raw=dense),), 1200)
    target = target_of(task_name, signal)
    train, validation, asked = (np.arange(at, at + 400) for at in (0, 400, 800))

    def answer() -> Array:
        fitted = module.fit(
            features.take(train),
            target[train],
            task,
            validation=(features.take(validation), target[validation]),
            seed=0,
            seconds=20.0,
            threads=1,
        )
        assert fitted.note == ""
        return np.asarray(fitted.answer(features.take(asked)))

    output = answer()
    assert output.shape == (400, task.width)
    assert output.dtype == np.float32
    assert np.isfinite(output).all()
    found = next(iter(task.scores(output, target[asked]).values())).value
    always = registry.module("baselines", "dummy").fit(
        features, target[train], task, validation=(features, target), seed=0, seconds=1.0
    )
    least = next(iter(task.scores(always.answer(features.take(asked)), target[asked]).values())).value
    if name == "dummy":
        assert found == least
    elif task_name == "regress":
        assert found < 0.6 * least
    else:
        assert found > least + 0.2
    if name in ("linear", "trees"):
        np.testing.assert_array_equal(answer(), output)


@pytest.mark.parametrize("name", registry.names("baselines"))
def test_every_baseline_takes_what_it_is_given(name: str) -> None:
    taken = inspect.signature(registry.module("baselines", name).fit).parameters
    assert {"validation", "seed", "seconds", "threads", "clock"} <= set(taken)


def test_rare_classes_that_a_part_lacks_keep_a_place() -> None:
    output = class_output(np.array([[0.5, 0.5]]), np.array([0, 2]), 3)
    assert output.shape == (1, 3)
    np.testing.assert_allclose(np.exp(output).sum(), 1, rtol=1e-5)
    assert np.exp(output[0, 1]) < 1e-5


def test_baselines_say_when_they_left_out_rows() -> None:
    chosen, note = affordable(100_000, 0.001, 10, seed=0)
    assert len(chosen) == 10_000
    assert note == "fitted on 10,000 of 100,000 rows to save time"
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, affordable(100_000, 0.001, 10, seed=0)[0])
    assert affordable(100, 0.001, 10, seed=0)[1] == ""
    features, signal = table(4000)
    task = a_task("regress")
    target = target_of("regress", signal)
    fitted = registry.module("baselines", "trees").fit(
        features, target, task, validation=(features, target), seed=0, seconds=0.01
    )
    assert "rows to save time" in fitted.note


def test_texts_are_told_apart_by_words() -> None:
    generator = np.random.default_rng(0)
    words = np.array(["good", "fine", "bad", "awful", "film", "plot", "the", "a"])
    target = generator.integers(0, 2, 300)
    texts = np.empty(300, dtype=object)
    for row in range(300):
        texts[row] = " ".join([*generator.choice(words[4:], 5), *words[2 * (1 - target[row]) :][:1]])
    texts[0] = ""
    features = BaselineFeatures((Block("text", "texts", texts),), 300)
    task = classify.Task("y", ("0", "1"), (10, 10), "accuracy")
    answers = compare(
        task,
        {"tokens"},
        (features.take(np.arange(200)), target[:200]),
        (features.take(np.arange(200, 250)), target[200:250]),
        features.take(np.arange(250, 300)),
        seconds=20,
    )
    by_name = {answer.name: answer for answer in answers}
    assert set(by_name) == {"always the same answer", "a linear model", "gradient-boosted trees"}
    for name in ("a linear model", "gradient-boosted trees"):
        assert (by_name[name].output.argmax(axis=1) == target[250:]).mean() > 0.95
        assert by_name[name].seconds > 0
        assert by_name[name].task is not None
    assert by_name["a linear model"].on(np.array([1, 3])).output.shape == (2, 2)


def test_empty_texts_are_no_obstacle() -> None:
    texts = np.array([""] * 6, dtype=object)
    features = BaselineFeatures((Block("text", "texts", texts),), 6)
    assert for_linear(features, 1.0).of(features).shape == (6, 1)


def test_which_baselines_suit() -> None:
    assert suited({"numbers", "category"}, "classify", 1000) == ["dummy", "histogram_trees", "linear", "trees"]
    assert suited({"image"}, "classify", 1000) == ["dummy", "linear", "neighbors", "trees"]
    assert suited({"tokens", "numbers"}, "regress", 1000) == ["dummy", "linear", "trees"]
    assert suited({"numbers"}, "classify", 20) == ["dummy", "linear"]
    assert {"biases", "item_neighbors"} <= set(suited({"category"}, "regress", 1000))


def test_the_cheapest_baselines_come_first() -> None:
    """Where time ends, what is left out is dear."""
    features, _ = table(600)
    found = fitting(a_task("classify"), {"numbers", "category"}, features)
    assert found == ["dummy", "histogram_trees", "linear", "trees"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SHARES, "linear", 0.5)
        assert fitting(a_task("classify"), {"numbers", "category"}, features) == [
            "dummy", "linear", "histogram_trees", "trees",
        ]  # fmt: skip


def test_linear_matrix_fills_marks_and_standardises() -> None:
    values = np.array([[1.0, 5.0], [3.0, np.nan], [5.0, 7.0], [7.0, 9.0]], dtype=np.float32)
    codes = np.array([2, 2, 3, 3], dtype=np.int32)
    features = BaselineFeatures((Block("x", "numbers", values), Block("c", "codes", codes, size=4)), 4)
    matrix = for_linear(features, 1.0)
    found = matrix.of(features)
    assert found.shape == (4, matrix.columns) == (4, 6)
    np.testing.assert_allclose(found[:, :2].mean(axis=0), 0, atol=1e-6)
    assert found[:, 2].tolist() == [0, 1, 0, 0]
    assert found[1, 1] == pytest.approx(0)
    unseen = BaselineFeatures((features.blocks[0], Block("c", "codes", np.array([0, 1, 9, 2], np.int32), size=4)), 4)
    assert matrix.of(unseen)[:, 5].tolist() == [1, 1, 1, 0]


def test_tree_matrix_keeps_gaps_and_names_categories() -> None:
    features, _ = table(50)
    matrix = for_trees(features, 1.0, texts=True)
    assert matrix.native == [2]
    assert np.isnan(matrix.of(features)[:, 1]).any()


def test_a_flag_becomes_a_gap_again() -> None:
    feature = Feature("numbers", (2,), "float32", details={"flag": True})
    block = simple_features("x", feature, np.array([[0.5, 0], [0, 1]], dtype=np.float32))
    assert block.array[0, 0] == 0.5
    assert np.isnan(block.array[1, 0])
    plain = simple_features("t", Feature("numbers", (2,), "float32"), np.array([[0.5, 0]], dtype=np.float32))
    assert plain.array.shape == (1, 2)


def test_tokens_stand_for_words_without_their_text() -> None:
    feature = Feature("tokens", (3,), "int32", size=10)
    assert simple_features("t", feature, np.array([[4, 5, 0]])).array.tolist() == ["t4 t5"]
    assert simple_features("t", feature, np.array([[4, 5, 0]]), np.array([None], object)).array.tolist() == [""]


@pytest.mark.parametrize("shape", [(28, 28, 1), (96, 64, 3), (8, 8, 1), (1, 1, 3)])
def test_image_features_see_direction_but_not_brightness(shape: tuple[int, int, int]) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (3, *shape)).astype(np.uint8)
    found = image_features(images)
    assert found.shape[0] == 3
    assert np.isfinite(found).all()
    block = simple_features("i", Feature("image", shape, "uint8"), images)
    np.testing.assert_array_equal(block.array, found)
    assert block.raw is not None
    assert block.raw.shape[1] <= 14 * 14 * 3
    assert simple_features("i", Feature("image", shape, "uint8"), images[:0]).array.shape == (0, found.shape[1])


def test_gradients_of_stripes_point_across_them() -> None:
    stripes = np.zeros((1, 16, 16, 1), np.uint8)
    stripes[:, :, ::4] = 200
    stripes[:, :, 1::4] = 200
    upright = image_features(stripes)[0, :128].reshape(16, 8).sum(axis=0)
    lying = image_features(stripes.transpose(0, 2, 1, 3))[0, :128].reshape(16, 8).sum(axis=0)
    assert upright.argmax() == 0
    assert lying.argmax() == 4


def test_sound_features_ignore_padding() -> None:
    generator = np.random.default_rng(0)
    short = generator.normal(0, 1, (2, 20, 6)).astype(np.float16)
    padded = np.concatenate([short, np.zeros((2, 30, 6), np.float16)], axis=1)
    np.testing.assert_allclose(sound_features(padded), sound_features(short), atol=1e-5)
    assert np.isfinite(sound_features(np.zeros((1, 5, 6), np.float16))).all()


def test_series_features_see_the_frequency() -> None:
    time = np.arange(100) / 100
    waves = np.stack([np.sin(2 * np.pi * turns * time) for turns in (3, 7)])[:, :, None].astype(np.float32)
    spectrum = series_features(waves)[:, 7:23]
    assert spectrum.argmax(axis=1).tolist() == [2, 6]
    assert np.isfinite(series_features(np.zeros((2, 1, 3), np.float32))).all()


def test_neighbors_find_pictures() -> None:
    generator = np.random.default_rng(0)
    shapes = generator.integers(0, 256, (4, 12, 12, 1))
    target = generator.integers(0, 4, 200)
    images = np.clip(shapes[target] + generator.normal(0, 60, (200, 12, 12, 1)), 0, 255).astype(np.uint8)
    features = collect({"photo": Feature("image", (12, 12, 1), "uint8")}, {"photo": images})
    task = classify.Task("y", ("0", "1", "2", "3"), (1, 1, 1, 1), "accuracy")
    fitted = registry.module("baselines", "neighbors").fit(
        features.take(np.arange(100)),
        target[:100],
        task,
        validation=(features.take(np.arange(100, 150)), target[100:150]),
        seed=0,
        seconds=5.0,
    )
    assert (fitted.answer(features.take(np.arange(150, 200))).argmax(axis=1) == target[150:]).mean() > 0.95


def test_a_baseline_without_validation_rows_still_answers() -> None:
    features, signal = table(300)
    target = target_of("classify", signal)
    nobody = (features.take(np.arange(0)), target[:0])
    answers = compare(a_task("classify"), {"numbers", "category"}, (features, target), nobody, features, seconds=10)
    assert len(answers) == 4
    for answer in answers[1:]:
        assert (answer.output.argmax(axis=1) == target).mean() > 0.6
