"""COCO's form: a JSON file for each part with images, annotations and categories (Lin et al. 2014).

Read are `annotations/*.json` beside folders of pictures (train/, images/train2017/, images/, ...), and
`_annotations.coco.json` inside the folder of each part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from lamina.data.readers._scenes import Found, Scene, part_of, relative
from lamina.data.readers.folder import SPLITS
from lamina.data.readers.locate import readable
from lamina.errors import InputError

INSIDE = "_annotations.coco.json"
_TRIED = 20


def read(root: Path) -> Found | None:
    """Every part's pictures with boxes; None if there are no such files.

    Raises:
        InputError: a file that is no JSON or not of this form, two images of one id, two files of one part, or pictures
            that are missing altogether.
    """
    found = Found()
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
        _read(root, file, part, found)
    return found


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


def _read(root: Path, file: Path, part: str, found: Found) -> None:
    document = _document(file)
    where = relative(file, root)
    categories = {
        item["id"]: item["name"]
        for item in document["categories"]
        if isinstance(item, Mapping) and {"id", "name"} <= set(item) and isinstance(item["id"], int | str)
    }
    boxes: dict[Any, list[Mapping[str, Any]]] = {}
    pictures: list[Mapping[str, Any]] = []
    for number, item in enumerate(document["images"]):
        if _is_picture(item):
            if item["id"] in boxes:
                raise InputError(
                    f"Two images of {file.name} have the id {item['id']!r}: whose the boxes are cannot be told.",
                    where=f"{where}, image {number + 1}",
                    fix="Give every image an id of its own; files put together must be numbered anew.",
                )
            pictures.append(item)
            boxes[item["id"]] = []
        else:
            found.unreadable.append((f"{where}, image {number + 1}", "it has no id, file_name, width and height"))
    for number, item in enumerate(document["annotations"]):
        owner = item.get("image_id") if isinstance(item, Mapping) else None
        if not isinstance(owner, int | str) or owner not in boxes:
            found.unreadable.append(
                (f"{where}, annotation {number + 1}", f"image_id {owner!r} is no image of the file")
            )
        else:
            boxes[owner].append(_box(item, categories))
    folder = _folder(root, file, part, [item["file_name"] for item in pictures])
    for item in pictures:
        place = _inside(folder, item["file_name"])
        if place is None or not place.is_file():
            reason = "there is no such picture" if place else "its name leads out of the folder"
            found.unreadable.append((f"{where}, image {item['file_name']!r}", reason))
        else:
            scene = Scene(relative(place, root), item["width"], item["height"], boxes[item["id"]], part)
            found.scenes.append(scene)


def _document(file: Path) -> dict[str, Any]:
    with readable(file):
        try:
            document = json.loads(file.read_bytes())
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


def _box(item: Mapping[str, Any], categories: Mapping[Any, Any]) -> dict[str, Any]:
    """The box as the table has it; what is wrong with it is kept, for the row's error to name it."""
    category = item.get("category_id")
    known = isinstance(category, int | str) and category in categories
    box: dict[str, Any] = {"label": categories[category] if known else {"category_id": category}}
    edges = item.get("bbox")
    if isinstance(edges, list) and len(edges) == 4:
        box |= dict(zip(("x", "y", "width", "height"), edges, strict=True))
    if isinstance(item.get("area"), int | float):
        box["area"] = item["area"]
    if item.get("iscrowd"):
        box["crowd"] = True
    return box


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
