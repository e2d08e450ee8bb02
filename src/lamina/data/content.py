"""Which rows have equal inputs: by a hash of the values, and of the bytes of files that values name."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.schema import Field, Values
from lamina.modalities._canonical import canonical_value

if TYPE_CHECKING:
    from lamina.data.tables import Table

Array = np.ndarray[Any, Any]

FILES = ("image", "audio", "video")
WHOLE_FILE = 2**20
"""Of larger files the size, the beginning, the middle and the end are hashed, WHOLE_FILE bytes in all."""
EXACT = 2**53
"""Up to here float64 holds every whole number."""
_MIX = np.uint64(0x9E3779B97F4A7C15)


def equal_rows(table: Table, fields: Sequence[Field]) -> Array:
    """A number for each row, int64 [row]: equal where all values of `fields` are equal.

    Numbers count from 0 in the order of first appearance, so they are the same in every run. Values that are
    missing equal each other. 64-bit hashes are compared, not the values: of ten million different rows, two
    get the same number with a chance of about 3 in a million.
    """
    hashes = np.zeros(len(table), dtype=np.uint64)
    for field in fields:
        if field.modality in FILES:
            _add(hashes, slice(None), _file_hashes(table, field.columns[0]))
    columns = [column for field in fields if field.modality not in FILES for column in field.columns]
    # Tables of different types that are read together give other values than each alone.
    for some in np.split(np.arange(len(table)), [table.own]) if columns else ():
        for rows, chunk in table.chunks(some, columns):
            part = hashes[rows]
            for column in columns:
                _add(part, slice(None), value_hashes(chunk[column]))
            hashes[rows] = part
    return numbered(hashes)


def few_values(equal: Array, fields: Sequence[Field]) -> bool:
    """Whether equal rows are no copies, since the inputs of a plain table simply take few different values.

    So it is where less than half of the rows are different, or one combination has more than 5% of the rows.
    Equal texts, pictures, sounds and series are copies always.

    Args:
        equal: what `equal_rows` gave for the rows in question.
        fields: the inputs.
    """
    if not len(equal) or any(field.modality in (*FILES, "text", "series") for field in fields):
        return False
    counts = np.bincount(numbered(equal))
    return len(counts) < len(equal) / 2 or int(counts.max()) > max(0.05 * len(equal), 10)


def numbered(values: Array) -> Array:
    """Equal values to equal numbers, int64 [row], counted from 0 in the order of first appearance."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.empty(len(first), dtype=np.int64)
    order[np.argsort(first, kind="stable")] = np.arange(len(first))
    return order[inverse]


def _add(hashes: Array, where: slice, more: Array) -> None:
    """Mix another column in (the finalizer of SplitMix64; Steele, Lea, Flood 2014); order of columns matters."""
    mixed = (hashes[where] + _MIX) ^ more
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    hashes[where] = mixed ^ (mixed >> np.uint64(31))


def value_hashes(values: Values) -> Array:
    """uint64 [row]; equal for equal values of one column.

    Its type may change from chunk to chunk: with a gap among the rows at hand, whole numbers are float64 or objects.
    """
    kind = values.dtype.kind
    if values.ndim == 1 and kind == "f":
        numbers = values.astype(np.float64) + 0.0  # -0.0 becomes 0.0
        numbers[np.isnan(numbers)] = np.nan
        return numbers.view(np.uint64)
    if values.ndim == 1 and kind in "iub":
        whole = values.astype(np.int64)
        exact = (whole >= -EXACT) & (whole <= EXACT)
        return np.where(exact, value_hashes(whole.astype(np.float64)), whole.view(np.uint64))
    if values.ndim == 1 and kind == "M":
        return values.astype("datetime64[us]").view(np.uint64)
    # hash() of a text differs from process to process, but only equality is used of it.
    hashes = (hash(item) if type(item) is str else hash(_plain(item)) for item in values)
    found = np.fromiter(hashes, dtype=np.int64, count=len(values)).view(np.uint64)
    integers = [row for row, item in enumerate(values) if type(item) in (int, bool) and -(2**63) <= item < 2**63]
    others = [row for row, item in enumerate(values) if item is None or type(item) is float]
    found[integers] = value_hashes(np.array([values[row] for row in integers], dtype=np.int64))
    found[others] = value_hashes(np.array([values[row] for row in others], dtype=np.float64))
    return found


def _plain(item: Any) -> Any:
    if isinstance(item, bytes):
        return item
    if isinstance(item, np.ndarray):
        return (item.shape, item.dtype.str, item.tobytes())
    return canonical_value(item)


def _file_hashes(table: Table, column: str) -> Array:
    """uint64 [row] of the files' contents, reading only files of equal size; of the value where it is no file."""
    read = table
    table, column = table.raw(column)
    hashes = np.zeros(len(table), dtype=np.uint64)
    sizes = np.full(len(table), -1, dtype=np.int64)
    for rows, chunk in table.chunks(None, [column]):
        hashes[rows] = value_hashes(chunk[column])
        sizes[rows] = [_size(file_path(value, table.root)) for value in chunk[column]]
    hashes[sizes >= 0] = 0
    hashes ^= sizes.view(np.uint64)
    repeated = {size for size, count in Counter(sizes[sizes >= 0].tolist()).items() if count > 1}
    alike = np.flatnonzero(np.isin(sizes, np.fromiter(repeated, np.int64, len(repeated))))
    if len(alike):
        for rows, chunk in table.chunks(alike, [column]):
            hashes[rows] = [
                _content_hash(path, int(size)) if (path := file_path(value, table.root)) is not None else 0
                for value, size in zip(chunk[column], sizes[rows], strict=True)
            ]
    return np.repeat(hashes, len(read) // max(len(table), 1))


_UNTIDY = re.compile(r"(?:^|/)\.?(?:/|$)")
"""A part of a path that is empty or ".", which `Path` leaves out."""


def under(root: Path, value: str) -> str:
    """`str(root / value)` in a small part of its time: a table may name millions of files."""
    base = str(root)
    if os.sep != "/" or base in (".", "/") or _UNTIDY.search(value):
        return str(root / value)
    return f"{base}/{value}"


def file_path(value: Any, root: Path | None) -> str | None:
    """The file that a raw value names, or None if it is no path."""
    if not isinstance(value, str) or not value or "\0" in value or len(value) > 4096:
        return None
    path = value if root is None else os.path.join(root, value)
    if "\\" in value and root is not None and not os.path.exists(path):
        return os.path.join(root, value.replace("\\", "/"))  # as Windows writes paths
    return path


def _size(path: str | None) -> int:
    """The file's size in bytes; -1 where there is no such file."""
    if path is None:
        return -1
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _content_hash(path: str, size: int) -> int:
    digest = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=8)
    try:
        with open(path, "rb", buffering=0) as file:
            if size <= WHOLE_FILE:
                digest.update(file.read(WHOLE_FILE))
            else:
                for start in (0, size // 2, max(size - WHOLE_FILE // 3, 0)):
                    file.seek(start)
                    digest.update(file.read(WHOLE_FILE // 3))
    except OSError:
        digest.update(path.encode(errors="surrogatepass"))  # unreadable files equal no other
    return int.from_bytes(digest.digest(), "little")
