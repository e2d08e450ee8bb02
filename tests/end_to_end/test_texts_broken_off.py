"""Texts, whose tables of words take steps by rows: broken off and resumed to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from fixtures import same_when_broken_off

import lamina

GOOD, BAD, OTHER = (
    ("fine", "lovely", "bright"),
    ("dull", "awful", "dire"),
    tuple(f"word{number}" for number in range(200)),
)
SETS = ("training.threads=1", "training.precision=fp32", "training.epochs=3", "training.batch_size=16",
        "training.keep=last", "training.checkpoint_seconds=0", "training.evaluations=2")  # fmt: skip


def test_broken_off_and_resumed_it_is_as_if_nothing_had_happened(tmp_path: Path, cache: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["text,mood"]
    for number in range(500):
        known = GOOD if number % 2 else BAD
        words = [*random.choice(OTHER, 7), random.choice(known)]
        lines.append(f"{' '.join(random.permutation(words))},{'good' if number % 2 else 'bad'}")
    (tmp_path / "posts.csv").write_text("\n".join(lines) + "\n")
    words = ("train", "posts.csv", "--target", "mood", "--seed", "1", "--set", *SETS)
    run = same_when_broken_off(tmp_path, *words)
    assert lamina.load(run).check_golden()["sound"]
    assert 'name = "bag"' in (run / "plan.toml").read_text()
    found = json.loads((run / "results.json").read_text())["targets"][0]["scores"]
    assert found["accuracy"]["value"] > 0.9
