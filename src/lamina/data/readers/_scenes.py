"""What readers of boxes and outlines have in common: what they find, and where pictures and parts are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lamina.data.readers.folder import SPLITS
from lamina.data.readers.locate import IMAGES


@dataclass(frozen=True)
class Scene:
    """One picture: its path relative to the root, size in pixels, boxes (None if nothing says which), and part.

    The part is "" where none is said. Outlines are long: in place of boxes there is what the table will have, as text.
    """

    path: str
    width: float
    height: float
    boxes: Sequence[Mapping[str, Any]] | str | None
    split: str = ""


@dataclass
class Found:
    """What a reader of labels found: pictures, (place, reason) of what could not be read, and what to tell the user."""

    scenes: list[Scene] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def part_of(path: Path) -> str:
    """The part that a path's folders name ("train", "validation", "test"), or ""."""
    named = [SPLITS[word.lower()] for word in path.parts if word.lower() in SPLITS]
    return named[-1] if named else ""


def pictures_in(folder: Path) -> dict[str, Path]:
    """Stem to path of the pictures that lie directly in a folder, in the order of their names."""
    if not folder.is_dir():
        return {}
    found = sorted(item for item in folder.iterdir() if item.suffix.lower() in IMAGES)
    return {item.stem: item for item in found}


def size_of(path: Path) -> tuple[float, float] | str:
    """(width, height) of a picture in pixels, upright, or why it cannot be read."""
    from lamina.modalities._files import Unreadable
    from lamina.modalities.image import header

    try:
        found = header(str(path))
    except Unreadable as error:
        return str(error)
    return float(found.width), float(found.height)


def relative(path: Path, root: Path) -> str:
    """As the table has it: from the root, with forward slashes."""
    return path.relative_to(root).as_posix()
