"""Encoded examples: decoded once into memory-mapped arrays, one per field, keyed by data and encoders.

An epoch then is an index permutation and a vectorised gather. Arrays that are small are held in memory.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.buffers import Buffers
from lamina.errors import InputError

LEFT_ALONE = 7 * 24 * 3600.0
"""Seconds after which nobody goes on with an interrupted build any more."""
IN_MEMORY = 96 * 2**20
"""Arrays below so many bytes are read into memory once."""
BLOCK = 16 * 2**20
"""Bytes of a part of a large array that is computed with at a time."""
RELEASE = 64 * 2**20
"""After so many bytes gathered from mapped files their pages are given back: resident memory stays flat."""
AHEAD = 128 * 2**10
"""Bytes that Linux reads ahead at once, at most; of a larger request it leaves out the rest."""
VERSION = 2
COMPLETE = "complete.json"
"""Stands in the folder of a data set that is encoded to the end; its time is when it was last used."""


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

    def take(
        self,
        names: Sequence[str],
        rows: np.ndarray[Any, Any],
        *,
        widths: Mapping[str, int] | None = None,
        buffers: Buffers | None = None,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """The named arrays at `rows`: [len(rows), ...] each, in memory and without gaps.

        Args:
            widths: how much of the second axis is wanted, by name, where not all of it.
            buffers: memory that large ones are put into.
        """
        widths = widths or {}
        found = {name: _gathered(name, self.arrays[name], rows, widths.get(name), buffers) for name in names}
        self.gathered[0] += sum(found[name].nbytes for name in names if isinstance(self.arrays[name], np.memmap))
        if self.gathered[0] > RELEASE:
            self._release()
        return found

    def bytes_each(self, name: str) -> int:
        """Of an array, what a row takes."""
        array = self.arrays[name]
        return int(array.dtype.itemsize * math.prod(array.shape[1:]))

    def mapped(self, names: Sequence[str], rows: int) -> int:
        """Bytes of so many rows in those of the named arrays that lie on the disk."""
        return rows * sum(self.bytes_each(name) for name in names if isinstance(self.arrays[name], np.memmap))

    def expect(self, names: Sequence[str], rows: np.ndarray[Any, Any]) -> None:
        """Have the system read what is mapped of these rows, in order and in large pieces, while others are used."""
        named = {name: self.arrays[name] for name in names}
        mapped = {name: array for name, array in named.items() if isinstance(array, np.memmap)}
        if not mapped or not len(rows) or not hasattr(mmap, "MADV_WILLNEED"):
            return
        rows = np.unique(rows)
        for name, array in mapped.items():
            each, begins = self.bytes_each(name), array.offset % mmap.ALLOCATIONGRANULARITY
            # What lies between two rows is read too where that takes no longer than finding the second.
            ends = np.flatnonzero(np.diff(rows) * each > AHEAD)
            first = (rows[np.append(0, ends + 1)] * each + begins) // mmap.PAGESIZE * mmap.PAGESIZE
            last = (rows[np.append(ends, len(rows) - 1)] + 1) * each + begins
            for begin, end in zip(first.tolist(), last.tolist(), strict=True):
                for start in range(begin, end, AHEAD):
                    with suppress(OSError):  # What is not read now is read when it is used.
                        array._mmap.madvise(mmap.MADV_WILLNEED, start, min(AHEAD, end - start))  # type: ignore[attr-defined]

    def _release(self) -> None:
        """Give mapped pages back to the kernel, whose page cache keeps them for the next use."""
        self.gathered[0] = 0
        for array in self.arrays.values():
            mapped = getattr(array, "_mmap", None)
            if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)


def _gathered(
    name: str, array: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], width: int | None, buffers: Buffers | None
) -> np.ndarray[Any, Any]:
    """`array` at `rows`, of each the first `width` of its second axis."""
    if width is not None and width < array.shape[1]:
        return np.ascontiguousarray(array[rows, :width])
    plain = np.asarray(array)
    # `take` is quicker than indexing, but would first copy an array that has gaps.
    if not plain.flags.c_contiguous or not np.issubdtype(rows.dtype, np.integer):
        return np.ascontiguousarray(plain[rows])
    room = None if buffers is None else buffers.room(name, (len(rows), *plain.shape[1:]), plain.dtype)
    if room is None or int(rows.min()) < 0 or int(rows.max()) >= len(plain):
        return plain.take(rows, axis=0)
    # Rows that do not exist are an error above; with "raise" NumPy would fill memory of its own first.
    return plain.take(rows, axis=0, out=room, mode="clip")


def open_examples(place: Path, rows: int) -> Examples:
    """What `lamina.data.encoding` wrote into a folder."""
    description = json.loads((place / COMPLETE).read_text())
    os.utime(place / COMPLETE)
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


def room(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """float32 zeros: in memory, or where that would take more than IN_MEMORY bytes in a file without a name.

    Raises:
        InputError: the disk is full.
    """
    if 4 * math.prod(shape) <= IN_MEMORY:
        return np.zeros(shape, np.float32)
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                # A full disk met while writing to mapped memory would kill the process.
                os.posix_fallocate(file.fileno(), 0, 4 * math.prod(shape))
            return np.memmap(file, np.float32, "w+", shape=shape)
    except OSError as error:
        raise InputError(
            f"There is no room for {4 * math.prod(shape) / 1e9:.1f} GB of answers: {error.strerror or error}.",
            where=str(folder),
            fix="Free disk space, or point LAMINA_CACHE to a folder on another disk.",
        ) from error


def at(array: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`array` at `rows`, int64 or bool: itself where they are all of its rows, for a copy may not fit in memory."""
    chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
    if len(chosen) == len(array) and bool((chosen == np.arange(len(array))).all()):
        return array
    if not isinstance(array, np.memmap) or array.dtype != np.float32:
        return np.asarray(array[chosen])
    found = room((len(chosen), *array.shape[1:]))
    for part in blocks(array, len(chosen)):
        found[part] = array[chosen[part]]
    return found


def blocks(array: np.ndarray[Any, Any], rows: int = -1) -> Iterator[slice]:
    """Slices of an array's rows (or of so many like them) that are small enough to be computed with in memory."""
    one = max(array.dtype.itemsize * math.prod(array.shape[1:]), 1)
    size, total = max(1, BLOCK // one), len(array) if rows < 0 else rows
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def known_targets(target: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """bool [row]: the rows whose encoded target is known, or any part of it."""
    if np.issubdtype(target.dtype, np.unsignedinteger):
        return np.ones(len(target), dtype=bool)
    known = np.empty(len(target), dtype=bool)
    for part in blocks(target):
        found = ~np.isnan(target[part]) if np.issubdtype(target.dtype, np.floating) else target[part] >= 0
        known[part] = found.reshape(len(found), -1).any(axis=1)
    return known


def trim_cache(folder: Path, most: int = 20 * 2**30) -> None:
    """Remove builds long left alone, and the data sets not used for longest until at most `most` bytes are kept.

    The one that was used last stays, whatever its size: a run is about to learn from it. What another process removes
    or finishes meanwhile is passed over.
    """
    for build in folder.glob(".*.part"):
        with suppress(OSError):
            if time.time() - build.stat().st_mtime > LEFT_ALONE:
                shutil.rmtree(build, ignore_errors=True)
    entries = []
    for marker in folder.glob(f"*/{COMPLETE}"):
        with suppress(OSError):
            size = sum(file.stat().st_size for file in marker.parent.iterdir())
            entries.append((marker.stat().st_mtime, size, marker.parent))
    total = sum(size for _, size, _ in entries)
    for _, size, place in sorted(entries)[:-1]:
        if total <= most:
            return
        shutil.rmtree(place, ignore_errors=True)
        total -= size
