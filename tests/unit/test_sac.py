"""Soft actor-critic: the density of squashed actions, each loss by hand, exact resume, and that it learns."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from test_dqn import setting
from torch import Tensor
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from lamina.environments import Actions
from lamina.learn import checkpoint
from lamina.learn.batch import Batch
from lamina.learn.engine import Engine
from lamina.learn.loop import Limits, fit
from lamina.learn.schedules import Schedule
from lamina.methods import sac
from lamina.methods._control import tensors
from lamina.networks.assembly.observed import Observed
from lamina.plan import SchedulePlan

Array = np.ndarray[Any, Any]
CPU = torch.device("cpu")


class Looks(gymnasium.Env[Any, Any]):
    """A picture and a number; any action will do."""

    observation_space = spaces.Dict(
        {"picture": spaces.Box(0, 255, (40, 40, 3), np.uint8), "place": spaces.Box(-9, 9, (2,), np.float32)}
    )
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._look(), float(action.sum()), bool(self.np_random.random() < 0.1), False, {}

    def _look(self) -> dict[str, Array]:
        picture = self.np_random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        return {"picture": picture, "place": self.np_random.normal(size=2).astype(np.float32)}


def made(name: str = "gym:Pendulum-v1", **options: Any) -> tuple[sac.SoftActorCritic, Batch]:
    """A method and its first batch."""
    method, source = sac.build(setting(name), sac.Options(**{"warmup": 64, "batch_size": 16, **options}))
    return method, next(source.batches())[1]


def test_the_density_of_squashed_actions_is_that_of_a_change_of_variables() -> None:
    torch.manual_seed(0)
    mean, log_scale = torch.randn(500, 3, dtype=torch.float64) * 2, torch.randn(500, 3, dtype=torch.float64) * 0.5
    action, density = sac.squashed(mean, log_scale, torch.randn(500, 3, dtype=torch.float64))
    plain = TransformedDistribution(Normal(mean, log_scale.exp()), [TanhTransform(cache_size=1)])
    inside = (action.abs() < 1 - 1e-9).all(dim=1)
    assert inside.sum() > 400
    expected = plain.log_prob(action).sum(dim=1)
    assert torch.allclose(density[inside], expected[inside], atol=1e-5)


def test_the_density_integrates_to_one_and_stays_finite_far_out() -> None:
    noise = torch.linspace(-8, 8, 20_001, dtype=torch.float64)[:, None]
    action, density = sac.squashed(torch.full_like(noise, 0.3), torch.full_like(noise, -0.2), noise)
    assert float(torch.trapezoid(density.exp(), action[:, 0])) == pytest.approx(1, abs=1e-6)
    mean = torch.tensor([[50.0]], requires_grad=True)
    _, far = sac.squashed(mean, torch.zeros(1, 1), torch.zeros(1, 1))
    far.sum().backward()  # type: ignore[no-untyped-call]
    # log(1 - tanh(x)^2) tends to 2 (log 2 - x).
    assert far.item() == pytest.approx(-0.5 * math.log(2 * math.pi) - 2 * (math.log(2) - 50), rel=1e-5)
    assert mean.grad is not None
    assert mean.grad.item() == pytest.approx(2, rel=1e-5)


def critic_values(critic: torch.nn.Module, inputs: dict[str, Tensor], action: Tensor) -> Array:
    with torch.no_grad():
        found: Array = critic({**inputs, "action": action})["value"][:, 0, 0].numpy()
    return found


def test_the_critics_goal_is_as_by_hand() -> None:
    method, batch = made(temperature=0.3, steps=1)
    with torch.no_grad():
        # The targets are not the critics, and differ from each other.
        for parameter in method.targets.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    following = {name: batch.targets[f"next.{name}"] for name in batch.inputs}
    one, other = (critic_values(part, following, batch.targets["action"]) for part in method.targets)
    with torch.no_grad():
        # Now one of them, now the other is the lower.
        method.targets[1].head("value").bias.add_(float(np.median(one - other)))  # type: ignore[operator]
    torch.manual_seed(5)
    goal = method.goal(batch)
    torch.manual_seed(5)
    with torch.no_grad():
        outputs = method.policy.network(following)
        mean, log_scale = outputs["action"][:, 0], outputs["log_scale"][:, 0]
        action, density = sac.squashed(mean, log_scale, torch.randn_like(mean))
    first, second = (critic_values(part, following, action) for part in method.targets)
    assert (first < second).any()
    assert (first > second).any()
    soft = np.minimum(first, second) - 0.3 * density.numpy()
    expected = batch.targets["reward"].numpy() + batch.targets["discount"].numpy() * soft
    assert goal.numpy() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_the_temperature_follows_the_entropy() -> None:
    method, batch = made(entropy=-2.0)
    # An entropy of 3 is more than the -2 that is wanted, -5 is less.
    for entropy, falls in ((3.0, True), (-5.0, False)):
        loss = method.judge_temperature(batch, torch.full((16,), entropy))
        (slope,) = torch.autograd.grad(loss.sum / loss.weight, [method.temperature.log])
        assert (slope.item() > 0) == falls
        assert slope.item() == pytest.approx(entropy + 2.0, rel=1e-4)


def test_an_update_changes_each_part_by_its_own_loss_only() -> None:
    method, batch = made()
    before = {name: value.clone() for name, value in method.weights().items()}
    metrics = method.update(batch, Engine(CPU))
    assert {"loss", "value", "error", "policy", "entropy", "temperature"} <= set(metrics)
    after = method.weights()
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("policy."))
    # The gradient of the critics is that of their own loss, not also the one of the policy's.
    other, again = made()
    loss, _ = other._judged_values.as_it_is(again)
    torch.manual_seed(1)
    for part in (other, method):
        for optimizer in part.optimizers:
            optimizer.zero_grad()
    torch.manual_seed(1)
    loss, _ = other._judged_values.as_it_is(again)
    loss.backward()
    alone = [parameter.grad for parameter in other.critics.parameters()]
    policy, _ = other._judged_policy.as_it_is(again)
    policy.backward()
    for parameter, kept in zip(other.critics.parameters(), alone, strict=True):
        assert parameter.grad is kept
    assert all(parameter.grad is not None for parameter in other.policy.parameters())
    assert other.temperature.log.grad is None
    assert all(parameter.grad is None for parameter in other.targets.parameters())


def test_the_targets_follow_the_critics() -> None:
    method, batch = made(target_rate=0.1)
    slow = [parameter.clone() for parameter in method.targets.parameters()]
    for _ in range(3):
        method.update(batch, Engine(CPU))
        slow = [old.lerp(new, 0.1) for old, new in zip(slow, method.critics.parameters(), strict=True)]
    for old, new in zip(slow, method.targets.parameters(), strict=True):
        assert torch.allclose(old, new, atol=1e-6)


def test_observations_are_normalised_by_the_random_beginning_alike() -> None:
    method, batch = made(warmup=100)
    method.update(batch, Engine(CPU))
    seen = method.replay.memory.inputs["observation"][:100]
    for network in (method.policy.network, *method.critics, *method.targets):
        assert isinstance(network, Observed)
        state = network.normalizers.state_dict()
        assert state["0.count"].item() == 100
        assert state["0.mean"].numpy() == pytest.approx(seen.mean(axis=0), abs=1e-5)


@pytest.mark.parametrize("options", [{}, {"priority": 0.6, "steps": 3}])
def test_straight_line_code_gives_the_same_losses_and_gradients(options: dict[str, Any]) -> None:
    method, batch = made(**options)
    for judged in (method._judged_values, method._judged_policy):
        judged(batch)
        found = []
        for way in (judged.as_it_is, judged):
            torch.manual_seed(3)
            for parameter in judged.learned:
                parameter.grad = None
            loss, each = way(batch)
            loss.backward()
            gradients = [parameter.grad for parameter in judged.learned]
            found.append([loss.sum.detach(), loss.weight, *each.values(), *gradients, torch.randn(1)])
        assert list(judged.codes.values()) != [None]
        for one, two in zip(*found, strict=True):
            assert torch.allclose(one, two, rtol=1e-4, atol=1e-6)


def test_straight_line_code_draws_anew_and_reads_the_weights_of_now() -> None:
    method, batch = made()
    assert float(method._judged_values(batch)[0].sum.detach()) != float(method._judged_values(batch)[0].sum.detach())
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        found.append(method._judged_values(batch)[0].sum.detach())
        with torch.no_grad():
            method.temperature.log.add_(1.0)
    assert not torch.equal(*found)
    seen = {"observation": np.zeros((1, 3), np.float32)}
    draws = [method.explore(seen, 0.5).item() for _ in range(3)]
    assert len(set(draws)) == 3
    torch.manual_seed(0)
    quick = method.explore(seen, 0.5)
    torch.manual_seed(0)
    assert quick == pytest.approx(method._random(tensors(seen, CPU)).detach().numpy(), rel=1e-5)


def test_it_goes_on_exactly_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(steps: int, folder: Path) -> sac.SoftActorCritic:
        method, source = sac.build(setting("gym:Pendulum-v1", seed=1), sac.Options(warmup=64, batch_size=16))
        schedule = Schedule(SchedulePlan("constant"), [(0, 0.0), (30, 1.0)])
        if steps < 30:
            batches = source.batches
            monkeypatch.setattr(source, "batches", lambda start: itertools.islice(batches(start), steps))
        torch.manual_seed(2)
        fit(method, source, schedule, Engine(CPU, clip=0.5), limits=Limits(save_seconds=0), folder=folder)
        return method

    run(10, tmp_path / "one")
    one, two = (run(30, tmp_path / name) for name in ("one", "two"))
    first, second = checkpoint.pack(one.state()), checkpoint.pack(two.state())
    assert first[1] == second[1]
    assert all(torch.equal(first[0][name], second[0][name]) for name in first[0])


def test_weights_can_be_taken_and_put_back() -> None:
    method, batch = made()
    kept = {name: value.clone() for name, value in method.weights().items()}
    seen = {"observation": np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)}
    acted = method.act(seen)
    assert acted.dtype == np.float32
    assert acted.shape == (5, 1)
    for _ in range(3):
        method.update(batch, Engine(CPU))
    assert not np.allclose(acted, method.act(seen), atol=1e-6)
    method.load(kept)
    assert (acted == method.act(seen)).all()
    with method.evaluating() as policy:
        before = policy({"observation": torch.from_numpy(seen["observation"])})["action"]
    assert np.tanh(before[:, 0].numpy()) == pytest.approx(acted, abs=1e-6)


def test_pictures_are_learned_from() -> None:
    method, source = sac.build(setting("test_sac:Looks"), sac.Options(copies=1, warmup=32, batch_size=4))
    for step, batch in source.batches():
        method.update(batch, Engine(CPU))
        if step == 2:
            break
    assert method.act(method.replay.vector.observations).shape == (1, 2)


def test_only_bounded_numbers_suit() -> None:
    assert sac.suits(Actions("continuous", 2, 0, (-1.0, 0.0), (1.0, 3.0)))
    assert not sac.suits(Actions("continuous", 2, 0, (-1.0, 0.0), (1.0, math.inf)))
    assert not sac.suits(Actions("discrete", 3))
