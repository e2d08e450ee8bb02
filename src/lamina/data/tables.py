"""Raw data as a table: random access by row for training, a stream in input order for prediction.

Both sides read through the same readers, so that the encoders see the same values: cells of CSV and TSV are text
(object arrays of str, None where empty), typed formats give float64, int64, bool, datetime64[us] (UTC) or object
arrays. A whole-number column with gaps is float64 with NaN in the rows at hand, or an object array of int where float64
would not be exact; truth values with gaps and lists are object arrays.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import weakref
from collections.abc import Collection as Names
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.content import file_path, under
from lamina.data.readers.collect import collect, is_unpacked
from lamina.data.readers.source import Collection, RowChunk, object_array, place
from lamina.data.schema import Json, Values
from lamina.errors import InputError, LaminaError, nearest

if TYPE_CHECKING:
    from lamina.data.readers.store import Store

__all__ = ["ChunkReader", "RowChunk", "Table", "concatenate", "open_table", "read_chunks"]

Rows = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Piece:
    """One stored table within a `Table`, and what is changed on reading it.

    Attributes:
        store: the rows.
        prefixes: column of relative paths to the folder that they are made absolute with.
        missing: columns that it does not have: None in every row.
    """

    store: Store
    prefixes: Mapping[str, Path] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()

    def take(self, rows: Rows, columns: Sequence[str]) -> dict[str, Values]:
        found = self.store.take(rows, [name for name in columns if name not in self.missing])
        for name in columns:
            if name in self.missing:
                found[name] = object_array([None] * len(rows))
            elif name in self.prefixes:
                found[name] = object_array([_absolute(self.prefixes[name], value) for value in found[name]])
        return {name: found[name] for name in columns}


class Table:
    """One row per example, on disk; memory stays flat however many rows there are.

    Attributes:
        name: how the user knows the data.
        columns: the columns' names, in order.
        root: the folder that relative paths in the values start from, or None.
        fingerprint: hash of the raw data: of a file its bytes; of a folder its tables' bytes and the relative paths,
            sizes and modification times of its files; of data in memory its values; sizes and modification times of
            files that the values name.
        unreadable: (place, reason) of rows and files that could not be read: they are no rows of this table.
        notes: what the user should know about how the data was read.
        boundary: the number of rows of the first table, where two were concatenated.
        added: the first row of each table whose rows only training learns from; they come after all others.
        made: values are computed on reading: whoever looks at a sample should take a small one.
        times: how many rows are parts of one of what the table is made of; they lie one after the other.
    """

    made = False
    times = 1

    def __init__(
        self,
        pieces: Sequence[_Piece],
        *,
        name: str,
        columns: tuple[str, ...],
        root: Path | None,
        fingerprint: str,
        unreadable: tuple[tuple[str, str], ...] = (),
        notes: tuple[str, ...] = (),
        boundary: int | None = None,
        added: tuple[int, ...] = (),
    ) -> None:
        self._pieces = tuple(pieces)
        self._starts = np.cumsum([0, *(len(piece.store) for piece in pieces)])
        self.name, self.columns, self.root, self.fingerprint = name, columns, root, fingerprint
        self.unreadable, self.notes, self.boundary, self.added = unreadable, notes, boundary, added

    def __len__(self) -> int:
        return int(self._starts[-1])

    def chunks(
        self, rows: Rows | None = None, columns: Sequence[str] | None = None, size: int = 4096
    ) -> Iterator[tuple[Rows, dict[str, Values]]]:
        """Stream (row numbers, values by column), at most `size` rows at a time.

        Args:
            rows: which rows, in this order (sorted is fastest); None for all.
            columns: which columns; None for all.
            size: the largest number of rows in a chunk.

        Raises:
            InputError: an unknown column.
        """
        wanted = self._known(columns)
        total = len(self) if rows is None else len(rows)
        for start in range(0, total, size):
            stop = min(start + size, total)
            part = np.arange(start, stop) if rows is None else np.asarray(rows[start:stop], dtype=np.int64)
            yield part, self.take(part, wanted)

    def take(self, rows: Rows | Sequence[int], columns: Sequence[str] | None = None) -> dict[str, Values]:
        """The values of some rows, in the order asked for, by column.

        Raises:
            InputError: an unknown column.
            IndexError: a row number below 0 or beyond the end.
        """
        wanted = self._known(columns)
        numbers = np.asarray(rows, dtype=np.int64)
        if len(numbers) and (numbers.min() < 0 or numbers.max() >= len(self)):
            raise IndexError(f"rows from {numbers.min()} to {numbers.max()} of a table of {len(self)} rows")
        if len(self._pieces) == 1:
            return self._pieces[0].take(numbers, wanted)
        piece_of = np.searchsorted(self._starts, numbers, side="right") - 1
        parts = []
        for position, piece in enumerate(self._pieces):
            here = np.flatnonzero(piece_of == position)
            if len(here):
                parts.append((here, piece.take(numbers[here] - self._starts[position], wanted)))
        if not parts:
            return self._pieces[0].take(numbers, wanted)
        return {name: _scattered([(here, values[name]) for here, values in parts], len(numbers)) for name in wanted}

    def places(self) -> dict[str, Json]:
        """Where the rows lie on disk, for `reopened` in another process of this machine; holds no rows itself."""
        pieces = [
            {
                "path": str(piece.store.path.resolve()),
                "prefixes": {name: str(root) for name, root in piece.prefixes.items()},
                "missing": sorted(piece.missing),
            }
            for piece in self._pieces
        ]
        root = None if self.root is None else str(self.root.resolve())
        return {"pieces": pieces, "name": self.name, "columns": list(self.columns), "root": root,
                "fingerprint": self.fingerprint, "boundary": self.boundary, "added": list(self.added)}  # fmt: skip

    def place(self, row: int) -> str:
        """Where the user finds a row: "loans.csv, line 17", a relative path, "orders table, row 5 (rowid)"."""
        position = int(np.searchsorted(self._starts, row, side="right") - 1)
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of a table of {len(self)} rows")
        return self._pieces[position].store.place(row - int(self._starts[position]))

    def raw(self, column: str) -> tuple[Table, str]:
        """The table and column that the values of a column are made of: its own, where they are as they are stored.

        Its row `row // times` is what a row here is made of, where it is another table.
        """
        return self, column

    @property
    def own(self) -> int:
        """The number of rows before those that only training learns from."""
        return self.added[0] if self.added else len(self)

    def without_added(self) -> Table:
        """The rows before those that only training learns from, as a table."""
        if not self.added:
            return self
        pieces = self._pieces[: int(np.searchsorted(self._starts, self.own))]
        return Table(
            pieces, name=self.name, columns=self.columns, root=self.root, fingerprint=self.fingerprint,
            unreadable=self.unreadable, notes=self.notes, boundary=self.boundary,
        )  # fmt: skip

    def some(self, rows: Rows) -> Rows:
        """Those of `rows` that encoders learn from what is usual: fewer where every value is computed on reading."""
        return rows

    def _known(self, columns: Sequence[str] | None) -> tuple[str, ...]:
        for name in columns or ():
            if name not in self.columns:
                raise InputError(f"There is no column {name!r}.", where=self.name, fix=nearest(name, self.columns))
        return self.columns if columns is None else tuple(columns)


def _scattered(parts: Sequence[tuple[Rows, Values]], total: int) -> Values:
    """One array of the parts' values at their positions; of different types, an object array."""
    kinds = {values.dtype for _, values in parts}
    numeric = all(kind.kind in "if" for kind in kinds)
    if len(kinds) > 1 and not numeric:
        result = object_array([None] * total)
        for here, values in parts:
            for position, value in zip(here, values.tolist(), strict=True):
                result[position] = None if value != value else value
        return result
    result = np.empty(total, dtype=kinds.pop() if len(kinds) == 1 else np.float64)
    for here, values in parts:
        result[here] = values
    return result


def open_table(data: object, cache: Path, *, outlines: bool = False) -> Table:
    """Read any raw data as a table for training; converts it once, streaming, into a file in `cache`.

    Args:
        data: path or URL of CSV/TSV, JSON, JSON lines, Parquet, Arrow, Excel (`file.xlsx#Sheet2`), SQLite
            (`file.db#table`, `file.db?query=SELECT ...`), a folder, a zip or tar of one; a data frame (pandas,
            polars, Arrow), a mapping of columns, a list of rows.
        cache: a folder for the converted table, downloads and extracted archives.
        outlines: of a folder with boxes and outlines around things, read the outlines.

    Raises:
        InputError: the data is missing, damaged, unclear or has no rows.
        MissingDependencyError: a library for this format is not installed.
    """
    from lamina.data.readers.store import stored

    found = collect(data, cache, labelled=True, outlines=outlines)
    store = stored(found, cache)
    table = Table(
        [_Piece(store)],
        name=found.name,
        columns=found.columns,
        root=found.root,
        fingerprint=found.fingerprint,
        unreadable=store.listing.unreadable,
        notes=found.notes,
    )
    # Of a folder of files it tells them already, and of an archive its bytes.
    of_files = any(part.source.unit == "path" for part in found.parts)
    unpacked = found.root is not None and found.root.resolve().is_relative_to(cache.resolve())
    if not of_files and not unpacked:
        table.fingerprint = _with_files(table)
    return table


def _with_files(table: Table) -> str:
    """The fingerprint, with sizes and times of the files that values name: they may change while the table does not."""
    some = table.take(_looked_at(len(table)))
    columns = [name for name, values in some.items() if any(_stamp(value, table.root) for value in values.tolist())]
    if not columns:
        return table.fingerprint
    digest = hashlib.blake2b(table.fingerprint.encode(), digest_size=16)
    for _, chunk in table.chunks(None, columns):
        for name in columns:
            digest.update("\n".join(_stamp(value, table.root) for value in chunk[name].tolist()).encode())
    return digest.hexdigest()


def _looked_at(rows: int) -> Rows:
    """Rows that tell which columns name files: the first, and others, for a column may begin with gaps."""
    return np.unique(np.concatenate([np.arange(min(rows, 50)), np.linspace(0, rows - 1, 50).astype(np.int64)]))


def _stamp(value: object, root: Path | None) -> str:
    """Size and time of the file that a value names; "" where there is none."""
    path = file_path(value, root) if isinstance(value, str) and "." in value[-6:] else None
    if path is None:
        return ""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ""
    return f"{status.st_size} {status.st_mtime_ns}" if stat.S_ISREG(status.st_mode) else ""


def reopened(places: Mapping[str, Json]) -> Table:
    """The table whose `places` another process tells; nothing is read, hashed or converted again.

    Raises:
        InputError: its file in the cache is no more.
    """
    from lamina.data.readers.store import reopen

    pieces = [
        _Piece(
            reopen(Path(piece["path"])),
            {name: Path(root) for name, root in piece["prefixes"].items()},
            frozenset(piece["missing"]),
        )
        for piece in places["pieces"]
    ]
    return Table(
        pieces,
        name=places["name"],
        columns=tuple(places["columns"]),
        root=None if places["root"] is None else Path(places["root"]),
        fingerprint=places["fingerprint"],
        boundary=places["boundary"],
        added=tuple(places["added"]),
    )


def concatenate(first: Table, second: Table, optional: Names[str] = ("split",), *, only_learned: bool = False) -> Table:
    """The rows of two tables, those of `second` (usually the test data) after those of `first`.

    Columns go by name, those of `first` count; what only `second` has is left out, with a note. Where the tables lie in
    different folders, relative paths become absolute, so that one root is enough.

    Args:
        first: the training data.
        second: the test data, or more rows to learn from.
        optional: columns that `second` may lack: None in its rows.
        only_learned: only training learns from the rows of `second`; where test rows begin stays as it was.

    Raises:
        InputError: `second` lacks a column.
    """
    missing = [name for name in first.columns if name not in second.columns]
    required = [name for name in missing if name not in optional]
    if required:
        close = nearest(required[0], second.columns)
        fix = "Add them, or set them aside in both."
        if only_learned:
            fix = "Add them: every row that is learned from needs them."
            if required == ["label"] and "path" in second.columns:
                fix = "Put its files into folders that are called like the classes."
        raise InputError(
            f"{second.name} lacks columns that {first.name} has: {', '.join(required)}.",
            where=second.name,
            fix=f"{fix} {close}",
        )
    notes = [*first.notes, *second.notes]
    extra = [name for name in second.columns if name not in first.columns]
    if extra:
        notes.append(f"Left out of {second.name}: {', '.join(extra)} (not in {first.name}).")
    pieces = [*first._pieces]
    other = list(second._pieces)
    if first.root != second.root:
        pieces = [_made_absolute(piece, first) for piece in pieces]
        other = [_made_absolute(piece, second) for piece in other]
    other = [replace(piece, missing=piece.missing | frozenset(missing)) for piece in other]
    return Table(
        [*pieces, *other],
        name=first.name if first.name == second.name or only_learned else f"{first.name} and {second.name}",
        columns=first.columns,
        root=first.root if first.root is not None else second.root,
        fingerprint=hashlib.blake2b(f"{first.fingerprint} {second.fingerprint}".encode(), digest_size=16).hexdigest(),
        unreadable=(*first.unreadable, *second.unreadable),
        notes=tuple(notes),
        boundary=first.boundary if only_learned else len(first),
        added=(*first.added, len(first)) if only_learned else (),
    )


def _made_absolute(piece: _Piece, table: Table) -> _Piece:
    """Columns with files under the table's root among the values looked at are read as absolute paths."""
    if table.root is None:
        return piece
    root = table.root.resolve()
    columns = [name for name in table.columns if name not in piece.missing and name not in piece.prefixes]
    sample = piece.store.take(_looked_at(len(piece.store)), columns)
    found = {name: root for name, values in sample.items() if _are_files(root, values)}
    return replace(piece, prefixes={**piece.prefixes, **found})


def _are_files(root: Path, values: Values) -> bool:
    if values.dtype != object:
        return False
    texts = [value for value in values if isinstance(value, str) and 0 < len(value) < 1000 and "\n" not in value]
    return any(not Path(text).is_absolute() and _is_file(root / text) for text in texts)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _absolute(root: Path, value: object) -> object:
    if not isinstance(value, str) or not value or "://" in value or os.path.isabs(value):
        return value
    return under(root, value)


@dataclass(frozen=True)
class ChunkReader:
    """A stream of row chunks in input order; iterate it as often as you like.

    Attributes:
        name: how the user knows the data.
        columns: the columns' names, in order.
        root: the folder that relative paths in the values start from, or None.
        notes: what the user should know about how the data was read.
    """

    name: str
    columns: tuple[str, ...]
    root: Path | None
    notes: tuple[str, ...]
    size: int
    collection: Collection

    def __iter__(self) -> Iterator[RowChunk]:
        start = 0
        for part in self.collection.parts:
            for chunk in part.source.chunks(self.size):
                values = dict(chunk.values)
                if part.split:
                    values["split"] = object_array([part.split] * len(chunk))
                yield RowChunk(start, values, chunk.errors, chunk.marks)
                start += len(chunk)

    def place(self, row: int) -> str:
        """Where the user finds a row; reads up to it, so ask for few."""
        start = 0
        for part in self.collection.parts:
            for chunk in part.source.chunks(self.size):
                if row < start + len(chunk):
                    at = row - start
                    path = str(chunk.values["path"][at]) if part.source.unit == "path" else ""
                    return place(part.source.name, part.source.unit, int(chunk.marks[at]), path)
                start += len(chunk)
        raise IndexError(f"row {row} of {start}")


def read_chunks(
    data: object, size: int = 1024, cache: Path | None = None, *, labelled: bool = False, outlines: bool = False
) -> ChunkReader:
    """Read any raw data for prediction: streaming, in input order, one entry for each row, also for unreadable ones.

    A row that cannot be read has None in every column and a reason in `RowChunk.errors`, by its position in the chunk.
    Of a folder of pictures or sounds every file is a row with the column `path`; a single file is one row.

    Args:
        data: as for `open_table`.
        size: the largest number of rows in a chunk.
        cache: a folder for downloads and extracted archives; by default a temporary one that goes with the reader.
        labelled: folders are classes, whose names are in the column `label`, as in training.
        outlines: as for `open_table`, of labelled folders.

    Raises:
        InputError: the data is missing, damaged, unclear or has no rows.
        MissingDependencyError: a library for this format is not installed.
    """
    if cache is not None or not is_unpacked(data):
        found = collect(data, cache or Path(), labelled=labelled, outlines=outlines)
        return ChunkReader(found.name, found.columns, found.root, found.notes, size, found)
    temporary = Path(tempfile.mkdtemp(prefix="lamina-"))
    try:
        found = collect(data, temporary, labelled=labelled, outlines=outlines)
    except LaminaError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    reader = ChunkReader(found.name, found.columns, found.root, found.notes, size, found)
    weakref.finalize(reader, shutil.rmtree, temporary, ignore_errors=True)
    return reader
