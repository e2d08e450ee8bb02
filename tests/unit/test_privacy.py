"""What private training promises: the accountant, the gradient of each row alone, the noise, the draws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import nn

from lamina.data.examples import Examples
from lamina.errors import InputError
from lamina.learn import optimizers, privacy
from lamina.learn.batch import Batch, Loss
from lamina.learn.engine import Engine, NonFiniteLossError
from lamina.learn.loader import Loader
from lamina.learn.privacy import Private, divergence, draws, epsilon, noise_for, sampled, without_statistics
from lamina.methods.supervised import Supervised
from lamina.plan import OptimizerPlan, Plan, PrivacyPlan, TrainingPlan
from lamina.steps import private

CPU = torch.device("cpu")
SECRET = b"x" * 32


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.9])
@pytest.mark.parametrize("noise", [0.7, 1.5])
@pytest.mark.parametrize("order", [2, 5, 12])
def test_the_divergence_is_that_of_the_two_distributions(rate: float, noise: float, order: int) -> None:
    """By its definition, integrated: E[(mixture / normal) ** order] over the normal distribution around 0."""

    def inside(x: float) -> float:
        ratio = (1 - rate) + rate * math.exp((2 * x - 1) / (2 * noise**2))
        return math.exp(order * math.log(ratio) - x**2 / (2 * noise**2)) / math.sqrt(2 * math.pi * noise**2)

    value, _ = integrate.quad(inside, -30 * noise, 30 * noise + order, limit=500, epsabs=0, epsrel=1e-10)
    assert divergence(rate, noise, order) == pytest.approx(math.log(value) / (order - 1), rel=1e-6)


def test_all_rows_or_none_in_a_batch_are_the_plain_cases() -> None:
    assert divergence(1.0, 2.0, 8) == pytest.approx(8 / (2 * 2.0**2))
    assert divergence(1 - 1e-9, 2.0, 8) == pytest.approx(8 / (2 * 2.0**2), rel=1e-4)
    assert divergence(0.0, 2.0, 8) == 0.0


def test_epsilon_is_near_published_figures() -> None:
    """MNIST with batches of 256 of 60,000, noise 1.1, 60 epochs and delta 1e-5 is the usual example, with an epsilon of
    3.0 by Rényi divergences and their older conversion; Abadi et al. have 1.26 for q = 0.01, noise 4, 10,000 steps."""
    assert 2.5 < epsilon(256 / 60_000, 1.1, 60 * 60_000 // 256, 1e-5) < 3.01
    assert 1.0 < epsilon(0.01, 4.0, 10_000, 1e-5) < 1.27


def test_more_steps_tell_more_and_more_noise_less() -> None:
    found = [epsilon(0.02, 1.0, steps, 1e-5) for steps in (1, 10, 100, 1000)]
    assert found == sorted(found)
    assert epsilon(0.02, 2.0, 100, 1e-5) < epsilon(0.02, 1.0, 100, 1e-5) < epsilon(0.04, 1.0, 100, 1e-5)


@pytest.mark.parametrize("wanted", [0.5, 3.0, 20.0])
def test_the_noise_suffices_and_little_less_would_not(wanted: float) -> None:
    noise = noise_for(wanted, 0.05, 400, 1e-5)
    assert epsilon(0.05, noise, 400, 1e-5) <= wanted
    assert epsilon(0.05, noise * 0.99, 400, 1e-5) > wanted


def test_what_no_noise_can_reach_is_said() -> None:
    with pytest.raises(InputError, match="No noise"):
        noise_for(1e-9, 0.5, 10_000, 1e-6)


class Net(nn.Module):
    def __init__(self, hidden: int = 8, looks: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, hidden), nn.LayerNorm(hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.looks = looks

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        if self.looks and float(inputs["x"].sum()) == 1e9:
            raise AssertionError
        found: torch.Tensor = self.body(inputs["x"])
        return found


def squared(output: torch.Tensor, batch: Batch) -> Loss:
    error = (output[:, 0] - batch.targets["y"]) ** 2
    weight = torch.ones_like(error) if batch.weight is None else batch.weight
    return Loss((error * weight).sum(), weight.sum())


def batch(rows: int = 12, **changes: Any) -> Batch:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(rows, 4, generator=generator), torch.randn(rows, generator=generator)
    return replace(Batch(torch.arange(rows), {"x": x}, {"y": y}), **changes)


def gradient(given: Batch, private: Private, network: nn.Module, step: int = 0) -> list[torch.Tensor]:
    parameters = list(network.parameters())
    private.gradient(lambda part: squared(network(part.inputs), part), given, network, parameters, step)
    return [one.grad.clone() for one in parameters if one.grad is not None]


def by_hand(given: Batch, clip: float, network: nn.Module) -> list[torch.Tensor]:
    """The sum of cut gradients, one row after the other."""
    parameters = list(network.parameters())
    sums = [torch.zeros_like(one) for one in parameters]
    for row in range(len(given)):
        part = replace(given.part(row, row + 1), whole=None)
        found = torch.autograd.grad(squared(network(part.inputs), part).sum, parameters)
        length = torch.stack([one.norm() for one in found]).norm()
        for place, one in enumerate(found):
            sums[place] += one * min(1.0, clip / float(length))
    return sums


@pytest.mark.parametrize("looks", [False, True], ids=["together", "one by one"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("most", [1, 200, 2**26])
def test_each_rows_gradient_is_cut_alone(looks: bool, weighted: bool, most: int) -> None:
    torch.manual_seed(0)
    network, given = Net(looks=looks), batch(weight=torch.rand(12) + 0.1) if weighted else batch()
    private = Private(clip=0.7, noise=0.0, expected=5.0, secret=SECRET, most=most)
    for found, wanted in zip(gradient(given, private, network), by_hand(given, 0.7, network), strict=True):
        torch.testing.assert_close(found, wanted / 5.0)
    assert private.one_by_one == looks


def test_where_memory_does_not_suffice_fewer_rows_are_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, given = Net(), batch()
    together, sizes = privacy._together, list[int]()

    def little(loss: Any, part: Batch, *given: Any) -> Any:
        sizes.append(len(part))
        if len(part) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return together(loss, part, *given)

    monkeypatch.setattr(privacy, "_together", little)
    private = Private(clip=0.7, noise=0.0, expected=5.0, secret=SECRET)
    for found, wanted in zip(gradient(given, private, network), by_hand(given, 0.7, network), strict=True):
        torch.testing.assert_close(found, wanted / 5.0)
    assert sizes == [12, 3, 3, 3, 3]
    assert not private.one_by_one


def test_one_row_more_moves_the_sum_by_no_more_than_the_length() -> None:
    torch.manual_seed(0)
    network, given = Net(), batch(9, targets={"y": torch.full((9,), 1e6)})
    private = Private(clip=0.5, noise=0.0, expected=1.0, secret=SECRET)
    more, less = gradient(given, private, network), gradient(given.part(0, 8), private, network)
    apart = torch.cat([(one - other).flatten() for one, other in zip(more, less, strict=True)])
    assert 0.4 < float(apart.norm()) < 0.5001


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("looks", [False, True], ids=["together", "one by one"])
def test_a_row_whose_loss_is_no_number_stops_before_the_update(value: float, looks: bool) -> None:
    torch.manual_seed(0)
    network, given = Net(looks=looks), batch()
    broken = replace(given, targets={"y": given.targets["y"].index_fill(0, torch.tensor([3]), value)})
    learner = Supervised(
        network, squared, optimizers.build([{"params": list(network.parameters())}], OptimizerPlan("adamw", 0.1))
    )
    before = [one.detach().clone() for one in network.parameters()]
    private = Private(clip=0.5, noise=0.1, expected=1.0, secret=SECRET)
    with pytest.raises(NonFiniteLossError, match="step 5") as caught:
        learner.update(broken, Engine(CPU, step=5, private=private))
    assert 3 in caught.value.rows
    assert all(torch.equal(one, old) for one, old in zip(network.parameters(), before, strict=True))


def test_the_noise_has_the_deviation_that_is_counted_with_and_is_another_in_each_step() -> None:
    torch.manual_seed(0)
    network = Net(hidden=400)
    private = Private(clip=0.5, noise=3.0, expected=10.0, secret=SECRET)
    empty = batch(12).part(0, 0)
    first, again, second = (torch.cat([one.flatten() for one in gradient(empty, private, network, step)])
                            for step in (0, 0, 1))  # fmt: skip
    assert torch.equal(first, again)
    assert float(first.std()) == pytest.approx(3.0 * 0.5 / 10.0, rel=0.05)
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.1
    other = replace(private, secret=b"y" * 32)
    assert not torch.equal(first, torch.cat([one.flatten() for one in gradient(empty, other, network)]))


def test_each_row_is_in_a_batch_by_a_chance_of_its_own() -> None:
    rows = np.arange(500, 700)
    batches = [sampled(SECRET, step, rows, 0.1) for step in range(400)]
    assert [list(found) for found in batches[:3]] == [list(sampled(SECRET, step, rows, 0.1)) for step in range(3)]
    sizes = np.array([len(found) for found in batches])
    assert sizes.mean() == pytest.approx(20, rel=0.05)
    assert sizes.var() == pytest.approx(200 * 0.1 * 0.9, rel=0.25)
    often = np.bincount(np.concatenate(batches) - 500, minlength=200)
    assert often.min() > 15
    assert often.max() < 70
    assert draws(SECRET, "rows", 1).random() != draws(SECRET, "noise", 1).random()


def test_a_loader_draws_private_batches_the_same_from_any_start() -> None:
    examples = Examples({"x": np.arange(40, dtype=np.float32)[:, None], "y": np.arange(40)}, 40)
    loader = Loader(examples, np.arange(40), ["x"], ["y"], 4, secret=SECRET)
    whole = [found.rows.tolist() for (_, found), _ in zip(loader.batches(), range(30), strict=False)]
    later = [found.rows.tolist() for (_, found), _ in zip(loader.batches(20), range(10), strict=False)]
    assert whole[20:] == later
    assert len({len(rows) for rows in whole}) > 2
    assert loader.steps == 10


def test_a_private_step_of_the_engine_goes_down_the_private_gradient() -> None:
    torch.manual_seed(0)
    network = Net()
    learner = Supervised(
        network,
        squared,
        optimizers.build([{"params": list(network.parameters())}], OptimizerPlan("sgd", 0.1, momentum=0)),
    )
    before = [one.detach().clone() for one in network.parameters()]
    engine = Engine(CPU, private=Private(clip=0.3, noise=0.0, expected=6.0, secret=SECRET))
    metrics = learner.update(batch(), engine)
    assert float(metrics["loss"]) > 0
    network.load_state_dict(dict(zip(network.state_dict(), before, strict=True)))
    wanted = by_hand(batch(), 0.3, network)
    learner.update(batch(), engine)
    for one, old, found in zip(network.parameters(), before, wanted, strict=True):
        torch.testing.assert_close(one.detach(), old - 0.1 * found / 6.0)


def test_rows_do_not_meet_in_a_private_network() -> None:
    network = nn.Sequential(nn.Conv1d(3, 48, 3), nn.BatchNorm1d(48), nn.Sequential(nn.ReLU(), nn.BatchNorm1d(48)))
    assert without_statistics(network) == 2
    values = torch.randn(5, 3, 9)
    network.train()
    torch.testing.assert_close(network(values)[:1], network(values[:1]))


def test_a_plan_is_settled_for_noisy_gradients() -> None:
    plan = Plan(privacy=PrivacyPlan(epsilon=2.0), training=TrainingPlan(mixup=0.3, balance="weights", patience=4))
    found, reasons = private.settled(plan, (), 4000)
    assert found.privacy.delta == pytest.approx(2.5e-5, rel=0.3)
    assert found.training == replace(
        plan.training, mixup=0.0, balance="none", patience=0, batch_size=200, clip=0.0, keep="last"
    )
    assert found.optimizer.learning_rate == private.FASTER * plan.optimizer.learning_rate
    assert "noisy" in reasons["optimizer.learning_rate"]
    asked, _ = private.settled(plan, ("optimizer.learning_rate", "training.batch_size"), 4000)
    assert (asked.optimizer, asked.training.batch_size) == (plan.optimizer, plan.training.batch_size)
    followed, _ = private.settled(replace(plan, privacy=replace(plan.privacy, noise=1.2)), (), 4000)
    assert followed.optimizer == plan.optimizer
