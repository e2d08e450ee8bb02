"""CSV and its relatives, all text: the same cells in training and prediction, and no row lost in silence."""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from lamina.data.readers.locate import open_bytes, readable, suffix, text_encoding
from lamina.data.readers.source import Record, RowChunk, Source, Unreadable, check_columns, gather
from lamina.data.schema import Values
from lamina.errors import InputError

DELIMITERS = ",;\t|"
_SAMPLE = 256 * 1024
_LONGEST_RECORD = 32_000_000
"""Characters after which a quote that was never closed is given up."""


def read(path: Path) -> Source:
    """A CSV, TSV or similar file with a header, optionally compressed.

    Every cell is text; an empty cell is None. The delimiter is found among comma, semicolon, tab and bar; the
    encoding among UTF-8, UTF-16 and Windows-1252/Latin-1 (the last with a note). Rows with too many or too few
    fields and quotes that are never closed are error rows.

    Raises:
        InputError: no text, no header, no rows, empty or repeated column names, no row that fits the header.
    """
    encoding, note = text_encoding(path)
    sample, whole = _sample(path, encoding)
    delimiter = _delimiter(sample, "\t" if suffix(path) in (".tsv", ".tab") else ",")
    records = [fields for _, fields in _records(io.StringIO(sample, newline=""), delimiter)][
        _declares_delimiter(sample) :
    ]
    if not records or isinstance(records[0], Unreadable):
        raise InputError(
            f"The header of {path.name} cannot be read.", where=f"{path.name}, line 1", fix="Check its quotes."
        )
    if not whole and len(records) > 1:
        records.pop()
    rows = [fields for fields in records if isinstance(fields, list)]
    columns = tuple(name.strip() for name in rows[0])
    _check_header(path, columns, rows[1:], len(records) == 1 and whole)
    width = len(columns)

    def chunks(size: int) -> Iterator[RowChunk]:
        with readable(path), _open_text(path, encoding) as file:
            records = _records(file, delimiter)
            if _declares_delimiter(sample):
                next(records)
            next(records)
            yield from gather(_checked(records, width), size, [""] * width, lambda rows: _columns(columns, rows))

    return Source(path.name, columns, "line", chunks, notes=(note,) if note else ())


def _open_text(path: Path, encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(open_bytes(path), encoding=encoding, newline="")


def _sample(path: Path, encoding: str) -> tuple[str, bool]:
    """The file's beginning, and whether that is all of it."""
    with readable(path), _open_text(path, encoding) as file:
        sample = file.read(_SAMPLE)
        return sample, not file.read(1)


def _declares_delimiter(sample: str) -> bool:
    """Excel's own first line `sep=;`."""
    return sample[:4].lower() == "sep=" and len(sample.split("\n", 1)[0].strip()) == 5


def _delimiter(sample: str, usual: str) -> str:
    """The delimiter that cuts the header into several fields and the rows into as many as it; `usual` on a tie."""
    if _declares_delimiter(sample):
        return sample[4]
    best, best_score = "", (0.0, 0, False)
    alone = usual
    for delimiter in DELIMITERS:
        rows = [
            fields for _, fields in _records(io.StringIO(sample, newline=""), delimiter) if isinstance(fields, list)
        ]
        rows = rows[:200]
        if not rows:
            continue
        width = len(rows[0])
        if width == 1 and all(len(row) == 1 for row in rows):
            alone = alone if alone == usual and usual not in sample else delimiter
        if width < 2:
            continue
        fitting = sum(len(row) == width for row in rows[1:]) / max(len(rows) - 1, 1)
        score = (round(fitting, 2), width, delimiter == usual)
        if score > best_score:
            best, best_score = delimiter, score
    return best or alone


class _Feed:
    """Lines for `csv.reader`, remembering those of the present record so that they can be read once more."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._again: deque[str] = deque()
        self.record: list[str] = []
        self.weight = 0
        self.number = 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.number += 1
        self.weight += len(line)
        self.record.append(line)
        if self.weight > _LONGEST_RECORD:
            raise csv.Error("a quote is not closed")
        return line

    def begin(self) -> None:
        self.record = []
        self.weight = 0

    def keep_first_line_only(self) -> None:
        """Give back all lines of the present record but the first."""
        self._again.extendleft(reversed(self.record[1:]))
        self.number -= len(self.record) - 1
        self.record = self.record[:1]


def _records(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str] | Unreadable]]:
    """(line number, fields) of every record that is not blank.

    A quote that is never closed costs its own line only: reading goes on with the line after it.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_RECORD))
    feed = _Feed(lines)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.begin()
        line = feed.number + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            if len(feed.record) == 1 and _closes_quotes(feed.record[0]):
                yield line, next(csv.reader(feed.record, delimiter=delimiter))
            else:
                feed.keep_first_line_only()
                yield line, Unreadable(f"line {line}: a quote is opened and not closed properly")
            continue
        if fields:
            yield line, fields


def _closes_quotes(line: str) -> bool:
    """Whether a line with odd quoting, such as `"Joe" Smith,5`, can still be read alone."""
    return line.count('"') % 2 == 0


def _checked(records: Iterable[tuple[int, list[str] | Unreadable]], width: int) -> Iterator[Record]:
    for line, fields in records:
        if isinstance(fields, Unreadable):
            yield line, 0, fields
            continue
        count = len(fields)
        if count > width and not any(fields[width:]):
            del fields[width:]
        elif count != width:
            yield line, 0, Unreadable(f"line {line}: {count} field{'s' * (count != 1)} where the header has {width}")
            continue
        yield line, sum(map(len, fields)), fields


def _columns(names: tuple[str, ...], rows: list[list[str]]) -> dict[str, Values]:
    columns: dict[str, Values] = {}
    for name, cells in zip(names, zip(*rows, strict=True), strict=True):
        values = np.array(cells, dtype=object)
        values[values == ""] = None
        columns[name] = values
    return columns


def _check_header(path: Path, columns: tuple[str, ...], rows: list[list[str]], alone: bool) -> None:
    where = f"{path.name}, line 1"
    if alone:
        raise InputError(
            f"{path.name} has a header but no rows."
            if not _is_number(columns[0])
            else f"{path.name} has only one line.",
            where=str(path),
            fix="Give a file with a header line and at least one row.",
        )
    reason = _looks_like_data(columns, rows)
    if reason:
        raise InputError(
            f"{path.name} seems to have no header: {reason}.",
            where=where,
            fix="Write the columns' names in the first line, e.g. "
            + ",".join(f"column{n + 1}" for n in range(len(columns))),
        )
    index = columns[0] == "" and all(columns[1:])
    check_columns(
        columns,
        where,
        fix="The first column looks like a saved index: write the file without it (pandas: index=False), or name it."
        if index
        else "Give every column a name of its own in the first line.",
    )
    widths = Counter(len(row) for row in rows)
    fitting = any(len(row) == len(columns) or not any(row[len(columns) :]) for row in rows if len(row) >= len(columns))
    if rows and not fitting:
        usual = widths.most_common(1)[0][0]
        raise InputError(
            f"The header has {len(columns)} name{'s' * (len(columns) != 1)}, but the rows have {usual} fields.",
            where=where,
            fix="Name every column in the header; quote values that contain the delimiter.",
        )


def _looks_like_data(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    """Why the first line is an example rather than a header; "" if it is a header."""
    numbers = [float(name) for name in columns if _is_number(name)]
    counted = all(number.is_integer() for number in numbers) and (
        len({round(after - before) for before, after in itertools.pairwise(numbers)}) <= 1
        and len(set(numbers)) == len(numbers)
    )
    if numbers and (not counted or (len(numbers) == 1 and not 1900 <= numbers[0] <= 2100)):
        below = [
            row[columns.index(name)]
            for name in columns
            if _is_number(name)
            for row in rows[:200]
            if len(row) == len(columns)
        ]
        if not below or sum(map(_is_number, below)) > 0.5 * len(below):
            return f"its first line holds numbers ({', '.join(name for name in columns if _is_number(name))[:60]})"
    rows = [row for row in rows if len(row) == len(columns) and [cell.strip() for cell in row] != list(columns)]
    if any(not _is_number(name) and _mostly_numbers(rows, number) for number, name in enumerate(columns)):
        # Words above numbers: a name, even if another name is among the values below it.
        return ""
    for number, name in enumerate(columns):
        repeats = sum(row[number].strip() == name for row in rows)
        if name and repeats >= max(2, 0.02 * len(rows)):
            return f"{name!r} in its first line is also the value of {repeats} rows below it"
    return ""


def _mostly_numbers(rows: list[list[str]], column: int) -> bool:
    cells = [row[column] for row in rows if row[column].strip()]
    return bool(cells) and sum(map(_is_number, cells)) > 0.9 * len(cells)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip().lower() not in ("nan", "inf", "infinity", "-inf", "+inf")
