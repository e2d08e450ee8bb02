"""Answers that are pictures, written as PNG files beside the table of the other answers."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from lamina.errors import InputError, MissingDependencyError
from lamina.files import write_bytes
from lamina.model.answers import PATH

Array = np.ndarray[Any, Any]
TABLE = "answers.csv"


def places(out: str | os.PathLike[str]) -> tuple[Path, Path]:
    """(the table's file, the folder for pictures): a folder holds both; the pictures of `x.csv` go to the folder `x`.

    Raises:
        InputError: it is standard output, or the folder cannot be made.
    """
    if str(out) == "-":
        raise InputError(
            "The answers are pictures, which cannot be written to the screen.",
            where="--out",
            fix="Name a folder, e.g. --out answers/",
        )
    path = Path(out)
    table, folder = (path, path.with_suffix("")) if path.suffix and not path.is_dir() else (path / TABLE, path)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Cannot make the folder {folder} for the pictures: {error.strerror}.",
            where="--out",
            fix="Make the folder above it first, or choose another --out.",
        ) from error
    return table, folder


def check_apart(folder: Path, data: Any) -> None:
    """Refuse to write pictures among those that are read: they could have the same names.

    Raises:
        InputError: `folder` is the data.
    """
    if isinstance(data, str | os.PathLike) and Path(data).is_dir() and Path(data).samefile(folder):
        raise InputError(
            f"The pictures would be written into {data}, which they are read from.",
            where="--out",
            fix="Choose another --out.",
        )


@dataclass(frozen=True)
class Album:
    """A folder that pictures are written to, with names that are not taken."""

    folder: Path
    beside: Path
    taken: set[str] = field(default_factory=set)

    def kept(self, row: Mapping[str, Any], number: int) -> dict[str, Any]:
        """The row with every picture in it written, and its path, from the table's folder, in its place."""
        return {
            name: self._written(name, value, row.get(PATH), number) if isinstance(value, np.ndarray) else value
            for name, value in row.items()
        }

    def _written(self, column: str, picture: Array, source: Any, number: int) -> str:
        stem = PurePath(source).stem if isinstance(source, str) else f"{number:06d}"
        name = stem if stem not in self.taken else f"{stem}-{number:06d}"
        name = name if name not in self.taken else f"{name}-{''.join(filter(str.isalnum, column))}"
        self.taken.add(name)
        path = self.folder / f"{name}.png"
        write_bytes(path, png(picture))
        return path.relative_to(self.beside).as_posix()


def png(picture: Array) -> bytes:
    """uint8 or uint16 [height, width], or uint8 [height, width, 3], as a PNG file."""
    try:
        from PIL import Image
    except ImportError:
        raise MissingDependencyError("pillow", "Writing pictures", "images") from None
    buffer = io.BytesIO()
    flat = picture[:, :, 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    Image.fromarray(flat).save(buffer, "PNG")
    return buffer.getvalue()
