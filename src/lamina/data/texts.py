"""Texts as they are found: a file of text, a folder of .txt files, or a column of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lamina.data.readers.locate import TABLES, suffix
from lamina.data.schema import Values
from lamina.errors import InputError, nearest
from lamina.modalities import text
from lamina.modalities._files import Unreadable

SURE = 0.4
"""How sure it must be that a column holds texts, to be taken for one unasked."""
SAMPLE = 2_000
"""Rows that are looked at for it."""


def is_text_file(data: Any) -> bool:
    """Is it the path of a file that is no table?"""
    return isinstance(data, str | Path) and "://" not in str(data) and suffix(Path(data)) not in (*TABLES, "")


def text_files(data: Any) -> tuple[list[Path], Path] | None:
    """(The files of text that `data` names, the folder that they are in), or None where it is something else."""
    path = Path(data) if isinstance(data, str | Path) and "://" not in str(data) else None
    if path is not None and path.is_dir() and (files := _in_folder(path)):
        return files, path
    if path is not None and (is_text_file(path) or (path.is_file() and not suffix(path))):
        return [path], path.parent
    return None


def _in_folder(folder: Path) -> list[Path]:
    files = [file for file in sorted(folder.rglob("*.txt")) if file.is_file()]
    return [file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts)]


def content(file: Path) -> bytes:
    """The bytes of a file.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        beside = [item.name for item in file.parent.iterdir()] if file.parent.is_dir() else []
        raise InputError(f"There is no file {file}.", fix=nearest(file.name, beside)) from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.", fix="Give a file that can be read.") from None


def decoded(content: bytes, file: Path) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        InputError: it is no text, or in another encoding.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(
            f"{file} is not in UTF-8: it begins as UTF-16 does.",
            where=str(file),
            fix=f"Convert it: iconv -f UTF-16 -t UTF-8 {file} > utf8.txt",
        )
    if b"\0" in content:
        raise InputError(
            f"{file} is no text: it has bytes of zero.", where=str(file), fix="Give a text file, or a table of texts."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file} is not in UTF-8: {error.reason} at byte {error.start:,}.",
            where=str(file),
            fix=f"Convert it: iconv -f LATIN1 -t UTF-8 {file} > utf8.txt (if that is what it is in).",
        ) from None


def of_value(value: object) -> tuple[str, str]:
    """(The text that a cell holds, ""), or ("", why it holds none)."""
    try:
        found = text.as_text(value)
    except Unreadable as error:
        return "", str(error)
    return (found, "") if found is not None and found.strip() else ("", "no text")


def sure_columns(columns: Sequence[str], sample: Mapping[str, Values]) -> list[str]:
    """Those of the columns that surely hold texts, by some of their values."""
    found = {name: text.recognise(sample[name], name) for name in columns}
    return [name for name, recognised in found.items() if recognised is not None and recognised.confidence >= SURE]
