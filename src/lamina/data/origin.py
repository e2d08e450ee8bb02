"""What kept results depend on besides data and settings: Lamina's own code and the libraries that it reads with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def code(*parts: str) -> str:
    """A digest of the source files in folders of Lamina: what another code has made must not be taken for its own.

    Args:
        parts: files and folders below `src/lamina`.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        for file in [ROOT / part] if (ROOT / part).is_file() else sorted((ROOT / part).rglob("*.py")):
            content = file.read_bytes()
            digest.update(f"{file.relative_to(ROOT).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def versions(libraries: Sequence[str]) -> list[str]:
    """Of each library its version; "" where it is not installed."""
    return [_version(library) for library in libraries]


@cache
def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""
