"""Encoded examples: decoded once into memory-mapped arrays, one per field, keyed by data and encoders.

An epoch then is an index permutation and a vectorised gather. Arrays that are small are held in memory.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError
from lamina.files import write_text

IN_MEMORY = 96 * 2**20
"""Arrays below so many bytes are read into memory once."""
RELEASE = 64 * 2**20
"""After so many bytes gathered from mapped files their pages are given back: resident memory stays flat."""
VERSION = 1


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


@dataclass(frozen=True)
class Examples:
    """All rows of a table, encoded.

    Attributes:
        arrays: by field or target name, [row, ...].
        errors: row to "field: reason", for rows that could not be encoded.
        rows: how many.
    """

    arrays: Mapping[str, np.ndarray[Any, Any]]
    rows: int
    errors: Mapping[int, str] = field(default_factory=dict)
    gathered: list[int] = field(default_factory=lambda: [0], repr=False, compare=False)
    """Bytes gathered from mapped files since their pages were last given back."""

    def take(self, names: Sequence[str], rows: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        """The named arrays at `rows`: [len(rows), ...] each, in memory."""
        found = {name: np.ascontiguousarray(self.arrays[name][rows]) for name in names}
        self.gathered[0] += sum(found[name].nbytes for name in names if isinstance(self.arrays[name], np.memmap))
        if self.gathered[0] > RELEASE:
            self._release()
        return found

    def _release(self) -> None:
        """Give mapped pages back to the kernel, whose page cache keeps them for the next use."""
        self.gathered[0] = 0
        for array in self.arrays.values():
            mapped = getattr(array, "_mmap", None)
            if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)


def stream(
    table: Rows, item: Field, rows: np.ndarray[Any, Any] | None = None, size: int = 4096
) -> Callable[[], Iterator[Values]]:
    """A function that streams one field's raw values at `rows`, as encoders are fitted on."""

    def values() -> Iterator[Values]:
        for _, chunk in table.chunks(rows, list(item.columns), size):
            yield item.values(chunk)

    return values


def encode(
    table: Rows,
    parts: Mapping[str, tuple[Field, Encodes]],
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Examples:
    """Encode every row of `table`, or open what an earlier run with the same data and encoders encoded.

    Args:
        parts: name to (field, encoder or task).
        folder: where encoded data sets are kept; each has a folder of its own there.
        progress: told (rows done, rows in all).

    Raises:
        InputError: the disk is full.
    """
    key = _key(table, parts)
    place = folder / key
    if not (place / "complete.json").exists():
        beside = folder / f".{key}.{os.getpid()}.part"
        shutil.rmtree(beside, ignore_errors=True)
        try:
            beside.mkdir(parents=True)
            _encode_into(beside, table, parts, progress)
        except OSError as error:
            raise InputError(
                f"Cannot keep the encoded examples: {error.strerror or error}.",
                where=str(folder),
                fix="Free disk space, or point LAMINA_CACHE to a folder on another disk.",
            ) from error
        finally:
            if (beside / "complete.json").exists():
                shutil.rmtree(place, ignore_errors=True)
                beside.replace(place)
            shutil.rmtree(beside, ignore_errors=True)
    return _open(place, len(table))


def _key(table: Rows, parts: Mapping[str, tuple[Field, Encodes]]) -> str:
    document = {
        "version": VERSION,
        "data": table.fingerprint,
        "parts": {name: [list(item.columns), part.state()] for name, (item, part) in parts.items()},
    }
    return hashlib.blake2b(json.dumps(document, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def _encode_into(
    folder: Path,
    table: Rows,
    parts: Mapping[str, tuple[Field, Encodes]],
    progress: Callable[[int, int], None],
) -> None:
    """Write one .npy a part, appended chunk by chunk so that memory stays flat, and complete.json last."""
    total, done = len(table), 0
    columns = list(dict.fromkeys(column for item, _ in parts.values() for column in item.columns))
    files = {name: (folder / f"{number}.npy") for number, name in enumerate(parts)}
    maps: dict[str, np.ndarray[Any, Any]] = {}
    errors: dict[int, str] = {}
    written = 0
    for rows, chunk in table.chunks(None, columns, 1024):
        for name, (item, part) in parts.items():
            encoded = part.encode(item.values(chunk), table.root)
            if name not in maps:
                shape = (total, *encoded.array.shape[1:])
                maps[name] = np.lib.format.open_memmap(files[name], "w+", encoded.array.dtype, shape)
                _reserve(files[name])
            maps[name][rows[0] : rows[-1] + 1] = encoded.array
            for position, reason in encoded.errors.items():
                errors.setdefault(int(rows[position]), f"{name}: {reason}")
        done += len(rows)
        progress(done, total)
        if written > RELEASE:
            _write_back(maps)
            written = 0
    for array in maps.values():
        array.flush()  # type: ignore[attr-defined]
    description = {
        "version": VERSION,
        "files": {name: file.name for name, file in files.items()},
        "errors": {str(row): reason for row, reason in errors.items()},
        "created": time.time(),
    }
    write_text(folder / "complete.json", json.dumps(description))


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


def _write_back(maps: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Flush what was written and give its pages back."""
    for array in maps.values():
        mapped = getattr(array, "_mmap", None)
        if mapped is not None:
            mapped.flush()
            if hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)


def _open(place: Path, rows: int) -> Examples:
    description = json.loads((place / "complete.json").read_text())
    os.utime(place / "complete.json")
    arrays = {}
    for name, file in description["files"].items():
        array = np.load(place / file, mmap_mode="r", allow_pickle=False)
        arrays[name] = np.array(array) if array.nbytes <= IN_MEMORY else array
    return Examples(arrays, rows, {int(row): reason for row, reason in description["errors"].items()})


def cache_folder() -> Path:
    """Where converted and encoded data are kept: LAMINA_CACHE, or the user's cache folder."""
    chosen = os.environ.get("LAMINA_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lamina"


def trim_cache(folder: Path, most: int = 20 * 2**30) -> None:
    """Remove the data sets not used for longest until the cache holds at most `most` bytes."""
    entries = []
    for marker in folder.glob("*/complete.json"):
        size = sum(file.stat().st_size for file in marker.parent.iterdir())
        entries.append((marker.stat().st_mtime, size, marker.parent))
    total = sum(size for _, size, _ in entries)
    for _, size, place in sorted(entries):
        if total <= most:
            return
        shutil.rmtree(place, ignore_errors=True)
        total -= size
