"""Zip and tar archives of folders, extracted so that no member leaves the folder, follows a link or fills the disk."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from lamina.data.readers.locate import readable
from lamina.errors import InputError

LARGEST_RATIO = 200
"""An archive may hold this many times its own size; real data stays far below, bombs far above."""
SMALLEST_LIMIT = 1 << 30
MOST_MEMBERS = 5_000_000
_BLOCK = 1 << 20


def extract(path: Path, target: Path) -> tuple[tuple[str, str], ...]:
    """Extract the archive at `path` into the new folder `target`, or reuse it if that was done before.

    Returns:
        (member, reason) of members left out: links and devices.

    Raises:
        InputError: no archive, damaged, encrypted, a member that leaves the folder, too large.
    """
    listing = target.with_name(f"{target.name}.left-out.json")
    if target.is_dir() and listing.is_file():
        return tuple((name, reason) for name, reason in json.loads(listing.read_text(encoding="utf-8")))
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        left_out = _extract(path, beside)
        listing.write_text(json.dumps(left_out), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return left_out


def _extract(path: Path, target: Path) -> tuple[tuple[str, str], ...]:
    limit = max(SMALLEST_LIMIT, LARGEST_RATIO * path.stat().st_size)
    room = int(shutil.disk_usage(target).free * 0.9)
    left_out: list[tuple[str, str]] = []
    seen: set[str] = set()
    written = 0
    members = _zip_members if zipfile.is_zipfile(path) else _tar_members
    with _archive_errors(path), readable(path):
        for number, (name, reason, content) in enumerate(members(path)):
            if number >= MOST_MEMBERS:
                raise InputError(
                    f"{path.name} has over {MOST_MEMBERS:,} members.", where=str(path), fix="Extract it yourself."
                )
            inner = _safe_name(path, name)
            if reason:
                left_out.append((f"{path.name}: {name}", reason))
                continue
            if content is None or inner is None:
                continue
            if str(inner) in seen:
                raise InputError(f"{path.name} has two members called {name!r}.", where=str(path), fix="Pack it again.")
            seen.add(str(inner))
            place = target.joinpath(*inner.parts)
            place.parent.mkdir(parents=True, exist_ok=True)
            with content, place.open("xb") as file:
                while block := content.read(_BLOCK):
                    written += len(block)
                    _check_size(path, written, limit, room)
                    file.write(block)
    return tuple(left_out)


def _check_size(path: Path, written: int, limit: int, room: int) -> None:
    if written > room:
        raise InputError(
            f"{path.name} does not fit on the disk.", where=str(path), fix="Free space, or extract it elsewhere."
        )
    if written > limit:
        raise InputError(
            f"{path.name} unpacks to more than {limit / 1e9:.1f} GB, over {LARGEST_RATIO} times its size.",
            where=str(path),
            fix="If you trust it, extract it yourself and give the folder.",
        )


def _safe_name(path: Path, name: str) -> PurePosixPath | None:
    """The member's path inside the folder; None for the folder itself."""
    inner = PurePosixPath(name.replace("\\", "/"))
    windows = PureWindowsPath(name)
    if inner.is_absolute() or windows.drive or ".." in inner.parts or "\x00" in name:
        raise InputError(
            f"{path.name} has a member that leaves its folder: {name!r}.",
            where=str(path),
            fix="Do not use this archive, or pack it again with relative names.",
        )
    return inner if inner.parts else None


def _zip_members(path: Path) -> Iterator[tuple[str, str, IO[bytes] | None]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            mode = member.external_attr >> 16
            if mode and stat.S_ISLNK(mode):
                yield member.filename, "a link; links in archives are not followed", None
            elif member.flag_bits & 1:
                raise InputError(
                    f"{path.name} is encrypted.", where=str(path), fix="Extract it yourself and give the folder."
                )
            else:
                yield member.filename, "", None if member.is_dir() else archive.open(member)


def _tar_members(path: Path) -> Iterator[tuple[str, str, IO[bytes] | None]]:
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if member.isfile():
                yield member.name, "", archive.extractfile(member)
            elif member.isdir():
                yield member.name, "", None
            else:
                kind = "a link; links" if member.issym() or member.islnk() else "a device; devices"
                yield member.name, f"{kind} in archives are not followed", None


@contextmanager
def _archive_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
        raise InputError(
            f"{path.name} is no complete archive: {error}.", where=str(path), fix="Download or pack it again."
        ) from None
    except (FileExistsError, NotADirectoryError):
        raise InputError(
            f"{path.name} has a member that is both a file and a folder.", where=str(path), fix="Pack it again."
        ) from None
    except OSError as error:
        raise InputError(
            f"{path.name} cannot be unpacked: {error.strerror or error}.",
            where=str(path),
            fix="Free disk space, point LAMINA_CACHE to a folder on another disk, or extract it yourself.",
        ) from None
