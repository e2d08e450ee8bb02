"""Readers of pictures with boxes: COCO, Pascal VOC and YOLO give the same table; what is wrong is named, never lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lamina.data.readers import voc, yolo
from lamina.data.readers.annotated import read
from lamina.data.readers.collect import collect
from lamina.data.readers.source import Collection
from lamina.data.tables import open_table
from lamina.errors import InputError
from lamina.modalities import boxes as raw

SIZE = (40, 30)
"""Width and height of every picture."""
THINGS: dict[str, list[tuple[str, float, float, float, float]]] = {
    "one": [("cat", 4, 3, 10, 12), ("dog", 20, 10, 20, 15)],
    "two": [("dog", 0, 0, 40, 30)],
    "three": [],
}
PARTS = {"one": "train", "two": "train", "three": "test"}


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def coco(root: Path, **changes: Any) -> None:
    """annotations/instances_train.json beside train/, and so for test."""
    categories = [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}]
    codes = {item["name"]: item["id"] for item in categories}
    for part in ("train", "test"):
        names = [name for name in THINGS if PARTS[name] == part]
        for name in names:
            picture(root / part / f"{name}.png")
        images = [
            {"id": number, "file_name": f"{name}.png", "width": SIZE[0], "height": SIZE[1]}
            for number, name in enumerate(names)
        ]
        annotations = [
            {"id": 1, "image_id": number, "category_id": codes[label], "bbox": box, "area": box[2] * box[3]}
            for number, name in enumerate(names)
            for label, *box in THINGS[name]
        ]
        document = {"images": images, "annotations": annotations, "categories": categories} | changes
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(document))


def pascal(root: Path) -> None:
    """Annotations/ beside JPEGImages/, the parts in ImageSets/Main/."""
    for name, things in THINGS.items():
        picture(root / "JPEGImages" / f"{name}.png")
        objects = "".join(
            f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
            f"<xmax>{x + wide}</xmax><ymax>{y + high}</ymax></bndbox></object>"
            for label, x, y, wide, high in things
        )
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.png</filename><size><width>{SIZE[0]}</width><height>{SIZE[1]}</height>"
            f"<depth>3</depth></size>{objects}</annotation>"
        )
    sets = root / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("one\ntwo\n")
    (sets / "test.txt").write_text("three\n")


def darknet(root: Path) -> None:
    """images/ and labels/ with the parts below, names in data.yaml; a picture without things has an empty file."""
    for name, things in THINGS.items():
        picture(root / "images" / PARTS[name] / f"{name}.png")
        lines = [
            f"{['cat', 'dog'].index(label)} {(x + wide / 2) / SIZE[0]:.6f} {(y + high / 2) / SIZE[1]:.6f} "
            f"{wide / SIZE[0]:.6f} {high / SIZE[1]:.6f}\n"
            for label, x, y, wide, high in things
        ]
        (root / "labels" / PARTS[name]).mkdir(parents=True, exist_ok=True)
        (root / "labels" / PARTS[name] / f"{name}.txt").write_text("".join(lines))
    (root / "data.yaml").write_text("train: images/train\nnc: 2\nnames:\n  0: cat  # small\n  1: 'dog'\nval: x\n")


FORMS = {"coco": coco, "voc": pascal, "yolo": darknet}


def rows(found: Collection) -> dict[str, dict[str, Any]]:
    """Rows by the picture's stem."""
    (chunk,) = found.parts[0].source.chunks(100)
    columns = {name: values.tolist() for name, values in chunk.values.items()}
    return {Path(path).stem: {name: values[place] for name, values in columns.items()}
            for place, path in enumerate(columns["path"])}  # fmt: skip


def found_in(root: Path) -> Collection:
    found = read(root)
    assert found is not None
    return found


@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_gives_the_same_table(form: str, tmp_path: Path) -> None:
    FORMS[form](tmp_path)
    found = found_in(tmp_path)
    assert found.unreadable == ()
    by_name = rows(found)
    assert set(by_name) == set(THINGS)
    for name, row in by_name.items():
        assert (tmp_path / row["path"]).is_file()
        assert row["split"] == PARTS[name]
        boxes = raw.read(row["boxes"])
        assert isinstance(boxes, raw.Boxes)
        assert (boxes.width, boxes.height) == SIZE
        assert list(boxes.labels) == [label for label, *_ in THINGS[name]]
        expected = [[x, y, x + wide, y + high] for _, x, y, wide, high in THINGS[name]]
        np.testing.assert_allclose(boxes.edges, np.array(expected, dtype=float).reshape(-1, 4), atol=1e-4)
        assert boxes.clipped == 0


@pytest.mark.parametrize("form", list(FORMS))
def test_the_folder_opens_as_a_table(form: str, tmp_path: Path) -> None:
    FORMS[form](tmp_path / "data")
    table = open_table(tmp_path / "data", tmp_path / "cache")
    assert table.columns == ("path", "boxes", "split")
    assert len(table) == 3
    # For prediction only the pictures count, whatever labels lie beside them.
    assert "boxes" not in collect(tmp_path / "data", tmp_path / "cache", labelled=False).columns


def test_class_folders_and_tables_are_none_of_these(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "1.png")
    (tmp_path / "notes.txt").write_text("nothing")
    assert read(tmp_path) is None


def test_coco_inside_the_parts_and_validation_for_testing(tmp_path: Path) -> None:
    coco(tmp_path / "given")
    for part, name in (("train", "train"), ("test", "valid")):
        (tmp_path / name).mkdir()
        for file in (tmp_path / "given" / part).iterdir():
            file.rename(tmp_path / name / file.name)
        own = tmp_path / "given" / "annotations" / f"instances_{part}.json"
        own.rename(tmp_path / name / "_annotations.coco.json")
    (tmp_path / "given" / "annotations").rmdir()
    found = found_in(tmp_path)
    assert {row["split"] for row in rows(found).values()} == {"train", "test"}
    assert "validation part is for testing" in found.notes[0]


def test_two_images_of_one_id_are_refused(tmp_path: Path) -> None:
    """As in two files put together: each picture would be given the boxes of both."""
    same = {"id": 3, "width": SIZE[0], "height": SIZE[1]}
    coco(tmp_path, images=[{**same, "file_name": "one.png"}, {**same, "file_name": "two.png"}], annotations=[])
    with pytest.raises(InputError, match="have the id 3") as caught:
        read(tmp_path)
    assert "image 2" in (caught.value.where or "")


def test_what_coco_has_wrong_is_named(tmp_path: Path) -> None:
    strange = [
        {"image_id": 0, "category_id": 99, "bbox": [1, 1, 5, 5]},
        {"image_id": 1, "category_id": 7, "bbox": [1, 1, 5]},
        {"image_id": 55, "category_id": 7, "bbox": [1, 1, 5, 5]},
        "nonsense",
    ]
    coco(tmp_path, annotations=strange)
    found = found_in(tmp_path)
    assert ("annotations/instances_train.json, annotation 3", "image_id 55 is no image of the file") in found.unreadable
    assert any("annotation 4" in place for place, _ in found.unreadable)
    by_name = rows(found)
    assert raw.read(by_name["one"]["boxes"]) == "box 1: its label is {'category_id': 99}"
    assert raw.read(by_name["two"]["boxes"]) == "box 1: it has no height"


@pytest.mark.parametrize("name", ["../one.png", "/etc/passwd", "gone.png"])
def test_coco_names_stay_in_the_folder(name: str, tmp_path: Path) -> None:
    picture(tmp_path / "one.png")
    images = [
        {"id": number, "file_name": file, "width": 40, "height": 30} for number, file in enumerate([name, "two.png"])
    ]
    coco(tmp_path, images=images, annotations=[])
    (tmp_path / "annotations" / "instances_test.json").unlink()
    found = found_in(tmp_path)
    assert [row["path"] for row in rows(found).values()] == ["train/two.png"]
    assert len(found.unreadable) == 1
    assert name in found.unreadable[0][0]


@pytest.mark.parametrize("content", ['{"images": [', "[1, 2]", '{"images": 3}', "[" * 100_000, "\xff"])
def test_broken_json_names_the_file_and_the_fix(content: str, tmp_path: Path) -> None:
    coco(tmp_path)
    (tmp_path / "annotations" / "instances_train.json").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"instances_train\.json") as caught:
        read(tmp_path)
    assert caught.value.fix


def test_pictures_that_are_nowhere_and_parts_that_are_two(tmp_path: Path) -> None:
    coco(tmp_path)
    again = tmp_path / "annotations" / "instances_training.json"
    again.write_bytes((tmp_path / "annotations" / "instances_train.json").read_bytes())
    with pytest.raises(InputError, match="both are the train part"):
        read(tmp_path)
    again.unlink()
    for file in (tmp_path / "train").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="none of its usual folders") as caught:
        read(tmp_path)
    assert str(tmp_path / "train") in caught.value.fix


LAUGHS = (
    "<!DOCTYPE a [<!ENTITY b 'ha'>"
    + "".join(f"<!ENTITY {chr(99 + n)} '{f'&{chr(98 + n)};' * 10}'>" for n in range(9))
    + "]><annotation>&k;</annotation>"
)
OUTSIDE = (
    "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><annotation><object><name>&b;</name></object></annotation>"
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (LAUGHS, "document type"),
        (OUTSIDE, "document type"),
        ("<!DOCTYPE a SYSTEM 'http://example.org/a.dtd'><annotation/>", "document type"),
        ("<a>" * 100_000, "nested"),
        ("<annotation>", "no well-formed XML"),
        ("", "no well-formed XML"),
        ("<annotation>&undefined;</annotation>", "no well-formed XML"),
        ("<?xml version='1.0' encoding='nonsense'?><a/>", "no well-formed XML"),
    ],
)
def test_hostile_xml_is_refused_and_listed(content: str, reason: str, tmp_path: Path) -> None:
    pascal(tmp_path)
    (tmp_path / "Annotations" / "one.xml").write_text(content)
    found = found_in(tmp_path)
    (entry,) = found.unreadable
    assert entry[0] == "Annotations/one.xml"
    assert reason in entry[1]
    assert "one" not in rows(found)


def test_a_huge_xml_is_refused() -> None:
    with pytest.raises(voc.Refused, match="over the limit"):
        voc.parse(b" " * (voc.LARGEST + 1))


def test_voc_without_size_asks_the_picture_and_knows_difficult_things(tmp_path: Path) -> None:
    pascal(tmp_path)
    file = tmp_path / "Annotations" / "one.xml"
    text = file.read_text().replace(f"<width>{SIZE[0]}</width>", "").replace("<difficult>0", "<difficult>1", 1)
    file.write_text(text)
    boxes = raw.read(rows(found_in(tmp_path))["one"]["boxes"])
    assert isinstance(boxes, raw.Boxes)
    assert (boxes.width, boxes.height) == SIZE
    assert boxes.crowd.tolist() == [True, False]


def test_voc_pictures_in_no_list_are_left_out_and_counted(tmp_path: Path) -> None:
    """Of VOC 2012 a third was labelled for outlines, and is in no list of the pictures for boxes."""
    pascal(tmp_path)
    sets = tmp_path / "ImageSets" / "Main"
    (sets / "train.txt").write_text("one\n")
    found = found_in(tmp_path)
    assert {name: row["split"] for name, row in rows(found).items()} == {"one": "train", "three": "test"}
    assert any(note.startswith("1 labelled pictures are in no list") for note in found.notes)
    (sets / "train.txt").write_text("nothing\n")
    (sets / "test.txt").unlink()
    assert len(rows(found_in(tmp_path))) == len(THINGS), "lists of other pictures say nothing of these"


def test_a_file_without_its_picture_is_listed(tmp_path: Path) -> None:
    pascal(tmp_path / "voc")
    (tmp_path / "voc" / "JPEGImages" / "one.png").unlink()
    assert found_in(tmp_path / "voc").unreadable == (
        ("Annotations/one.xml", "there is no picture of that name beside it"),
    )
    darknet(tmp_path / "yolo")
    (tmp_path / "yolo" / "images" / "train" / "one.png").unlink()
    assert found_in(tmp_path / "yolo").unreadable == (
        ("labels/train/one.txt", "there is no picture of that name in images/"),
    )


def test_a_yolo_picture_without_labels_is_empty_beside_others_that_have_some(tmp_path: Path) -> None:
    darknet(tmp_path)
    (tmp_path / "labels" / "train" / "two.txt").unlink()
    found = found_in(tmp_path)
    boxes = raw.read(rows(found)["two"]["boxes"])
    assert isinstance(boxes, raw.Boxes)
    assert not len(boxes.edges)
    assert found.notes == ("1 pictures have no file of labels: they are taken for pictures without boxes.",)


@pytest.mark.parametrize(("moved", "split"), [("test", False), ("valid", True)])
def test_a_yolo_part_without_any_labels_is_left_out_and_not_called_empty(
    moved: str, split: bool, tmp_path: Path
) -> None:
    """The labels of a test part are often withheld; a validation part then tests."""
    darknet(tmp_path)
    if moved == "valid":
        for folder in ("images", "labels"):
            (tmp_path / folder / "test").rename(tmp_path / folder / "valid")
        picture(tmp_path / "images" / "test" / "four.png")
    else:
        (tmp_path / "labels" / "test" / "three.txt").unlink()
    found = found_in(tmp_path)
    by_name = rows(found)
    assert [name for name, row in by_name.items() if row["boxes"] is None] == ["four" if split else "three"]
    assert {row.get("split") for name, row in by_name.items() if name != "four"} == (
        {"train", "test"} if split else {None}
    )
    assert "No picture of the test part has a file of labels" in found.notes[0]


def test_a_yolo_training_part_without_any_labels_is_refused(tmp_path: Path) -> None:
    darknet(tmp_path)
    (tmp_path / "labels" / "train").rename(tmp_path / "labels" / "train2017")
    with pytest.raises(InputError, match="None of the 2 pictures to train with") as caught:
        read(tmp_path)
    assert "images/train/one.png belong into labels/train/one.txt" in caught.value.fix


def test_yolo_lines_that_make_no_sense_are_kept_and_outlines_become_boxes(tmp_path: Path) -> None:
    darknet(tmp_path)
    file = tmp_path / "labels" / "train" / "one.txt"
    file.write_text("0 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6\n")
    boxes = raw.read(rows(found_in(tmp_path))["one"]["boxes"])
    assert isinstance(boxes, raw.Boxes)
    np.testing.assert_allclose(boxes.edges, [[4, 3, 20, 18]], atol=1e-4)
    for line, reason in (
        ("0 a b c d", "it has no"),
        ("7 0.5 0.5 0.1 0.1", "its label is {'class': '7'}"),
        ("0 1", "it"),
    ):
        file.write_text(line)
        problem = raw.read(rows(found_in(tmp_path))["one"]["boxes"])
        assert isinstance(problem, str)
        assert reason in problem


def test_yolo_without_names_names_the_fix(tmp_path: Path) -> None:
    darknet(tmp_path)
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(InputError, match="names of its classes") as caught:
        read(tmp_path)
    assert "classes.txt" in caught.value.fix


@pytest.mark.parametrize(
    "text",
    ["names: [cat, 'a dog']", "nc: 2\nnames:\n- cat\n- a dog\npath: .", "names:\n  1: a dog\n  0: cat\n",
     "names: {0: cat, 1: a dog}", 'names: ["cat",\n  "a dog"]\n', "names:\n  - cat # the first\n  - 'a dog'"],
)  # fmt: skip
def test_names_in_yaml(text: str) -> None:
    assert yolo.named(text) == {0: "cat", 1: "a dog"}


def masked(root: Path, *, lists: bool = True) -> None:
    """Masks in SegmentationClass/ with a palette, borders of 255, for pictures that have boxes as well."""
    pascal(root)
    (root / "SegmentationClass").mkdir()
    for number, name in enumerate(("one", "two"), 1):
        pixels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
        pixels[5:15, 5:25], pixels[15, 5:25] = number, 255
        mask = Image.fromarray(pixels, "P")
        mask.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
        mask.save(root / "SegmentationClass" / f"{name}.png")
    if lists:
        sets = root / "ImageSets" / "Segmentation"
        sets.mkdir(parents=True)
        (sets / "train.txt").write_text("one\n")
        (sets / "val.txt").write_text("two\n")


def test_voc_masks_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    masked(tmp_path)
    assert "boxes" in rows(read(tmp_path))["one"]  # type: ignore[arg-type]
    found = read(tmp_path, outlines=True)
    assert found is not None
    assert {name: (row["mask"], row["split"]) for name, row in rows(found).items()} == {
        "one": ("SegmentationClass/one.png", "train"), "two": ("SegmentationClass/two.png", "test"),
    }  # fmt: skip
    assert any(note.startswith("1 pictures are in no list in ImageSets/Segmentation/") for note in found.notes)
    assert any("no test part" in note for note in found.notes)


def test_voc_masks_without_lists_and_without_boxes(tmp_path: Path) -> None:
    masked(tmp_path, lists=False)
    for file in (tmp_path / "Annotations").iterdir():
        file.unlink()
    found = found_in(tmp_path)
    assert sorted(rows(found)) == ["one", "two"]
    assert any(note.startswith("1 pictures have no mask in SegmentationClass/") for note in found.notes)


def test_a_listed_picture_without_its_mask_is_listed(tmp_path: Path) -> None:
    masked(tmp_path)
    (tmp_path / "SegmentationClass" / "two.png").unlink()
    found = read(tmp_path, outlines=True)
    assert found is not None
    assert found.unreadable == (("JPEGImages/two.png", "there is no mask of that name in SegmentationClass/"),)
