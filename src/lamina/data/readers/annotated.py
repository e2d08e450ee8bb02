"""Folders of pictures with boxes around things, in any of the usual forms: COCO, Pascal VOC, YOLO.

All become one table: `path`, `boxes` (a picture's size and its boxes, see `lamina.modalities.boxes`) and, where the
folder has parts, `split`. A box that makes no sense stays in its row, where it is reported with its place and reason;
what belongs to no picture is listed as unreadable. Of COCO and YOLO, outlines can be asked for in place of boxes:
`outlines` (see `lamina.modalities.polygons`); of Pascal VOC masks: `mask`, the path of a picture.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lamina.data.readers._scenes import Found, Scene
from lamina.data.readers.folder import fingerprint, path_source, walk
from lamina.data.readers.source import Collection, Part
from lamina.errors import InputError

BOXES, OUTLINES, MASK = "boxes", "outlines", "mask"


def read(root: Path, *, outlines: bool = False) -> Collection | None:
    """The folder as a table of pictures with boxes, or with `outlines` or masks; None if it holds none of them.

    Raises:
        InputError: labels that cannot be read as a whole, pictures that are not where they should be, parts that
            do not fit together, or no outlines where these are asked for.
    """
    from lamina.data.readers import coco, voc, yolo

    for outlined in (coco, yolo):
        found: Found | None = outlined.read(root, outlines=outlines)
        if found is not None:
            return _collection(root, found, OUTLINES if outlines else BOXES)
    boxes = voc.read(root)
    if boxes is not None and not outlines:
        return _collection(root, boxes, BOXES)
    masks = voc.masks(root)
    if masks is not None:
        return _collection(root, masks, MASK)
    if boxes is not None:
        raise InputError(
            f"{root.name} has boxes in the form of {voc.FORM}, and no masks in {voc.MASKS}/.",
            where=str(root),
            fix="Give outlines in the form of COCO or YOLO, or masks: the folders images and masks with the same names "
            "in both. Boxes are learned with --task detect.",
        )
    return None


def _collection(root: Path, found: Found, labels: str) -> Collection:
    if not found.scenes:
        first = "; ".join(f"{place}: {reason}" for place, reason in found.unreadable[:3])
        raise InputError(
            f"{root.name} has labels, but no picture with them can be used" + (f" ({first})." if first else "."),
            where=str(root),
            fix="Put the pictures beside their labels: images/ and annotations/ (COCO), images/ and labels/ (YOLO) or "
            "JPEGImages/ with Annotations/ or SegmentationClass/ (Pascal VOC).",
        )
    scenes = _with_test(found)
    order = ("train", "validation", "test")
    several = len({scene.split for scene in scenes if scene.boxes is not None}) > 1
    if several:
        if any(not scene.split for scene in scenes):
            outside = next(scene for scene in scenes if not scene.split)
            raise InputError(
                f"Some labelled pictures belong to a part and some do not, such as {outside.path}.",
                where=str(root),
                fix="Call the parts train, valid and test, or give labels of one part only.",
            )
        scenes = sorted(scenes, key=lambda scene: order.index(scene.split))
    columns: dict[str, Sequence[str | None]] = {
        "path": [scene.path for scene in scenes],
        labels: [_text(scene) for scene in scenes],
    }
    if several:
        columns["split"] = [scene.split for scene in scenes]
    return Collection(
        root.name,
        (Part(path_source(root.name, columns)),),
        root,
        fingerprint(walk(root)),
        tuple(found.unreadable),
        tuple(found.notes),
    )


def _with_test(found: Found) -> list[Scene]:
    """The scenes; where there is no test part, the validation part is for testing."""
    parts = {scene.split for scene in found.scenes if scene.boxes is not None}
    if "validation" not in parts or "test" in parts:
        return found.scenes
    found.notes.append("There is no test part: the validation part is for testing, and training rows validate.")
    return [replace(scene, split="test") if scene.split == "validation" else scene for scene in found.scenes]


def _text(scene: Scene) -> str | None:
    if scene.boxes is None or isinstance(scene.boxes, str):
        return scene.boxes
    return json.dumps({"width": scene.width, "height": scene.height, BOXES: scene.boxes}, ensure_ascii=False)
