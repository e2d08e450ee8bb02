"""Folders of pictures beside folders of what belongs to each: `images/a.png` and `masks/a.png`, or `noisy/a.png` and
`clean/a.png`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lamina.data.readers.locate import leads_nowhere

PICTURES = ("images", "imgs", "pictures", "photos")
OTHERS = {"masks": "mask", "mask": "mask", "segmentations": "mask"}
"""Names of the second folder, and what the column is then called."""
RESTORED = "restored"
"""What the column of better pictures is called."""
BETTER = {
    "noisy": "clean", "worse": "better", "input": "target", "inputs": "targets", "low": "high", "lr": "hr", "lq": "hq",
    "blurry": "sharp", "blurred": "sharp", "blur": "sharp", "degraded": "original",
}  # fmt: skip
"""Names of a folder of worse pictures, and of the one with the better ones."""
PAIRED = 0.9
"""So large a share of the worse pictures must have a better one of the same name: such folders may be classes, too."""


@dataclass(frozen=True)
class Pair:
    """A picture, and the file of the same name in the other folder; None where there is none.

    Attributes:
        path, other: relative to the root, with forward slashes.
        kind: the column of `other`.
        split: "train", "validation", "test" or "".
    """

    path: str
    other: str | None
    kind: str
    split: str


Folders = Mapping[str, Callable[[], Sequence["os.DirEntry[str]"]]]
"""By name, what gives the entries of a folder: only those are read that may hold pairs."""


def rows_of(folders: Folders, splits: Mapping[str, str]) -> list[Pair]:
    """Pairs in `images/` and `masks/` or in `noisy/` and `clean/` (BETTER), or in those of `train/` and `test/`; none
    where the folders are not such.

    Args:
        folders: those under the root.
        splits: the part that a folder's name stands for.
    """
    found = _pairs("", folders, "")
    if found or not folders:
        return found
    named = {name: splits[name.lower()] for name in folders if name.lower() in splits}
    order = ("train", "validation", "test")
    for name, split in sorted(named.items(), key=lambda item: order.index(item[1])):
        inside = {item.name: partial(_files, item.path) for item in folders[name]() if item.is_dir()}
        found += _pairs(f"{name}/", inside, split)
    return found


def _files(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as items:
        return [item for item in items if not item.name.startswith(".") and not leads_nowhere(item)]


def _pairs(prefix: str, folders: Folders, split: str) -> list[Pair]:
    lower = {name.lower(): name for name in folders}
    pictures = next((lower[name] for name in PICTURES if name in lower), None)
    others = next((lower[name] for name in OTHERS if name in lower), None)
    if pictures is not None and others is not None:
        return _beside(prefix, folders, (pictures, others), OTHERS[others.lower()], split)
    for worse, better in BETTER.items():
        if worse in lower and better in lower:
            found = _beside(prefix, folders, (lower[worse], lower[better]), RESTORED, split)
            if found and sum(pair.other is not None for pair in found) >= PAIRED * len(found):
                return found
    return []


def _beside(prefix: str, folders: Folders, names: tuple[str, str], kind: str, split: str) -> list[Pair]:
    """Every picture in the first of the two folders, with what is in the second for it."""
    pictures, others = names
    # Masks are often stored in another format than their pictures.
    known = {Path(item.name).stem: f"{prefix}{others}/{item.name}" for item in folders[others]() if item.is_file()}
    found = sorted(item.name for item in folders[pictures]() if item.is_file())
    return [Pair(f"{prefix}{pictures}/{name}", known.get(Path(name).stem), kind, split) for name in found]
