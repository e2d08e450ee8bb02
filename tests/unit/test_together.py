"""What each of several processes learns from, without starting any: `tests/end_to_end/test_together.py` does."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from lamina import cores
from lamina.choose import hardware
from lamina.data.examples import Examples
from lamina.errors import InputError
from lamina.launched import Place, place
from lamina.learn.loader import Loader

ROWS = 30


def loader() -> Loader:
    generator = np.random.default_rng(0)
    arrays = {"x": generator.normal(size=(ROWS, 3)).astype(np.float32), "y": np.arange(ROWS)}
    weight = generator.uniform(size=ROWS).astype(np.float32)
    return Loader(Examples(arrays, ROWS), np.arange(ROWS), ["x"], ["y"], 7, seed=2, weight=weight)


@pytest.mark.parametrize("size", [2, 3])
def test_shares_make_up_the_batch_and_know_all_of_it(size: int) -> None:
    shared = [replace(loader(), place=Place(rank, size, rank, size)) for rank in range(size)]
    sources = (itertools.islice(source.batches(3), 6) for source in (loader(), *shared))
    for (step, whole), *parts in zip(*sources, strict=True):
        assert all(other == step for other, _ in parts)
        batches = [part for _, part in parts]
        assert torch.equal(torch.cat([part.inputs["x"] for part in batches]), whole.inputs["x"])
        assert torch.equal(torch.cat([part.targets["y"] for part in batches]), whole.targets["y"])
        assert min(map(len, batches)) >= 2
        for part in batches:
            # A part of a part is one of the whole as well.
            for one in (part, part.part(0, 1)):
                assert torch.equal(one.all.rows, whole.rows)
                assert torch.equal(one.all.targets["y"], whole.targets["y"])
                assert one.all.weight is not None
                assert whole.weight is not None
                assert torch.equal(one.all.weight, whole.weight)


def test_validation_rows_are_not_shared() -> None:
    source = replace(loader(), place=Place(1, 2, 1, 2))
    assert torch.cat([batch.rows for batch in source.once()]).tolist() == list(range(ROWS))


def test_the_environment_says_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "WORLD_SIZE": "4",
        "RANK": "2",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "1",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert place() == Place(2, 4, 0, 2)
    monkeypatch.setattr(cores, "available", lambda: 5)
    assert hardware.detect().cores == 2
    monkeypatch.delenv("MASTER_PORT")
    with pytest.raises(InputError, match="MASTER_PORT is not set"):
        place()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert place() is None
    assert hardware.detect().cores == 5
