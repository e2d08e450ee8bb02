"""Data that is already in memory: data frames, mappings of columns, lists of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lamina.data.readers.columnar import require, table_source
from lamina.data.readers.json_rows import flat
from lamina.data.readers.source import (
    Columns,
    RowChunk,
    Source,
    check_columns,
    column_values,
    gather,
    joint_kind,
    kind_of,
    object_array,
)
from lamina.data.schema import Values
from lamina.errors import InputError


def read(data: object) -> Source:
    """A pandas, polars or Arrow table, a mapping of column names to values, or a list of mappings (rows).

    A mapping of plain values is one row.

    Raises:
        InputError: an unknown type, no rows, columns of different lengths, names that are empty or repeated.
    """
    library = type(data).__module__.partition(".")[0]
    if library in ("pandas", "polars", "pyarrow"):
        return table_source(_arrow_table(data, library), "data frame", "index")
    if isinstance(data, Mapping):
        return _mapping(data)
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return _rows(data)
    raise InputError(
        f"Data of type {type(data).__name__} cannot be read.",
        fix="Give a path, a data frame (pandas, polars, Arrow), a mapping of columns or a list of rows.",
    )


def _arrow_table(data: Any, library: str) -> Any:
    arrow = require("pyarrow", "Reading data frames")
    kind = type(data).__name__
    if library == "pandas" and kind == "DataFrame":
        return _from_pandas(arrow, data)
    if library == "polars" and kind in ("DataFrame", "LazyFrame"):
        return (data.collect() if kind == "LazyFrame" else data).rechunk().to_arrow()
    if library == "pyarrow" and kind in ("Table", "RecordBatch"):
        return arrow.Table.from_batches([data]) if kind == "RecordBatch" else data
    raise InputError(
        f"A {library} {kind} is no table.", fix="Give a data frame; of a series, make one: series.to_frame()."
    )


def _from_pandas(arrow: Any, frame: Any) -> Any:
    names = [str(name) for name in frame.columns]
    check_columns(names, "data frame")
    columns = []
    for position in range(len(names)):
        series = frame.iloc[:, position]
        try:
            columns.append(arrow.Array.from_pandas(series))
        except (arrow.ArrowInvalid, arrow.ArrowTypeError, arrow.ArrowNotImplementedError):
            columns.append(_converted(arrow, series))
    return arrow.Table.from_arrays(columns, names=names)


def _converted(arrow: Any, series: Any) -> Any:
    """An Arrow array of values that are not of one kind: arrays of several axes as nested lists, others as text."""
    values = [None if _is_missing(value) else value for value in series]
    if all(value is None or isinstance(value, np.ndarray) for value in values):
        try:
            return arrow.array([None if value is None else value.tolist() for value in values])
        except (arrow.ArrowInvalid, arrow.ArrowTypeError):
            raise InputError(
                f"The arrays in column {str(series.name)!r} do not have the same number of axes and kind of values.",
                fix="Give arrays that are alike.",
            ) from None
    return arrow.array([None if value is None else str(value) for value in values], arrow.string())


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _mapping(data: Mapping[Any, Any]) -> Source:
    names = tuple(str(name) for name in data)
    check_columns(names, "the mapping of columns")
    if not names:
        raise InputError("The data has no columns.", fix='Give {"column": values, ...}.')
    if not any(isinstance(value, np.ndarray | list | tuple) or hasattr(value, "to_numpy") for value in data.values()):
        return _rows([data])
    columns = {name: _column(name, value) for name, value in zip(names, data.values(), strict=True)}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise InputError(
            f"The columns have different lengths ({shown}).", fix="Give every column one value for each row."
        )
    rows = next(iter(lengths.values()))
    if rows == 0:
        raise InputError("The data has no rows.", fix="Give at least one row.")
    kinds = {name: _array_kind(values) for name, values in columns.items()}
    arrays = {
        name: column_values(values.tolist(), kinds[name]) if values.dtype == object else values
        for name, values in columns.items()
    }

    def chunks(size: int) -> Iterator[RowChunk]:
        for start in range(0, rows, size):
            values = {name: array[start : start + size] for name, array in arrays.items()}
            yield RowChunk(start, values, {}, np.arange(start, min(start + size, rows)))

    return Source("data", names, "index", chunks, kinds)


def _column(name: str, value: Any) -> Values:
    values = value.to_numpy() if hasattr(value, "to_numpy") else value
    if isinstance(values, list | tuple):
        return object_array([item.item() if isinstance(item, np.generic) else item for item in values])
    if not isinstance(values, np.ndarray) or values.ndim == 0:
        raise InputError(f"Column {name!r} is no list of values.", fix="Give a list or an array for every column.")
    if values.ndim > 1:
        return object_array([item.tolist() for item in values])
    match values.dtype.kind:
        case "b" | "O":
            return values
        case "i":
            return values.astype(np.int64)
        case "u" if values.dtype.itemsize < 8 or not len(values) or int(values.max()) < 2**63:
            return values.astype(np.int64)
        case "f":
            return values.astype(np.float64)
        case "M":
            return values.astype("datetime64[us]")
        case "U" | "S" | "u":
            return object_array(values.tolist())
        case _:
            raise InputError(f"Column {name!r} has the type {values.dtype}.", fix="Convert it to numbers or text.")


def _array_kind(values: Values) -> Any:
    if values.dtype != object:
        return {"b": "boolean", "i": "integer", "f": "number", "M": "time"}[values.dtype.kind]
    kind: Any = "missing"
    for value in values:
        kind = joint_kind(kind, kind_of(value))
    return kind


def _rows(data: Sequence[Any]) -> Source:
    if not data:
        raise InputError("The data has no rows.", fix="Give at least one row.")
    columns = Columns()
    for number, row in enumerate(data):
        if not isinstance(row, Mapping):
            raise InputError(
                f"Row {number} is no mapping of column names to values, but {type(row).__name__}.",
                fix='Give rows such as {"age": 41, "city": "Rome"}, or the path of a file.',
            )
        columns.see(dict(_named(row)))
    if not columns.kinds:
        raise InputError("The rows have no columns.", fix='Give rows such as {"age": 41, "city": "Rome"}.')
    check_columns(tuple(columns.kinds), "the rows")

    def chunks(size: int) -> Iterator[RowChunk]:
        return gather(((number, 0, dict(_named(row))) for number, row in enumerate(data)), size, {}, columns.build)

    return Source("data", tuple(columns.kinds), "index", chunks, columns.kinds)


def _named(row: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in flat(row):
        yield str(name), value.item() if isinstance(value, np.generic) else value


def content_hash(source: Source) -> str:
    """BLAKE2b of the columns' names, types and values; 32 hexadecimal digits."""
    digest = hashlib.blake2b("\0".join(source.columns).encode(), digest_size=16)
    for chunk in source.chunks(4096):
        for name, values in chunk.values.items():
            digest.update(f"{name} {values.dtype} {len(values)}".encode())
            digest.update("\0".join(map(_spelled, values)).encode() if values.dtype == object else values.tobytes())
    return digest.hexdigest()


def _spelled(value: Any) -> str:
    """A value in full: NumPy leaves out the middle of a large array, where a picture has its content."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_spelled, value))}]"
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)
