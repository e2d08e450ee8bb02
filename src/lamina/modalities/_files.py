"""What pictures and sounds share: values that are files, sampling them, and reading them in parallel."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lamina import cores
from lamina.data.schema import Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Recognition

Array = np.ndarray[Any, Any]


class Unreadable(Exception):
    """One value that cannot be read, and why; becomes the row's error entry."""


def is_missing(value: object) -> bool:
    """None, an empty string or empty bytes, NaN."""
    if value is None or (isinstance(value, str | bytes | bytearray) and len(value) == 0):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def source(value: object, root: Path | None) -> str | bytes:
    """The path of the regular file that a text value names (relative to `root`), or the bytes themselves.

    Raises:
        Unreadable: no such file, or a value of another type.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str | os.PathLike):
        raise Unreadable(f"a value of type {type(value).__name__} is neither a file nor its content")
    name = os.fspath(value)
    try:
        path = name if root is None else os.path.join(root, name)
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError as error:
        raise Unreadable(f"there is no file {name[:200]!r} in {root or Path.cwd()}") from error
    except (OSError, ValueError, TypeError) as error:
        raise Unreadable(f"not a file that can be opened: {name[:200]!r} ({error})") from error
    # Devices and pipes would block or never end.
    if not regular:
        raise Unreadable(f"{name[:200]!r} is a folder or a device, not a file")
    return path


QUICK = 0.3e-3
"""Seconds a row: what takes less is mostly Python, and threads that fight for its lock take three times as long as one.
Measured with PNG and JPEG files of 28 to 224 pixels; from about 96 on two threads win."""


def each(function: Callable[[int], None], rows: int, group: int = 8) -> None:
    """Call `function(row)` for every row: on this thread as long as that is quick, and else on all cores that we may
    use, for which it must release Python's lock."""

    def some(start: int) -> None:
        for row in range(start, min(start + group, rows)):
            function(row)

    workers, start, slow = min(cores.available(), -(-rows // group)), 0, 0
    # The first of all may have to import something.
    while start < rows and (workers <= 1 or slow < 2):
        began = time.perf_counter()
        some(start)
        slow = slow + 1 if time.perf_counter() - began > QUICK * group else 0
        start += group
    if start < rows:
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(some, range(start, rows, group)):
                pass


def present(chunks: Chunks) -> int:
    """How many training values are not missing.

    Raises:
        InputError: all are missing.
    """
    count = sum(1 for values in chunks() for value in values if not is_missing(value))
    if not count:
        raise InputError("All values of this field are missing.", fix="ignore the field (role = ignore)")
    return count


def sample(chunks: Chunks, total: int, limit: int, seed: int = 0) -> Iterator[list[Any]]:
    """At most `limit` of the `total` present values, evenly drawn, chunk by chunk: never all in memory."""
    chosen = np.zeros(total, dtype=bool)
    if total <= limit:
        chosen[:] = True
    else:
        chosen[np.random.default_rng(seed).choice(total, limit, replace=False)] = True
    seen = 0
    for values in chunks():
        kept = [value for value in values if not is_missing(value)]
        some = [value for value, take in zip(kept, chosen[seen : seen + len(kept)], strict=False) if take]
        seen += len(kept)
        if some:
            yield some


def some_of(values: Iterable[Any], limit: int) -> list[Any]:
    """At most `limit` present values, evenly spaced."""
    kept = [value for value in values if not is_missing(value)]
    return kept if len(kept) <= limit else [kept[round(i)] for i in np.linspace(0, len(kept) - 1, limit)]


def objects(items: Sequence[Any]) -> Values:
    """A 1-D object array; NumPy would stack equal-sized items otherwise."""
    array = np.empty(len(items), dtype=object)
    for row, item in enumerate(items):
        array[row] = item
    return array


def spread(numbers: Sequence[float]) -> dict[str, float]:
    """Least, middle and largest."""
    if not len(numbers):
        return {}
    return {"min": float(min(numbers)), "median": float(np.median(numbers)), "max": float(max(numbers))}


def recognise_files(
    values: Values, root: Path | None, extensions: frozenset[str], is_content: Callable[[bytes], bool], kind: str
) -> Recognition | None:
    """Are these values files of one kind, by their first bytes or by the ends of their names?

    With `root` a sample of the files is looked for: names of files that do not exist count little.
    """
    some = some_of(values, 200)
    if not some:
        return None
    contents = [bytes(value[:64]) for value in some if isinstance(value, bytes | bytearray)]
    if contents:
        share = sum(is_content(content) for content in contents) / len(some)
        return Recognition(0.99, f"the values are {kind} files' bytes") if share >= 0.9 else None
    names = [str(value) for value in some if isinstance(value, str | os.PathLike)]
    # A sentence may end in ".png"; a file name has no line break and is short.
    named = [name for name in names if len(name) < 1000 and "\n" not in name and _ending(name) in extensions]
    if len(named) < 0.9 * len(some):
        return None
    endings = ", ".join(sorted({_ending(name) for name in named}))
    reason = f"the values are names of {kind} files ({endings})"
    if root is None:
        return Recognition(0.9, reason)
    looked = named[:20]
    found = sum(_exists(name, root) for name in looked)
    if found:
        return Recognition(0.98, f"{reason}; {found} of {len(looked)} looked for exist")
    return Recognition(0.5, f"{reason}, but none of the {len(looked)} looked for exists in {root}")


def _ending(name: str) -> str:
    return os.path.splitext(name.strip())[1].lower()


def _exists(name: str, root: Path) -> bool:
    try:
        return (Path(root) / name).is_file()
    except (OSError, ValueError):
        return False
