"""What an accelerator must not change. Skipped where there is none; where there is one: `pytest -m gpu`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from fixtures import CASES, broken_off_and_resumed, credit, finished, jsonl, run_here
from safetensors.torch import load_file

from lamina import api
from lamina.choose import hardware
from lamina.learn.batch import Batch
from lamina.learn.engine import Engine
from lamina.steps.learner import Learner

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(hardware.detect().device.type == "cpu", reason="needs an accelerator"),
]
DEVICE = hardware.detect().device
TRAIN = (
    "train", "credit.csv", "--target", "Status", "--seed", "3", "--set", "training.epochs=4", "training.precision=fp32",
    "training.checkpoint_seconds=0", "training.keep=last", "network.name=mlp", "network.width=24",
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_sealed_model_answers_as_the_network_on_the_accelerator(name: str, tmp_path: Path, cache: Path) -> None:
    done = finished(name, tmp_path)
    results = done.trained.results
    assert "accelerator" in results.cost.energy_how
    assert results.seal is not None
    assert results.seal.same_answers == 1.0
    for target in results.targets:
        floor = done.case.floors[target.target]
        assert math.isnan(floor) or next(iter(target.scores.values())).value >= floor


def test_broken_off_and_resumed_it_goes_the_same_way(tmp_path: Path, cache: Path) -> None:
    """To the bit on the CPU only: an accelerator may add numbers in another order each time."""
    credit(tmp_path)
    run_here(tmp_path, *TRAIN, "--out", "whole")
    run, whole = broken_off_and_resumed(tmp_path, *TRAIN), tmp_path / "whole"
    weights = [load_file(folder / "weights.safetensors") for folder in (run, whole)]
    for name, tensor in weights[1].items():
        torch.testing.assert_close(weights[0][name], tensor, rtol=1e-2, atol=1e-3)
    steps = [[entry["step"] for entry in jsonl(folder / "log.jsonl") if "loss" in entry] for folder in (run, whole)]
    assert steps[0] == steps[1]


def test_a_cut_batch_has_the_gradient_of_the_whole_one(tmp_path: Path, cache: Path) -> None:
    learner = api.learner(finished("several", tmp_path).folder)
    batch = next(batch for _, batch in learner.source.batches()).to(DEVICE)
    whole, cut = (gradients(learner, batch, parts) for parts in (1, 3))
    for one, other in zip(whole, cut, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def gradients(learner: Learner, batch: Batch, parts: int) -> list[torch.Tensor]:
    """Of one step without moving: the rate is 0."""
    network = learner.network.to(DEVICE).eval()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    Engine(DEVICE, accumulation=parts).descend(learner.method.loss, batch, [optimizer])
    return [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]
