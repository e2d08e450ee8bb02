"""Raw rows for a sealed model, from memory or from anything that `lamina.data.tables` reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lamina.data.schema import Field, Values
from lamina.errors import InputError, nearest
from lamina.model.answers import Part

FILES = ("image", "audio", "video")
"""Modalities whose values are files: names of them, or their contents."""
_LISTS = ("set", "series", "vector", "frames", "items", "window")


class _Input(Protocol):
    @property
    def field(self) -> Field: ...


class Reads(Protocol):
    """What is needed of a model: its inputs, and how many rows it takes at a time."""

    @property
    def inputs(self) -> Mapping[str, _Input]: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def targets(self) -> tuple[str, ...]: ...

    def fitting(self, batch: int) -> int: ...


@dataclass(frozen=True)
class RawChunk:
    """Some rows: values by column, and the reason for each row that could not be read."""

    values: Mapping[str, Values]
    rows: int
    errors: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.rows


class Expands(Protocol):
    """How the answers to some rows are told, where that is in more lines than there are rows."""

    @property
    def kinds(self) -> Mapping[str, str]:
        """ "number", "list" or "text" by the lines' columns."""
        ...

    def of(self, chunk: RawChunk, part: Part) -> Part:
        """The lines for the answers to a chunk."""
        ...


@dataclass(frozen=True)
class Rows:
    """Raw rows in input order, chunk by chunk; every column that the model reads is there.

    Attributes:
        root: the folder that relative paths in the values start from.
        named_by_path: the rows are files, known to the user by their `path`.
        lines: how answers are told, where not in one line for each row.
    """

    chunks: Iterable[RawChunk]
    root: Path | None = None
    named_by_path: bool = False
    lines: Expands | None = None

    def __iter__(self) -> Iterator[RawChunk]:
        return iter(self.chunks)


def open_rows(data: Any, model: Reads, batch: int, root: Path | None = None, *, labels: str = "") -> Rows:
    """`data` as chunks of at most `batch` rows; a string that begins with "{" is one row as JSON.

    Args:
        labels: a column of labels that is wanted too; that of class folders is called `label`.

    Raises:
        InputError: it cannot be read, or a column that the model needs, or that of the labels, is missing.
    """
    if batch < 1:
        raise InputError(f"The batch size is {batch}.", fix="Give at least 1.")
    size = model.fitting(batch)
    if isinstance(data, str) and data.lstrip().startswith("{"):
        data = [row_of_json(data)]
    if isinstance(data, Mapping):
        # Names are text, as in data frames: else 0 would be no name of the column "0".
        data = {str(name): value for name, value in data.items()}
        data = data if _is_columns(data, model) else [data]
    if isinstance(data, list | tuple) and all(isinstance(row, Mapping) for row in data):
        return _from_memory(data, model, size, root, labels)
    if isinstance(data, Mapping):
        return _from_columns(data, model, size, root, labels)
    return _from_reader(data, model, size, root, labels)


def as_data(given: str, model: Reads) -> Any:
    """What a person wrote for one row, as `open_rows` takes it: words that are no file are a value of the only column.

    A name that ends as files do stays a name: that there is no such file is to be said, not searched for.
    """
    fields = [item.field for item in model.inputs.values()]
    several = len(model.columns) != 1 or fields[0].modality in FILES
    if several or given.lstrip().startswith("{") or "://" in given or _may_be_a_file(given):
        return given
    return [{model.columns[0]: given}]


def _may_be_a_file(text: str) -> bool:
    from lamina.data.readers.locate import ARCHIVES, MEDIA, TABLES, suffix

    try:
        return Path(text).exists() or suffix(Path(text.partition("#")[0])) in (*TABLES, *ARCHIVES, *MEDIA)
    except (OSError, ValueError):
        # Too long for a path, or with characters that none can have.
        return False


def row_of_json(text: str) -> dict[str, Any]:
    """One row, as a person wrote it.

    Raises:
        InputError: it is no JSON.
    """
    try:
        row: dict[str, Any] = json.loads(text)
    except RecursionError:
        raise InputError("The row is nested too deeply.", fix="Write e.g. '{\"age\": 31}'.") from None
    except ValueError as error:
        raise InputError(f"The row is not valid JSON: {error}.", fix="Write e.g. '{\"age\": 31}'.") from None
    return row


def _is_columns(data: Mapping[str, Any], model: Reads) -> bool:
    """One row or a dict of columns? Columns, if every value that the model reads is a list.

    Where the model's inputs themselves hold lists (sets, series, vectors, frames), a dict is always one row.

    Raises:
        InputError: the columns have different lengths.
    """
    modalities = {item.field.columns[0]: item.field.modality for item in model.inputs.values()}
    values = {column: data[column] for column in model.columns if column in data}
    if not values or any(modalities.get(column) in _LISTS for column in values):
        return False
    if not all(_is_column(value, modalities.get(column, "")) for column, value in values.items()):
        return False
    if len({len(value) for value in values.values()}) > 1:
        shown = ", ".join(f"{column}: {len(value)}" for column, value in list(values.items())[:10])
        raise InputError(
            f"The columns have different lengths ({shown}).", fix="Give every column one value for each row."
        )
    return True


def _is_column(value: Any, modality: str) -> bool:
    if modality == "audio" and isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        # The samples of one sound.
        return False
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    return isinstance(value, list | tuple) or (hasattr(value, "to_numpy") and hasattr(value, "__len__"))


def _from_memory(data: Sequence[Mapping[str, Any]], model: Reads, size: int, root: Path | None, labels: str) -> Rows:
    names = _wanted(model, labels)
    data = [_named(row, names) for row in data]
    if data:
        available = list(dict.fromkeys(str(key) for row in data for key in row))
        _check_columns(model, available, "the rows given", labels)

    def chunks() -> Iterator[RawChunk]:
        for start in range(0, len(data), size):
            part = data[start : start + size]
            yield RawChunk({name: _objects([row.get(name) for row in part]) for name in names}, len(part))

    return Rows(chunks(), root)


def _named(row: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
    """A row by names as files and frames have them: text, and dotted for what is nested, where not wanted whole."""
    if all(name in row for name in names):
        return row
    from lamina.data.readers.json_rows import flat

    found = {str(name): value for name, value in row.items()}
    try:
        return {**dict(flat(found)), **found}
    except RecursionError:
        return found


def _from_columns(data: Mapping[str, Any], model: Reads, size: int, root: Path | None, labels: str) -> Rows:
    _check_columns(model, [str(name) for name in data], "the columns given", labels)
    columns = {name: _values(data[name]) for name in _wanted(model, labels)}
    rows = len(next(iter(columns.values())))

    def chunks() -> Iterator[RawChunk]:
        for start in range(0, rows, size):
            part = {name: values[start : start + size] for name, values in columns.items()}
            yield RawChunk(part, min(size, rows - start))

    return Rows(chunks(), root)


def _from_reader(data: Any, model: Reads, size: int, root: Path | None, labels: str) -> Rows:
    from lamina.data.tables import read_chunks

    reader = read_chunks(data, size, labelled=bool(labels))
    of_files = is_of_files(reader.columns)
    renamed = _file_column(model, reader.columns) if of_files else None
    needed = reader.columns if renamed is None else (*reader.columns, renamed)
    _check_columns(model, needed, reader.name, labels)

    def chunks() -> Iterator[RawChunk]:
        for chunk in reader:
            values = chunk.values if renamed is None else {**chunk.values, renamed: chunk.values["path"]}
            yield RawChunk(values, len(chunk), chunk.errors)

    return Rows(chunks(), reader.root if root is None else root, named_by_path=of_files)


def is_of_files(columns: Sequence[str]) -> bool:
    """Whether data with these columns is files, not a table."""
    return "path" in columns and set(columns) <= {"path", "label", "mask", "split"}


def _file_column(model: Reads, columns: Sequence[str]) -> str | None:
    """The model's one column of files, where the data is files and the column has another name than `path`."""
    missing = [name for name in model.columns if name not in columns]
    files = [item.field.name for item in model.inputs.values() if item.field.modality in FILES]
    return missing[0] if missing == files and len(files) == 1 else None


def _wanted(model: Reads, labels: str) -> tuple[str, ...]:
    return (*model.columns, labels) if labels and labels not in model.columns else model.columns


def _check_columns(model: Reads, columns: Sequence[str], where: str, labels: str = "") -> None:
    missing = [name for name in model.columns if name not in columns]
    if missing:
        several = "columns" if len(missing) > 1 else "column"
        shown = ", ".join(repr(name) for name in missing[:10]) + (", ..." if len(missing) > 10 else "")
        there = ", ".join(map(str, columns[:30])) + (", ..." if len(columns) > 30 else "")
        raise InputError(
            f"The data has no {several} {shown}, which the model needs.",
            where=where,
            fix=f"Add or rename the {several} (an empty value counts as missing). There are: {there or 'none'}",
        )
    if labels and labels not in columns:
        raise InputError(
            f"The data has no column {labels!r} of labels.",
            where=where,
            fix=f"Name the column with --target. {nearest(labels, columns)}",
        )


def _values(column: Any) -> Values:
    array = column.to_numpy() if hasattr(column, "to_numpy") else column
    return array if isinstance(array, np.ndarray) and array.ndim == 1 else _objects(list(array))


def _objects(values: Sequence[Any]) -> Values:
    """A 1-D object array, whatever the elements are: NumPy would stack equal arrays."""
    found = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        found[position] = value.item() if isinstance(value, np.generic) else value
    return found
