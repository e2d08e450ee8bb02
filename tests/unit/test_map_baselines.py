"""Simple tools for maps: thresholds, trees for each pixel, and the commonest class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from lamina.baselines import BaselineFeatures, Rows, empty_map, pixels, threshold
from lamina.baselines._run import suited
from lamina.data.schema import Field
from lamina.modalities.image import Encoder as Pictures
from lamina.tasks.segment import Task

Array = np.ndarray[Any, Any]
SIDE = 20


def column(arrays: Array) -> Array:
    found = np.empty(len(arrays), dtype=object)
    for place, array in enumerate(arrays):
        found[place] = array
    return found


def case(classes: int = 2, brighter: bool = True) -> tuple[Task, BaselineFeatures, Array]:
    """Discs that are brighter or darker than the ground, by class."""
    random = np.random.default_rng(0)
    masks = np.zeros((10, SIDE, SIDE), np.uint8)
    for mask in masks:
        for code in range(1, classes):
            top, left = random.integers(0, SIDE - 7, 2)
            mask[top : top + 6, left : left + 6] = code
    level = 60 + 50.0 * masks if brighter else 200 - 50.0 * masks
    images = np.clip(level + random.normal(0, 8, masks.shape), 0, 255).astype(np.uint8)[..., None]
    encoder = Pictures.fit(lambda: [column(images)], {"size": [SIDE, SIDE]})
    task = Task.fit(Field("mask", "image"), lambda: [column(masks)], {}, inputs={"photo": encoder})
    features = BaselineFeatures((), 10, {"photo": Rows(images, np.arange(10))})
    return task, features, task.encode(column(masks)).array


def fit(module: Any, task: Task, features: BaselineFeatures, target: Array) -> Array:
    baseline = module.fit(
        features.take(np.arange(6)), target[:6], task, validation=(features, target), seed=0, seconds=5
    )
    output: Array = baseline.answer(features.take(np.arange(6, 10)))
    np.testing.assert_allclose(np.exp(output.reshape(4, len(task.labels), -1)).sum(axis=1), 1, atol=1e-4)
    return output


@pytest.mark.parametrize("brighter", [True, False])
def test_a_threshold_finds_what_is_brighter_or_darker(brighter: bool) -> None:
    task, features, target = case(brighter=brighter)
    assert task.scores(fit(threshold, task, features, target), target[6:])["dice"].value > 0.97


def test_each_pictures_own_threshold_is_taken_where_brightness_differs() -> None:
    task, features, target = case()
    images = features.pictures["photo"].array + (10 * np.arange(10, dtype=np.uint8))[:, None, None, None]
    lit = BaselineFeatures((), 10, {"photo": Rows(images, np.arange(10))})
    baseline = threshold.fit(lit, target, task, validation=(lit, target), seed=0, seconds=5)
    assert "Otsu" in baseline.note
    assert task.scores(baseline.answer(lit), target)["dice"].value > 0.97


@pytest.mark.parametrize("seed", range(4))
def test_otsu_is_the_best_of_all_levels(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = np.r_[random.integers(0, 100, 200), random.integers(90 + 20 * seed, 256, 150)]
    between = {}
    for level in range(255):
        low, high = values[values <= level], values[values > level]
        between[level] = len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(low) and len(high) else 0
    best = threshold.otsu(np.bincount(values, minlength=256))
    assert between[int(best)] == pytest.approx(max(between.values()), rel=1e-9)
    assert threshold.otsu(np.eye(256, dtype=int)[7]) == 255


@pytest.mark.parametrize("side", [3, 9])
def test_means_around_pixels_are_those_of_scipy(side: int) -> None:
    values = np.random.default_rng(0).normal(size=(2, 15, 13, 2)).astype(np.float32)
    wanted = ndimage.uniform_filter(values.astype(np.float64), (0, side, side, 0), mode="nearest")
    np.testing.assert_allclose(pixels.boxed(values, side), wanted, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_trees_learn_classes_from_color_and_beat_the_commonest_class(classes: int) -> None:
    task, features, target = case(classes)
    trees = task.scores(fit(pixels, task, features, target), target[6:])[task.primary].value
    commonest = task.scores(fit(empty_map, task, features, target), target[6:])[task.primary].value
    assert trees > 0.9
    assert commonest < 0.5


@pytest.mark.parametrize(("seconds", "side"), [(1e-6, 4), (5.0, 1)])
def test_where_there_is_little_time_squares_share_an_answer(seconds: float, side: int) -> None:
    task, features, target = case(3)
    trees = pixels.fit(
        features.take(np.arange(6)), target[:6], task, validation=(features, target), seed=0, seconds=seconds
    )
    output = trees.answer(features)
    maps = output.reshape(10, 3, SIDE, SIDE)
    blocks = maps.reshape(10, 3, SIDE // side, side, SIDE // side, side)
    assert (blocks == blocks[:, :, :, :1, :, :1]).all()
    assert task.scores(output, target)[task.primary].value > (0.5 if side > 1 else 0.9)
    assert trees.note.count("share an answer") == (side > 1)
    trees.answer(features)
    assert trees.note.count("share an answer") == (side > 1)


@pytest.mark.parametrize(("height", "width", "side"), [(7, 9, 4), (8, 8, 3), (5, 6, 2), (4, 4, 1)])
def test_shared_answers_fill_pictures_of_any_size(height: int, width: int, side: int) -> None:
    coarse = np.arange(height * width, dtype=np.float32).reshape(1, 1, height, width)[
        :, :, side // 2 :: side, side // 2 :: side
    ]
    assert pixels._enlarged(coarse, side, height, width).shape == (1, 1, height, width)


def test_they_suit_masks_alone() -> None:
    assert set(suited({"image"}, "segment", 10)) == {"empty_map", "pixels", "threshold"}
    assert not {"empty_map", "pixels", "threshold"} & set(suited({"image"}, "classify", 1000))
