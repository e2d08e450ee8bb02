"""From whatever the user names to a collection of sources: the one place that knows all formats."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lamina.data.readers import annotated, archive, columnar, delimited, folder, frames, json_rows, remote, sqlite
from lamina.data.readers.locate import (
    ARCHIVES,
    ARROW,
    DELIMITED,
    EXCEL,
    JSON_ARRAY,
    JSON_LINES,
    MEDIA,
    PARQUET,
    SQLITE,
    TABLES,
    file_hash,
    find,
    suffix,
)
from lamina.data.readers.source import Collection, Part, RowChunk, Source
from lamina.data.schema import Values
from lamina.errors import InputError, nearest


def collect(data: object, cache: Path, *, labelled: bool, outlines: bool = False) -> Collection:
    """Find out what `data` is and prepare to stream it.

    Args:
        data: a path, a URL, or data in memory (see `frames.read`).
        cache: where downloads and extracted archives go.
        labelled: True for training (folders are classes), False for prediction (every file is a row).
        outlines: of a labelled folder with boxes and outlines, give the outlines.

    Raises:
        InputError: nothing there, an unknown or damaged format, no rows.
        MissingDependencyError: the format needs a library that is not installed.
    """
    if not isinstance(data, str | os.PathLike):
        source = frames.read(data)
        return Collection(source.name, (Part(source),), None, frames.content_hash(source), notes=source.notes)
    text = os.fsdecode(data)
    if remote.is_url(text):
        path, selection = remote.download(text, cache)
        if not path.exists():
            find(str(path))
    else:
        path, selection = find(text)
    if path.is_dir():
        return _folder(path, labelled, outlines)
    if not path.is_file():
        raise InputError(f"{path} is neither a file nor a folder.", fix="Give a file or a folder.")
    ending = suffix(path)
    if selection and ending not in (*EXCEL, *SQLITE):
        raise InputError(f"{selection!r} after {path.name} has no meaning.", where=str(path), fix=f"Write {path}")
    if ending in MEDIA:
        return folder.one_file(path)
    if ending in ARCHIVES:
        return _archive(path, cache, labelled, outlines)
    fingerprint = file_hash(path, selection)
    source = _with_forward_slashes(_read_file(path, selection), path.parent)
    return Collection(source.name, (Part(source),), path.parent, fingerprint, notes=source.notes)


def is_unpacked(data: object) -> bool:
    """Whether reading `data` writes to the cache: archives and URLs."""
    if not isinstance(data, str | os.PathLike):
        return False
    text = os.fsdecode(data)
    return remote.is_url(text) or suffix(Path(text)) in ARCHIVES


def _read_file(path: Path, selection: str = "") -> Source:
    ending = suffix(path)
    if ending in DELIMITED:
        return delimited.read(path)
    if ending in JSON_ARRAY + JSON_LINES:
        return json_rows.read(path)
    if ending in PARQUET + ARROW:
        return columnar.read(path)
    if ending in EXCEL:
        return columnar.read_excel(path, selection)
    if ending in SQLITE:
        return sqlite.read(path, selection)
    known = [*TABLES, *ARCHIVES]
    shown = f"ends in {ending!r}, which is no known format" if ending else "has no ending, so its format is unknown"
    raise InputError(
        f"{path.name} {shown}.", where=str(path), fix=nearest(ending, known) if ending else f"Known: {', '.join(known)}"
    )


def _folder(path: Path, labelled: bool, outlines: bool) -> Collection:
    root = path.resolve() if path.name in ("", "..") else path
    found = annotated.read(root, outlines=outlines) if labelled else None
    found = found or folder.read(root, _read_file, labelled=labelled)
    parts = tuple(replace(part, source=_with_forward_slashes(part.source, root)) for part in found.parts)
    notes = tuple(note for part in parts for note in part.source.notes)
    return replace(found, parts=parts, notes=(*notes, *found.notes))


def _archive(path: Path, cache: Path, labelled: bool, outlines: bool) -> Collection:
    fingerprint = file_hash(path)
    key = hashlib.blake2b(f"{fingerprint} files".encode(), digest_size=12).hexdigest()
    root = cache / key
    left_out = archive.extract(path, root)
    inner = root
    while (only := _only_folder(inner)) and _is_wrapper(only):
        inner = only
    found = _folder(inner, labelled, outlines)
    return replace(found, name=path.name, fingerprint=fingerprint, unreadable=(*left_out, *found.unreadable))


def _only_folder(path: Path) -> Path | None:
    """The one folder that is all there is in `path`."""
    entries = [item for item in path.iterdir() if not item.name.startswith((".", "__MACOSX"))]
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else None


def _is_wrapper(path: Path) -> bool:
    """Whether a folder only wraps the data, as in photos.zip/photos/cat/1.jpg, rather than being a class."""
    if path.name.lower() in folder.SPLITS and not any(suffix(item) in TABLES for item in path.iterdir()):
        return any(item.is_dir() for item in path.iterdir())
    return any(item.is_dir() or suffix(item) in TABLES for item in path.iterdir())


def _with_forward_slashes(source: Source, root: Path) -> Source:
    """The source with `images\\cat.png` read as `images/cat.png` where only that file exists."""
    if source.batches is not None:
        return source
    first = next(source.chunks(200), None)
    if first is None:
        return source
    columns = [name for name, values in first.values.items() if any(_slashed(value, root) for value in values.tolist())]
    if not columns:
        return source

    def chunks(size: int) -> Iterator[RowChunk]:
        for chunk in source.chunks(size):
            turned = {name: _turned(chunk.values[name], root) for name in columns}
            yield replace(chunk, values={**chunk.values, **turned})

    note = f"Paths with backslashes in {', '.join(columns)} of {source.name} were read with forward slashes."
    return replace(source, chunks=chunks, notes=(*source.notes, note))


def _slashed(value: object, root: Path) -> bool:
    if not isinstance(value, str) or "\\" not in value or len(value) > 1000 or "\n" in value:
        return False
    turned = value.replace("\\", "/")
    return not turned.startswith("/") and not os.path.lexists(root / value) and os.path.isfile(root / turned)


def _turned(values: Values, root: Path) -> Values:
    result = values.copy()
    for position, value in enumerate(values.tolist()):
        if _slashed(value, root):
            result[position] = value.replace("\\", "/")
    return result
