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
    table = MemoryTable({"x": [1.0, 2.0, 3.0], "w": ["1", "0,5", "0"]})
    found = _weights(table, SCHEMA, np.arange(3))  # type: ignore[arg-type]
    assert found is not None
    assert found.dtype == np.float32
    assert found.tolist() == [1, 0.5, 0]


def test_a_weight_that_cannot_be_read_is_no_zero() -> None:
    with pytest.raises(InputError, match="cannot read 'much' as a number"):
        _weights(MemoryTable({"x": [1.0, 2.0], "w": ["1", "much"]}), SCHEMA, np.arange(2))  # type: ignore[arg-type]


def test_a_missing_weight_of_a_training_row_is_no_zero() -> None:
    """Data for testing may come without weights: nothing is made of them there."""
    table = MemoryTable({"x": [1.0, 2.0, 3.0, 4.0], "w": ["2", None, "1", None]})
    with pytest.raises(InputError, match="missing in 1 of 3 training rows") as caught:
        _weights(table, SCHEMA, np.arange(3))  # type: ignore[arg-type]
    assert caught.value.where == f"column w, {table.place(1)}"
    assert "Write 1 for a usual row" in str(caught.value.fix)
    found = _weights(table, SCHEMA, np.array([0, 2]))  # type: ignore[arg-type]
    assert found is not None
    assert found.tolist() == [2, 0, 1, 0]


def test_weights_that_let_no_training_row_count_are_refused() -> None:
    with pytest.raises(InputError, match="zero in every training row"):
        _weights(MemoryTable({"x": [1.0, 2.0], "w": ["0", "1"]}), SCHEMA, np.array([0]))  # type: ignore[arg-type]
