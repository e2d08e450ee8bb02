"""Files are written beside, synced and renamed: a killed process leaves the old file or the new one, never half."""

from __future__ import annotations

import os
from pathlib import Path

from lamina.errors import InputError


class CannotWriteError(InputError):
    """A file cannot be written: the disk is full, or the folder may not be written to."""


def write_text(path: Path, text: str) -> None:
    """Write beside, sync, rename: never a half file."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write beside, sync, rename: never a half file.

    Raises:
        CannotWriteError: the disk is full or the folder cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise CannotWriteError(
            f"Cannot write {path.name}: {error.strerror}.",
            where=str(path.parent),
            fix="Free disk space, or write to another disk with --out and LAMINA_CACHE.",
        ) from error
