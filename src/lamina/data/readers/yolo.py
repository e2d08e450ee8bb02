"""YOLO's form: a text file of lines "class x y width height" for each picture, all but the class as shares of it.

Read are `images/` and `labels/` side by side, with or without a folder for each part above or below them; x and y are
the middle of the box. A line with more numbers is an outline "class x y x y x y ...", whose box is taken, or where
outlines are asked for the outline itself. The classes' names are in `data.yaml` or `classes.txt`. A picture without a
file of labels holds nothing; where no picture of a part has one, nobody knows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lamina.data.readers._scenes import Found, Scene, part_of, size_of
from lamina.data.readers.folder import walk
from lamina.data.readers.locate import IMAGES, readable
from lamina.errors import InputError

PICTURES, LABELS = "images", "labels"
NAMES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "labels/classes.txt", "obj.names")
_NOT_LABELS = frozenset({"classes.txt", "train.txt", "val.txt", "test.txt"})


def read(root: Path, *, outlines: bool = False) -> Found | None:
    """Every picture below a folder `images`, with its boxes, or its outlines; None if no folder `labels` beside one
    holds text files.

    Raises:
        InputError: the classes' names are nowhere, no training picture has a file of labels, or none of all lines is an
            outline where these are asked for.
    """
    if not any(True for pattern in ("labels/*.txt", "labels/*/*.txt", "*/labels/*.txt") for _ in root.glob(pattern)):
        return None
    files = {file.path: file for file in walk(root)}
    pictures = [path for path in files if PICTURES in Path(path).parts and Path(path).suffix.lower() in IMAGES]
    if not pictures:
        return None
    names, found, used = _names(root), Found(), set[str]()
    empty, unknown = 0, _without_labels(root, pictures, files)
    given = outlined = 0
    for path in pictures:
        size = size_of(root / path)
        if isinstance(size, str):
            found.unreadable.append((path, size))
            continue
        labels = _labels_of(path)
        used.add(labels)
        part = part_of(Path(path))
        if part in unknown:
            found.scenes.append(Scene(path, *size, None, part))
            continue
        empty += labels not in files
        lines = _lines_of(root / labels) if labels in files else []
        given, outlined = given + len(lines), outlined + sum(_is_outline(line) for line in lines)
        found.scenes.append(Scene(path, *size, (_outlines if outlines else _boxes)(lines, names, size), part))
    for path in files:
        of_labels = LABELS in Path(path).parts and path.endswith(".txt") and Path(path).name not in _NOT_LABELS
        if of_labels and path not in used:
            found.unreadable.append((path, "there is no picture of that name in images/"))
    if outlines and given and not outlined:
        raise InputError(
            f"None of the {given:,} lines of labels of {root.name} is an outline: they are boxes.",
            where=str(root),
            fix="Learn boxes with --task detect, or write the labels again as outlines: class x y x y x y ...",
        )
    if outlined and not outlines:
        found.notes.append(f"Boxes are learned from. There are {outlined:,} outlines as well: --task segment")
    found.notes += [
        f"No picture of the {part} part has a file of labels: nothing is learned from its {number:,} pictures, nor "
        "scored on them. If they do hold nothing, give each an empty file."
        for part, number in unknown.items()
    ]
    if empty:
        found.notes.append(f"{empty:,} pictures have no file of labels: they are taken for pictures without boxes.")
    return found


def _without_labels(root: Path, pictures: Iterable[str], files: Container[str]) -> dict[str, int]:
    """How many pictures the parts have of which none has a file of labels.

    Raises:
        InputError: one of them is the training part.
    """
    parts: dict[str, list[str]] = {}
    for path in pictures:
        parts.setdefault(part_of(Path(path)), []).append(path)
    unknown = {part: own for part, own in parts.items() if not any(_labels_of(path) in files for path in own)}
    for part in {"train", ""} & set(unknown):
        one = unknown[part][0]
        raise InputError(
            f"None of the {len(unknown[part]):,} pictures {'to train with ' if part else ''}has a file of labels.",
            where=str(root),
            fix=f"The labels of {one} belong into {_labels_of(one)}. If no picture holds anything, give each an empty "
            "file.",
        )
    return {part: len(own) for part, own in unknown.items()}


def _labels_of(path: str) -> str:
    """images/train/1.jpg to labels/train/1.txt."""
    parts = list(Path(path).with_suffix(".txt").parts)
    place = len(parts) - 1 - parts[::-1].index(PICTURES)
    parts[place] = LABELS
    return "/".join(parts)


def _lines_of(file: Path) -> list[list[str]]:
    """The words of each line that has any."""
    with readable(file):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return [words for line in lines if (words := line.split())]


def _is_outline(words: Sequence[str]) -> bool:
    """Has a line as many numbers as three corners or more? One number after a box is how sure somebody was."""
    return len(words) >= 7 and len(words) % 2 == 1


def _boxes(lines: Iterable[list[str]], names: Mapping[int, str], size: tuple[float, float]) -> list[Mapping[str, Any]]:
    """The boxes as the table has them; a line that makes no sense is kept, for the row's error to name it."""
    return [_box(words, names, size) for words in lines]


def _outlines(lines: Iterable[list[str]], names: Mapping[int, str], size: tuple[float, float]) -> str:
    """A picture's size and outlines as the table has them; a line that is none is kept, for the row's error."""
    things = [_outline(words, names, size) for words in lines]
    return json.dumps({"width": size[0], "height": size[1], "outlines": things}, ensure_ascii=False)


def _outline(words: list[str], names: Mapping[int, str], size: tuple[float, float]) -> dict[str, Any]:
    numbers = _numbers(words) if _is_outline(words) else None
    corners = None if numbers is None else [number * size[place % 2] for place, number in enumerate(numbers)]
    return {"label": _label(words, names), "segmentation": None if corners is None else [corners]}


def _box(words: list[str], names: Mapping[int, str], size: tuple[float, float]) -> dict[str, Any]:
    numbers = _numbers(words)
    if numbers is None or not (_is_outline(words) or len(numbers) in (4, 5)):
        return {"line": " ".join(words)[:80]}
    if _is_outline(words):
        left, right = min(numbers[0::2]), max(numbers[0::2])
        top, bottom = min(numbers[1::2]), max(numbers[1::2])
    else:
        x, y, wide, high = numbers[:4]
        left, right, top, bottom = x - wide / 2, x + wide / 2, y - high / 2, y + high / 2
    return {
        "label": _label(words, names), "x": _pixels(left, size[0]), "y": _pixels(top, size[1]),
        "width": _pixels(right - left, size[0]), "height": _pixels(bottom - top, size[1]),
    }  # fmt: skip


def _numbers(words: Sequence[str]) -> list[float] | None:
    """All after the class; None where one is none."""
    try:
        numbers = [float(word) for word in words[1:]]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _label(words: Sequence[str], names: Mapping[int, str]) -> Any:
    code = int(words[0]) if words[0].isascii() and words[0].isdigit() and len(words[0]) < 7 else -1
    return names.get(code, {"class": words[0][:40]})


def _pixels(share: float, side: float) -> float:
    """A share as pixels; what the six digits of such files cannot tell from a whole pixel is one."""
    number = share * side
    return float(round(number)) if abs(number - round(number)) < 2e-6 * side + 1e-6 else number


def _names(root: Path) -> dict[int, str]:
    for name in NAMES:
        file = root / name
        if file.is_file():
            with readable(file):
                text = file.read_text(encoding="utf-8", errors="replace")
            names = named(text) if file.suffix in (".yaml", ".yml") else _lines(text)
            if names:
                return names
    raise InputError(
        f"{root.name} has labels in YOLO's form, but the names of its classes are nowhere.",
        where=str(root),
        fix="Write a data.yaml with names: [cat, dog], or a classes.txt with one name a line.",
    )


def _lines(text: str) -> dict[int, str]:
    return dict(enumerate(line.strip() for line in text.splitlines() if line.strip()))


def named(text: str) -> dict[int, str]:
    """The classes of a data.yaml: `names` as a list in one line, as lines of "- cat", or as lines of "0: cat".

    No other YAML is read: a whole reader of that language does far more than a list of names needs.
    """
    lines = [line.split(" #")[0].rstrip() for line in text.splitlines()]
    for number, line in enumerate(lines):
        if not line.startswith("names:"):
            continue
        rest = line.removeprefix("names:").strip()
        following = number + 1
        while rest.startswith(("[", "{")) and rest[-1] not in "]}" and following < len(lines):
            rest, following = f"{rest} {lines[following].strip()}", following + 1
        if rest.startswith(("[", "{")):
            items = [part.strip() for part in rest.strip("[]{}").split(",") if part.strip()]
            return _entries(items)
        block: list[str] = []
        for item in lines[following:]:
            if item and not item.startswith((" ", "\t", "-")):
                break
            if item.strip():
                block.append(item.strip().removeprefix("- ").strip())
        return _entries(block)
    return {}


def _entries(items: list[str]) -> dict[int, str]:
    """ "cat" by its place, "3: cat" by its number."""
    found: dict[int, str] = {}
    for place, item in enumerate(items):
        code, colon, name = item.partition(":")
        if colon and code.strip().isdigit():
            found[int(code)] = name.strip().strip("'\"")
        else:
            found[place] = item.strip("'\"")
    return found
