"""Pascal VOC's form: an XML file for each picture (Everingham et al. 2010).

Read are `Annotations/*.xml` with pictures in `JPEGImages/` or `images/`, and XML files beside their pictures; the parts
by `ImageSets/Main/train.txt` and so on, or by folders train/, valid/ and test/. Pixels are counted from 1 in this form.
Masks are in `SegmentationClass/`, under the names of their pictures; the parts by `ImageSets/Segmentation/train.txt`.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any
from xml.parsers import expat

from lamina.data.readers._scenes import Found, Scene, part_of, pictures_in, relative, size_of
from lamina.data.readers.folder import SPLITS
from lamina.data.readers.locate import readable

FORM = "Pascal VOC"
LABELS = ("Annotations", "annotations", "labels")
PICTURES = ("JPEGImages", "images", "Images", "img")
MASKS = "SegmentationClass"
LARGEST = 16 << 20
"""Bytes of one XML file."""
DEEPEST = 30


class Refused(Exception):
    """An XML file that is not read, with the reason."""


def read(root: Path) -> Found | None:
    """Every picture with an XML file; None if there are none."""
    tops = [root, *(item for item in sorted(root.iterdir()) if item.is_dir() and item.name.lower() in SPLITS)]
    folders = [folder for top in tops for folder in (top, *(top / name for name in LABELS))]
    files = [file for folder in _distinct(folders) for file in sorted(folder.glob("*.xml"))]
    if not files:
        return None
    found, parts = Found(), _image_sets(root, "Main")
    known: dict[Path, dict[str, Path]] = {}
    used: set[Path] = set()
    # What was labelled for something else, as for the outlines of VOC 2012, is in the folder, but in no list.
    listed = any(file.stem in parts for file in files)
    outside = 0
    for file in files:
        picture = _picture(file, known)
        if picture is None:
            found.unreadable.append((relative(file, root), "there is no picture of that name beside it"))
            continue
        used.add(picture)
        if listed and file.stem not in parts:
            outside += 1
            continue
        part = parts.get(file.stem, "") if parts else part_of(file.parent.relative_to(root))
        try:
            found.scenes.append(_scene(file, picture, root, part))
        except Refused as error:
            found.unreadable.append((relative(file, root), str(error)))
    if outside:
        found.notes.append(f"{outside:,} labelled pictures are in no list in ImageSets/Main/: they were left out.")
    without = {picture for pictures in known.values() for picture in pictures.values()} - used
    if without:
        found.notes.append(f"{len(without):,} pictures have no XML file: they were left out.")
    return found


def masks(root: Path) -> Found | None:
    """Every picture with a mask, whose path stands in place of boxes; None if there are none.

    A picture in one of the lists without a mask is listed as unreadable; of those in no list there are usually many.
    """
    known = pictures_in(root / MASKS)
    if not known:
        return None
    pictures = next(filter(None, (pictures_in(root / name) for name in PICTURES)), {})
    if not pictures:
        return None
    found, parts = Found(), _image_sets(root, "Segmentation")
    listed = any(stem in parts for stem in pictures)
    outside = 0
    for stem, picture in pictures.items():
        if stem in known and (stem in parts or not listed):
            mask = relative(known[stem], root)
            found.scenes.append(Scene(relative(picture, root), 0.0, 0.0, mask, parts.get(stem, "")))
        elif listed and stem in parts:
            found.unreadable.append((relative(picture, root), f"there is no mask of that name in {MASKS}/"))
        else:
            outside += 1
    if outside:
        why = "are in no list in ImageSets/Segmentation/" if listed else f"have no mask in {MASKS}/"
        found.notes.append(f"{outside:,} pictures {why}: they were left out.")
    return found


def _distinct(folders: list[Path]) -> list[Path]:
    """Each folder once, also where the file system does not tell capital letters."""
    seen: dict[tuple[int, int], Path] = {}
    for folder in folders:
        if folder.is_dir():
            status = folder.stat()
            seen.setdefault((status.st_dev, status.st_ino), folder)
    return list(seen.values())


def _image_sets(root: Path, kind: str) -> dict[str, str]:
    """Picture's stem to part, from the lists of names in `ImageSets/KIND/`; empty where there are none."""
    parts: dict[str, str] = {}
    for name, part in SPLITS.items():
        file = root / "ImageSets" / kind / f"{name}.txt"
        if file.is_file():
            with readable(file):
                words = (line.split() for line in file.read_text(errors="replace").splitlines())
                parts.update({line[0]: part for line in words if line})
    return parts


def _picture(file: Path, known: dict[Path, dict[str, Path]]) -> Path | None:
    """The picture of an XML file: of the same name, beside it or in a folder of pictures."""
    for folder in (file.parent, *(file.parent.parent / name for name in PICTURES)):
        if folder not in known:
            known[folder] = pictures_in(folder)
        if file.stem in known[folder]:
            return known[folder][file.stem]
    return None


def _scene(file: Path, picture: Path, root: Path, part: str) -> Scene:
    tree = parse(file.read_bytes())
    size = (_whole(tree.findtext("size/width")), _whole(tree.findtext("size/height")))
    if size[0] is None or size[1] is None or min(size[0], size[1]) <= 0:
        measured = size_of(picture)
        if isinstance(measured, str):
            raise Refused(f"its picture {picture.name}: {measured}")
        size = measured
    boxes = [_box(item) for item in tree.iter("object")]
    return Scene(relative(picture, root), float(size[0] or 0), float(size[1] or 0), boxes, part)


def _box(item: ElementTree.Element) -> dict[str, Any]:
    """The box as the table has it; what is missing or no number is kept as it is, for the row's error to name it."""
    left, top, right, bottom = (_whole(item.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
    box: dict[str, Any] = {"label": (item.findtext("name") or "").strip()}
    if left is not None and right is not None:
        box |= {"x": left - 1, "width": right - left + 1}
    if top is not None and bottom is not None:
        box |= {"y": top - 1, "height": bottom - top + 1}
    if (item.findtext("difficult") or "").strip() == "1":
        box["crowd"] = True
    return box


def _whole(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def parse(content: bytes) -> ElementTree.Element:
    """The root element of an XML document without declarations of its own.

    A document type is refused before anything of it is expanded: entities that grow without end, or that name files
    and addresses, all need one, and labels never do.

    Raises:
        Refused: a document type, too many bytes, elements nested too deeply, or no well-formed XML.
    """
    if len(content) > LARGEST:
        raise Refused(f"{len(content):,} bytes are over the limit of {LARGEST:,}")
    depth = 0

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise Refused(f"its elements are nested more than {DEEPEST} deep")

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*declared: Any) -> None:
        raise Refused("it has a document type or entities of its own, which are not read")

    checker = expat.ParserCreate()
    checker.StartElementHandler, checker.EndElementHandler = begin, end
    checker.StartDoctypeDeclHandler = checker.EntityDeclHandler = refuse
    try:
        checker.Parse(content, True)
        return ElementTree.fromstring(content)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise Refused(f"it is no well-formed XML: {error}") from None
