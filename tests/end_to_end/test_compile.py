"""Training with a compiled network: the same training, and as exactly resumed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from fixtures import broken_off, check_same, only_trained, prices, run_here
from safetensors.torch import load_file

SETS = (
    "training.epochs=2", "training.batch_size=16", "schema.kind.role=ignore", "schema.price.role=ignore",
    "training.threads=1", "training.precision=fp32", "training.checkpoint_seconds=0",
    "network.name=mlp", "network.width=8", "network.depth=1", "network.dropout=0",
    "training.keep=last", "training.patience=0",
)  # fmt: skip
TRAIN = ("train", "prices.csv", "--target", "dear", "--seed", "3", "--quiet")


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
def test_a_compiled_network_learns_the_same_and_resumes_exactly(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config

    # Each process that compiles would first import all of PyTorch.
    monkeypatch.setattr(config, "compile_threads", 1)
    prices(tmp_path, 200)
    compiled = (*SETS, "training.compile=true")
    for out, sets in (("plain", SETS), ("compiled", compiled)):
        only_trained(tmp_path, tmp_path / out, *TRAIN, "--set", *sets)
    weights = {name: load_file(tmp_path / name / "weights.safetensors") for name in ("plain", "compiled")}
    for name, tensor in weights["plain"].items():
        torch.testing.assert_close(weights["compiled"][name], tensor, rtol=1e-3, atol=1e-4)

    broken_off(tmp_path, tmp_path / "run", *TRAIN, "--set", *compiled)
    run_here(tmp_path, "resume", "run")
    check_same(tmp_path / "run", tmp_path / "compiled")
