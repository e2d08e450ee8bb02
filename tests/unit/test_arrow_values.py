"""Arrow arrays as raw values, beside what pyarrow itself makes of them; pandas is not imported for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow
import pytest

from lamina.data.readers.columnar import arrow_values

KINDS: dict[str, Any] = {
    "float64": lambda draw, rows: draw.normal(size=rows),
    "string": lambda draw, rows: ["x" * int(size) for size in draw.integers(0, 5, rows)],
    "other letters": lambda draw, rows: ["äöü"[: int(size)] for size in draw.integers(0, 4, rows)],
    **{
        unit: lambda draw, rows, unit=unit: draw.integers(0, 10**9, rows).astype(f"datetime64[{unit}]")
        for unit in ("s", "ms", "us", "ns")
    },
    "int64": lambda draw, rows: draw.integers(-9, 9, rows),
    "bool": lambda draw, rows: draw.random(rows) < 0.5,
}
WITHOUT_GAPS = ("int64", "bool")
"""With gaps they are other types."""


def arrays(kind: str) -> Iterator[Any]:
    draw = np.random.default_rng(0)
    for rows in (0, 1, 8, 9, 70):
        for share in (0.0,) if kind in WITHOUT_GAPS else (0.0, 0.3, 1.0):
            made = KINDS[kind](draw, rows)
            whole = pyarrow.array(made, mask=draw.random(rows) < share)
            yield from (whole, whole.slice(3), whole.slice(1, 5))
            if kind == "us":
                yield whole.cast(pyarrow.timestamp("us", "Europe/Berlin"))


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_pyarrow(kind: str) -> None:
    for array in arrays(kind):
        found, wanted = arrow_values(array), array.to_numpy(zero_copy_only=False)
        if wanted.dtype.kind == "M":
            wanted = wanted.astype("datetime64[us]")
        assert found.flags.writeable
        if array.type == pyarrow.string():
            assert found.dtype == object
            assert found.tolist() == wanted.tolist()
        else:
            assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(found, wanted)


def test_a_table_that_is_known_is_read_without_pandas() -> None:
    program = (
        "import sys, numpy, pyarrow; from lamina.data.readers.store import _places\n"
        "from lamina.data.readers.columnar import arrow_values\n"
        "content = [None, pyarrow.py_buffer(numpy.array([0, 1, 2], numpy.int32)), pyarrow.py_buffer(b'ab')]\n"
        "array = pyarrow.Array.from_buffers(pyarrow.string(), 2, content)\n"
        "print(arrow_values(array.take(_places(pyarrow, numpy.array([1, 0])))).tolist(), 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['b', 'a'] False"
