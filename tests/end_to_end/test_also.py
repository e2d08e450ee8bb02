"""More rows that only training learns from, from the command line to the sealed model and the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures import same_when_broken_off, write_csv

import lamina

EXACT = (
    "training.threads=1", "training.precision=fp32", "training.checkpoint_seconds=0", "training.keep=last",
    "training.epochs=3", "training.batch_size=16", "network.name=mlp", "network.width=8",
)  # fmt: skip


@pytest.mark.usefixtures("cache")
def test_more_rows_are_learned_from_and_never_tested(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    numbers = random.normal(size=(160, 2)).round(4).tolist()
    rows = [{"x": x, "z": z, "y": "ab"[x + z > 0]} for x, z in numbers]
    own, more = rows[:100], rows[100:]
    write_csv(tmp_path / "own.csv", own)
    # All rows that test and validate are there again, which must not be learned from.
    write_csv(tmp_path / "more.csv", [*own, *more])
    words = ("train", "own.csv", "--target", "y", "--also", "more.csv", "--quiet", "--set", *EXACT)
    run = same_when_broken_off(tmp_path, *words, step=6)
    data = json.loads((run / "results.json").read_text())["data"]
    held = data["test"] + data["validation"]
    assert data["sources"] == [
        {"source": "own.csv", "rows": 100, "learned": 100 - held},
        {"source": "more.csv", "rows": 160, "learned": 160 - held},
    ]
    assert (data["train"], data["dropped_count"]) == (260 - 2 * held, held)
    assert all(item["place"].startswith("more.csv") for item in data["dropped"])
    assert {item["reason"] for item in data["dropped"]} == {
        "the same inputs as a test row",
        "the same inputs as a validation row",
    }
    assert lamina.load(run).card["data"]["sources"] == data["sources"]
    told = f"{100 - held} of own.csv, {160 - held} of more.csv, which only training uses"
    assert told in (run / "report.html").read_text()
