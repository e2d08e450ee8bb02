"""The parts of the detector against slow or hand computations: overlaps, suppression, assignment, losses, movement."""

from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from lamina.baselines import BaselineFeatures, no_boxes, usual_boxes
from lamina.data.schema import Field, Values
from lamina.errors import InputError
from lamina.learn import _pictures
from lamina.learn._boxes import moved as moved_boxes
from lamina.learn._mosaic import mosaic
from lamina.learn.augment import augment_with_targets, defaults
from lamina.modalities import Feature
from lamina.modalities import boxes as raw
from lamina.modalities._canonical import object_array
from lamina.modalities._frame import Frame
from lamina.networks import Level
from lamina.networks.blocks import detection
from lamina.networks.heads import places as head
from lamina.tasks import Comparable, Described, LaidOut, Layout, Placed, Shown, detect
from lamina.tasks._boxes import grids, intersection_over_union, places, suppressed
from lamina.tasks._detections import Reader, into, out_of

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(0)
FIELD = Field("boxes", "boxes", role="target")


class Pictures:
    """What the task needs of an encoder of pictures."""

    def __init__(self, height: int = 64, width: int = 96, resize: str = "stretch") -> None:
        self.frame = Frame(height, width, resize)


def value(*boxes: tuple[Any, ...], width: int = 120, height: int = 80, **more: Any) -> str:
    listed = [dict(zip(("label", "x", "y", "width", "height"), box, strict=True), **more) for box in boxes]
    return json.dumps({"width": width, "height": height, "boxes": listed})


def column(*values: Any) -> Values:
    return object_array(values)


ROWS = column(
    value(("cat", 10, 10, 40, 30), ("dog", 60, 20, 50, 50)),
    value(("dog", 5, 5, 30, 60)),
    value(),
    value(("cat", 70, 10, 40, 40), ("cat", 10, 20, 45, 45)),
)


def fitted(values: Values = ROWS, options: dict[str, Any] | None = None, **inputs: Any) -> detect.Task:
    return detect.Task.fit(FIELD, lambda: [values], options or {}, inputs=inputs or {"picture": Pictures()})


def learned(task: detect.Task, target: Array, steps: int = 120) -> Array:
    """Outputs [row, width] that gradient descent on the loss finds."""
    output = torch.zeros(len(target), 1, *task.layout.shape)
    output[..., : len(task.labels)] = -4.6
    output = output.flatten(2).requires_grad_()
    optimizer = torch.optim.Adam([output], lr=0.15)
    for _ in range(steps):
        optimizer.zero_grad()
        task.loss(output, torch.from_numpy(target), {}).sum().backward()
        optimizer.step()
    return np.asarray(task.combine(output).detach().numpy())


def boxes_of(count: int, random: np.random.Generator = RANDOM) -> Array:
    corner = random.uniform(0, 50, (count, 2))
    return np.concatenate([corner, corner + random.uniform(5, 40, (count, 2))], axis=1)


def slow_overlap(first: Array, second: Array) -> float:
    """By counting cells of a tenth of a pixel would be slower still: by the four edges."""
    wide = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    high = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return float(wide * high / (sum(areas) - wide * high))


def test_overlap_in_both_libraries() -> None:
    first, second = boxes_of(7), boxes_of(5)
    expected = [[slow_overlap(one, other) for other in second] for one in first]
    np.testing.assert_allclose(intersection_over_union(first, second), expected)
    found = detection.overlap(torch.from_numpy(first)[:, None], torch.from_numpy(second)[None])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_generalized_overlap_by_hand_and_its_gradient() -> None:
    """Two squares of area 4, two apart, in a box of 12 x 2... : 0 - (24 - 8) / 24."""
    first = torch.tensor([0.0, 0, 2, 2], requires_grad=True)
    apart = torch.tensor([10.0, 0, 12, 2])
    found = detection.generalized_overlap(first, apart)
    assert float(found.detach()) == pytest.approx(-(24 - 8) / 24)
    # Boxes that do not touch still pull each other: the right edge wants to go right.
    found.backward()
    assert first.grad is not None
    assert first.grad[2] > 0
    same = torch.tensor([3.0, 4, 8, 9])
    assert float(detection.generalized_overlap(same, same)) == pytest.approx(1)


def test_focal_loss_by_its_definition() -> None:
    logits, wanted = torch.tensor([-2.0, 0.5, 3.0]), torch.tensor([1.0, 0.0, 1.0])
    found = detection.focal(logits, wanted)
    for logit, yes, loss in zip(logits.tolist(), wanted.tolist(), found.tolist(), strict=True):
        chance = 1 / (1 + math.exp(-logit))
        right, share = (chance, 0.25) if yes else (1 - chance, 0.75)
        assert loss == pytest.approx(-share * (1 - right) ** 2 * math.log(right), rel=1e-5)


def slow_suppression(boxes: Array, scores: Array, labels: Array, overlap: float) -> list[int]:
    kept: list[int] = []
    for place in sorted(range(len(boxes)), key=lambda place: -scores[place]):
        if all(labels[place] != labels[other] or slow_overlap(boxes[place], boxes[other]) <= overlap for other in kept):
            kept.append(place)
    return kept


@pytest.mark.parametrize("overlap", [0.2, 0.5, 0.8])
def test_suppression_is_greedy_and_by_class(overlap: float) -> None:
    boxes, scores, labels = boxes_of(60), RANDOM.permutation(60) / 60, RANDOM.integers(0, 3, 60)
    expected = slow_suppression(boxes, scores, labels, overlap)
    assert suppressed(boxes, scores, labels, overlap, 60).tolist() == expected
    assert suppressed(boxes, scores, labels, overlap, 2).tolist() == expected[:2]
    assert 3 <= len(expected) < 60 or overlap == 0.8
    assert suppressed(boxes[:0], scores[:0], labels[:0], overlap, 60).tolist() == []


def test_of_many_things_that_many_places_answer_for_none_is_lost() -> None:
    """81 things, each answered by nine places; the last ones less surely than all answers for the others."""
    at = places(512, 512, (8, 16, 32))
    values = np.full((len(at), 6), -12.0, dtype=np.float32)
    values[:, 5] = 4.0
    middles = [(28 + 56 * column, 28 + 56 * row) for row in range(9) for column in range(9)]
    for number, (x, y) in enumerate(middles):
        edges = np.array([x - 20, y - 20, x + 20, y + 20])
        own = np.flatnonzero((at.strides == 8) & (np.abs(at.centers - (x, y)).max(axis=1) <= 12))
        assert len(own) == 9
        reach = np.concatenate([at.centers[own] - edges[:2], edges[2:] - at.centers[own]], axis=1)
        values[own, 1:5] = np.log(reach / 8)
        values[own, 0] = 3 - 6 * number / 81
    found = Reader(at, 1, Frame(512, 512, "pad"), 0.6).boxes(values.reshape(-1))
    assert found.scores.min() > 0.1
    middle = (found.edges[:, :2] + found.edges[:, 2:]) / 2
    assert sorted(map(tuple, middle.round().tolist())) == sorted((float(x), float(y)) for x, y in middles)


def test_places_are_the_middles_of_their_cells_on_every_level() -> None:
    found = places(20, 30, (8, 16))
    assert grids(20, 30, (8, 16)) == ((3, 4), (2, 2))
    assert len(found) == 3 * 4 + 2 * 2
    np.testing.assert_array_equal(found.centers[[0, 1, 4, 12]], [[4, 4], [12, 4], [4, 12], [8, 8]])


def test_assignment_gives_each_box_its_best_places_and_no_place_two_boxes() -> None:
    """By the definition of SimOTA, place by place."""
    grid = places(64, 64, (8, 16))
    centers, strides = torch.from_numpy(grid.centers).float(), torch.from_numpy(grid.strides).float()
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, len(grid), 3, generator=generator)
    boxes = detection.boxes_at(torch.randn(2, len(grid), 4, generator=generator), centers, strides)
    true = torch.tensor(
        [[[5.0, 5, 40, 35], [30, 20, 60, 62], [50, 2, 55, 6]], [[10, 10, 50, 50], [12, 12, 52, 52], [0, 0, 0, 0]]]
    )
    present = torch.tensor([[True, True, True], [True, True, False]])
    labels = torch.tensor([[0, 2, 1], [1, 1, 0]])
    wanted = detection.Wanted(true, labels, present, torch.zeros_like(present))
    found = detection.assign(logits, boxes, centers, strides, wanted)
    for row in range(2):
        cost = np.full((3, len(grid)), np.inf)
        claims = np.zeros((3, len(grid)), dtype=bool)
        for box in range(3):
            if not present[row, box]:
                continue
            edges = true[row, box].numpy()
            shared = np.zeros(len(grid))
            for place, ((x, y), stride) in enumerate(zip(grid.centers, grid.strides, strict=True)):
                inside = edges[0] < x < edges[2] and edges[1] < y < edges[3]
                middle = (edges[0] + edges[2]) / 2, (edges[1] + edges[3]) / 2
                near = abs(x - middle[0]) < 2.5 * stride and abs(y - middle[1]) < 2.5 * stride
                if not inside and not near:
                    continue
                shared[place] = slow_overlap(edges, boxes[row, place].numpy())
                yes = functional.one_hot(labels[row, box], 3).float()
                classes = functional.binary_cross_entropy_with_logits(logits[row, place], yes, reduction="sum")
                cost[box, place] = float(classes) - 3 * math.log(shared[place] + 1e-8) + 1e5 * (not (inside and near))
            number = max(1, int(np.sort(shared)[::-1][:10].sum()))
            claims[box, np.argsort(cost[box], kind="stable")[:number]] = True
        expected = claims.any(axis=0)
        np.testing.assert_array_equal(found.answers[row].numpy(), expected)
        cheapest = np.where(claims, cost, np.inf).argmin(axis=0)
        np.testing.assert_array_equal(found.box[row].numpy()[expected], cheapest[expected])
        assert set(cheapest[expected].tolist()) == set(np.flatnonzero(present[row].numpy()).tolist())


def test_within_a_crowd_nothing_is_wrong() -> None:
    task = fitted()
    crowd = column(value(("dog", 20, 20, 80, 50), crowd=True))
    nothing = column(value())
    output = torch.zeros(1, 1, task.width)
    with_crowd, without = (
        float(task.loss(output, torch.from_numpy(task.encode(rows).array), {})) for rows in (crowd, nothing)
    )
    assert 0 < with_crowd < without


def test_the_loss_finds_the_boxes_and_the_primary_score_comes_first() -> None:
    task = fitted()
    target = task.encode(ROWS).array
    output = learned(task, target)
    found = task.scores(output, target)
    assert next(iter(found)) == "ap"
    assert found["ap50"].value > 0.95
    assert found["ap.cat"].value > 0.8
    assert found["f1"].value > 0.95
    wrong = task.scores(np.roll(output, 1, axis=0), target)
    assert all(wrong[name].value < found[name].value for name in ("ap", "ap50", "recall", "f1"))
    assert task.row_losses(output, target).tolist() == [0, 0, 0, 0]
    assert task.row_losses(np.roll(output, 1, axis=0), target).min() > 0
    weighted = task.scorer(output, target)(np.full((2, len(target)), 3.0))
    for name, score in found.items():
        np.testing.assert_allclose(weighted[name], score.value)
    assert list(task.scorer(output, target, "ap50")(np.ones((1, len(target))))) == ["ap50"]


def test_answers_are_in_pixels_of_the_original_and_can_be_read_again(tmp_path: Path) -> None:
    task = fitted()
    target = task.encode(ROWS).array
    output = learned(task, target)
    for name in "abcd":
        Image.new("RGB", (240, 160)).save(tmp_path / f"{name}.png")
    (tmp_path / "d.png").write_bytes(b"no picture")
    placed = task.placed(output, {"picture": column("a.png", "b.png", "c.png", "d.png")}, tmp_path)[""]
    encoded = task.decode(output)[""]
    assert (encoded[0]["width"], encoded[0]["height"]) == (96, 64)
    assert (placed[0]["width"], placed[0]["height"]) == (240, 160)
    # The picture is twice as large as the labels said.
    (cat,) = [box for box in placed[0]["boxes"] if box["label"] == "cat"]
    np.testing.assert_allclose([cat[key] for key in ("x", "y", "width", "height")], [20, 20, 80, 60], atol=4)
    assert placed[2]["boxes"] == []
    assert placed[3] == encoded[3]
    again = task.encode(task.decode(output)[""])
    assert not again.errors


def test_calibration_finds_the_best_threshold() -> None:
    rows = column(*ROWS.tolist() * 6)
    task = fitted(rows)
    target = task.encode(rows).array
    output = learned(task, target, 40) + RANDOM.normal(0, 1.0, (len(rows), task.width)).astype(np.float32)
    calibrated = task.calibrated(output, target)
    best = calibrated.scores(output, target)["f1"].value
    for threshold in np.linspace(0.05, 0.95, 19):
        other = replace(task, threshold=float(threshold))
        assert other.scores(output, target)["f1"].value <= best + 1e-12
    assert calibrated.uncalibrated() == task
    fixed = fitted(rows, {"threshold": 0.7})
    assert fixed.calibrated(output, target) == fixed


def test_it_keeps_the_protocols_and_its_state() -> None:
    task = fitted()
    for protocol in (LaidOut, Comparable, Described, Placed, Shown):
        assert isinstance(task, protocol)
    assert detect.Task.restore(json.loads(json.dumps(task.state()))) == task
    assert task.labels == ("cat", "dog")
    assert task.layout == Layout("places", (8 * 12 + 4 * 6 + 2 * 3, 7), {"finest": 8, "levels": 3})
    target = task.encode(ROWS).array
    output = learned(task, target)
    same = task.agreement(output, output + 1e-6)
    assert same.holds
    assert not task.agreement(output, output + 1).holds
    assert task.described(output[0], target[0]) == ("1 cat, 1 dog", "1 cat, 1 dog")
    (sight,) = task.sights(output, target, lambda rows: {"picture": np.zeros((len(rows), 64, 96, 3), np.uint8)})
    assert len(sight.pictures) == 4
    assert sight.pictures[0].max() == 255
    assert sight.pictures[2].max() == 0


def test_small_things_get_a_finer_level_and_pictures_a_size_that_keeps_them() -> None:
    tiny = column(*[value(("cat", 10 * n, 5, 9, 9)) for n in range(5)])
    assert fitted(tiny).finest == 4
    told = {"small_side": 20.0}, {"width": {"median": 1000.0}, "height": {"median": 600.0}}
    size, reason = detect.picture_size(*told) or ((0, 0), "")
    assert size == (320, 512)
    assert "smallest fifth" in reason
    size, _ = detect.picture_size({"small_side": 200.0}, told[1]) or ((0, 0), "")
    assert size == (96, 160)
    assert detect.picture_size({"small_side": 0.0}, told[1]) is None


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (None, "missing"),
        ("", "missing"),
        (float("nan"), "missing"),
        (value(("bird", 1, 1, 5, 5)), "'bird' is no label of the training part"),
        (value(("cat", 1, 1, 0, 5)), "box 1: it is 0 pixels wide"),
        (value(("cat", 1, 1, -3, 5)), "box 1: it is -3 pixels wide"),
        (value(("cat", 1, 1, 5, 5), ("cat", 300, 1, 5, 5)), "box 2: it lies outside the picture"),
        (value(("cat", "x", 1, 5, 5)), "its x is 'x'"),
        (value(("cat", 1, True, 5, 5)), "its y is True"),
        (value(("", 1, 1, 5, 5)), "its label is ''"),
        ('{"width": 0, "height": 5, "boxes": []}', "width and height"),
        ('[{"label": "cat", "x": 1, "y": 1, "width": 5, "height": 5}]', "size is not known"),
        ("[[[", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("nonsense", "no JSON"),
        ({"width": 10}, "no list of boxes"),
        (3.5, "no list of boxes"),
        (object(), "no list of boxes"),
        (value(*[("cat", 1, 1, 5, 5)] * 30), "more than"),
        (
            '{"width": 10, "height": 5, "boxes": [{"label": "cat", "x": 1, "y": 1, "width": 1e999, "height": 5}]}',
            "its width",
        ),
    ],
)
def test_a_box_that_makes_no_sense_is_an_error_of_its_row(odd: Any, reason: str) -> None:
    task = fitted()
    found = task.encode(column(ROWS[0], odd, ROWS[1]))
    assert list(found.errors) == [1]
    assert reason in found.errors[1]
    np.testing.assert_array_equal(found.array[[0, 2]], task.encode(ROWS[:2]).array)
    assert np.isnan(found.array[1]).all()


def test_what_reaches_beyond_the_picture_is_cut_off_and_counted() -> None:
    found = raw.read(value(("cat", -5, 70, 20, 30), ("dog", 1, 1, 2, 2)))
    assert isinstance(found, raw.Boxes)
    np.testing.assert_array_equal(found.edges[0], [0, 70, 15, 80])
    assert found.clipped == 1
    told = raw.describe(column(value(("cat", -5, 70, 20, 30)), value(), None, "nonsense"))
    assert (told["clipped"], told["boxes"], told["unreadable"], told["pictures_without_boxes"]) == (1, 1, 1, 1)
    assert raw.recognise(ROWS, "boxes") is not None
    for other in (column("a", "b"), column([1, 2], [3, 4]), column(None, ""), column("[]", "[]"), np.arange(3)):
        assert raw.recognise(other, "boxes") is None


def test_a_list_of_boxes_takes_its_size_from_the_picture(tmp_path: Path) -> None:
    Image.new("RGB", (120, 80)).save(tmp_path / "a.png")
    task = fitted()
    alone = json.dumps(json.loads(ROWS[0])["boxes"])
    found = task.encode(column(alone, alone), tmp_path, {"picture": column("a.png", "gone.png")})
    np.testing.assert_array_equal(found.array[0], task.encode(ROWS[:1]).array[0])
    assert list(found.errors) == [1]


def test_boxes_for_a_picture_of_another_shape_are_an_error_of_their_row(tmp_path: Path) -> None:
    """Labels for a photograph as it is stored do not fit it turned upright; one made smaller keeps its boxes."""
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (120, 80)).save(tmp_path / "turned.jpg", exif=turned)
    Image.new("RGB", (60, 40)).save(tmp_path / "smaller.png")
    Image.new("RGB", (77, 51)).save(tmp_path / "rounded.png")
    task = fitted()
    names = column("turned.jpg", "smaller.png", "rounded.png")
    found = task.encode(column(*[ROWS[0]] * 3), tmp_path, {"picture": names})
    assert list(found.errors) == [0]
    assert "120 x 80 pixels, and the picture, upright, has 80 x 120" in found.errors[0]
    np.testing.assert_array_equal(found.array[1:], task.encode(column(*[ROWS[0]] * 2)).array)


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_boxes_go_into_the_encoded_picture_and_back(resize: str) -> None:
    frame, boxes = Frame(64, 96, resize), boxes_of(5)
    inside = into(frame, boxes, 100, 200)
    np.testing.assert_allclose(out_of(frame, inside, 100, 200), boxes, atol=1e-9)
    whole = into(frame, np.array([[0.0, 0, 100, 200]]), 100, 200)[0]
    assert whole.tolist() == ([0, 0, 96, 64] if resize == "stretch" else [32, 0, 64, 64])


def test_an_answer_beside_the_picture_is_none_where_it_is_scored_as_where_it_is_given() -> None:
    task = fitted(picture=Pictures(64, 64, "pad"))
    target = task.encode(column(value(width=128, height=32))).array
    classes, places = len(task.labels), len(task.places)
    output = np.full((1, places, classes + 5), -10.0, np.float32)
    output[..., classes:-1] = np.log(0.4)
    # Above the picture, in the middle of which half of what is encoded lies.
    (above,) = np.flatnonzero((task.places.centers == [28.0, 4.0]).all(axis=1))
    output[0, above, [0, -1]] = 5.0
    given = task.placed(output.reshape(1, -1), {"picture": column(np.zeros((32, 128, 3), np.uint8))}, None)[""][0]
    assert given["boxes"] == []
    assert task.row_losses(output.reshape(1, -1), target).tolist() == [0.0]


def test_what_cannot_be_learned_names_the_fix() -> None:
    cases: list[tuple[Values, dict[str, Any], dict[str, Any], str]] = [
        (column(value(), value()), {}, {}, "no training picture has a box"),
        (ROWS, {}, {"picture": Pictures(resize="crop")}, "only the middle is kept"),
        (ROWS, {}, {"one": Pictures(), "two": Pictures()}, "2 columns of pictures"),
        (ROWS, {"overlap": 3}, {}, "overlap"),
        (ROWS, {"primry": "ap"}, {}, "primry"),
        (ROWS, {"threshold": 0}, {}, "threshold"),
        (ROWS, {"levels": 2.5}, {}, "levels"),
    ]
    for values, options, inputs, text in cases:
        with pytest.raises(InputError, match=text) as caught:
            fitted(values, options, **inputs)
        assert caught.value.fix


def test_baselines_say_nothing_or_what_is_usual() -> None:
    """Where every picture holds the same, the usual boxes are right; where they differ, each is as sure as frequent."""
    same = column(*[ROWS[0]] * 6)
    task = fitted(same)
    target = task.encode(same).array
    pictures = BaselineFeatures((), 6)
    nothing, usual = (
        module.fit(pictures, target, task, validation=(pictures, target), seed=0, seconds=1)
        for module in (no_boxes, usual_boxes)
    )
    none = nothing.answer(pictures)
    assert none.shape == (6, task.width)
    assert task.decode(none)[""][0]["boxes"] == []
    assert task.scores(none, target)["ap"].value == 0
    found = usual.answer(pictures)
    assert task.scores(found, target)["ap50"].value > 0.99
    mixed = column(*[ROWS[0]] * 5, ROWS[1])
    target = fitted(mixed).encode(mixed).array
    rare = usual_boxes.fit(pictures, target, fitted(mixed), validation=(pictures, target), seed=0, seconds=1)
    answered = fitted(mixed).answers(rare.answer(pictures), 0.02)[0]
    assert len(answered.scores) == 3
    assert answered.scores[0] > answered.scores[-1] * 1.5


def test_usual_boxes_of_many_pictures_take_little_memory() -> None:
    """Every box against every place would be 1.7 GB here."""
    task = detect.Task("boxes", ("a", "b"), (1, 1), 1, "picture", Frame(512, 512, "pad"), 40)
    generator = np.random.default_rng(0)
    target = np.full((200, 41, 6), -2.0, dtype=np.float32)
    middle, half = generator.uniform(60, 450, (200, 40, 2)), generator.uniform(4, 60, (200, 40, 1))
    target[:, 1:, 0] = generator.integers(0, 2, (200, 40))
    target[:, 1:, 1:5] = np.concatenate([middle - half, middle + half], axis=2)
    target[:, 1:, 5] = 1.0
    pictures = BaselineFeatures((), len(target))
    tracemalloc.start()
    usual = usual_boxes.fit(pictures, target, task, validation=(pictures, target), seed=0, seconds=1)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100e6
    values = usual.answer(BaselineFeatures((), 1)).reshape(len(task.places), -1)
    places = np.flatnonzero((values[:, :2] > usual_boxes.NOTHING).any(axis=1))
    # Each place that answers is the nearest of its level to some box of a size that the level is for.
    level = 2 * half[..., 0] / 4 / task.places.strides[places, None, None]
    near = np.abs(task.places.centers[places][:, None, None] - middle[None]).max(axis=3)
    fits = (near <= task.places.strides[places, None, None] / 2) & (np.abs(np.log2(level)) < 2)
    assert fits.any(axis=(1, 2)).all()


PICTURE = Feature("image", (64, 96, 3), "uint8")


@pytest.mark.parametrize(
    "strengths",
    [
        {"flip": 1.0},
        {"flip_vertical": 1.0},
        {"translate": 0.2},
        {"crop": 0.6},
        {"scale": 0.3},
        {"flip": 0.5, "crop": 0.5},
    ],
)
def test_boxes_move_with_their_pictures(strengths: dict[str, float]) -> None:
    """A bright rectangle is where its box says, before and after."""
    task = fitted()
    pictures = torch.zeros(12, 64, 96, 3, dtype=torch.uint8)
    rows = []
    for number in range(12):
        x, y, wide, high = 24 + 2 * number, 20 + number, 20, 16
        pictures[number, y : y + high, x : x + wide] = 255
        rows.append(value(("cat", x, y, wide, high), width=96, height=64))
    target = torch.from_numpy(task.encode(column(*rows)).array)
    generator = torch.Generator().manual_seed(1)
    moved, targets = augment_with_targets(
        {"picture": pictures}, {"boxes": target}, {"boxes": task.layout}, {"picture": strengths}, {"picture": PICTURE},
        generator,
    )  # fmt: skip
    changed = 0
    for number in range(12):
        box = targets["boxes"][number, 1]
        if box[0] < 0 or box[5] < 0:
            continue
        bright = (moved["picture"][number, :, :, 0] > 127).numpy()
        high, wide = np.nonzero(bright)
        expected = [wide.min(), high.min(), wide.max() + 1, high.max() + 1]
        np.testing.assert_allclose(box[1:5].numpy(), expected, atol=1.5)
        changed += not torch.equal(box[1:5], target[number, 1, 1:5])
    assert changed >= 4
    assert torch.equal(targets["boxes"][:, 0], target[:, 0])
    assert (targets["boxes"][:, 2:, 0] == -1).all()


def test_a_mosaic_has_the_boxes_of_four_pictures() -> None:
    """In each made picture every bright rectangle has a box of its color's label, and every box a rectangle."""
    task, generator = fitted(), torch.Generator().manual_seed(3)
    pictures, rows = torch.zeros(8, 64, 96, 3, dtype=torch.uint8), []
    for number in range(8):
        label, shade = ("cat", 255) if number % 2 else ("dog", 128)
        pictures[number, 16:48, 32:64] = shade
        rows.append(value((label, 32, 16, 32, 32), width=96, height=64))
    target = torch.from_numpy(task.encode(column(*rows)).array)
    made, boxes = mosaic(pictures, {"boxes": target}, 1.0, generator)
    found = boxes["boxes"]
    assert made.shape == pictures.shape
    assert found.shape == (8, 1 + 4 * task.most, 6)
    assert torch.equal(found[:, 0], target[:, 0])
    seen = 0
    for number in range(8):
        real = found[number, 1:][found[number, 1:, 0] >= 0]
        covered = torch.zeros(64, 96, dtype=torch.bool)
        for box in real:
            left, top, right, bottom = box[1:5].round().long().tolist()
            inside = made[number, top + 1 : bottom - 1, left + 1 : right - 1, 0]
            assert (inside == (255 if task.labels[int(box[0])] == "cat" else 128)).all()
            covered[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = True
            seen += 1
        assert not (made[number, :, :, 0] > 64)[~covered].any()
    assert seen > 12
    same, alone = mosaic(pictures, {"boxes": target}, 0.0, generator)
    assert torch.equal(same, pictures)
    assert torch.equal(alone["boxes"], target)
    half, boxes = mosaic(pictures, {"boxes": target}, 0.5, generator)
    assert int((half != pictures).flatten(1).any(dim=1).sum()) == 4
    kept = (half == pictures).flatten(1).all(dim=1)
    assert torch.equal(boxes["boxes"][kept][:, : 1 + task.most], target[kept])


def test_a_mosaic_is_for_boxes_alone() -> None:
    task = fitted()
    batch = {"picture": torch.zeros(2, 64, 96, 3, dtype=torch.uint8)}
    targets = {"boxes": torch.from_numpy(task.encode(ROWS[:2]).array), "class": torch.zeros(2, dtype=torch.int64)}
    layouts = {"boxes": task.layout, "class": Layout("vector", (3,))}
    plans, features = {"picture": {"mosaic": 0.5}}, {"picture": PICTURE}
    with pytest.raises(InputError, match="no other answer") as caught:
        augment_with_targets(batch, targets, layouts, plans, features)
    assert "mosaic=0" in caught.value.fix
    assert "mosaic" in defaults(PICTURE, 100, {"places"})
    usual = defaults(PICTURE, 100, {"places", "vector"})
    augment_with_targets(batch, targets, layouts, {"picture": usual}, features)
    augment_with_targets(batch, {"boxes": targets["boxes"]}, {"boxes": task.layout}, plans, features)


def test_a_thing_that_is_nearly_moved_away_is_not_asked_for() -> None:
    task = fitted()
    target = torch.from_numpy(task.encode(column(value(("cat", 0, 0, 30, 30), ("dog", 90, 60, 20, 10)))).array)
    matrix = torch.tensor([[[0.5, 0.0, 0.4], [0.0, 0.5, 0.4]]])
    moved = moved_boxes(target, _pictures.Warp(matrix), 64, 96)
    # The window is the lower right part: of the first box a corner is left, or nothing.
    assert moved[0, 1, 0] == -1 or moved[0, 1, 5] < 0
    assert moved[0, 2, 0] == 1
    assert moved[0, 2, 5] > 0


@pytest.mark.parametrize(("height", "width"), [(8, 10), (7, 9), (2, 3)])
def test_boxes_go_with_pictures_that_are_shifted_as_far_as_can_be(height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.arange(height * width, dtype=torch.uint8).reshape(1, height, width, 1).repeat(64, 1, 1, 1)
    movement = _pictures.movement_of(pictures, {"translate": 0.5, "flip": 0.5}, generator)
    assert isinstance(movement, _pictures.Shift)
    after = _pictures.moved(pictures, movement)
    # A box around one pixel: where it goes, the pixel is seen.
    top, left = height // 2, width // 2
    boxes = torch.tensor([[[-2.0, 0, 0, 0, 0, 0], [0, left, top, left + 1, top + 1, 1]]]).repeat(64, 1, 1)
    for picture, (label, x, y, *_) in zip(
        after, moved_boxes(boxes, movement, height, width)[:, 1].tolist(), strict=True
    ):
        seen = (picture[:, :, 0] == top * width + left).nonzero().tolist()
        assert ([int(y), int(x)] in seen) if label >= 0 else not seen


class Maps:
    """A network that gives maps."""

    levels = (Level(3, 1, 64, 96), Level(8, 8, 8, 12), Level(16, 16, 4, 6))


def test_the_head_answers_at_every_place_and_teaches_every_weight() -> None:
    task = fitted()
    torch.manual_seed(0)
    built = head.build(task.layout, Maps(), head.Options(head_width=16, head_depth=1))  # type: ignore[arg-type]
    maps = [torch.randn(2, level.channels, level.height, level.width) for level in Maps.levels]
    found = built(maps)
    assert found.shape == (2, 1, task.width)
    start = torch.sigmoid(found.detach().reshape(2, -1, 7)[..., :2])
    assert float(start.mean()) == pytest.approx(0.01, rel=0.3)
    found.square().sum().backward()
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_network_without_the_finest_map_is_refused() -> None:
    task = fitted(options={"finest": 4})
    with pytest.raises(InputError, match="every 4 pixels") as caught:
        head.build(task.layout, Maps(), head.Options(finest=4))  # type: ignore[arg-type]
    assert "network" in caught.value.fix
