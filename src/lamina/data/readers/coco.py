"""COCO's form: a JSON file for each part with images, annotations and categories (Lin et al. 2014).

Read are `annotations/*.json` beside folders of pictures (train/, images/train2017/, images/, ...), and
`_annotations.coco.json` inside the folder of each part: boxes, or outlines where these are asked for. Outlines are most
of such a file, and a number in memory takes four times as much as its text: while the file is read they are dropped, or
become text again, annotation by annotation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lamina.data.readers._scenes import Found, Scene, part_of, relative
from lamina.data.readers.folder import SPLITS
from lamina.data.readers.locate import readable
from lamina.errors import InputError

INSIDE = "_annotations.coco.json"
_TRIED = 20
OUTLINE = "segmentation"


def read(root: Path, *, outlines: bool = False) -> Found | None:
    """Every part's pictures with boxes, or with outlines; None if there are no such files.

    Raises:
        InputError: a file that is no JSON or not of this form, two images of one id, two files of one part, pictures
            that are missing altogether, or no outlines where these are asked for.
    """
    found, given = Found(), _Given(outlines)
    files = _files(root, found)
    if not files:
        return None
    parts: dict[str, Path] = {}
    for file in files:
        part = _part(file)
        if part in parts:
            raise InputError(
                f"{parts[part].name} and {file.name} both are " + (f"the {part} part." if part else "without a part."),
                where=str(file.parent),
                fix="Keep one of them, or call them instances_train.json and instances_test.json.",
            )
        parts[part] = file
        _read(root, file, part, found, given)
    if outlines and given.annotations and not given.outlined:
        raise InputError(
            f"None of the {given.annotations:,} annotations of {root.name} has an outline ({OUTLINE}): they are boxes.",
            where=", ".join(relative(file, root) for file in files),
            fix="Learn boxes with --task detect, or write the labels again with their outlines.",
        )
    if given.outlined and not outlines:
        found.notes.append(f"Boxes are learned from. There are {given.outlined:,} outlines as well: --task segment")
    return found


@dataclass
class _Given:
    """What is asked for, and how many annotations there are, with and without an outline."""

    outlines: bool
    annotations: int = 0
    outlined: int = 0

    def slim(self, item: dict[str, Any]) -> dict[str, Any]:
        """An object of a file without its outline, or with it as text."""
        if OUTLINE in item:
            outline = item.pop(OUTLINE)
            self.outlined += bool(outline)
            if self.outlines:
                item[OUTLINE] = json.dumps(outline, separators=(",", ":"))
        return item


def _files(root: Path, found: Found) -> list[Path]:
    own = sorted(root.glob("annotations/*.json"))
    chosen = [file for file in own if file.name.startswith("instances")] or own
    if left := [file.name for file in own if file not in chosen]:
        found.notes.append(f"Left out of annotations/: {', '.join(left)} (boxes are read from instances*.json).")
    return chosen or sorted([*root.glob(INSIDE), *root.glob(f"*/{INSIDE}")])


def _part(file: Path) -> str:
    if file.name == INSIDE:
        return part_of(Path(file.parent.name))
    named = [SPLITS[word] for word in re.findall("[a-z]+", file.stem.lower()) if word in SPLITS]
    return named[-1] if named else ""


def _read(root: Path, file: Path, part: str, found: Found, given: _Given) -> None:
    document = _document(file, given)
    where = relative(file, root)
    categories = {
        item["id"]: item["name"]
        for item in document["categories"]
        if isinstance(item, Mapping) and {"id", "name"} <= set(item) and isinstance(item["id"], int | str)
    }
    things: dict[Any, list[Any]] = {}
    thing = _outline if given.outlines else _box
    given.annotations += len(document["annotations"])
    pictures: list[Mapping[str, Any]] = []
    for number, item in enumerate(document["images"]):
        if _is_picture(item):
            if item["id"] in things:
                raise InputError(
                    f"Two images of {file.name} have the id {item['id']!r}: whose the boxes are cannot be told.",
                    where=f"{where}, image {number + 1}",
                    fix="Give every image an id of its own; files put together must be numbered anew.",
                )
            pictures.append(item)
            things[item["id"]] = []
        else:
            found.unreadable.append((f"{where}, image {number + 1}", "it has no id, file_name, width and height"))
    for number, item in enumerate(document["annotations"]):
        owner = item.get("image_id") if isinstance(item, Mapping) else None
        if not isinstance(owner, int | str) or owner not in things:
            found.unreadable.append(
                (f"{where}, annotation {number + 1}", f"image_id {owner!r} is no image of the file")
            )
        else:
            things[owner].append(thing(item, categories))
    folder = _folder(root, file, part, [item["file_name"] for item in pictures])
    for item in pictures:
        place = _inside(folder, item["file_name"])
        if place is None or not place.is_file():
            reason = "there is no such picture" if place else "its name leads out of the folder"
            found.unreadable.append((f"{where}, image {item['file_name']!r}", reason))
        else:
            own = things.pop(item["id"])
            boxes = _together(item, own) if given.outlines else own
            found.scenes.append(Scene(relative(place, root), item["width"], item["height"], boxes, part))


def _document(file: Path, given: _Given) -> dict[str, Any]:
    with readable(file):
        try:
            document = json.loads(file.read_bytes(), object_hook=given.slim)
        except (ValueError, RecursionError) as error:
            reason = f"{error.msg} in line {error.lineno}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise InputError(
                f"{file.name} is not valid JSON: {reason}.", where=str(file), fix="Write or download it again."
            ) from None
    lists = ("images", "annotations", "categories")
    if not isinstance(document, dict) or not all(isinstance(document.get(name), list) for name in lists):
        raise InputError(
            f"{file.name} is not in COCO's form: it has no lists of images, annotations and categories.",
            where=str(file),
            fix="Write them, or take the file out of annotations/.",
        )
    return document


def _is_picture(item: Any) -> bool:
    return (
        isinstance(item, Mapping)
        and isinstance(item.get("id"), int | str)
        and isinstance(item.get("file_name"), str)
        and all(isinstance(item.get(side), int | float) and item[side] > 0 for side in ("width", "height"))
    )


def _named(item: Mapping[str, Any], categories: Mapping[Any, Any]) -> dict[str, Any]:
    category = item.get("category_id")
    known = isinstance(category, int | str) and category in categories
    return {"label": categories[category] if known else {"category_id": category}}


def _box(item: Mapping[str, Any], categories: Mapping[Any, Any]) -> dict[str, Any]:
    """The box as the table has it; what is wrong with it is kept, for the row's error to name it."""
    box = _named(item, categories)
    edges = item.get("bbox")
    if isinstance(edges, list) and len(edges) == 4:
        box |= dict(zip(("x", "y", "width", "height"), edges, strict=True))
    if isinstance(item.get("area"), int | float):
        box["area"] = item["area"]
    if item.get("iscrowd"):
        box["crowd"] = True
    return box


def _outline(item: dict[str, Any], categories: Mapping[Any, Any]) -> str:
    """The outline as the table has it, as text; what is wrong with it is kept as well."""
    named = _named(item, categories) | ({"crowd": True} if item.get("iscrowd") else {})
    return f'{json.dumps(named, ensure_ascii=False)[:-1]}, "{OUTLINE}": {item.pop(OUTLINE, "null")}}}'


def _together(item: Mapping[str, Any], outlines: list[str]) -> str:
    """A picture's size and outlines as the table has them."""
    size = json.dumps({side: item[side] for side in ("width", "height")})
    return f'{size[:-1]}, "outlines": [{", ".join(outlines)}]}}'


def _folder(root: Path, file: Path, part: str, names: list[str]) -> Path:
    """The folder that the pictures' names start from: the first in which one of them is found."""
    if file.name == INSIDE:
        return file.parent
    own = re.sub("^instances_?", "", file.stem)
    called = [own, *(name for name, meant in SPLITS.items() if meant == part and part)]
    candidates = [root / "images" / name for name in called if name] + [root / name for name in called if name]
    candidates += [root / "images", root, file.parent]
    for folder in candidates:
        if any((place := _inside(folder, name)) and place.is_file() for name in names[:_TRIED]):
            return folder
    shown = ", ".join(names[:3])
    raise InputError(
        f"The pictures of {file.name} ({shown}) are in none of its usual folders.",
        where=str(root),
        fix=f"Put them into {root / (part or 'images')}/.",
    )


def _inside(folder: Path, name: str) -> Path | None:
    """The file, if its name does not lead out of the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    unsafe = path.is_absolute() or ".." in path.parts or "\0" in name or len(name) > 1000
    return None if unsafe else folder / path
