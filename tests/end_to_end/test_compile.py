"""Training with a compiled network: the same training, and as exactly resumed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from fixtures import broken_off_and_resumed, credit, run_here
from safetensors.torch import load_file

SETS = (
    "training.epochs=1", "training.threads=1", "training.precision=fp32", "training.checkpoint_seconds=0",
    "network.name=mlp", "network.width=16", "network.dropout=0", "training.keep=last", "training.patience=0",
)  # fmt: skip
TRAIN = ("train", "credit.csv", "--target", "Status", "--seed", "3", "--quiet")


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
def test_a_compiled_network_learns_the_same_and_resumes_exactly(tmp_path: Path, cache: Path) -> None:
    credit(tmp_path)
    compiled = (*SETS, "training.compile=true")
    for out, sets in (("plain", SETS), ("compiled", compiled)):
        run_here(tmp_path, *TRAIN, "--out", out, "--set", *sets)
    weights = {name: load_file(tmp_path / name / "weights.safetensors") for name in ("plain", "compiled")}
    for name, tensor in weights["plain"].items():
        torch.testing.assert_close(weights["compiled"][name], tensor, rtol=1e-3, atol=1e-4)

    run = broken_off_and_resumed(tmp_path, *TRAIN, "--set", *compiled)
    files = [folder / "weights.safetensors" for folder in (tmp_path / "compiled", run)]
    assert files[0].read_bytes() == files[1].read_bytes()
