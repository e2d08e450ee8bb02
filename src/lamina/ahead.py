"""PyTorch begins sooner: linked on a thread while the data is read, at first without what only exporting needs, and
without a search for garbage among modules, which stay.

The first two know how PyTorch is laid out. Where another release is laid out otherwise, its import does it all.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

from lamina import cores

ABSTRACT = "torch._meta_registrations"
"""What operators do with tensors of which only the shape is known: a quarter of PyTorch's import."""


def load_torch() -> Thread | None:
    """Begin to link PyTorch's library, a sixth of the import, which needs nothing of Python, busy with reading data;
    None where PyTorch is there already, or it is not known how to load it."""
    if "torch" in sys.modules or not sys.platform.startswith("linux") or cores.available() < 2:
        return None
    found = find_spec("torch")
    if found is None or found.origin is None:
        return None
    library = Path(found.origin).parent / "lib" / "libtorch_cpu.so"
    thread = Thread(target=_load, args=(library,), daemon=True)
    thread.start()
    return thread


def _load(library: Path) -> None:
    try:
        # Not `ctypes.CDLL(library)`: that keeps other threads of Python waiting.
        load = ctypes.CDLL(None).dlopen
    except (AttributeError, OSError):
        return
    load.argtypes, load.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    load(os.fsencode(library), os.RTLD_LAZY)


class _Later(ModuleType):
    """In place of a module; whoever wants something of it gets it from the module itself."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        whole_torch()
        return getattr(sys.modules[ABSTRACT], name)


def spare_torch() -> None:
    """Let PyTorch be imported without what only exporting and compiling need, until `whole_torch`.

    For a process that is Lamina's own: a program that has Lamina train may want all of PyTorch afterwards.
    """
    if "torch" not in sys.modules:
        sys.modules.setdefault(ABSTRACT, _Later(ABSTRACT))
        # From here on `uncollected` may freeze as well.
        gc.freeze()


def whole_torch() -> None:
    """Import what was spared; where nothing was, nothing happens."""
    if isinstance(sys.modules.get(ABSTRACT), _Later):
        del sys.modules[ABSTRACT]
        importlib.import_module(ABSTRACT)


@contextmanager
def uncollected() -> Iterator[None]:
    """Within, many objects come that stay, such as modules: Python does not look through them for unreachable ones
    time and again, as they grow in number; nor afterwards, in a program that has frozen some already (`gc.freeze`), as
    Lamina's own does."""
    enabled, freezing = gc.isenabled(), gc.get_freeze_count() > 0
    if freezing:
        # What is garbage by now would be kept for good.
        gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if freezing:
            gc.freeze()
        if enabled:
            gc.enable()
