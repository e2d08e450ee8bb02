"""Files are written beside, synced and renamed: a killed process leaves the old file or the new one, never half."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lamina.errors import InputError

FIXES = {
    errno.ENOSPC: "Free disk space, or write to another disk with --out and LAMINA_CACHE.",
    errno.EDQUOT: "Free disk space, or write to another disk with --out and LAMINA_CACHE.",
    errno.EROFS: "Write to another disk with --out and LAMINA_CACHE.",
    errno.EACCES: "Give yourself permission, or choose another place with --out and LAMINA_CACHE.",
    errno.EPERM: "Give yourself permission, or choose another place with --out and LAMINA_CACHE.",
    errno.ENOENT: "Make the folder first, or choose another one.",
    errno.ENOTDIR: "There is a file where a folder should be: choose another place.",
    errno.EISDIR: "There is a folder of that name: choose another one.",
}
"""What to do where a file cannot be written, by the operating system's error."""


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
    with replacing(path) as beside:
        beside.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write what is to become the file at `path`: it is synced and renamed at the end.

    Raises:
        CannotWriteError: the disk is full or the folder cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException as error:
        # Nothing half written is left, of Ctrl-C either; where it could not be made, it cannot be removed.
        with suppress(OSError):
            beside.unlink()
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def cannot_write(path: Path, error: OSError) -> CannotWriteError:
    """What to tell of a file that the operating system did not write."""
    return CannotWriteError(
        f"Cannot write {path.name}: {error.strerror}.",
        where=str(path.parent),
        fix=FIXES.get(error.errno or 0, "Write to another disk with --out and LAMINA_CACHE."),
    )
