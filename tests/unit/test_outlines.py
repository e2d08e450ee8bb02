"""Outlines as COCO writes them: the pixels are those of its own program, and a folder of them is learned from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from outlined import folder_of_outlines
from PIL import Image
from pycocotools import mask as reference

from lamina.data import pairs
from lamina.data.readers.annotated import read as read_folder
from lamina.data.schema import Field
from lamina.data.tables import open_table
from lamina.errors import InputError
from lamina.modalities import image, polygons
from lamina.modalities._canonical import object_array
from lamina.modalities._files import Unreadable
from lamina.modalities._outlines import Outline, Runs, filled, run_lengths
from lamina.narrate import Silent
from lamina.run import Run
from lamina.steps.request import Request, Sources
from lamina.steps.understand import opened_again, understand
from lamina.tasks import segment
from lamina.tasks._masks import UNJUDGED, read_mask
from lamina.tasks.segment import UNKNOWN, UNKNOWN_ID, Task

Array = np.ndarray[Any, Any]
SIZE = (30, 40)
"""Height and width."""


def box(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def thing(label: Any, segmentation: Any, **more: Any) -> dict[str, Any]:
    return {"label": label, "segmentation": segmentation, **more}


def value(*things: dict[str, Any]) -> str:
    return json.dumps({"height": SIZE[0], "width": SIZE[1], "outlines": list(things)})


def painted(*boxes: tuple[int, int, int, int, int]) -> Array:
    """int32 of SIZE: (code, left, top, right, bottom) one after the other."""
    mask = np.zeros(SIZE, np.int32)
    for code, left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = code
    return mask


def test_run_lengths_are_those_of_pycocotools() -> None:
    """As a list and as text; of pixels at random, of large blocks, of nothing and of all."""
    random = np.random.default_rng(0)
    sizes = [tuple(map(int, random.integers(1, 60, 2))) for _ in range(60)] + [(700, 900)]
    for number, (height, width) in enumerate(sizes):
        mask = random.random((height, width)) < random.random()
        if number % 2:
            mask = np.kron(random.random((height // 9 + 1, width // 9 + 1)) < 0.5, np.ones((9, 9)))[:height, :width] > 0
        if number % 10 == 0:
            mask[:] = number % 20 == 0
        text = reference.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
        for counts in (text, text.decode(), run_lengths(text, (height, width)).lengths.tolist()):
            assert np.array_equal(run_lengths(counts, (height, width)).mask, mask)
        assert np.array_equal(Runs.of(mask).lengths, run_lengths(text, (height, width)).lengths)


@pytest.mark.parametrize("whole", [True, False])
def test_polygons_are_filled_as_by_pycocotools(whole: bool) -> None:
    """It rounds corners to fifths of a pixel: pixels differ whose middle is that near to the border, if any.

    Where corners are whole numbers and edges upright, nothing is rounded and nothing differs.
    """
    random = np.random.default_rng(1)
    for _ in range(40):
        height, width = map(int, random.integers(20, 120, 2))
        angles = np.sort(random.random(int(random.integers(3, 30)))) * 2 * np.pi
        far = random.uniform(0.3, 1, len(angles)) * min(height, width) * 0.6
        corners = np.stack([width / 2 + far * np.cos(angles), height / 2 + far * np.sin(angles)], axis=1)
        if whole:
            corners = np.repeat(corners.round(), 2, axis=0)
            corners[1::2, 0] = np.roll(corners[::2, 0], -1)
        given = reference.frPyObjects([corners.ravel().tolist()], height, width)
        expected = reference.decode(given)[:, :, 0] > 0
        found = np.zeros_like(expected)
        inside, top, left = filled(corners, height, width)
        found[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        apart = [
            distance(corners, column + 0.5, row + 0.5)
            for row, column in zip(*np.nonzero(found != expected), strict=True)
        ]
        assert max(apart, default=0) <= (0 if whole else 1 / 6)


def distance(corners: Array, x: float, y: float) -> float:
    """From a point to the border of a polygon."""
    along = np.roll(corners, -1, axis=0) - corners
    place = np.clip((([x, y] - corners) * along).sum(1) / np.maximum((along**2).sum(1), 1e-12), 0, 1)
    return float(np.hypot(*([x, y] - corners - place[:, None] * along).T).min())


@pytest.mark.parametrize(
    "corners", [(-9, -9, -5, -9, -5, -5), (50, 2, 60, 2, 60, 9), (3, 3, 3, 3, 3, 3), (1, 1, 1.1, 1, 1, 9)]
)
def test_a_polygon_over_no_pixels_middle_has_no_pixels(corners: tuple[float, ...]) -> None:
    assert not read_mask(value(thing("cat", [corners])), None, SIZE, ("", "cat")).any()


def test_smaller_outlines_lie_on_top_and_crowds_below_all() -> None:
    drawn = value(
        thing("cup", box(10, 10, 14, 14)),
        thing("table", [*box(5, 5, 20, 20), *box(30, 5, 35, 20)]),
        thing("people", box(0, 0, 40, 12), crowd=True),
    )
    expected = painted((UNJUDGED, 0, 0, 40, 12), (2, 5, 5, 20, 20), (2, 30, 5, 35, 20), (1, 10, 10, 14, 14))
    assert np.array_equal(read_mask(drawn, None, SIZE, ("", "cup", "table")), expected)
    numbered = read_mask(drawn, None, SIZE, apart=True)
    assert [numbered[12, 12], numbered[7, 7], numbered[7, 32], numbered[1, 1]] == [3, 2, 2, UNJUDGED]


def fitted(*values: str, **options: Any) -> Task:
    pictures = object_array([np.zeros((*SIZE, 3), np.uint8)] * 4)
    encoder = image.Encoder.fit(lambda: iter([pictures]), {"size": list(SIZE)}, None)
    field = Field("outlines", "polygons", role="target")
    return Task.fit(field, lambda: iter([object_array(values)]), options, {"path": encoder})


def encoded(task: Task, drawn: Any, size: tuple[int, int] = SIZE) -> Any:
    return task.encode(object_array([drawn]), inputs={"path": object_array([np.zeros((*size, 3), np.uint8)])})


def test_a_crowd_is_not_judged_and_no_class() -> None:
    drawn = value(thing("cat", box(10, 10, 20, 20)), thing("people", box(0, 0, 40, 15), crowd=True))
    expected = painted((-1, 0, 0, 40, 15), (1, 10, 10, 20, 20))
    classes, instances = fitted(drawn), fitted(drawn, kind="instances")
    assert classes.labels == ("background", "cat")
    assert classes.counts == (np.sum(expected == 0), 100)
    assert classes.window == instances.window == SIZE, "they say how large their picture is"
    for task, unknown in ((classes, UNKNOWN), (instances, UNKNOWN_ID), (fitted(drawn, kind="foreground"), UNKNOWN)):
        assert np.array_equal(encoded(task, drawn).array[0], np.where(expected < 0, unknown, expected))


def test_outlines_of_the_background_are_no_second_background() -> None:
    drawn = value(thing("cat", box(10, 10, 20, 20)), thing("background", box(12, 12, 15, 15)))
    for options in ({}, {"names": ["ground", "Katze"]}):
        task = fitted(drawn, **options)
        assert len(task.labels) == 2
        assert np.array_equal(encoded(task, drawn).array[0], painted((1, 10, 10, 20, 20), (0, 12, 12, 15, 15)))


RUNS = {"size": list(SIZE), "counts": [2, 8, SIZE[0] * SIZE[1] - 10]}


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (thing("cat", None), "outline 2: it has no segmentation"),
        (thing("cat", []), "outline 2: it has no segmentation"),
        (thing({"category_id": 9}, RUNS), "its label is"),
        (thing("cat", [[1, 2, 3, 4]]), "three points"),
        (thing("cat", [[1, 2, 3, 4, 5, 6, 7]]), "three points"),
        (thing("cat", [[1, 2, 3, 4, 5, None]]), "three points"),
        (thing("cat", [[1, 2, 3, 4, 5, 1e300]]), "three points"),
        (thing("cat", [1, 2, 3, 4, 5, 6]), "three points"),
        (thing("cat", "0123"), "neither a list of polygons nor run lengths"),
        (thing("cat", {**RUNS, "counts": None}), "neither a list of whole numbers"),
        (thing("cat", {**RUNS, "counts": [-5, 5]}), "neither a list of whole numbers"),
        (thing("cat", {**RUNS, "counts": [0.5, 5]}), "neither a list of whole numbers"),
        (thing("cat", {**RUNS, "counts": [10**30]}), "neither a list of whole numbers"),
        (thing("cat", {**RUNS, "counts": [7, 8]}), "15 pixels"),
        (thing("cat", {**RUNS, "counts": "\x01é"}), "COCO's text"),
        (thing("cat", {**RUNS, "counts": "ooooo"}), "COCO's text"),
        (thing("cat", {**RUNS, "counts": "o" * 20 + "1"}), "COCO's text"),
        (thing("cat", {**RUNS, "counts": ""}), "COCO's text"),
        (thing("cat", {**RUNS, "size": [5, 5]}), "5 x 5 pixels, its picture has 40 x 30"),
        (thing("cat", {**RUNS, "size": None}), r"not \[height, width\]"),
    ],
)
def test_a_broken_outline_leaves_its_picture_out_with_the_reason(item: dict[str, Any], reason: str) -> None:
    sound = thing("cat", box(1, 1, 9, 9))
    with pytest.raises(Unreadable, match=reason):
        polygons.read(value(sound, item))
    assert list(encoded(fitted(value(sound)), value(sound, item)).errors) == [0]


def test_outlines_of_another_picture_are_refused() -> None:
    drawn = value(thing("cat", box(1, 1, 9, 9)))
    with pytest.raises(Unreadable, match="40 x 30 pixels, its picture has 30 x 40"):
        read_mask(drawn, None, (SIZE[1], SIZE[0]), ("", "cat"))
    for odd in ({"width": 0, "height": 3}, {"width": 2.5, "height": 3}, {"width": 10**9, "height": 9}, {"width": "40"}):
        with pytest.raises(Unreadable, match="no picture's size"):
            polygons.read({**odd, "outlines": []})


def test_parts_of_outlines_are_parts_of_their_masks() -> None:
    random = np.random.default_rng(0)
    things = [thing("ab"[number % 2], [random.uniform(-5, 90, 8).tolist()]) for number in range(4)]
    spots = (random.random((100, 120)) < 0.2).astype(np.uint8)
    counts = reference.encode(np.asfortranarray(spots))["counts"].decode()
    things += [thing("a", {"size": [100, 120], "counts": counts}), thing("b", box(0, 60, 30, 90), crowd=True)]
    drawn = {"height": 100, "width": 120, "outlines": things}
    whole, picture = read_mask(drawn, None, (100, 120), ("", "a", "b")), np.zeros((100, 120), np.uint8)
    cutting = pairs.Cutting("photo", "mask", 40, 40, 1, 0, seed=3, parts=9)
    for draw, (_, mask) in enumerate(cutting.pairs([picture, drawn], 0, range(9))):
        top, left = pairs.place(picture.shape, (40, 40), (3, 0), draw)
        found = read_mask(mask, None, (40, 40), ("", "a", "b"))
        assert np.array_equal(found, whole[top : top + 40, left : left + 40])
    with pytest.raises(Unreadable, match="do not fit"):
        cutting.pairs([picture[:90], drawn], 0, range(1))
    small = pairs.Cutting("photo", "mask", 110, 130, 1, 0, parts=1).pairs([picture, drawn], 0, range(1))[0][1]
    assert np.array_equal(read_mask(small, None, (110, 130), ("", "a", "b"))[5:105, 5:125], whole)
    assert Outline("a", runs=Runs.of(spots > 0)).moved(200, 0, 9, 9) is None


def test_a_column_that_says_it_holds_outlines_does_so_however_many_are_broken() -> None:
    broken = [value(thing("cat", []))] * 3
    for values in ([value()], [*broken, value(thing("cat", RUNS))], [{"width": 2, "height": 2, "outlines": []}]):
        assert polygons.recognise(object_array(values), "x") is not None
    assert polygons.recognise(object_array(['{"width": 2, "height": 2, "boxes": []}']), "x") is None
    said = polygons.describe(object_array([*broken, value(thing("cat", RUNS), thing("dog", RUNS, crowd=True))]))
    assert (said["unreadable"], said["labels"]) == (3, {"cat": 1})


def test_a_folder_gives_its_outlines_only_where_they_are_asked_for(tmp_path: Path) -> None:
    truth = folder_of_outlines(tmp_path / "data", pictures=6)
    plain, drawn = (open_table(tmp_path / "data", tmp_path / "cache", outlines=wish) for wish in (False, True))
    assert (plain.columns, drawn.columns) == (("path", "boxes", "split"), ("path", "outlines", "split"))
    assert "segmentation" not in plain.take([0])["boxes"][0]
    assert "--task segment" in plain.notes[0]
    rows = drawn.take(range(len(drawn)))
    for path, text in zip(rows["path"], rows["outlines"], strict=True):
        labels = ("", "disc", "square")
        assert np.array_equal(read_mask(text, None, None, labels), truth[Path(path).name])


def test_a_broken_annotation_is_named_by_its_picture(tmp_path: Path) -> None:
    folder_of_outlines(tmp_path, pictures=4)
    file = tmp_path / "annotations" / "instances_train.json"
    document = json.loads(file.read_text())
    del document["annotations"][0]["segmentation"]
    file.write_text(json.dumps(document))
    found = read_folder(tmp_path, outlines=True)
    assert found is not None
    (chunk,) = found.parts[0].source.chunks(100)
    with pytest.raises(Unreadable, match="outline 1: it has no segmentation"):
        polygons.read(chunk.values["outlines"][0])


def test_boxes_alone_and_other_forms_have_no_outlines(tmp_path: Path) -> None:
    folder_of_outlines(tmp_path / "data", pictures=4)
    for file in (tmp_path / "data" / "annotations").iterdir():
        document = json.loads(file.read_text())
        for item in document["annotations"]:
            item["segmentation"] = []
        file.write_text(json.dumps(document))
    with pytest.raises(InputError, match="annotations of data has an outline") as caught:
        understand(Request(str(tmp_path / "data"), task="segment"), Silent())
    assert "--task detect" in (caught.value.fix or "")
    (tmp_path / "voc").mkdir()
    (tmp_path / "data" / "train" / "0.png").rename(tmp_path / "voc" / "0.png")
    (tmp_path / "voc" / "0.xml").write_text("<annotation/>")
    with pytest.raises(InputError, match="no masks in SegmentationClass/"):
        read_folder(tmp_path / "voc", outlines=True)


def yolo(root: Path, *lines: str) -> None:
    """One picture of 20 x 10 pixels with these lines of labels."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    Image.fromarray(np.zeros((10, 20), np.uint8)).save(root / "images" / "0.png")
    (root / "labels" / "0.txt").write_text("\n".join(lines))
    (root / "classes.txt").write_text("cat\ndog\n")


def test_outlines_of_yolo_are_shares_of_the_picture(tmp_path: Path) -> None:
    yolo(tmp_path / "data", "1 0.1 0.2 0.5 0.2 0.5 0.8 0.1 0.8", "0 0.2 0.4 0.4 0.4 0.4 0.6 0.2 0.6", "")
    plain, drawn = (open_table(tmp_path / "data", tmp_path / "cache", outlines=wish) for wish in (False, True))
    assert (plain.columns, drawn.columns) == (("path", "boxes"), ("path", "outlines"))
    assert "2 outlines as well: --task segment" in plain.notes[0]
    (text,) = drawn.take([0])["outlines"]
    # The smaller one on top.
    found = read_mask(text, None, None, ("", "dog", "cat"))
    assert np.array_equal(found, painted((1, 2, 2, 10, 8), (2, 4, 4, 8, 6))[:10, :20])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 0.2 0.2", "outline 2: it has no segmentation"),
        ("0 0.5 0.5 0.2 0.2 0.9", "outline 2: it has no segmentation"),
        ("7 0.1 0.1 0.5 0.1 0.5 0.6", "outline 2: its label is {'class': '7'}"),
        ("0 0.1 0.1 0.5 0.1 0.5 much", "outline 2: it has no segmentation"),
    ],
)
def test_a_line_of_yolo_that_is_no_outline_is_named_by_its_picture(line: str, reason: str, tmp_path: Path) -> None:
    yolo(tmp_path, "1 0.1 0.2 0.5 0.2 0.5 0.8", line)
    found = read_folder(tmp_path, outlines=True)
    assert found is not None
    (chunk,) = found.parts[0].source.chunks(100)
    with pytest.raises(Unreadable, match=re.escape(reason)):
        polygons.read(chunk.values["outlines"][0])


def test_boxes_of_yolo_alone_are_no_outlines(tmp_path: Path) -> None:
    yolo(tmp_path / "data", "0 0.5 0.5 0.2 0.2")
    with pytest.raises(InputError, match="None of the 1 lines of labels of data is an outline") as caught:
        read_folder(tmp_path / "data", outlines=True)
    assert "--task detect" in caught.value.fix


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize("task", ["", "segment"])
def test_the_task_decides_what_a_folder_is_read_for(task: str, tmp_path: Path) -> None:
    folder_of_outlines(tmp_path / "data", pictures=8)
    told = Told()
    plan = understand(Request(str(tmp_path / "data"), task=task), told).plan
    ((name, part),) = plan.task.items()
    assert (name, part.name) == (("outlines", "segment") if task else ("boxes", "detect"))
    table, _ = opened_again(Run(tmp_path), plan, Sources(plan.data.train))
    assert name in table.columns
    assert any("There are 12 outlines as well" in line for line in told.lines) == (not task)


def test_a_rare_category_is_a_class_however_few_masks_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only some masks are drawn to look at them; the labels of all are read."""
    monkeypatch.setattr(segment, "MASKS", 5)
    usual, rare = (value(thing(label, box(1, 1, 9, 9))) for label in ("cat", "toaster"))
    broken = value(thing("cat", None))
    for place in (0, 20, 39):
        values = [usual] * 40
        values[place], values[5] = rare, broken
        task = fitted(*values)
        assert task.labels == ("background", "cat", "toaster")
        assert not encoded(task, rare).errors
