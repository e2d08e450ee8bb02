"""A folder is a registry: what exists is what has a file there.

`names("networks")` lists the public modules of `lamina.networks`; subpackages (shared parts) and
names that begin with an underscore do not count. Nothing is imported to list them.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType

from lamina.errors import InputError, nearest

ROOT = Path(__file__).parent


@cache
def names(folder: str) -> tuple[str, ...]:
    """The names that `folder` of the package offers, in alphabetical order."""
    return tuple(sorted(file.stem for file in (ROOT / folder).glob("*.py") if not file.stem.startswith("_")))


def module(folder: str, name: str) -> ModuleType:
    """Import `lamina.folder.name`.

    Raises:
        InputError: there is no such file; the error lists its siblings and the nearest match.
    """
    if name not in names(folder):
        kind = folder.rpartition("/")[2].rstrip("s") if folder != "modalities" else "modality"
        raise InputError(f"There is no {kind} called {name!r}.", fix=nearest(name, names(folder)))
    return importlib.import_module(f"lamina.{folder.replace('/', '.')}.{name}")
