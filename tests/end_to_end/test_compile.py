"""Training with a compiled network: the same training, and as exactly resumed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from fixtures import command, credit, environment, kill_at, run_here
from safetensors.torch import load_file

SETS = (
    "training.epochs=4", "training.threads=1", "training.precision=fp32", "training.checkpoint_seconds=0",
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

    words = command(*TRAIN, "--out", "killed", "--set", *compiled)
    process = subprocess.Popen(words, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    kill_at(process, tmp_path / "killed", step=2)
    assert not (tmp_path / "killed" / "report.html").exists()
    run_here(tmp_path, "resume", "killed")
    files = [tmp_path / name / "weights.safetensors" for name in ("compiled", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()
