"""Masks: what is read, learned, answered and scored, against calculations by hand and by other libraries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch.nn import functional

from lamina import registry
from lamina.data import pairs
from lamina.data.recognise import recognise
from lamina.data.schema import Field, Values
from lamina.data.tables import Table, open_table
from lamina.errors import InputError
from lamina.evaluate.assess import assess
from lamina.evaluate.scores import title
from lamina.evaluate.slices import slices
from lamina.modalities import Encoder, polygons
from lamina.modalities._files import Unreadable
from lamina.modalities.image import Encoder as Pictures
from lamina.modalities.image import describe
from lamina.plan import Plan, TaskPlan
from lamina.steps import tiling
from lamina.tasks import Described, LaidOut, Mapped, Shown
from lamina.tasks._map_losses import parts_of
from lamina.tasks._masks import read_mask
from lamina.tasks._masks_seen import PARTS
from lamina.tasks._regions import bordered, components, grown, instances, matched, parts_of_each
from lamina.tasks.segment import Task, suits

Array = np.ndarray[Any, Any]
SIDE = 24


def column(*values: Any) -> Values:
    array = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        array[place] = value
    return array


def squares(*codes: int, side: int = SIDE) -> Array:
    """A mask with a square of each code, one beside the other."""
    mask = np.zeros((side, side), np.uint8)
    for place, code in enumerate(codes):
        mask[2:8, 2 + 7 * place : 8 + 7 * place] = code
    return mask


def encoder(size: Any = (SIDE, SIDE), resize: str = "stretch") -> Encoder:
    pictures = column(*(np.full((SIDE, SIDE, 3), level, np.uint8) for level in (10, 200)))
    return Pictures.fit(lambda: [pictures], {"size": list(size), "resize": resize})


def fitted(masks: Sequence[Any], size: Any = (SIDE, SIDE), resize: str = "stretch", **options: Any) -> Task:
    return Task.fit(
        Field("mask", "image", role="target"), lambda: [column(*masks)], options,
        inputs={"photo": encoder(size, resize)},
    )  # fmt: skip


def outputs(task: Task, codes: Array) -> Array:
    """Log-probabilities that are sure of these classes, [row, width]."""
    classes = len(task.labels)
    probability = np.where(np.arange(classes)[None, :, None, None] == codes[:, None], 0.9, 0.1 / (classes - 1))
    return np.log(probability).astype(np.float32).reshape(len(codes), -1)


def test_it_keeps_the_protocols_and_suits_masks() -> None:
    task = fitted([squares(1, 2), squares(2)])
    for protocol in (LaidOut, Mapped, Shown, Described):
        assert isinstance(task, protocol)
    assert task.width == task.layout.size == 3 * SIDE * SIDE
    field = Field("mask", "image", role="target")
    assert suits(field, describe(column(squares(1), squares(2)))) is not None
    assert suits(field, {"modes": {"I;16B": 3}, "formats": {"TIFF": 3}}) is not None
    assert suits(field, describe(column(np.zeros((4, 4, 3), np.uint8)))) is None
    assert suits(Field("what", "category", role="target"), {}) is None


def test_scores_are_those_by_hand() -> None:
    task = fitted([squares(1), squares()], size=(2, 3))
    truth = np.array([[[0, 1, 1], [0, 0, 1]], [[0, 0, 0], [1, 255, 255]]], np.uint8)
    answer = np.array([[[0, 1, 0], [1, 0, 1]], [[0, 0, 0], [0, 1, 0]]])
    # Of one thing: hits 2, missed 2, wrongly said 1; of the background 5 hits; 10 pixels have a label.
    found = {name: score.value for name, score in task.scores(outputs(task, answer), truth).items()}
    assert list(found) == ["dice", "iou", "pixel_accuracy"]
    assert found["dice"] == pytest.approx(2 * 2 / (3 + 4))
    assert found["iou"] == pytest.approx(2 / 5)
    assert found["pixel_accuracy"] == pytest.approx(7 / 10)
    # Per row: 2 hits of 3 said and 3 true; nothing hit.
    np.testing.assert_allclose(task.row_losses(outputs(task, answer), truth), [1 - 4 / 6, 1])


def test_several_classes_are_averaged_over_those_that_occur() -> None:
    task = fitted([squares(1, 2, 3), squares(2)], size=(2, 3))
    truth = np.array([[[0, 0, 1], [1, 2, 2]]], np.uint8)
    answer = np.array([[[0, 1, 1], [1, 2, 0]]])
    found = {name: score.value for name, score in task.scores(outputs(task, answer), truth).items()}
    assert found["mean_iou"] == pytest.approx((1 / 3 + 2 / 3 + 1 / 2) / 3)
    assert found["mean_dice"] == pytest.approx((2 / 4 + 4 / 5 + 2 / 3) / 3)
    assert found["pixel_accuracy"] == pytest.approx(4 / 6)
    # Each class by itself; the fourth does not occur.
    own = [f"iou.{label}" for label in task.labels[:3]]
    assert list(found) == ["mean_iou", "mean_dice", "pixel_accuracy", *own]
    assert [found[name] for name in own] == pytest.approx([1 / 3, 2 / 3, 1 / 2])
    assert title(own[1]) == f"IoU of {task.labels[1]}"


@pytest.mark.parametrize("masks", [[squares(1), squares()], [squares(1, 2), squares(2, 1)]])
def test_a_row_that_counts_twice_is_as_good_as_two_rows(masks: list[Array]) -> None:
    task, random = fitted(masks, size=(5, 6)), np.random.default_rng(0)
    classes = len(task.labels)
    truth = random.integers(0, classes, (3, 5, 6)).astype(np.uint8)
    output = outputs(task, random.integers(0, classes, (3, 5, 6)))
    weighted = task.scorer(output, truth)(np.array([[2.0, 0.0, 1.0]]))
    repeated = task.scores(output[[0, 0, 2]], truth[[0, 0, 2]])
    assert list(weighted) == list(repeated)
    for name, score in repeated.items():
        assert weighted[name][0] == pytest.approx(score.value)
        assert list(task.scorer(output, truth, name)(np.ones((1, 3)))) == [name]


def test_the_loss_is_cross_entropy_and_dice_and_blind_where_there_is_no_label() -> None:
    task = fitted([squares(1, 2), squares(2)], size=(4, 5))
    random = torch.Generator().manual_seed(0)
    output = torch.randn(3, 1, task.width, generator=random, requires_grad=True)
    target = torch.randint(0, 3, (3, 4, 5), generator=random).to(torch.uint8)
    target[0, :2] = 255
    target[2] = 0
    found = task.loss(output, target, {})
    logits = output[:, 0].reshape(3, 3, 4, 5)
    for row in range(3):
        known = target[row] != 255
        entropy = functional.cross_entropy(logits[row][:, known].T, target[row][known].long())
        probability = torch.softmax(logits[row].detach(), 0)
        missed = [
            1 - (2 * (probability[code] * wanted).sum() + 1) / ((probability[code] * known).sum() + wanted.sum() + 1)
            for code in (1, 2)
            if (wanted := (target[row] == code).float()).any()
        ]
        dice = sum(missed) / len(missed) if missed else 0.0
        assert float(found[row].detach()) == pytest.approx(float(entropy.detach() + dice), rel=1e-5)
    found.sum().backward()
    assert output.grad is not None
    gradient = output.grad.reshape(3, 3, 4, 5)
    assert (gradient[0, :, :2] == 0).all()
    assert (gradient[0, :, 2:] != 0).all()


@pytest.mark.parametrize("options", [{}, {"class_weights": [0.2, 2.0, 5.0]}, {"label_smoothing": 0.1}])
def test_the_loss_descends_to_right_answers(options: dict[str, Any]) -> None:
    task = fitted([squares(1, 2), squares(2)], size=(6, 7))
    target = np.random.default_rng(0).integers(0, 3, (4, 6, 7)).astype(np.uint8)
    output = torch.zeros(4, 1, task.width, requires_grad=True)
    optimizer = torch.optim.Adam([output], lr=0.2)
    for _ in range(60):
        optimizer.zero_grad()
        task.loss(output, torch.from_numpy(target), options).sum().backward()
        optimizer.step()
    answer = task.combine(output.detach()).numpy()
    np.testing.assert_allclose(np.exp(answer.reshape(4, 3, -1)).sum(axis=1), 1, rtol=1e-5)
    assert task.scores(answer, target)["mean_iou"].value == 1
    assert all((mask == wanted).all() for mask, wanted in zip(task.decode(answer)[""], target, strict=True))


def test_values_and_names_are_kept_and_answered() -> None:
    task = fitted([squares(7, 200), squares(200)], names=["ground", "road", "car"])
    assert task.values == (0, 7, 200)
    codes = task.encode(column(squares(7, 200))).array
    np.testing.assert_array_equal(codes[0], np.searchsorted([0, 7, 200], squares(7, 200)))
    answers = task.decode(outputs(task, codes))
    np.testing.assert_array_equal(answers[""][0], squares(7, 200))
    assert list(answers) == ["", ".share.road", ".share.car"]
    assert answers[".share.road"][0] == pytest.approx(36 / SIDE**2)
    expected, answered = task.described(outputs(task, codes)[0], codes[0])
    assert expected == answered == f"road {36 / SIDE**2:.1%}, car {36 / SIDE**2:.1%}"


def test_any_value_can_be_the_foreground() -> None:
    task = fitted([squares(3, 9), squares(4)], kind="foreground")
    assert task.labels == ("background", "foreground")
    codes = task.encode(column(squares(50, 3))).array
    np.testing.assert_array_equal(codes[0], squares(50, 3) > 0)
    assert set(np.unique(task.decode(outputs(task, codes))[""][0])) == {0, 255}


def test_polygons_are_filled_and_their_labels_are_the_classes() -> None:
    corners = [[2, 3], [2, 9], [11, 9], [11, 3]]
    drawn = json.dumps(
        [{"label": "dog", "points": corners}, {"label": "cat", "points": [[15, 15], [20, 15], [15, 20]]}]
    )
    task = fitted([drawn, json.dumps([{"label": "cat", "polygon": corners}])])
    assert task.labels == ("background", "cat", "dog")
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    codes = task.encode(column(drawn), inputs={"photo": column(picture)}).array[0]
    assert (codes[3:10, 2:12] == 2).all()
    assert codes[15, 16] == 1
    assert codes[12:15].max() == 0
    plain = fitted([[corners], [[[0, 0], [5, 0], [5, 5]]]])
    assert plain.labels == ("background", "object")


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("labelled", [True, False])
def test_a_column_of_polygons_is_recognised_as_a_target_of_this_task(text: bool, labelled: bool) -> None:
    one: Any = drawn_square("cat", 2, 2, 6)
    one = one if labelled else one["points"]
    lists: list[Any] = [[one], [], [one, one], None]
    values = column(*(json.dumps(item) if text and item is not None else item for item in lists))
    found = registry.module("modalities", "polygons").recognise(values, "shape")
    others = [
        registry.module("modalities", name).recognise(values, "shape")
        for name in registry.names("modalities")
        if name != "polygons"
    ]
    assert found is not None
    assert all(other is None or other.confidence < found.confidence for other in others)
    said = polygons.describe(values)
    assert (said["polygons"], said["pictures_without_polygons"], said["unreadable"]) == (3, 1, 0)
    assert said["labels"] == {"cat" if labelled else "object": 3}
    assert suits(Field("shape", "polygons", role="target"), said) is not None


@pytest.mark.parametrize(
    "values",
    [
        [[], []],
        ["[1, 2, 3]", "[4, 5, 6]"],
        [[[1, 2], [3, 4], [5, 6]]] * 2,
        ['["a", "b", "c"]'] * 2,
        ["one", "two"],
        [[{"label": "cat", "x": 1, "y": 2, "width": 3, "height": 4}]] * 2,
    ],
)
def test_other_lists_are_no_polygons(values: list[Any]) -> None:
    assert polygons.recognise(column(*values), "shape") is None


def drawn_square(label: str, left: int, top: int, side: int) -> dict[str, Any]:
    right, low = left + side - 1, top + side - 1
    return {"label": label, "points": [[left, top], [right, top], [right, low], [left, low]]}


@pytest.mark.parametrize("options", [{"kind": "foreground"}, {"names": ["ground", "Katze", "Hund"]}])
def test_polygons_may_be_any_foreground_or_have_other_names(options: dict[str, Any]) -> None:
    drawn = json.dumps([drawn_square("cat", 2, 2, 6), drawn_square("dog", 12, 2, 6)])
    task = fitted([drawn, drawn], **options)
    task = Task.restore(json.loads(json.dumps(task.state())))
    found = task.encode(column(drawn), inputs={"photo": column(np.zeros((SIDE, SIDE, 3), np.uint8))})
    assert not found.errors
    cat, dog = (int(found.array[0, 4, left]) for left in (4, 14))
    assert (cat, dog) == ((1, 1) if "kind" in options else (1, 2))
    assert int(found.array[0, 15, 4]) == 0
    # A model of an earlier version does not say what polygons were called.
    Task.restore({name: part for name, part in task.state().items() if name != "drawn"})


def test_polygons_do_not_say_how_large_their_picture_is() -> None:
    """What is small is so beside the whole picture, not beside the corner of it that some polygons lie in."""
    drawn = [
        json.dumps([drawn_square("cell", left, top, 4)]) for left, top in ((0, 0), (1, 1), (0, 2), (SIDE - 4, SIDE - 4))
    ]
    task = fitted(drawn, kind="instances")
    assert task.smallest == pytest.approx(0.1 * 16 / SIDE**2)
    assert task.counts[:2] == (4 * (SIDE**2 - 16), 4 * 16)
    picture = column(*[np.zeros((SIDE, SIDE, 3), np.uint8)] * len(drawn))
    target = task.encode(column(*drawn), inputs={"photo": picture}).array
    assert task.decode(outputs(task, task.classes(target)))[".count"].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("corner", [-50, 1e9, 1e300])
def test_a_polygon_far_outside_stops_nothing(corner: float) -> None:
    odd = json.dumps([[[corner, corner], [corner - 4, corner], [corner, corner - 4]]])
    task = fitted([json.dumps([drawn_square("cat", 2, 2, 6)]), odd])
    assert "cat" in task.labels


def test_the_number_of_a_polygon_is_no_value_without_a_label() -> None:
    drawn = json.dumps([drawn_square("cell", left, 2, 4) for left in (2, 8, 14)])
    task = fitted([drawn], kind="instances", unlabelled=2)
    found = task.encode(column(drawn), inputs={"photo": column(np.zeros((SIDE, SIDE, 3), np.uint8))})
    assert [int(found.array[0, 3, left]) for left in (3, 9, 15)] == [1, 2, 3]


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA"])
def test_a_grey_mask_may_be_stored_in_any_mode(tmp_path: Path, mode: str) -> None:
    mask = Image.fromarray(squares(1, 3))
    mask.convert(mode).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask("mask.png", tmp_path, (SIDE, SIDE)), squares(1, 3))
    if mode in ("RGBA", "LA"):
        clear = np.asarray(mask.convert(mode)).copy()
        clear[0, 0, -1] = 0
        Image.fromarray(clear).save(tmp_path / "mask.png")
        with pytest.raises(Unreadable):
            read_mask("mask.png", tmp_path, (SIDE, SIDE))


def test_a_mask_lies_as_its_picture_does() -> None:
    wide = np.zeros((20, 40), np.uint8)
    wide[5:15, 10:30] = 1
    task = fitted([wide, squares(1)], size=(16, 16), resize="pad")
    codes = task.encode(column(wide)).array[0]
    assert (codes[:4] == 255).all()
    assert (codes[12:] == 255).all()
    assert (codes[6:10, 4:12] == 1).all()
    assert (codes == 1).sum() == 32
    assert (codes == 0).sum() == 8 * 16 - 32


def test_instances_are_recognised_encoded_and_answered() -> None:
    masks = []
    for seed in range(4):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        for number in range(9 + seed):
            mask[1 + 6 * (number // 4) : 5 + 6 * (number // 4), 6 * (number % 4) : 4 + 6 * (number % 4)] = number + 1
        masks.append(mask)
    task = fitted(masks)
    assert task.kind == "instances"
    assert task.labels == PARTS
    target = task.encode(column(*masks)).array
    assert target.dtype == np.int16
    output = outputs(task, task.classes(target))
    answers = task.decode(output)
    assert answers[".count"].tolist() == [9, 10, 11, 12]
    scores = {name: score.value for name, score in task.scores(output, target).items()}
    assert scores == {"dice": 1, "iou": 1, "pixel_accuracy": 1, "instance_f1": 1, "count_error": 0}
    assert task.described(output[0], target[0])[0].startswith("9 instances")
    assert task.restore(json.loads(json.dumps(task.state()))) == task
    assert fitted(masks, kind="classes").kind == "classes"


def test_one_numbered_instance_in_two_parts_is_one() -> None:
    """Where masks number instances, one that something hides the middle of is one; where they show foreground, two."""
    several = np.zeros((SIDE, SIDE), np.uint8)
    several[2:6, 2:6], several[10:14, 2:6], several[10:14, 12:16] = 1, 2, 3
    hidden = np.where(np.arange(SIDE) % 8 < 5, squares(1, 1), 0).astype(np.uint8)
    assert components(hidden > 0).max() > 1
    numbered = fitted([several, several, hidden], kind="instances")
    assert numbered.encode(column(hidden)).array.max() == 1
    foreground = fitted([hidden, (several > 0) * np.uint8(255)], kind="instances")
    assert foreground.encode(column(hidden)).array.max() == components(hidden > 0).max()
    restored = Task.restore(json.loads(json.dumps(numbered.state())))
    assert restored.encode(column(hidden)).array.max() == 1
    # A model of an earlier version does not say: it reads masks as it did.
    earlier = {name: part for name, part in numbered.state().items() if name != "numbered"}
    assert Task.restore(earlier).encode(column(hidden)).array.max() > 1


def test_parts_of_each_number_are_counted_in_one_pass() -> None:
    mask = np.random.default_rng(0).integers(0, 4, (12, 31)).repeat(2, axis=0)
    counts, sizes = parts_of_each(mask)
    assert counts.tolist() == [ndimage.label(mask == value)[1] for value in (1, 2, 3)]
    assert sizes.sum() == (mask > 0).sum()
    assert len(sizes) == counts.sum()


def test_touching_instances_are_told_apart_by_their_borders() -> None:
    ids = np.zeros((12, 20), np.int16)
    ids[2:10, 2:10], ids[2:10, 10:18] = 1, 2
    edge = bordered(ids)
    parts = np.where(edge, 2, ids > 0)
    np.testing.assert_array_equal(parts_of(torch.from_numpy(ids[None]), -1, 255)[0].numpy(), parts)
    found = instances(parts == 1, parts > 0)
    np.testing.assert_array_equal(found, ids)
    assert components(ids > 0).max() == 1


def test_small_instances_are_left_out_and_parts_without_an_inside_stay() -> None:
    inside = np.zeros((10, 10), bool)
    inside[1:4, 1:4] = True
    foreground = inside.copy()
    foreground[0:5, 0:5] = True
    foreground[8, 6:9] = True
    assert instances(inside, foreground).max() == 2
    assert instances(inside, foreground, smallest=4).max() == 1


@pytest.mark.parametrize("seed", range(6))
def test_components_are_those_of_scipy(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(random.normal(size=(31, 47)), 0.3 * seed) > 0
    wanted, number = ndimage.label(mask)
    found = components(mask)
    assert found.max() == number
    assert len(np.unique(np.stack([found.ravel(), wanted.ravel()]), axis=1).T) == number + 1
    assert components(np.zeros((3, 4), bool)).max() == 0
    assert components(np.ones((3, 4), bool)).tolist() == [[1] * 4] * 3


@pytest.mark.parametrize("seed", range(6))
def test_instances_grow_step_by_step_and_the_larger_number_wins(seed: int) -> None:
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.normal(size=(40, 53)), 0.5 * (seed + 1))
    inside, seeds = noise > -0.2 * noise.std(), components(noise > 0.5 * noise.std())
    wanted, cross = np.where(inside, seeds, 0), ndimage.generate_binary_structure(2, 1)
    while True:
        step = np.where(
            inside & (wanted == 0), ndimage.maximum_filter(wanted, footprint=cross, mode="constant"), wanted
        )
        if (step == wanted).all():
            break
        wanted = step
    left = components(inside & (wanted == 0))
    assert left.max() > 0 or seed > 2
    np.testing.assert_array_equal(grown(seeds, inside), np.where(left > 0, left + wanted.max(), wanted))


def test_instances_match_above_a_half() -> None:
    truth, answer = np.zeros((4, 10), int), np.zeros((4, 10), int)
    truth[:, :4], truth[:, 6:] = 1, 2
    answer[:, :3], answer[:2, 6:], answer[3, 4:6] = 1, 2, 3
    # 12 of 16 shared pixels are enough, 8 of 16 are not.
    assert matched(answer, truth) == (1, 3, 2)


def test_instances_where_nothing_is_known_are_not_judged() -> None:
    """In the padding around a picture the network has learned nothing, and whatever it answers there is cut off."""
    task = replace(fitted([squares(1), squares()]), kind="instances", labels=PARTS, values=(0, 1, 2), counts=(1, 1, 0))
    target = np.full((1, SIDE, SIDE), -1, np.int16)
    target[:, 6:18], target[:, 8:13, 4:10] = 0, 1
    codes = np.zeros((1, SIDE, SIDE), int)
    codes[:, 8:13, 4:10] = 1
    codes[:, 14:17, 16:22] = codes[:, 0:4, 16:22] = codes[:, 17:22, 2:8] = 1
    scores = {name: score.value for name, score in task.scores(outputs(task, codes), target).items()}
    # Of four answers one is right, one lies in the picture and is wrong, and two lie mostly or wholly outside.
    assert scores["count_error"] == 1
    assert scores["instance_f1"] == pytest.approx(2 / 3)


def test_two_networks_agree_but_for_pixels_on_the_edge() -> None:
    task = fitted([squares(1), squares()], size=(4, 4))
    before = outputs(task, np.random.default_rng(0).integers(0, 2, (3, 4, 4)))
    assert task.agreement(before, before + np.float32(1e-6)).holds
    tied = before.reshape(3, 2, 4, 4).copy()
    tied[1, :, 2, 2] = [-0.7, -0.7 + 1e-6]
    moved = tied.copy()
    moved[1, :, 2, 2] = [-0.7 + 2e-6, -0.7]
    found = task.agreement(tied.reshape(3, -1), moved.reshape(3, -1))
    assert found.same.tolist() == [True, False, True]
    assert found.holds
    moved[1, :, 2, 2] = [-0.1, -2.3]
    assert not task.agreement(tied.reshape(3, -1), moved.reshape(3, -1)).holds


def test_255_beside_numbers_of_classes_is_no_label_and_that_is_told() -> None:
    masks = [squares(1, 255), squares(2)]
    task = fitted(masks)
    assert (task.labels, task.unlabelled) == (("background", "1", "2"), 255)
    assert "unlabelled=-1" in task.stated()[0]
    np.testing.assert_array_equal(task.encode(column(masks[0])).array[0], masks[0])
    again = Task.restore(task.state())
    assert again.stated() == task.stated()


@pytest.mark.parametrize(
    ("masks", "options", "labels"),
    [
        ([squares(255)], {}, ("background", "255")),
        ([squares(128, 255)], {}, ("background", "128", "255")),
        ([squares(1, 255), squares(2)], {"unlabelled": -1}, ("background", "1", "2", "255")),
        ([squares(1, 255), squares(2)], {"kind": "foreground"}, ("background", "foreground")),
    ],
)
def test_255_is_a_class_where_it_may_be_one(masks: list[Array], options: dict[str, Any], labels: Any) -> None:
    task = fitted(masks, **options)
    assert (task.labels, task.unlabelled, task.stated()) == (labels, -1, ())


def test_what_is_wrong_with_a_mask_is_an_error_of_its_row(tmp_path: Path) -> None:
    task = fitted([squares(1), squares(1, 1)], unlabelled=255)
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    Image.fromarray(squares(1)).save(tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    masks = column(
        "good.png", "nowhere.png", "broken.png", None, squares(1)[:20], squares(9), np.zeros((SIDE, SIDE, 3), np.uint8)
        + np.array([1, 2, 3], np.uint8), np.full((SIDE, SIDE), 255, np.uint8), "[[[1, 2]]]", "[[", squares(1) + 0.5,
    )  # fmt: skip
    found = task.encode(masks, tmp_path, {"photo": column(*[picture] * len(masks))})
    assert list(found.errors) == list(range(1, 11))
    np.testing.assert_array_equal(found.array[0], squares(1))
    assert (found.array[1:] == 255).all()
    for row, words in {
        1: "nowhere.png", 3: "no mask", 4: "24 x 20", 5: "value 9", 6: "colors", 7: "no pixel", 8: "three points",
        9: "JSON", 10: "whole numbers",
    }.items():  # fmt: skip
        assert words in found.errors[row], found.errors[row]


@pytest.mark.parametrize(
    ("masks", "options", "words"),
    [
        ([squares(), squares()], {}, "one class only"),
        (["nowhere.png"], {}, "None of the masks"),
        ([squares(1)], {"kinds": "classes"}, "kind"),
        ([squares(1)], {"kind": "boxes"}, "instances"),
        ([squares(1)], {"names": ["only one"]}, "2 different names"),
        ([squares(1)], {"unlabelled": "none"}, "255"),
        ([np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 210], {"kind": "classes"}, "kind=instances"),
    ],
)
def test_wrong_masks_and_wishes_name_the_fix(masks: list[Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as raised:
        fitted(masks, **options)
    assert words in f"{raised.value.what} {raised.value.fix}"
    assert raised.value.fix


def test_there_must_be_one_picture_that_is_encoded_to_its_edges() -> None:
    field, masks = Field("mask", "image", role="target"), [column(squares(1))]
    for inputs, words in (
        ({}, "no picture"),
        ({"a": encoder(), "b": encoder()}, "several"),
        ({"a": encoder(resize="crop")}, "edges"),
    ):
        with pytest.raises(InputError, match=words):
            Task.fit(field, lambda: masks, {}, inputs=inputs)
    with pytest.raises(InputError, match="outputs"):
        Task.fit(field, lambda: masks, {}, inputs={"a": encoder((1024, 1024))})


def test_the_report_sees_pictures_beside_truth_and_answer() -> None:
    task = fitted([squares(1, 2), squares(2)])
    target = np.stack([squares(1, 2), squares(2), squares()])
    sights = task.sights(
        outputs(task, target), target, lambda rows: {"photo": np.zeros((len(rows), SIDE, SIDE, 1), np.uint8)}
    )
    assert len(sights[0].pictures) == 9
    assert all(picture.ndim == 3 and picture.shape[2] == 3 for picture in sights[0].pictures)
    assert [line.split(":")[0] for line in sights[1].lines] == ["background", "1", "2"]
    assert "IoU 1.000" in sights[1].lines[1]


def test_a_subgroups_score_is_that_of_its_rows_alone() -> None:
    """Large answers are scored once, and the rows outside of a subgroup weigh nothing."""
    task, random = fitted([squares(1), squares()], size=(6, 6)), np.random.default_rng(0)
    truth = random.integers(0, 2, (80, 6, 6)).astype(np.uint8)
    wrong = random.random((80, 6, 6)) < np.where(np.arange(80) % 2, 0.4, 0.1)[:, None, None]
    output = outputs(task, np.where(wrong, 1 - truth, truth))
    groups = column(*np.where(np.arange(80) % 2, "blurred", "sharp").tolist())
    found = slices(task, output, truth, lambda rows: {"look": (Field("look", "category"), groups[rows])})
    by_value = {item.value: item for item in found}
    for value, side in (("blurred", np.arange(1, 80, 2)), ("sharp", np.arange(0, 80, 2))):
        item = by_value[value]
        assert item.rows == 40
        assert item.score.value == pytest.approx(task.scores(output[side], truth[side])["dice"].value)
        assert item.score.low < item.score.value < item.score.high
        assert item.notable
    assert by_value["blurred"].gap == pytest.approx(-by_value["sharp"].gap)


def test_the_worst_rows_are_told_in_words() -> None:
    task = fitted([squares(1, 2), squares(2)])
    truth = np.stack([squares(1, 2), squares(2), squares(1)])
    result = assess(task, outputs(task, np.stack([squares(1, 2), squares(1), squares(1)])), truth)
    assert result.mistakes[0].row == 1
    assert result.mistakes[0].expected.startswith("2 ")
    assert result.mistakes[0].answered.startswith("1 ")


def large(folder: Path, radius: float, number: int = 6, size: tuple[int, int] = (600, 800), **more: int) -> Path:
    """`images` and `masks`: discs of a radius in large pictures."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for row in range(number):
        mask = np.zeros(size, np.uint8)
        for code in range(more.get("things", 5)):
            y, x = random.uniform(radius, size[0] - radius), random.uniform(radius, size[1] - radius)
            mask[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = code + 1 if "things" in more else 255
        Image.fromarray(mask // 2).save(folder / "images" / f"{row}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{row}.png")
    return folder


def planned(data: Path, *sets: str) -> tuple[Plan, Table]:
    table = open_table(str(data), data.parent / "cache")
    schema = recognise(table, ("mask",))
    plan = Plan(schema=schema.fields, task={"mask": TaskPlan("segment")}).with_set(sets)
    return tiling.tiled(plan, table, None)


def test_pictures_are_cut_where_shrinking_would_lose_what_the_masks_show(tmp_path: Path) -> None:
    plan, table = planned(large(tmp_path / "large", 60.0))
    assert (plan.task["mask"].options, len(table)) == ({"window": "whole"}, 6)
    assert "keep a Dice of 0.9" in plan.reasons["task.mask.window"]
    plan, table = planned(large(tmp_path / "small", 5.0))
    assert plan.task["mask"].options == {"window": "cut", "parts": 3 * 3, "kind": "classes"}
    assert "only" in plan.reasons["task.mask.window"]
    assert plan.reasons["task.mask.parts"] == "9: 54 parts of 256 x 256 pixels, 9 of each of 6 pictures"
    assert plan.schema[0].options["size"] == [256, 256]
    assert plan.data.fingerprint == table.fingerprint == tiling.again(plan, open_small(tmp_path)).fingerprint
    part = table.take([7])
    assert part["path"][0].shape == (256, 256, 3)
    assert np.array_equal(part["mask"][0] // 2, part["path"][0][:, :, 0]), "picture and mask at one place"
    for sets in (["task.mask.window=whole"], ["schema.path.size=128"]):
        changed = Plan(schema=recognise(open_small(tmp_path), ("mask",), sized(sets)).fields)
        changed = replace(changed, task={"mask": TaskPlan("segment")}).with_set(
            [item for item in sets if item.startswith("task")]
        )
        assert len(tiling.tiled(changed, open_small(tmp_path), None)[1]) == 6
    for option, fix in {"window=tiles": "whole", "parts=0": "1 to 10,000"}.items():
        with pytest.raises(InputError) as caught:
            planned(tmp_path / "small", f"task.mask.{option}")
        assert fix in str(caught.value.fix)
    with pytest.raises(InputError, match="no parts"):
        planned(tmp_path / "large", "task.mask.parts=4")


def sized(sets: list[str]) -> dict[str, dict[str, Any]]:
    return {"path": {"options": {"size": 128}}} if sets[0].startswith("schema") else {}


def open_small(folder: Path) -> Table:
    return open_table(str(folder / "small"), folder / "cache")


def test_parts_of_masks_that_number_instances_are_instances_still(tmp_path: Path) -> None:
    """A part holds few of them, which by themselves would look like classes."""
    plan, _ = planned(large(tmp_path / "many", 6.0, things=40))
    assert plan.task["mask"].options["kind"] == "instances"
    assert plan.task["mask"].options["window"] == "cut"


def test_parts_of_polygons_are_parts_of_the_masks_that_they_draw() -> None:
    random = np.random.default_rng(0)
    drawn = [
        {"label": label, "points": [[x, y], [x + 30, y + 5], [x + 10, y + 25]]}
        for label, (x, y) in zip("abab", random.uniform(0, 90, (4, 2)).tolist(), strict=True)
    ]
    whole = read_mask(drawn, None, (100, 120), ("", "a", "b"))
    picture = (np.add.outer(np.arange(100), 100 * np.arange(120)) % 65_521 // 256).astype(np.uint8)
    cutting = pairs.Cutting("photo", "mask", 40, 40, 1, 0, seed=3, parts=9)
    for draw, (part, mask) in enumerate(cutting.pairs([picture, drawn], 0, range(9))):
        top, left = pairs.place(picture.shape, (40, 40), (3, 0), draw)
        assert np.array_equal(part, picture[top : top + 40, left : left + 40])
        found = read_mask(mask, None, (40, 40), ("", "a", "b"))
        # Pillow rounds corners left of 0 otherwise: some pixels of an edge move by one.
        assert np.mean(found != whole[top : top + 40, left : left + 40]) < 0.01
    assert read_mask(mask, None, (40, 40), ("", "a", "b")).any()


def test_a_part_without_any_label_is_no_mistake_and_costs_nothing() -> None:
    masks = [squares(1, 2), squares(1)]
    task = fitted(masks, unlabelled=9, window="cut", parts=1)
    assert task.unscaled
    assert task.window == (SIDE, SIDE)
    assert Task.restore(task.state()) == task
    encoded = task.encode(column(np.full((SIDE, SIDE), 9, np.uint8)))
    assert not encoded.errors
    loss = task.loss(torch.zeros(1, 1, task.width), torch.from_numpy(encoded.array), {})
    assert float(loss) == pytest.approx(0.0)
    assert fitted(masks, unlabelled=9).encode(column(np.full((SIDE, SIDE), 9, np.uint8))).errors
