"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest


@pytest.fixture(scope="session", autouse=True)
def operators_read_once() -> Iterator[None]:
    """PyTorch's exporter parses the sources of some 500 operators for every graph, more than a second of a processor;
    in a process that exports many networks once is enough. Without the (private) place nothing is done."""
    try:
        from torch.onnx._internal.exporter import _registration

        apis = _registration.onnxscript_apis
        patched, read = "get_torchlib_ops", apis.get_torchlib_ops
    except (ImportError, AttributeError):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apis, patched, cache(read))
        yield
