"""URLs: downloaded to the cache, then read like any file."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import urllib.parse
from pathlib import Path, PurePosixPath
from typing import Any

from lamina.errors import InputError, MissingDependencyError


def is_url(text: str) -> bool:
    """Whether `text` names a place by a protocol, such as s3://bucket/loans.csv."""
    scheme, mark, _ = text.partition("://")
    return bool(mark) and scheme.replace("+", "").replace("-", "").replace(".", "").isalnum() and len(scheme) > 1


def download(url: str, cache: Path) -> tuple[Path, str]:
    """Fetch a file (http, https: standard library; others: fsspec) or a folder (fsspec) into `cache`.

    Returns:
        where it lies, and what follows the file's name ("#Sheet2" or "").

    Raises:
        InputError: no such place, no network, an answer that is an error.
        MissingDependencyError: fsspec or the library of its protocol is not installed.
    """
    url, mark, fragment = url.partition("#")
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "file":
        return Path(urllib.parse.unquote(parts.path)), mark + fragment
    target = _target(url, cache)
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{target.name}.{os.getpid()}.part"
    _remove(beside)
    try:
        if parts.scheme in ("http", "https"):
            _fetch_http(url, beside)
        else:
            _fetch_fsspec(url, beside)
        _remove(target)
        beside.rename(target)
    finally:
        _remove(beside)
    return target, mark + fragment


def _target(url: str, cache: Path) -> Path:
    """Where a download lies: in a folder of its own, by the last part of its path, unless that leads out of it."""
    parts = urllib.parse.urlsplit(url)
    names = (PurePosixPath(urllib.parse.unquote(parts.path)).name, parts.netloc, "data")
    name = next(name for name in names if name not in ("", ".."))
    folder = hashlib.blake2b(url.encode(), digest_size=12).hexdigest()
    return cache / "downloads" / folder / name.replace("\\", "_")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _fetch_http(url: str, target: Path) -> None:
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, headers={"User-Agent": "lamina"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
            wanted = answer.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        raise InputError(
            f"The server answers {error.code} {error.reason}.",
            where=url,
            fix="Check the address and your right to read it.",
        ) from None
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise InputError(
            f"The address cannot be reached: {error}.", where=url, fix="Check the address and the network."
        ) from None
    if wanted and wanted.isdigit() and target.stat().st_size != int(wanted):
        raise InputError("The download was cut short.", where=url, fix="Try again.")


def _fetch_fsspec(url: str, target: Path) -> None:
    try:
        core: Any = importlib.import_module("fsspec.core")
    except ImportError:
        raise MissingDependencyError("fsspec", "Reading from a URL", "tables") from None
    try:
        system, path = core.url_to_fs(url)
        if not system.isdir(path):
            system.get_file(path, str(target))
            return
        for name in sorted(system.find(path)):
            inner = PurePosixPath(name).relative_to(PurePosixPath(path))
            if ".." in inner.parts or inner.is_absolute():
                raise InputError(f"A file leaves its folder: {name!r}.", where=url, fix="Download the folder yourself.")
            place = target.joinpath(*inner.parts)
            place.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(name, str(place))
        target.mkdir(exist_ok=True)
    except FileNotFoundError:
        raise InputError("There is no such file or folder.", where=url, fix="Check the address.") from None
    except ImportError as error:
        raise InputError(
            f"This protocol needs a library: {error}.", where=url, fix="Install it, or download the data yourself."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"The address cannot be read: {error}.", where=url, fix="Check the address and your rights."
        ) from None
