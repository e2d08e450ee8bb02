"""JSON (an array of objects) and JSON lines, streamed; nested objects become columns with dotted names."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lamina.data.readers.locate import open_bytes, readable, text_encoding
from lamina.data.readers.source import Columns, Record, RowChunk, Source, Unit, Unreadable, check_columns, gather
from lamina.errors import InputError

_BLOCK = 1 << 18
_ENDLESS = "a whole number of thousands of digits"
"""Python refuses to read such a one."""


def read(path: Path) -> Source:
    """A JSON or JSON-lines file; which of the two is seen from its first character.

    A line that is no JSON object is an error row. The columns are all keys that occur, in order of appearance:
    the file is read once for them and once more for the rows.

    Raises:
        InputError: not an array of objects, not one line is an object, no keys, damaged.
    """
    with readable(path), open_bytes(path) as file:
        head = file.read(_BLOCK)
    encoding, note = text_encoding(path)
    text = head.decode(encoding, errors="replace").lstrip()
    if text.startswith("["):
        unit: Unit = "record"

        def records() -> Iterator[Record]:
            return _array(path, encoding)
    elif text.startswith("{") and not _is_one_document(path, text, encoding):
        unit = "line"

        def records() -> Iterator[Record]:
            return _lines(path, encoding)
    else:
        raise InputError(
            f"{path.name} is not an array of objects, nor one object a line.",
            where=str(path),
            fix='Write it as [{"column": value, ...}, ...] or as JSON lines.',
        )
    columns = Columns()
    problem = ""
    for _, _, row in records():
        if isinstance(row, Unreadable):
            problem = problem or row.reason
        else:
            columns.see(row)
    if not columns.kinds:
        raise InputError(
            f"{path.name} has no rows with values" + (f"; {problem}." if problem else "."),
            where=str(path),
            fix="Give objects with at least one key.",
        )
    check_columns(tuple(columns.kinds), path.name)

    def chunks(size: int) -> Iterator[RowChunk]:
        return gather(records(), size, {}, columns.build)

    return Source(path.name, tuple(columns.kinds), unit, chunks, columns.kinds, notes=(note,) if note else ())


def _is_one_document(path: Path, text: str, encoding: str) -> bool:
    """Whether the file is one object (over several lines) rather than one object a line."""
    first = text.split("\n", 1)[0].strip()
    try:
        json.loads(first)
    except RecursionError:
        return False
    except ValueError:
        if path.suffix.lower() != ".json":
            return False
        return not any(_is_object(line) for line in text.split("\n")[1:50]) or _is_whole_object(path, encoding)
    return path.suffix.lower() == ".json" and "\n" not in text.strip() and len(text) < _BLOCK


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_whole_object(path: Path, encoding: str) -> bool:
    with open_bytes(path) as file:
        return _is_object(file.read(_BLOCK).decode(encoding, errors="replace"))


def _lines(path: Path, encoding: str) -> Iterator[Record]:
    with readable(path), open_bytes(path) as file:
        wide = encoding.startswith(("utf-16", "utf-32"))
        lines: Iterable[str | bytes] = io.TextIOWrapper(file, encoding=encoding, newline="\n") if wide else file
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            yield number, len(line), _line(line, encoding, f"line {number}")


def _line(line: str | bytes, encoding: str, where: str) -> dict[str, Any] | Unreadable:
    try:
        text = line if isinstance(line, str) else line.decode(encoding)
        value = json.loads(text)
        if "\\ud" in text.lower():
            value = _valid(value)
    except json.JSONDecodeError as error:
        return Unreadable(f"{where}: not valid JSON: {error.msg} at character {error.colno}")
    except ValueError:
        return Unreadable(f"{where}: {_ENDLESS}")
    except RecursionError:
        return Unreadable(f"{where}: nested too deeply")
    return _row(value, where)


def _valid(value: Any) -> Any:
    """Half a surrogate pair, which JSON may hold, is no valid text: U+FFFD stands for it."""
    if isinstance(value, str):
        return value.encode("utf-16", errors="surrogatepass").decode("utf-16", errors="replace")
    if isinstance(value, list):
        return [_valid(part) for part in value]
    if isinstance(value, dict):
        return {_valid(name): _valid(part) for name, part in value.items()}
    return value


def _row(value: Any, where: str) -> dict[str, Any] | Unreadable:
    if not isinstance(value, dict):
        return Unreadable(f"{where}: not an object, but {json.dumps(value)[:40]}")
    if any(isinstance(part, dict) for part in value.values()):
        try:
            return dict(flat(value))
        except RecursionError:
            return Unreadable(f"{where}: nested too deeply")
    return value


def flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested objects as columns with dotted names.

    >>> dict(flat({"a": {"b": 1}, "c": 2}))
    {'a.b': 1, 'c': 2}
    """
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _array(path: Path, encoding: str) -> Iterator[Record]:
    """The elements of the one array in the file, decoded one by one from a sliding window."""
    decoder = json.JSONDecoder()
    with readable(path), io.TextIOWrapper(open_bytes(path), encoding=encoding) as file:
        window, at, number = file.read(_BLOCK).lstrip()[1:], 0, 0
        block = _BLOCK
        while True:
            while at < len(window) and window[at] in " \t\r\n,":
                at += 1
            if at < len(window) and window[at] == "]":
                _refuse_rest(path, window[at + 1 :] + file.read(_BLOCK))
                return
            try:
                if at == len(window):
                    raise json.JSONDecodeError("the array is not closed", "", 0)
                value, end = decoder.raw_decode(window, at)
                if end == len(window):
                    raise json.JSONDecodeError("a value may go on", "", 0)
            except json.JSONDecodeError as error:
                more = file.read(block)
                if not more:
                    raise InputError(
                        f"{path.name} is not valid JSON: {error.msg}.",
                        where=f"{path.name}, record {number + 1}",
                        fix="Repair it there, or write the file again.",
                    ) from None
                window, at, block = window[at:] + more, 0, block * 2
                continue
            except ValueError:
                raise InputError(
                    f"{path.name} holds {_ENDLESS}.", where=f"{path.name}, record {number + 1}", fix="Write it as text."
                ) from None
            except RecursionError:
                raise InputError(
                    f"{path.name} is nested too deeply.", where=f"{path.name}, record {number + 1}", fix="Flatten it."
                ) from None
            number += 1
            if "\\ud" in window[at:end].lower():
                value = _valid(value)
            yield number, end - at, _row(value, f"record {number}")
            at, block = end, _BLOCK
            if at > _BLOCK:
                window, at = window[at:], 0


def _refuse_rest(path: Path, rest: str) -> None:
    if rest.strip():
        raise InputError(
            f"{path.name} goes on after the end of its array: {rest.strip()[:40]!r}.",
            where=str(path),
            fix="Keep one array of objects in the file.",
        )
