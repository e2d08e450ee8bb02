"""What an accelerator is spared, waiting for the computer and moving data: on the CPU both ways must do the same."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lamina.choose import hardware
from lamina.data.examples import Examples
from lamina.learn import checkpoint, optimizers, prefetch
from lamina.learn.batch import Batch, Loss
from lamina.learn.engine import Engine, NonFiniteLossError
from lamina.learn.loader import Loader
from lamina.learn.loop import Limits, fit
from lamina.learn.resident import resident
from lamina.learn.schedules import Schedule
from lamina.methods.supervised import Supervised
from lamina.plan import OptimizerPlan, SchedulePlan

CPU = torch.device("cpu")
FOUND = hardware.detect().device
DEVICES = [
    CPU,
    pytest.param(
        FOUND, marks=[pytest.mark.gpu, pytest.mark.skipif(FOUND.type == "cpu", reason="needs an accelerator")]
    ),
]
ROWS = 40


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        found: torch.Tensor = self.body(inputs["x"])
        return found


def squared(output: torch.Tensor, batch: Batch) -> Loss:
    error = (output[:, 0] - batch.targets["y"]) ** 2
    weight = torch.ones_like(error) if batch.weight is None else batch.weight
    return Loss((error * weight).sum(), weight.sum())


def loader(**extra: Any) -> Loader:
    generator = np.random.default_rng(0)
    arrays = {
        "x": generator.normal(size=(ROWS, 3)).astype(np.float32),
        "y": generator.normal(size=ROWS).astype(np.float32),
    }
    return Loader(Examples(arrays, ROWS), np.arange(ROWS), ["x"], ["y"], 8, seed=3, **extra)


def method(optimizer: str = "adamw", device: torch.device = CPU) -> Supervised:
    torch.manual_seed(7)
    network = Net().to(device)
    plan = OptimizerPlan(name=optimizer, learning_rate=0.05)
    return Supervised(network, squared, optimizers.build([{"params": list(network.parameters())}], plan))


def trained(engine: Engine, source: Loader, optimizer: str = "adamw", steps: int = 12) -> dict[str, Any]:
    torch.manual_seed(1)
    learner = method(optimizer)
    fit(learner, source, Schedule.over(steps, SchedulePlan()), engine, limits=Limits(log_steps=5))
    return learner.state()


def same(one: Any, other: Any, **tolerance: float) -> None:
    first, second = checkpoint.pack(one), checkpoint.pack(other)
    assert first[1] == second[1]
    for name, value in first[0].items():
        torch.testing.assert_close(value, second[0][name], **tolerance)


@pytest.mark.parametrize("name", sorted(optimizers.BUILDERS))
def test_steps_that_nobody_waits_for_are_the_same(name: str) -> None:
    looked, unseen = (trained(Engine(CPU, deferred=deferred), loader(), name) for deferred in (False, True))
    same(looked, unseen, rtol=0, atol=0)


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("name", ["sgd", "nesterov"])
def test_steps_that_nobody_waits_for_are_clipped_as_much(name: str, accumulation: int) -> None:
    engines = [Engine(CPU, accumulation=accumulation, clip=0.1, deferred=deferred) for deferred in (False, True)]
    same(*(trained(engine, loader(), name) for engine in engines), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "nesterov", "adagrad"])
def test_after_a_loss_that_is_no_number_no_step_counts(name: str, device: torch.device) -> None:
    learner, engine = method(name, device), Engine(device, deferred=True)
    rows = [np.arange(start, start + 8) for start in range(0, ROWS, 8)]
    source = loader()
    source.examples.arrays["x"][17] = np.inf
    for step in (0, 1):
        engine.step = step
        learner.update(source.batch(rows[step]), engine)
    engine.settle()
    before = {name: value.clone() for name, value in learner.network.named_parameters()}
    for step in (2, 3, 4):
        engine.step = step
        learner.update(source.batch(rows[step]), engine)
    with pytest.raises(NonFiniteLossError) as caught:
        engine.settle()
    assert caught.value.rows == tuple(range(16, 24))
    assert "step 2" in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in learner.network.named_parameters())
    engine.settle()


def test_a_gradient_that_is_no_number_is_noticed_too() -> None:
    learner, engine = method(), Engine(CPU, deferred=True)

    def loss(batch: Batch) -> Loss:
        found = learner.loss(batch)
        # The root of 0 is 0, and its slope is infinite.
        return Loss(found.sum + (0 * next(learner.network.parameters())).abs().sum().sqrt(), found.weight)

    before = {name: value.clone() for name, value in learner.network.named_parameters()}
    engine.descend(loss, loader().batch(np.arange(8)), learner.optimizers)
    with pytest.raises(NonFiniteLossError, match="gradient"):
        engine.settle()
    assert all(torch.equal(value, before[name]) for name, value in learner.network.named_parameters())


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("name", ["adamw", "sgd", "adagrad"])
def test_a_batch_in_which_no_row_counts_is_left_out_and_the_next_one_counts(name: str, clip: float) -> None:
    weights = np.ones(ROWS, np.float32)
    weights[:8] = 0
    source = loader(weight=weights)
    learner, engine = method(name), Engine(CPU, clip=clip, deferred=True)
    learner.network.eval()
    before = checkpoint.pack(learner.state())[0]
    assert float(engine.descend(learner.loss, source.batch(np.arange(8)), learner.optimizers)["loss"]) == 0
    engine.settle()
    after = checkpoint.pack(learner.state())[0]
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    engine.descend(learner.loss, source.batch(np.arange(8, 16)), learner.optimizers)
    engine.settle()
    other = method(name)
    other.network.eval()
    Engine(CPU, clip=clip).descend(other.loss, source.batch(np.arange(8, 16)), other.optimizers)
    same(learner.network.state_dict(), other.network.state_dict(), rtol=1e-4, atol=1e-6)


def test_no_checkpoint_is_written_after_a_bad_step(tmp_path: Path) -> None:
    source = loader()
    source.examples.arrays["y"][source.batch(np.arange(ROWS)).rows[3]] = np.nan
    learner = method()
    limits = Limits(log_steps=1000, save_seconds=0.0)
    with pytest.raises(NonFiniteLossError):
        fit(
            learner,
            source,
            Schedule.over(30, SchedulePlan()),
            Engine(CPU, deferred=True),
            limits=limits,
            folder=tmp_path,
        )
    state = checkpoint.Checkpoints(tmp_path).newest()
    assert state is None or all(
        bool(torch.isfinite(value).all()) for value in state["method"]["network"].values() if value.is_floating_point()
    )


@pytest.mark.parametrize("name", ["sgd", "nesterov"])
def test_weights_that_thaw_later_gain_momentum_too(name: str) -> None:
    weights = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    (optimizer,) = optimizers.build([{"params": weights}], OptimizerPlan(name=name, learning_rate=0.1, momentum=0.9))
    alone = torch.optim.SGD([nn.Parameter(torch.ones(3))], 0.1, momentum=0.9, nesterov=name == "nesterov")
    (other,) = alone.param_groups[0]["params"]
    for step in range(4):
        weights[0].grad = torch.full((3,), 0.5)
        if step:
            weights[1].grad, other.grad = torch.full((3,), 0.5 * step), torch.full((3,), 0.5 * step)
            alone.step()
        optimizers.take_step(optimizer)
    assert torch.equal(weights[1], other)


def words() -> Loader:
    """Texts of different lengths, some of which lie in a file."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 30, ROWS).astype(np.int32)
    tokens = np.where(np.arange(32) < lengths[:, None], generator.integers(1, 99, (ROWS, 32)), 0).astype(np.int16)
    arrays = {"text": tokens, "more": generator.normal(size=(ROWS, 2)).astype(np.float32), "y": np.arange(ROWS)}
    return Loader(
        Examples(arrays, ROWS), np.arange(5, ROWS), ["text", "more"], ["y"], 6, seed=1, lengths=lengths,
        padded=frozenset({"text"}), weight=generator.uniform(size=ROWS).astype(np.float32),
    )  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("source", [loader(), words()], ids=["numbers", "texts"])
def test_batches_of_examples_on_the_device_are_those_of_the_loader(source: Loader, device: torch.device) -> None:
    held = resident(source.examples, source.names, device, 1e6)
    assert held is not None
    moved = replace(source, held=held)
    for (step, one), (other, two) in zip(*(itertools.islice(s.batches(3), 12) for s in (source, moved)), strict=True):
        assert step == other
        assert two.rows.device.type == device.type
        two = two.to(CPU)
        assert torch.equal(one.rows, two.rows)
        for name in source.names:
            first, second = ({**batch.inputs, **batch.targets}[name] for batch in (one, two))
            assert first.dtype == second.dtype
            assert torch.equal(first, second)
        assert (one.weight is None and two.weight is None) or torch.equal(one.weight, two.weight)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(FOUND.type == "cpu", reason="needs an accelerator")
def test_an_accelerator_holds_the_examples_that_fit() -> None:
    found = prefetch.ahead(loader(), FOUND, 1, 2)
    assert isinstance(found, Loader)
    assert found.held is not None
    assert found.held.device.type == FOUND.type


def test_a_mapped_file_is_moved_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamina.data.examples.BLOCK", 100)
    wanted = np.random.default_rng(0).integers(0, 255, (50, 4, 4)).astype(np.uint8)
    np.save(tmp_path / "x.npy", wanted)
    held = resident(Examples({"x": np.load(tmp_path / "x.npy", mmap_mode="r")}, 50), ["x"], CPU, 1e6)
    assert held is not None
    assert np.array_equal(held.arrays["x"].numpy(), wanted)


def test_what_is_too_large_for_the_device_or_unknown_to_it_stays() -> None:
    source = loader()
    assert resident(source.examples, source.names, CPU, ROWS * 16 - 1) is None
    odd = Examples({"x": np.zeros(3, np.uint16)}, 3)
    assert resident(odd, ["x"], CPU, 1e6) is None
    assert prefetch.ahead(source, CPU, 1, 1) is source
