"""Weights of rows: read as people write them, and refused where they cannot be read."""

from __future__ import annotations

import numpy as np
import pytest
from memory_table import MemoryTable

from lamina.data.schema import Field, Schema
from lamina.errors import InputError
from lamina.steps.prepare import _weights

SCHEMA = Schema((Field("x", "number"), Field("w", "number", "weight")))


def test_weights_may_have_decimal_commas() -> None:
    found = _weights(MemoryTable({"x": [1.0, 2.0, 3.0], "w": ["1", "0,5", None]}), SCHEMA)  # type: ignore[arg-type]
    assert found is not None
    assert found.dtype == np.float32
    assert found.tolist() == [1, 0.5, 0]


def test_a_weight_that_cannot_be_read_is_no_zero() -> None:
    with pytest.raises(InputError, match="cannot read 'much' as a number"):
        _weights(MemoryTable({"x": [1.0, 2.0], "w": ["1", "much"]}), SCHEMA)  # type: ignore[arg-type]
