"""What modalities of files share: rows that are read one after the other, or on all cores."""

from __future__ import annotations

import time
from collections.abc import Collection

import pytest

from lamina import cores
from lamina.modalities._files import each


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 40, 203])
@pytest.mark.parametrize("slow", [(), range(1000), range(40, 1000), range(20)])
def test_each_row_is_visited_once_however_long_some_take(
    rows: int, slow: Collection[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "available", lambda: 3)
    seen = [0] * rows

    def one(row: int) -> None:
        if row in slow:
            time.sleep(0.001)
        seen[row] += 1

    each(one, rows)
    assert seen == [1] * rows


def test_what_one_row_raises_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "available", lambda: 2)

    def one(row: int) -> None:
        time.sleep(0.001)
        if row == 90:
            raise ValueError("row 90")

    with pytest.raises(ValueError, match="row 90"):
        each(one, 100)
