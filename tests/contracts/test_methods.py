"""Every method in the registry solves its smallest case, reaches every weight, repeats and resumes exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lamina import registry
from lamina.data.examples import Examples
from lamina.learn import checkpoint, optimizers
from lamina.learn.batch import Batch, Loss
from lamina.learn.engine import Engine
from lamina.learn.loader import Loader
from lamina.learn.loop import Learns, Limits, fit
from lamina.learn.schedules import Schedule
from lamina.methods.supervised import Supervised
from lamina.plan import OptimizerPlan, SchedulePlan

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A method's smallest solvable case: how to make it, its batches, and how far it is from solved (0 is solved)."""

    make: Callable[[int], Learns]
    source: Callable[[], Loader]
    distance: Callable[[Learns], float]
    solved: float
    steps: int


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.1), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        result: torch.Tensor = self.body(inputs["x"])
        return result


def _eight() -> Loader:
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    y = np.sign(x[:, 0]).astype(np.float32)
    return Loader(Examples({"x": x, "y": y}, 8), np.arange(8), ["x"], ["y"], batch_size=4, seed=1)


def _squared(output: torch.Tensor, batch: Batch) -> Loss:
    error = (output[:, 0] - batch.targets["y"]) ** 2
    return Loss(error.sum(), torch.tensor(float(len(error))))


def _supervised(seed: int) -> Supervised:
    torch.manual_seed(seed)
    network = _Net()
    groups = [{"params": list(network.parameters())}]
    return Supervised(network, _squared, optimizers.build(groups, OptimizerPlan("adamw", 0.02)), ema=0.5)


def _supervised_distance(method: Learns) -> float:
    assert isinstance(method, Supervised)
    with method.evaluating() as network:
        batch = _eight().batch(np.arange(8))
        return float(_squared(network(batch.inputs), batch).sum) / 8


CASES = {"supervised": Case(_supervised, _eight, _supervised_distance, 0.05, 400)}


def test_every_method_has_a_case() -> None:
    assert set(CASES) == set(registry.names("methods")), "give the new method its smallest case here"


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def run(case: Case, seed: int, steps: int, folder: Path | None = None, until: int | None = None) -> Learns:
    method = case.make(seed)
    torch.manual_seed(seed)
    schedule = Schedule.over(steps, SchedulePlan("cosine"))
    source = case.source()
    if until is not None:
        short = Loader.batches

        def stopping(start: int = 0):  # type: ignore[no-untyped-def]
            for step, batch in short(source, start):
                if step == until:
                    return
                yield step, batch

        object.__setattr__(source, "batches", stopping)
    fit(method, source, schedule, Engine(CPU, clip=1.0), limits=Limits(save_seconds=0), folder=folder)
    return method


def same(one: Learns, other: Learns) -> bool:
    first, second = checkpoint.pack(one.state()), checkpoint.pack(other.state())
    return first[1] == second[1] and all(torch.equal(first[0][name], second[0][name]) for name in first[0])


def test_it_solves_its_smallest_case(case: Case) -> None:
    assert case.distance(case.make(0)) > case.solved * 4, "the case must not be solved from the start"
    assert case.distance(run(case, 0, case.steps)) < case.solved


def test_the_same_seed_gives_the_same_result_and_another_does_not(case: Case) -> None:
    assert same(run(case, 3, 20), run(case, 3, 20))
    assert not same(run(case, 3, 20), run(case, 4, 20))


def test_a_step_changes_every_weight(case: Case) -> None:
    method = case.make(0)
    before = {name: value.clone() for name, value in method.weights().items()}
    after = run(case, 0, 20).weights()
    unchanged = [
        name for name, value in before.items() if value.is_floating_point() and torch.equal(value, after[name])
    ]
    assert not unchanged


@pytest.mark.parametrize("until", [1, 7, 19])
def test_stopped_anywhere_it_resumes_exactly(case: Case, until: int, tmp_path: Path) -> None:
    run(case, 5, 20, tmp_path, until=until)
    assert same(run(case, 5, 20, tmp_path), run(case, 5, 20, tmp_path / "whole"))


def test_its_state_survives_a_file(case: Case, tmp_path: Path) -> None:
    method = run(case, 2, 10)
    checkpoint.write(tmp_path / "state.safetensors", method.state())
    other = case.make(9)
    other.restore(checkpoint.read(tmp_path / "state.safetensors"))
    assert same(method, other)
