"""The converted table on disk: an Arrow IPC file with a listing beside it, read in pieces of a few megabytes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.readers.columnar import BATCH, arrow_values, require
from lamina.data.readers.source import Collection, Kind, RowChunk, Source, joint_kind, object_array, place
from lamina.data.schema import Values
from lamina.errors import InputError
from lamina.files import write_text

VERSION = 1
_MARK = "\0mark"
_PURPOSE = "Training on tables"
_FEW = 64
"""Runs of rows in one piece that are cut out one by one: Arrow's gathering takes 0.06 s to import."""


@dataclass(frozen=True)
class Listing:
    """What the Arrow file does not say itself.

    Attributes:
        columns: the table's columns.
        mixed: the columns whose values are stored as JSON text, because their rows are of several types.
        offsets: the first row of each piece, and the number of rows at the end.
        segments: (first row, name, unit) for every source the rows came from.
        unreadable: (place, reason) of rows left out.
    """

    columns: tuple[str, ...]
    mixed: tuple[str, ...]
    offsets: tuple[int, ...]
    segments: tuple[tuple[int, str, str], ...]
    unreadable: tuple[tuple[str, str], ...]


def stored(collection: Collection, cache: Path) -> Store:
    """The collection as a file in `cache`, converted now unless it was before.

    Raises:
        InputError: no row can be read, the disk is full, the cache cannot be written.
    """
    # The same folder is another table where outlines are asked for in place of boxes.
    names = "\0".join([collection.fingerprint, *(part.source.name for part in collection.parts), *collection.columns])
    path = cache / f"{_key(names)}.arrow"
    beside = path.with_suffix(f".{os.getpid()}.part")
    listing = _read_listing(path)
    if listing is None:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            listing = _write(collection, beside)
            beside.replace(path)
        except OSError as error:
            raise InputError(
                f"The data cannot be copied into the cache: {error.strerror or error}.",
                where=str(cache),
                fix="Free disk space, or point LAMINA_CACHE to a folder on another disk.",
            ) from None
        finally:
            with contextlib.suppress(OSError):
                beside.unlink()
        content = {"version": VERSION, "bytes": path.stat().st_size, **vars(listing)}
        write_text(_listing_path(path), json.dumps(content))
    return Store(path, listing)


def reopen(path: Path) -> Store:
    """What `stored` has written.

    Raises:
        InputError: it is no more.
    """
    listing = _read_listing(path)
    if listing is None:
        raise InputError(f"The converted data {path} is no more.", fix="Give the raw data again.")
    return Store(path, listing)


def _key(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=12).hexdigest()


def _listing_path(path: Path) -> Path:
    return path.with_suffix(".listing.json")


def _read_listing(path: Path) -> Listing | None:
    """The listing of a finished conversion; None if there is none, or it is of another version."""
    try:
        found = json.loads(_listing_path(path).read_text(encoding="utf-8"))
        if found["version"] != VERSION or found["bytes"] != path.stat().st_size:
            return None
        return Listing(
            tuple(found["columns"]),
            tuple(found["mixed"]),
            tuple(found["offsets"]),
            tuple((first, name, unit) for first, name, unit in found["segments"]),
            tuple((where, reason) for where, reason in found["unreadable"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(collection: Collection, path: Path) -> Listing:
    arrow = require("pyarrow", _PURPOSE)
    require("pyarrow.ipc", _PURPOSE)
    sources = [part.source for part in collection.parts]
    columns = collection.columns
    kinds = _kinds(sources)
    schema = arrow.schema(
        [(name, _arrow_type(arrow, sources, name, kinds)) for name in columns] + [(_MARK, arrow.int64())]
    )
    mixed = tuple(name for name in columns if kinds.get(name) == "mixed")
    offsets, segments = [0], []
    unreadable = list(collection.unreadable)
    with path.open("wb") as file:
        with arrow.ipc.new_file(file, schema) as writer:
            for part in collection.parts:
                segments.append((offsets[-1], part.source.name, part.source.unit))
                for batch in _batches(arrow, part.source, schema, kinds, part.split, unreadable):
                    if len(batch):
                        writer.write_batch(batch)
                        offsets.append(offsets[-1] + len(batch))
        file.flush()
        os.fsync(file.fileno())
    if offsets[-1] == 0:
        raise InputError(
            f"Not one row of {collection.name} can be read.",
            where="; ".join(": ".join(problem) for problem in unreadable[:3]),
            fix="Repair the data, or give another file.",
        )
    return Listing(columns, mixed, tuple(offsets), tuple(segments), tuple(unreadable))


def _kinds(sources: Sequence[Source]) -> dict[str, Kind]:
    """What each column's values are over all sources; "typed" columns of Arrow sources are not in it."""
    kinds: dict[str, Kind] = {}
    for source in sources:
        if source.schema is None:
            for name in source.columns:
                kind = source.kinds.get(name, "text")
                kinds[name] = joint_kind(kinds.get(name, "missing"), kind)
    if kinds and any(source.schema is not None for source in sources):
        named = ", ".join(source.name for source in sources)
        raise InputError(f"{named} are tables of different formats.", where=named, fix="Give them in one format.")
    return kinds


def _arrow_type(arrow: Any, sources: Sequence[Source], name: str, kinds: Mapping[str, Kind]) -> Any:
    if sources[0].schema is not None and name in sources[0].columns:
        found = {source.schema.field(name).type for source in sources}
        if len(found) == 1:
            return found.pop()
        if found <= {arrow.int64(), arrow.float64()}:
            return arrow.float64()
        return arrow.string()
    match kinds.get(name, "text"):
        case "integer":
            return arrow.int64()
        case "number":
            return arrow.float64()
        case "boolean":
            return arrow.bool_()
        case "bytes":
            return arrow.binary()
        case "time":
            return arrow.timestamp("us")
        case _:
            return arrow.string()


def _batches(
    arrow: Any, source: Source, schema: Any, kinds: Mapping[str, Kind], split: str, unreadable: list[tuple[str, str]]
) -> Iterator[Any]:
    """The source's readable rows as record batches of `schema`; the others are added to `unreadable`."""
    if source.batches is not None:
        mark = 0 if source.unit == "index" else 1
        for batch in source.batches():
            arrays = [batch.column(name).cast(schema.field(name).type) for name in source.columns]
            marks = arrow.array(np.arange(mark, mark + len(batch)))
            mark += len(batch)
            yield arrow.RecordBatch.from_arrays([*_with_split(arrow, arrays, split, len(batch)), marks], schema=schema)
        return
    for chunk in source.chunks(BATCH):
        good = np.setdiff1d(np.arange(len(chunk)), list(chunk.errors))
        for position, reason in chunk.errors.items():
            path = str(chunk.values["path"][position]) if source.unit == "path" else ""
            where = place(source.name, source.unit, int(chunk.marks[position]), path)
            # Many reasons begin with the line, which the place says already.
            unreadable.append((where, reason.removeprefix(f"{where.rpartition(', ')[2]}: ")))
        arrays = [
            _stored_array(arrow, name, chunk.values[name][good], schema.field(name).type, kinds[name], source, chunk)
            for name in source.columns
        ]
        marks = arrow.array(chunk.marks[good])
        yield arrow.RecordBatch.from_arrays([*_with_split(arrow, arrays, split, len(good)), marks], schema=schema)


def _with_split(arrow: Any, arrays: list[Any], split: str, rows: int) -> list[Any]:
    return [*arrays, arrow.array([split] * rows, arrow.string())] if split else arrays


def _stored_array(
    arrow: Any, name: str, values: Values, kind: Any, meant: Kind, source: Source, chunk: RowChunk
) -> Any:
    if meant == "mixed":
        try:
            return arrow.array(
                [None if value is None else json.dumps(_plain(value)) for value in values.tolist()], kind
            )
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"Column {name!r} holds values that cannot be stored: {error}.",
                where=f"{source.name}, rows {chunk.start} to {chunk.start + len(chunk) - 1} (counted from 0)",
                fix="Give numbers, text, bytes, times or lists of those, of one kind for each column.",
            ) from None
    if meant == "integer" and values.dtype.kind == "f":
        gaps = np.isnan(values)
        return arrow.array(np.where(gaps, 0, values).astype(np.int64), kind, mask=gaps)
    if values.dtype == object:
        values = object_array([_valid_text(value) for value in values]) if meant == "text" else values
    return arrow.array(values, kind, from_pandas=True)


def _valid_text(value: Any) -> Any:
    """Half a surrogate pair is no valid text and cannot be stored: U+FFFD stands for it."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-16", errors="surrogatepass").decode("utf-16", errors="replace")
    return value


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _places(arrow: Any, rows: np.ndarray[Any, Any]) -> Any:
    """Rows as an Arrow array; `arrow.array` would import pandas wherever it is installed."""
    whole = np.ascontiguousarray(rows, dtype=np.int64)
    return arrow.Array.from_buffers(arrow.int64(), len(whole), [None, arrow.py_buffer(whole)])


class Store:
    """Random access by row to a converted table; holds one piece of a few megabytes at a time."""

    def __init__(self, path: Path, listing: Listing) -> None:
        self.path, self.listing = path, listing
        self._readers: dict[tuple[str, ...], Any] = {}
        self._last: tuple[tuple[int, tuple[str, ...]], Any] | None = None

    def __len__(self) -> int:
        return self.listing.offsets[-1]

    def take(self, rows: np.ndarray[Any, Any], columns: Sequence[str]) -> dict[str, Values]:
        """The values of `rows` (in that order), by column; opens only the pieces that hold them."""
        arrow = require("pyarrow", _PURPOSE)
        wanted = tuple(columns)
        if not len(rows) or not wanted:
            empty = self._reader(wanted).schema.empty_table().slice(0, 0)
            return {name: arrow_values(empty.column(name).combine_chunks()) for name in wanted}
        offsets = np.asarray(self.listing.offsets)
        piece_of = np.searchsorted(offsets, rows, side="right") - 1
        order = np.argsort(piece_of, kind="stable")
        numbers, starts = np.unique(piece_of[order], return_index=True)
        parts: list[Any] = []
        for number, inside in zip(numbers, np.split(order, starts[1:]), strict=True):
            local = rows[inside] - offsets[number]
            batch = self._piece(int(number), wanted)
            begins = np.flatnonzero(np.diff(local, prepend=-2) != 1)
            if len(begins) <= _FEW:
                lengths = np.diff(begins, append=len(local)).tolist()
                parts.extend(map(batch.slice, local[begins].tolist(), lengths))
            else:
                parts.append(batch.take(_places(arrow, local)))
        back = np.empty(len(rows), dtype=np.int64)
        back[order] = np.arange(len(rows))
        sorted_already = bool((order == np.arange(len(rows))).all())
        result = {}
        for name in wanted:
            arrays = [part.column(name) for part in parts]
            array = arrays[0] if len(arrays) == 1 else arrow.concat_arrays(arrays)
            values = arrow_values(array if sorted_already else array.take(_places(arrow, back)))
            result[name] = _from_json(values) if name in self.listing.mixed else values
        return result

    def place(self, row: int) -> str:
        """Where a row is in the raw data."""
        segments = self.listing.segments
        _, name, unit = segments[bisect_right([first for first, _, _ in segments], row) - 1]
        at = np.array([row])
        if unit == "path":
            return str(self.take(at, ["path"])["path"][0])
        return place(name, unit, int(self.take(at, [_MARK])[_MARK][0]))  # type: ignore[arg-type]

    def _reader(self, columns: tuple[str, ...]) -> Any:
        """Reads only `columns`, and into memory that is given back, not a map: pages of a map would count as ours."""
        if columns not in self._readers:
            arrow = require("pyarrow", _PURPOSE)
            ipc = require("pyarrow.ipc", _PURPOSE)
            names = [*self.listing.columns, _MARK]
            options = ipc.IpcReadOptions(included_fields=[names.index(name) for name in columns], use_threads=False)
            self._readers[columns] = ipc.open_file(arrow.OSFile(str(self.path)), options=options)
        return self._readers[columns]

    def _piece(self, number: int, columns: tuple[str, ...]) -> Any:
        last = self._last
        if last is None or last[0] != (number, columns):
            last = ((number, columns), self._reader(columns).get_batch(number))
            self._last = last
        return last[1]


def _from_json(values: Values) -> Values:
    return object_array([None if value is None else json.loads(value) for value in values])
