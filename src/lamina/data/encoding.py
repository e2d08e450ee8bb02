"""Encoding a table once into arrays on disk, in parts that an interrupted build goes on from."""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lamina.data import origin
from lamina.data.examples import COMPLETE, RELEASE, VERSION, Examples, open_examples
from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError
from lamina.files import write_text

CHUNK = 1024
"""Rows that are encoded together."""
SAVE_SECONDS = 5.0
"""A build that is killed loses about so much of its work."""
PROGRESS = "progress.json"
CODE = ("data", "modalities", "tasks")
LIBRARIES = ("numpy", "pillow", "soundfile", "tokenizers")
"""What decides, besides the data and what encoders learned, which arrays come out. The sealed model encodes with what
is there now, and must meet no arrays of before."""


class Encodes(Protocol):
    """What an encoder or a task offers here: values to an array, with the rows that failed."""

    def encode(self, values: Values, root: Path | None = None) -> Any: ...

    def state(self) -> dict[str, Json]: ...


class Rows(Protocol):
    """What is needed of a table."""

    columns: tuple[str, ...]
    root: Path | None
    fingerprint: str

    def __len__(self) -> int: ...

    def chunks(
        self, rows: np.ndarray[Any, Any] | None = None, columns: Sequence[str] | None = None, size: int = 4096
    ) -> Iterator[tuple[np.ndarray[Any, Any], dict[str, Values]]]: ...


Parts = Mapping[str, tuple[Field, Encodes]]


def stream(
    table: Rows, item: Field, rows: np.ndarray[Any, Any] | None = None, size: int = 4096
) -> Callable[[], Iterator[Values]]:
    """A function that streams one field's raw values at `rows`, as encoders are fitted on."""

    def values() -> Iterator[Values]:
        for _, chunk in table.chunks(rows, list(item.columns), size):
            yield item.values(chunk)

    return values


def encode(
    table: Rows, parts: Parts, folder: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> Examples:
    """Encode every row of `table`, or open what an earlier run with the same data and encoders encoded.

    What a run that was interrupted had encoded is used.

    Args:
        parts: name to (field, encoder or task).
        folder: where encoded data sets are kept; each has a folder of its own there.
        progress: told (rows done, rows in all).

    Raises:
        InputError: the disk is full.
    """
    key = _key(table, parts)
    place = folder / key
    if not (place / COMPLETE).exists():
        try:
            beside = _claimed(folder, key)
            try:
                _Build(beside, table, parts).run(progress)
                _put(beside, place)
            except (OSError, InputError):
                # Only what is interrupted or killed is gone on with: a full disk is to be emptied.
                shutil.rmtree(beside, ignore_errors=True)
                raise
        except OSError as error:
            raise InputError(
                f"Cannot keep the encoded examples: {error.strerror or error}.",
                where=str(folder),
                fix="Free disk space, or point LAMINA_CACHE to a folder on another disk.",
            ) from error
    return open_examples(place, len(table))


def _put(beside: Path, place: Path) -> None:
    """What was built to its place; of two processes that built the same the first one's stays, for it is in use."""
    if not (place / COMPLETE).exists():
        shutil.rmtree(place, ignore_errors=True)
        try:
            beside.replace(place)
        except OSError:
            if not (place / COMPLETE).exists():
                raise
    shutil.rmtree(beside, ignore_errors=True)


def _key(table: Rows, parts: Parts) -> str:
    document = {
        "version": VERSION,
        "code": origin.code(*CODE),
        "libraries": origin.versions(LIBRARIES),
        "data": table.fingerprint,
        "parts": {name: [list(item.columns), part.state()] for name, (item, part) in parts.items()},
    }
    return hashlib.blake2b(json.dumps(document, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def _claimed(folder: Path, key: str) -> Path:
    """A folder to build in: what a process of this machine left that is no more, renamed so that no other takes it, or
    a new one.
    """
    host = hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()
    own = folder / f".{key}.{host}.{os.getpid()}.part"
    for left in folder.glob(f".{key}.{host}.*.part"):
        if left == own:
            break
        if _alive(int(left.name.split(".")[-2])):
            continue
        try:
            left.replace(own)
            break
        except OSError:
            continue
    own.mkdir(parents=True, exist_ok=True)
    return own


def _alive(process: int) -> bool:
    """Where that cannot be asked: yes."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


class _Build:
    """One .npy for each part, written chunk by chunk so that memory stays flat; the description is written last.

    Attributes:
        done: rows that are written for good.
        errors: row to "field: reason", of these rows.
    """

    def __init__(self, folder: Path, table: Rows, parts: Parts) -> None:
        self.folder, self.table, self.parts = folder, table, parts
        self.files = {name: folder / f"{number}.npy" for number, name in enumerate(parts)}
        self.maps: dict[str, np.ndarray[Any, Any]] = {}
        self.done, self.errors = 0, dict[int, str]()
        try:
            found = json.loads((folder / PROGRESS).read_text())
            self.maps = {name: np.lib.format.open_memmap(file, "r+") for name, file in self.files.items()}
            if any(len(array) != len(table) for array in self.maps.values()):
                raise ValueError("another table's")
            self.errors = {int(row): str(reason) for row, reason in found["errors"].items()}
            self.done = int(found["rows"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # There is nothing to go on from, or it is damaged.
            self.maps, self.errors = {}, {}

    def run(self, progress: Callable[[int, int], None]) -> None:
        """Encode all rows that are not yet done."""
        total, done = len(self.table), self.done
        columns = list(dict.fromkeys(column for item, _ in self.parts.values() for column in item.columns))
        written, saved = 0, time.monotonic()
        for rows, chunk in self.table.chunks(np.arange(done, total) if done else None, columns, CHUNK):
            for name, (item, part) in self.parts.items():
                encoded = part.encode(item.values(chunk), self.table.root)
                if name not in self.maps:
                    self.maps[name] = self._new(name, encoded.array)
                self.maps[name][rows[0] : rows[-1] + 1] = encoded.array
                written += encoded.array.nbytes
                for position, reason in encoded.errors.items():
                    self.errors.setdefault(int(rows[position]), f"{name}: {reason}")
            done += len(rows)
            if written > RELEASE or time.monotonic() - saved > SAVE_SECONDS:
                self._save(done)
                written, saved = 0, time.monotonic()
            progress(done, total)
        self._save(done)
        description = {
            "version": VERSION,
            "files": {name: file.name for name, file in self.files.items()},
            "errors": {str(row): reason for row, reason in self.errors.items()},
            "created": time.time(),
        }
        write_text(self.folder / COMPLETE, json.dumps(description))
        (self.folder / PROGRESS).unlink()

    def _new(self, name: str, like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        shape = (len(self.table), *like.shape[1:])
        array: np.ndarray[Any, Any] = np.lib.format.open_memmap(self.files[name], "w+", like.dtype, shape)
        _reserve(self.files[name])
        return array

    def _save(self, done: int) -> None:
        """Have all on disk, then say so; give the written pages back."""
        for array in self.maps.values():
            mapped = getattr(array, "_mmap", None)
            if mapped is not None:
                mapped.flush()
                if hasattr(mmap, "MADV_DONTNEED"):
                    mapped.madvise(mmap.MADV_DONTNEED)
        errors = {str(row): reason for row, reason in self.errors.items()}
        write_text(self.folder / PROGRESS, json.dumps({"rows": done, "errors": errors}))
        self.done = done


def _reserve(path: Path) -> None:
    """Take the disk space of a sparse file now: a full disk met while writing to mapped memory kills the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            # Some file systems cannot reserve.
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
