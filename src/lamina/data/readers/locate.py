"""Find the file a user means, open it, and say what is wrong with it before a parser does."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import difflib
import gzip
import hashlib
import lzma
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from lamina.errors import InputError

COMPRESSED = (".gz", ".bz2", ".xz")
DELIMITED = (".csv", ".tsv", ".tab", ".txt")
JSON_ARRAY = (".json",)
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
EXCEL = (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods")
SQLITE = (".db", ".sqlite", ".sqlite3")
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
SOUNDS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au")
MEDIA = IMAGES + SOUNDS
TABLES = DELIMITED[:3] + JSON_ARRAY + JSON_LINES + PARQUET + ARROW + EXCEL + SQLITE
"""What counts as a table inside a folder (.txt does not: it is often a README)."""

_SIGNATURES = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"ARROW1", "an Arrow file"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\x00", "compressed with xz"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard"),
    (b"\x89PNG\r\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF", "a PDF document"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
)
_DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)
_BLOCK = 1 << 20


def suffix(path: Path) -> str:
    """The ending that tells the format, in lower case: ".csv" for "a.csv.gz", but ".tar.gz" for "a.tar.gz"."""
    return suffix_of(path.name)


def suffix_of(name: str) -> str:
    """`suffix` of a file's name; of folders with very many files, making paths of them all takes longest."""
    parts = [] if name.endswith(".") else name.lstrip(".").lower().split(".")
    endings = [f".{part}" for part in parts[1:]]
    if endings and endings[-1] in COMPRESSED:
        inner = endings[-2] if len(endings) > 1 else ""
        return "".join(endings[-2:]) if inner == ".tar" else inner
    return endings[-1] if endings else ""


def stem(path: Path) -> str:
    """The name without the endings that `suffix` understands, in lower case."""
    name = path.name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return name.removesuffix(suffix(path))


def find(text: str) -> tuple[Path, str]:
    """The existing path that `text` names, and what follows it: "#Sheet2", "?query=SELECT ..." or "".

    Raises:
        InputError: there is no such file (the nearest sibling is suggested), or it may not be read.
    """
    if not text.strip():
        raise InputError("The data's path is empty.", fix="Name a file or a folder.")
    path = Path(text).expanduser()
    if _exists(path):
        return path, ""
    for mark in ("?query=", "#"):
        before, found, _ = text.partition(mark)
        if found and _exists(Path(before).expanduser()):
            return Path(before).expanduser(), text[len(before) :]
    raise _missing(path)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        raise InputError(f"{path} may not be opened.", fix="Give yourself permission to its folder.") from None
    except (OSError, ValueError):
        return False


def _missing(path: Path) -> InputError:
    if path.is_symlink():
        return InputError(f"{path} is a link to a file that does not exist.", fix="Repair the link.")
    folder = path.parent
    while not _exists(folder) and folder != folder.parent:
        folder = folder.parent
    wanted = path.relative_to(folder).parts[0] if _exists(folder) else path.name
    try:
        siblings = sorted(item.name for item in folder.iterdir())
    except OSError:
        siblings = []
    close = difflib.get_close_matches(wanted, siblings, n=1, cutoff=0.5)
    if close:
        fix = f"Did you mean {folder / close[0]}?"
    elif folder != path.parent:
        fix = f"The folder {path.parent} does not exist; {folder.resolve()} does."
    else:
        fix = f"Check the name; {folder.resolve()} has {len(siblings)} entries" + (
            f", such as {', '.join(siblings[:5])}." if siblings else "."
        )
    return InputError(f"There is no file or folder {path}.", fix=fix)


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the operating system's and the decompressors' errors while reading `path` into an InputError."""
    try:
        yield
    except PermissionError:
        raise InputError(
            f"{path.name} may not be read.", where=str(path), fix="Give yourself read permission."
        ) from None
    except IsADirectoryError:
        raise InputError(f"{path.name} is a folder.", where=str(path), fix="Name a file.") from None
    except _DAMAGE as error:
        raise InputError(
            f"{path.name} is damaged or cut short: {error}.",
            where=str(path),
            fix="Download or copy it again; nothing was read from it.",
        ) from None
    except FileNotFoundError:
        raise InputError(f"{path.name} has gone.", where=str(path), fix="Put it back and start again.") from None


def open_bytes(path: Path) -> IO[bytes]:
    """Open for reading, decompressed if its name ends in .gz, .bz2 or .xz."""
    match path.suffix.lower():
        case ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        case ".bz2":
            return cast(IO[bytes], bz2.open(path, "rb"))
        case ".xz":
            return cast(IO[bytes], lzma.open(path, "rb"))
        case _:
            return path.open("rb")


def leads_nowhere(item: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a link in a circle, of which not even its kind can be asked."""
    try:
        item.is_file()
    except OSError:
        return True
    return False


def file_hash(path: Path, *more: str) -> str:
    """BLAKE2b of the file's bytes (and of `more`), streamed; 32 hexadecimal digits.

    Of an SQLite database the rows that are still in its write-ahead log count as well.

    Raises:
        InputError: the file is empty or may not be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    size = 0
    with readable(path), path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    if size == 0:
        raise InputError(f"{path.name} is empty.", where=str(path), fix="Give a file with data in it.")
    for text in more:
        digest.update(text.encode())
    log = path.with_name(f"{path.name}-wal")
    if suffix(path) in SQLITE and log.is_file() and log.stat().st_size:
        digest.update(file_hash(log).encode())
    return digest.hexdigest()


def text_encoding(path: Path) -> tuple[str, str]:
    """Which encoding a text file has, and a note for the user if that was a guess; reads it once, streaming.

    Raises:
        InputError: it is no text (another format, a web page, NUL bytes), is empty or damaged.
    """
    with readable(path), open_bytes(path) as file:
        head = file.read(_BLOCK)
        _refuse_other_formats(path, head)
        for mark, encoding in (
            (codecs.BOM_UTF8, "utf-8-sig"),
            (codecs.BOM_UTF32_LE, "utf-32"),
            (codecs.BOM_UTF16_LE, "utf-16"),
            (codecs.BOM_UTF16_BE, "utf-16"),
        ):
            if head.startswith(mark):
                _check_decodes(path, encoding, head, file)
                return encoding, ""
        guess = _unmarked_utf16(head)
        if guess:
            _check_decodes(path, guess, head, file)
            return guess, f"{path.name} was read as {guess.upper()} (it does not say its encoding)."
        return _eight_bit_encoding(path, head, file)


def _eight_bit_encoding(path: Path, head: bytes, file: IO[bytes]) -> tuple[str, str]:
    decoders = {name: codecs.getincrementaldecoder(name)() for name in ("utf-8", "cp1252")}
    lines, block = 1, head
    while block:
        if b"\x00" in block:
            line = lines + block[: block.index(b"\x00")].count(b"\n")
            raise InputError(
                f"{path.name} has NUL bytes: it is binary, or was cut off by a crash.",
                where=f"{path.name}, line {line}",
                fix="Write the file again as text, or repair it from that line on.",
            )
        lines += block.count(b"\n")
        following = file.read(_BLOCK)
        for name in list(decoders):
            try:
                decoders[name].decode(block, final=not following)
            except UnicodeDecodeError:
                del decoders[name]
        block = following
    if "utf-8" in decoders:
        return "utf-8", ""
    encoding = "cp1252" if "cp1252" in decoders else "latin-1"
    shown = "Windows-1252" if encoding == "cp1252" else "Latin-1"
    return encoding, f"{path.name} is not UTF-8; it was read as {shown}. If letters look wrong, save it as UTF-8."


def _check_decodes(path: Path, encoding: str, head: bytes, file: IO[bytes]) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    block = head
    while block:
        following = file.read(_BLOCK)
        try:
            text = decoder.decode(block, final=not following)
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path.name} says it is {encoding.upper()}, but is not: {error.reason}.",
                where=str(path),
                fix="Save it again as UTF-8.",
            ) from None
        if "\x00" in text:
            raise InputError(
                f"{path.name} has NUL characters: it is binary or damaged.",
                where=str(path),
                fix="Write it again as text.",
            )
        block = following


def _unmarked_utf16(head: bytes) -> str:
    """UTF-16 of mostly Latin text has a zero in every other byte."""
    if len(head) < 4:
        return ""
    even, odd = head[0:4096:2], head[1:4096:2]
    if odd.count(0) > 0.8 * len(odd) and even.count(0) < 0.1 * len(even):
        return "utf-16-le"
    if even.count(0) > 0.8 * len(even) and odd.count(0) < 0.1 * len(odd):
        return "utf-16-be"
    return ""


def _refuse_other_formats(path: Path, head: bytes) -> None:
    ending = suffix(path)
    if not head.strip():
        raise InputError(f"{path.name} is empty.", where=str(path), fix="Give a file with data in it.")
    for signature, meaning in _SIGNATURES:
        if head.startswith(signature):
            raise InputError(
                f"{path.name} ends in {ending} but is {meaning}.",
                where=str(path),
                fix="Rename it to the ending of its format, or export it again as text.",
            )
    start = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        raise InputError(
            f"{path.name} is a web page, not data.",
            where=str(path),
            fix="Download the file itself: use the page's link to the raw file.",
        )
    if start.startswith(b"version https://git-lfs"):
        raise InputError(
            f"{path.name} is only a Git LFS pointer to the data.", where=str(path), fix="Fetch the file: git lfs pull"
        )
    controls = sum(head[:4096].count(code) for code in (*range(1, 9), *range(14, 32)))
    # In UTF-16 half of a Cyrillic or Greek letter is such a byte.
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if controls > 0.05 * min(len(head), 4096) and not wide:
        raise InputError(
            f"{path.name} ends in {ending} but is binary, not text.",
            where=str(path),
            fix="Give the file its right ending, or export it again as text.",
        )
