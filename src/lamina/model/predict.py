"""`lamina predict MODEL DATA --out FILE`: answers streamed to a file, one row for each input row, in order."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from lamina.errors import InputError, MissingDependencyError, nearest
from lamina.files import FIXES
from lamina.model import pictures
from lamina.model.answers import ERROR, PATH, Part, row_of
from lamina.model.runtime import BATCH, Model
from lamina.model.steps import opened
from lamina.tasks import Mapped


class Writer(Protocol):
    """Writes answers part by part."""

    def part(self, rows: Sequence[dict[str, Any]]) -> None: ...

    def close(self) -> None: ...


def predict_to_file(
    model: Model, data: Any, out: str | os.PathLike[str], batch: int = BATCH, *, screen: str = ".csv"
) -> dict[str, int]:
    """Answer every row of `data` into `out`: .csv, .tsv, .jsonl, .json, .parquet, or "-" for standard output, which
    gets what a file that ends in `screen` would.

    The columns are `path` where rows are files, for each target T its answer T and T.p, T.p.CLASS or T.low,
    T.high, and `error`; of a forecaster the series, the moment, T, T.low, T.high, of narrower intervals T.low50,
    T.high50 and the like, and `error`, a line for each step. The file is written beside and renamed, replacing one that
    is there. Memory stays flat however many rows there are, but for series, which are read whole. Answers that are
    pictures are written as PNG files: where `out` is a folder into it, beside answers.csv, and for x.csv into the
    folder x. Returns {"rows", "errors"}.

    Raises:
        InputError: an unknown extension, a folder that cannot be written, `out` is the input itself, or
            anything wrong with the data.
        MissingDependencyError: Parquet without pyarrow.
    """
    to_screen = str(out) == "-"
    path, album = Path(out), None
    if any(isinstance(task, Mapped) for task in model.tasks.values()):
        path, folder = pictures.places(out)
        pictures.check_apart(folder, data)
        album = pictures.Album(folder, path.parent)
    kind = screen if to_screen else path.suffix.lower()
    _check_kind(path, kind)
    if not to_screen:
        check_place(path, data)
    rows = opened(data, model, batch)
    answers = model.answer_columns if rows.lines is None else tuple(rows.lines.kinds)
    columns = ((PATH,) if rows.named_by_path else ()) + answers + (ERROR,)
    counts = {"rows": 0, "errors": 0}
    kinds = _kinds(model, columns) if rows.lines is None else {**rows.lines.kinds, ERROR: "text"}
    with _opened(path, to_screen, kind) as file:
        writer = _WRITERS[kind](file, columns, kinds)
        for part in model.stream(rows):
            answered = [row_of(part, row, rows.named_by_path) for row in range(part.rows)]
            if album is not None:
                answered = [album.kept(one, counts["rows"] + number) for number, one in enumerate(answered)]
            writer.part(answered)
            _count(counts, part)
        writer.close()
    return counts


def _check_kind(path: Path, kind: str) -> None:
    if kind not in _WRITERS:
        raise InputError(
            f"Cannot write answers to {path.name!r}: its extension is {kind or 'missing'!r}.",
            fix=f"Name a file that ends in one of these. {nearest(kind, _WRITERS)}",
        )


def rows_to_file(
    rows: Iterable[dict[str, Any]],
    columns: Sequence[str],
    out: str | os.PathLike[str],
    data: Any,
    *,
    screen: str = ".csv",
) -> dict[str, int]:
    """Write rows of texts as `predict_to_file` does, row by row as they come; returns {"rows", "errors"}.

    Args:
        rows: by column; where there is an "error", the row counts as one.
        data: what they are made from, which `out` must not be.

    Raises:
        InputError: an unknown extension, a folder that cannot be written, or `out` is the input itself.
        MissingDependencyError: Parquet without pyarrow.
    """
    to_screen, path = str(out) == "-", Path(out)
    kind = screen if to_screen else path.suffix.lower()
    _check_kind(path, kind)
    if not to_screen:
        check_place(path, data)
    counts = {"rows": 0, "errors": 0}
    with _opened(path, to_screen, kind) as file:
        writer = _WRITERS[kind](file, columns, dict.fromkeys(columns, "text"))
        for row in rows:
            writer.part([row])
            counts["rows"] += 1
            counts["errors"] += bool(row.get(ERROR))
        writer.close()
    return counts


def text_of(value: Any) -> str:
    """A value as a cell of CSV: numbers as short as float32 allows, lists as JSON, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, float):
        return _shortest(value)
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _shortest(value: float) -> str:
    """The fewest digits that give the same float32, which is all that the network computes in.

    Beyond 2**24 float32 has no room for whole numbers, and the scale of a target may well be larger.
    """
    if abs(value) >= 2**24 or value != value:
        return repr(value)
    return str(np.float32(value))


def _count(counts: dict[str, int], part: Part) -> None:
    counts["rows"] += part.rows
    counts["errors"] += len(part.errors)


def check_place(path: Path, data: Any, option: str = "--out", usual: str = "answers.csv") -> None:
    """Refuse a file for the answers that is a folder, lies in none, or is the input itself.

    Args:
        option: that named the file.
        usual: what such a file may be called.
    """
    if path.is_dir():
        raise InputError(f"{option} {path} is a folder.", fix=f"Name a file in it, e.g. {path / usual}")
    if not path.parent.is_dir():
        raise InputError(
            f"There is no folder {path.parent} to write {path.name} in.",
            fix=f"Make the folder first, or choose another {option}.",
        )
    if isinstance(data, str | os.PathLike) and not str(data).lstrip().startswith("{"):
        # What is no path, such as a long text, is no file either.
        with suppress(OSError, ValueError):
            if Path(str(data).partition("#")[0]).samefile(path):
                raise InputError(f"{option} {path} is the input itself.", fix="Choose another file for the answers.")


@contextmanager
def _opened(path: Path, to_screen: bool, kind: str) -> Iterator[IO[Any]]:
    """The file beside the final one, synced and renamed at the end, or removed if anything fails."""
    if to_screen:
        if sys.stdout is None:
            raise InputError(
                "Standard output is closed: the answers cannot be written to it.", fix="Name a file: --out answers.csv"
            )
        yield sys.stdout
        sys.stdout.flush()
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        file: IO[Any] = beside.open("wb") if kind == ".parquet" else beside.open("w", encoding="utf-8", newline="")
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise InputError(
            f"Cannot write {path.name}: {error.strerror or error}.",
            where=str(path.parent),
            fix=FIXES.get(error.errno or 0, "Choose another place with --out."),
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()


def _kinds(model: Model, columns: Sequence[str]) -> dict[str, str]:
    """ "number", "numbers", "list" or "text" by column, from an empty run: what Parquet has to know in advance."""
    one = {name: np.zeros((1, task.width), dtype=np.float32) for name, task in model.tasks.items()}
    decoded = model.decode(one)

    def kind(name: str) -> str:
        if name not in decoded:
            return "text"
        if decoded[name].dtype.kind == "f":
            return "number"
        value = decoded[name][0]
        if not isinstance(value, list | tuple):
            return "text"
        return "numbers" if value and all(isinstance(part, float) for part in value) else "list"

    return {name: kind(name) for name in columns}


class _Delimited:
    """CSV or TSV."""

    def __init__(self, file: IO[str], columns: Sequence[str], delimiter: str) -> None:
        self.columns = columns
        self.writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        self.writer.writerow(columns)

    def part(self, rows: Sequence[dict[str, Any]]) -> None:
        self.writer.writerows([text_of(row.get(name)) for name in self.columns] for row in rows)

    def close(self) -> None: ...


class _JsonLines:
    """One object a line, or one array of objects."""

    def __init__(self, file: IO[str], columns: Sequence[str], array: bool) -> None:
        self.file, self.columns, self.array, self.count = file, columns, array, 0

    def part(self, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            ordered = {name: _json_number(row.get(name)) for name in self.columns}
            separator = ("[\n" if not self.count else ",\n") if self.array else ""
            self.file.write(separator + json.dumps(ordered, ensure_ascii=False) + ("" if self.array else "\n"))
            self.count += 1

    def close(self) -> None:
        if self.array:
            self.file.write("\n]\n" if self.count else "[]\n")


def _json_number(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(_shortest(value)) if np.isfinite(value) else None


class _Parquet:
    """Row groups as they come."""

    def __init__(self, file: IO[bytes], columns: Sequence[str], kinds: dict[str, str]) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise MissingDependencyError("pyarrow", "Writing Parquet", "tables") from None
        number, text = pyarrow.float64(), pyarrow.string()
        types = {"number": number, "numbers": pyarrow.list_(number), "text": text, "list": pyarrow.list_(text)}
        self.schema = pyarrow.schema([(name, types[kinds[name]]) for name in columns])
        self.pyarrow, self.kinds = pyarrow, kinds
        self.writer = pyarrow.parquet.ParquetWriter(file, self.schema)
        self.waiting: list[dict[str, Any]] = []

    def part(self, rows: Sequence[dict[str, Any]]) -> None:
        self.waiting.extend(rows)
        if len(self.waiting) >= 8192:
            self.write()

    def write(self) -> None:
        columns = {name: [_as(kind, row.get(name)) for row in self.waiting] for name, kind in self.kinds.items()}
        self.writer.write_table(self.pyarrow.Table.from_pydict(columns, schema=self.schema))
        self.waiting = []

    def close(self) -> None:
        if self.waiting:
            self.write()
        self.writer.close()


def _as(kind: str, value: Any) -> Any:
    if value is None or kind in ("number", "numbers"):
        return value
    if kind == "list":
        return [str(part) for part in value]
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else str(value)


_WRITERS: dict[str, Callable[[IO[Any], Sequence[str], dict[str, str]], Writer]] = {
    ".csv": lambda file, columns, kinds: _Delimited(file, columns, ","),
    ".tsv": lambda file, columns, kinds: _Delimited(file, columns, "\t"),
    ".jsonl": lambda file, columns, kinds: _JsonLines(file, columns, array=False),
    ".json": lambda file, columns, kinds: _JsonLines(file, columns, array=True),
    ".parquet": _Parquet,
}
