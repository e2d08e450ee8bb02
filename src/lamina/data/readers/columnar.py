"""Parquet, Arrow, Excel: typed columns, through pyarrow (and fastexcel), loaded only when needed."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.readers.locate import PARQUET, readable, suffix
from lamina.data.readers.source import CHUNK_WEIGHT, RowChunk, Source, Unit, check_columns, object_array
from lamina.data.schema import Values
from lamina.errors import InputError, MissingDependencyError, nearest

BATCH = 4096


def require(library: str, purpose: str) -> Any:
    """Import an optional library.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        return importlib.import_module(library)
    except ImportError:
        raise MissingDependencyError(library.split(".")[0], purpose, "tables") from None


def read(path: Path) -> Source:
    """A Parquet or Arrow IPC (Feather) file."""
    return _read_parquet([path], path.name) if suffix(path) in PARQUET else _read_ipc(path)


def read_parts(paths: Sequence[Path], name: str) -> Source:
    """Several Parquet files as one table; their columns must have the same names."""
    return _read_parquet(paths, name)


def _read_parquet(paths: Sequence[Path], name: str) -> Source:
    arrow = require("pyarrow", "Reading Parquet")
    parquet = require("pyarrow.parquet", "Reading Parquet")

    def opened(path: Path) -> Any:
        with readable(path):
            try:
                return parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
            except arrow.ArrowException as error:
                raise _damaged(path, "Parquet", error) from None

    schemas = []
    rows = 0
    for path in paths:
        with opened(path) as file:
            schemas.append(_plain_schema(arrow, file.schema_arrow, path.name))
            rows += file.metadata.num_rows
        if set(schemas[-1].names) != set(schemas[0].names):
            odd = sorted(set(schemas[-1].names) ^ set(schemas[0].names))
            raise InputError(
                f"{path.name} and {paths[0].name} have different columns: {', '.join(odd)}.",
                where=name,
                fix="Give parts of one table, all with the same columns.",
            )
    if rows == 0:
        raise InputError(f"{name} has no rows.", where=name, fix="Give a file with at least one row.")
    try:
        schema = arrow.unify_schemas(schemas, promote_options="permissive")
    except arrow.ArrowException as error:
        raise InputError(
            f"The parts of {name} have columns of types that do not go together: {error}.",
            where=name,
            fix="Give them the same types.",
        ) from None

    def batches() -> Iterator[Any]:
        for path in paths:
            with opened(path) as file:
                groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
                heaviest = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1)
                size = int(min(BATCH, max(16, CHUNK_WEIGHT / max(heaviest, 1))))
                try:
                    yield from (_plain(arrow, batch, schema) for batch in file.iter_batches(size))
                except (arrow.ArrowException, OSError) as error:
                    raise _damaged(path, "Parquet", error) from None

    return _source(name, "row", schema, batches)


def _read_ipc(path: Path) -> Source:
    arrow = require("pyarrow", "Reading Arrow files")
    require("pyarrow.ipc", "Reading Arrow files")

    def opened() -> tuple[Any, Iterable[Any]]:
        with readable(path):
            file = arrow.OSFile(str(path))
        try:
            reader = arrow.ipc.open_file(file)
            return reader.schema, (reader.get_batch(number) for number in range(reader.num_record_batches))
        except arrow.ArrowInvalid:
            file.seek(0)
        try:
            stream = arrow.ipc.open_stream(file)
        except arrow.ArrowException as error:
            raise _damaged(path, "Arrow", error) from None
        return stream.schema, stream

    schema = _plain_schema(arrow, opened()[0], path.name)

    def batches() -> Iterator[Any]:
        try:
            for batch in opened()[1]:
                for start in range(0, len(batch), BATCH):
                    yield _plain(arrow, batch.slice(start, BATCH), schema)
        except (arrow.ArrowException, OSError) as error:
            raise _damaged(path, "Arrow", error) from None

    if not any(len(batch) for batch in batches()):
        raise InputError(f"{path.name} has no rows.", where=str(path), fix="Give a file with at least one row.")
    return _source(path.name, "row", schema, batches)


def read_excel(path: Path, selection: str = "") -> Source:
    """One sheet of a workbook (the first, or "#Sheet"): its first filled row is the header.

    Raises:
        InputError: no workbook, an unknown sheet, no rows, empty or repeated column names.
    """
    excel = require("fastexcel", "Reading Excel")
    arrow = require("pyarrow", "Reading Excel")
    try:
        with readable(path):
            book = excel.read_excel(path)
        wanted = selection.removeprefix("#") or book.sheet_names[0]
        if wanted not in book.sheet_names:
            raise InputError(
                f"There is no sheet {wanted!r} in {path.name}.", where=str(path), fix=nearest(wanted, book.sheet_names)
            )
        top = book.load_sheet(wanted, header_row=None, n_rows=1, dtypes="string").to_arrow()
        names = ["" if values[0] is None else str(values[0]).strip() for values in top.to_pydict().values()]
        where = f"{path.name}, sheet {wanted}"
        check_columns(names, where, fix="Give every column a name of its own in the sheet's first row.")
        sheet = book.load_sheet(wanted, schema_sample_rows=None).to_arrow()
    except (excel.FastExcelError, IndexError) as error:
        raise _damaged(path, "Excel", error) from None
    if len(sheet) == 0:
        raise InputError(f"Sheet {wanted} has no rows.", where=where, fix="Name another sheet: file.xlsx#Sheet2")
    table = arrow.Table.from_batches([sheet]).rename_columns(names)
    return table_source(table, f"{path.name}#{wanted}", "row")


def table_source(table: Any, name: str, unit: Unit) -> Source:
    """A `pyarrow.Table` in memory as a source."""
    arrow = require("pyarrow", "Reading data frames")
    schema = _plain_schema(arrow, table.schema, name)
    if table.num_rows == 0:
        raise InputError(f"{name} has no rows.", where=name, fix="Give data with at least one row.")

    def batches() -> Iterator[Any]:
        weight = max(table.nbytes / table.num_rows, 1)
        for batch in table.to_batches(max_chunksize=int(min(BATCH, max(16, CHUNK_WEIGHT / weight)))):
            yield _plain(arrow, batch, schema)

    return _source(name, unit, schema, batches)


def _source(name: str, unit: Unit, schema: Any, batches: Callable[[], Iterator[Any]]) -> Source:
    first = 0 if unit == "index" else 1

    def chunks(size: int) -> Iterator[RowChunk]:
        start = 0
        for batch in batches():
            for offset in range(0, len(batch), size):
                part = batch.slice(offset, size)
                values = {column: arrow_values(part.column(number)) for number, column in enumerate(schema.names)}
                yield RowChunk(start, values, {}, np.arange(start, start + len(part)) + first)
                start += len(part)

    return Source(name, tuple(schema.names), unit, chunks, batches=batches, schema=schema)


def _damaged(path: Path, kind: str, error: Exception) -> InputError:
    return InputError(
        f"{path.name} cannot be read as {kind}: {str(error).splitlines()[0][:200]}.",
        where=str(path),
        fix="Check that the file is complete; download or export it again.",
    )


def _plain_schema(arrow: Any, schema: Any, where: str) -> Any:
    """The few types that are stored: nested objects are flattened, the rest is converted by `_plain_type`."""
    table = schema.empty_table()
    while any(arrow.types.is_struct(kind) for kind in table.schema.types):
        table = table.flatten()
    check_columns(table.schema.names, where)
    if not table.schema.names:
        raise InputError(f"{where} has no columns.", where=where, fix="Give data with at least one column.")
    return arrow.schema(
        [(item.name, _plain_type(arrow, item.type, f"{where}, column {item.name}")) for item in table.schema]
    )


def _plain_type(arrow: Any, kind: Any, where: str) -> Any:
    types = arrow.types
    if isinstance(kind, arrow.BaseExtensionType):
        kind = kind.storage_type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_boolean(kind):
        return arrow.bool_()
    if types.is_uint64(kind) or types.is_null(kind) or types.is_time(kind):
        return arrow.string()
    if types.is_integer(kind):
        return arrow.int64()
    if types.is_floating(kind) or types.is_decimal(kind) or types.is_duration(kind):
        return arrow.float64()
    if types.is_timestamp(kind) or types.is_date(kind):
        return arrow.timestamp("us")
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return arrow.string()
    if (
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    ):
        return arrow.binary()
    if types.is_nested(kind) and not types.is_union(kind):
        return kind
    raise InputError(
        f"Values of type {kind} cannot be read.", where=where, fix="Convert the column to numbers or text."
    )


def _plain(arrow: Any, batch: Any, schema: Any) -> Any:
    """A batch converted to the stored types, columns in the schema's order."""
    table = arrow.Table.from_batches([batch])
    while any(arrow.types.is_struct(kind) for kind in table.schema.types):
        table = table.flatten()
    columns = [_converted(arrow, table.column(item.name), item.type) for item in schema]
    return arrow.RecordBatch.from_arrays(columns, schema=schema)


def _converted(arrow: Any, column: Any, kind: Any) -> Any:
    array = column.combine_chunks()
    if isinstance(array, arrow.ChunkedArray):
        array = arrow.concat_arrays(array.chunks) if array.num_chunks else arrow.array([], array.type)
    if isinstance(array, arrow.ExtensionArray):
        array = array.storage
    if arrow.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if arrow.types.is_duration(array.type):
        per_second = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[array.type.unit]
        return arrow.compute.divide(array.cast(arrow.int64()).cast(arrow.float64()), float(per_second))
    if array.type == kind:
        return array
    return array.cast(kind, safe=False)


def arrow_values(array: Any) -> Values:
    """An Arrow array of one of the stored types as raw values; see `source.column_values` for the rules on gaps."""
    kind = str(array.type)
    if kind == "int64" and array.null_count:
        values = array.to_pylist()
        if all(value is None or abs(value) <= 2**53 for value in values):
            return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
        return object_array(values)
    if kind == "bool" and array.null_count:
        return object_array(array.to_pylist())
    if kind.startswith("timestamp"):
        moments = _fixed(array, f"datetime64[{array.type.unit}]")
        moments[_gaps(array)] = np.datetime64("NaT")
        return moments.astype("datetime64[us]")
    if kind == "int64":
        return _fixed(array, "int64")
    if kind == "double":
        numbers = _fixed(array, "float64")
        numbers[_gaps(array)] = math.nan
        return numbers
    if kind == "bool":
        return _bits(array.buffers()[1], array)
    if kind == "string":
        return _strings(array)
    return object_array(array.to_pylist())


# `to_numpy` would import pandas wherever it is installed, for nothing.


def _fixed(array: Any, kind: str) -> Values:
    """A copy of values of a fixed width; anything in gaps."""
    width = np.dtype(kind).itemsize
    return np.frombuffer(array.buffers()[1] or b"", kind, len(array), array.offset * width).copy()


def _bits(buffer: Any, array: Any) -> Values:
    """bool [value], from a buffer of one bit for each."""
    begin, end = array.offset, array.offset + len(array)
    some = np.frombuffer(buffer or b"", np.uint8)[begin // 8 : -(-end // 8)]
    return np.unpackbits(some, bitorder="little")[begin % 8 :][: len(array)].astype(bool)


def _gaps(array: Any) -> Values:
    """bool [value]: which are missing."""
    return ~_bits(array.buffers()[0], array) if array.null_count else np.zeros(len(array), dtype=bool)


def _strings(array: Any) -> Values:
    """object [value] of str, None in gaps."""
    found = np.full(len(array), None, dtype=object)
    if array.null_count == len(array):
        return found
    _, places, content = array.buffers()
    ends = np.frombuffer(places, np.int32, len(array) + 1, array.offset * 4)
    data = b"" if content is None else content.slice(int(ends[0]), int(ends[-1] - ends[0])).to_pybytes()
    borders = (ends - ends[0]).tolist()
    if data.isascii():
        text = data.decode("ascii")
        found[:] = [text[begin:end] for begin, end in pairwise(borders)]
    else:
        found[:] = [data[begin:end].decode() for begin, end in pairwise(borders)]
    found[_gaps(array)] = None
    return found
