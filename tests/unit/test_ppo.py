"""Proximal policy optimisation: advantages, the clipped loss, what is collected, and that it learns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from lamina.environments import Observations, World
from lamina.environments.spaces import open_world
from lamina.environments.vector import Vector
from lamina.learn import checkpoint
from lamina.learn.collector import Collector
from lamina.learn.engine import Engine
from lamina.learn.loop import Limits, fit
from lamina.learn.record import Record
from lamina.learn.schedules import Schedule
from lamina.methods import ppo
from lamina.methods._control import Setting, tensors
from lamina.modalities import Feature
from lamina.networks.assembly import build_assembly
from lamina.networks.assembly.observed import Observed
from lamina.plan import NetworkPlan, OptimizerPlan, SchedulePlan

Array = np.ndarray[Any, Any]
CPU = torch.device("cpu")


class Counts(gymnasium.Env[Any, Any]):
    """Shows how many steps were taken; episodes end after 3, by turns at their end and cut off."""

    observation_space = spaces.Box(0, 99, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps, self.cut = 0, bool(self.np_random.integers(2))
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        over = self.steps == 3
        return np.full(1, self.steps, np.float32), 1.0, over and not self.cut, over and self.cut, {}


class Aims(gymnasium.Env[Any, Any]):
    """Rewards a number near the first of the two that are shown, in a bounded range; one step."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Box(-4, 4, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.shown = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.shown, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.shown, -float(abs(action[0] - 2 * self.shown[0])), True, False, {}


class Looks(Counts):
    """The same, in pictures and a category."""

    observation_space = spaces.Dict({"eye": spaces.Box(0, 255, (36, 36, 1), np.uint8), "gear": spaces.Discrete(3)})

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        super().reset(**options)
        return {"eye": self.np_random.integers(0, 255, (36, 36, 1), np.uint8), "gear": 0}, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        count, *others = super().step(action)
        eye = self.np_random.integers(0, 255, (36, 36, 1), np.uint8)
        return {"eye": eye, "gear": int(count[0]) % 3}, *others


class Tenfold:
    """Values every observation at ten times the count it shows; takes any action."""

    def explore(self, observations: Observations) -> dict[str, Array]:
        return {"action": np.zeros(len(observations["observation"]), np.int64)}

    def values(self, observations: Observations) -> Array:
        values: Array = observations["observation"][:, 0] * np.float32(10)
        return values


def setting(world: World, seed: int = 0, rate: float = 1e-3, **networks: NetworkPlan) -> Setting:
    features = {name: encoder.feature for name, encoder in world.encoders.items()}
    plans = networks or {"all": NetworkPlan("dense", tuple(features))}

    def network(heads: Mapping[str, int], *, action: bool = False) -> nn.Module:
        return Observed(build_assembly(plans, features, heads), features)

    torch.manual_seed(seed)
    plan = OptimizerPlan("adam", rate)
    return Setting(world, lambda number: Vector(world, number, seed + 1), network, plan, 0, seed, CPU)


def trained(made: Setting, options: ppo.Options, steps: int) -> tuple[ppo.Ppo, Collector, Record]:
    method, source = ppo.build(made, options)
    schedule, record = Schedule.over(steps // source.rows, SchedulePlan("linear", 0.0)), Record(None)
    fit(method, source, schedule, Engine(CPU, clip=0.5), limits=Limits(log_steps=1), record=record)
    return method, source, record


def test_advantages_are_those_of_the_textbook() -> None:
    random = np.random.default_rng(0)
    reward, value, next_value = (random.normal(size=(9, 3)).astype(np.float32) for _ in range(3))
    ended = random.random((9, 3)) < 0.3
    found = ppo.advantages(reward, value, next_value, ended, 0.9, 0.8)
    for copy in range(3):
        for time in range(9):
            # Schulman et al. 2016, equation 16: the discounted sum of the errors to the end of the episode.
            expected, weight = 0.0, 1.0
            for later in range(time, 9):
                error = reward[later, copy] + 0.9 * next_value[later, copy] - value[later, copy]
                expected += weight * error
                weight *= 0.9 * 0.8
                if ended[later, copy]:
                    break
            assert found[time, copy] == pytest.approx(expected, abs=1e-5)


def test_what_follows_a_step_is_worth_nothing_at_an_end_and_its_own_value_where_it_was_cut_off() -> None:
    world = open_world("test_ppo:Counts")
    source = Collector(Vector(world, 4, 0), Tenfold(), 8)
    _, batch = next(source.batches(5))
    targets = {name: tensor.numpy().reshape(8, 4) for name, tensor in batch.targets.items()}
    assert batch.rows.tolist() == list(range(5 * 32, 6 * 32))
    count = batch.inputs["observation"].numpy().reshape(8, 4)
    np.testing.assert_array_equal(targets["value"], count * 10)
    np.testing.assert_array_equal(targets["ended"], count == 2)
    at_end = targets["next_value"][count == 2]
    assert set(at_end.tolist()) == {0.0, 30.0}, "some ended at their end, some were cut off"
    np.testing.assert_array_equal(targets["next_value"][count < 2], (count[count < 2] + 1) * 10)
    assert source.recent_return == 3.0


def test_the_collector_goes_on_where_it_was() -> None:
    world = open_world("test_ppo:Counts")
    first, second = (Collector(Vector(world, 3, 7), Tenfold(), 5) for _ in range(2))
    batches = first.batches()
    for _ in range(3):
        next(batches)
    second.restore(json.loads(json.dumps(first.state())))
    assert second.recent_return == first.recent_return
    (_, one), (_, other) = next(batches), next(second.batches(3))
    assert torch.equal(one.rows, other.rows)
    for name, tensor in one.targets.items():
        assert torch.equal(tensor, other.targets[name]), name


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.1, 2.0, -2.2, -2.0),
        (1.5, 2.0, -2.4, 0.0),
        (0.5, 2.0, -1.0, -2.0),
        (0.5, -2.0, 1.6, 0.0),
        (1.5, -2.0, 3.0, 2.0),
    ],
)
def test_the_clipped_objective(ratio: float, advantage: float, loss: float, gradient: float) -> None:
    moved = torch.tensor([ratio], dtype=torch.float64, requires_grad=True)
    found = ppo.clipped_objective(moved, torch.tensor([advantage], dtype=torch.float64), 0.2)
    found.sum().backward()
    assert moved.grad is not None
    assert found.item() == pytest.approx(loss)
    assert moved.grad.item() == pytest.approx(gradient)


def test_the_error_of_clipped_values() -> None:
    value, before, target = torch.tensor([3.0, 1.1, -2.0]), torch.tensor([1.0, 1.0, 1.0]), torch.tensor([2.9, 0.0, 5.0])
    assert ppo.value_error(value, before, target, 0.0).tolist() == pytest.approx([0.005, 0.605, 24.5], rel=1e-4)
    # The first has gone further than allowed towards its target, which earns nothing.
    assert ppo.value_error(value, before, target, 0.5).tolist() == pytest.approx([0.5 * 1.4**2, 0.605, 24.5])


def test_the_whole_loss_and_its_gradient() -> None:
    options = ppo.Options(copies=4, horizon=8, clip=0.01, clip_value=0.05, entropy=0.1, value_weight=0.7)
    method, source = ppo.build(setting(open_world("test_ppo:Counts")), options)
    _, batch = next(source.batches())
    rollout = method._rollout(batch)
    with torch.no_grad():
        for parameter in (*method.policy.parameters(), *method.value.parameters()):
            parameter.add_(torch.randn_like(parameter) * 0.05)
    found = method.loss(rollout)
    found.sum.backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in method.policy.parameters()]

    targets = rollout.targets
    logits = method.policy(batch.inputs)["action"][:, 0]
    value = method.value(batch.inputs)["value"][:, 0, 0]
    distribution = torch.distributions.Categorical(logits=logits)
    expected = torch.zeros(())
    for row in range(len(batch)):
        ratio = (distribution.log_prob(targets["action"])[row] - targets["log_probability"][row]).exp()
        advantage = targets["advantage"][row]
        low, high = 1 - 0.01, 1 + 0.01
        stopped = ratio.item() > high if advantage > 0 else ratio.item() < low
        gain = (high if advantage > 0 else low) * advantage if stopped else ratio * advantage
        near = targets["value"][row] + (value[row] - targets["value"][row]).clamp(-0.05, 0.05)
        error = max((value[row] - targets["return"][row]) ** 2, (near - targets["return"][row]) ** 2)
        expected = expected - gain + 0.7 * 0.5 * error - 0.1 * distribution.entropy()[row]
    assert 0 < found.metrics["clipped"] < 1
    assert float(found.weight) == 32
    assert found.sum.item() == pytest.approx(expected.item(), rel=1e-4)
    for gradient, other in zip(gradients, torch.autograd.grad(expected, list(method.policy.parameters())), strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["Counts", "Aims"])
def test_the_first_step_is_taken_from_the_policy_that_played(name: str) -> None:
    method, source = ppo.build(setting(open_world(f"test_ppo:{name}")), ppo.Options(copies=4, horizon=16))
    for _ in range(3):
        _, batch = next(source.batches())
        rollout = method._rollout(batch)
        loss = method.loss(next(method._minibatches(rollout)))
        assert abs(float(loss.metrics["kl"])) < 1e-6
        assert float(loss.metrics["clipped"]) == 0
        # All ratios are 1 then, and the advantages' mean is 0.
        assert abs(float(loss.metrics["policy_loss"])) < 1e-6
        method.update(batch, Engine(CPU))


def test_a_gaussian_policy_has_the_probabilities_of_its_draws() -> None:
    method, _ = ppo.build(setting(open_world("test_ppo:Aims")), ppo.Options(copies=4, deviation=0.5))
    many = {"observation": np.tile(np.array([[0.3, -0.2]], np.float32), (20_000, 1))}
    drawn = method.explore(many)
    assert drawn["action"].dtype == np.float32
    assert float((drawn["action"] - drawn["output"]).std()) == pytest.approx(0.5, rel=0.02)
    output, action = torch.from_numpy(drawn["output"]), torch.from_numpy(drawn["action"])
    found, entropy = method._distribution(output, action)
    normal = torch.distributions.Normal(output[:, 0], 0.5)
    torch.testing.assert_close(found, normal.log_prob(action[:, 0]))
    torch.testing.assert_close(entropy, normal.entropy())
    np.testing.assert_array_equal(method.act(many), drawn["output"])


def test_choices_are_drawn_by_their_probabilities() -> None:
    method, _ = ppo.build(setting(open_world("test_ppo:Counts")), ppo.Options(copies=4))
    with torch.no_grad():
        method.policy.head("action").bias.copy_(torch.tensor([0.0, 1.0]))
    many = {"observation": np.zeros((20_000, 1), np.float32)}
    assert method.explore(many)["action"].mean() == pytest.approx(1 / (1 + np.exp(-1)), abs=0.02)
    assert method.act(many).tolist() == [1] * 20_000


def test_rewards_are_scaled_by_what_was_seen_so_far_and_exactly_after_a_resume() -> None:
    random = np.random.default_rng(1)
    scale, seen, carried = ppo.RewardScale(0.9, 2), [], np.zeros(2)
    for part in range(4):
        reward, ended = random.normal(3, 5, (6, 2)).astype(np.float32), random.random((6, 2)) < 0.2
        for time in range(6):
            carried = carried * 0.9 + reward[time]
            seen.append(carried.copy())
            carried[ended[time]] = 0
        if part == 2:
            kept = json.loads(json.dumps(scale.state()))
            scale = ppo.RewardScale(0.9, 2)
            scale.restore(kept)
        np.testing.assert_allclose(scale(reward, ended), reward / np.std(seen), rtol=1e-4)
    other = ppo.RewardScale(0.9, 2)
    other.restore(json.loads(json.dumps(scale.state())))
    np.testing.assert_array_equal(other(reward, ended), scale(reward, ended))


def test_an_action_that_has_become_far_too_likely_ends_nothing() -> None:
    method, source = ppo.build(setting(open_world("test_ppo:Aims"), rate=0.0001), ppo.Options(copies=4, horizon=8))
    rollout = method._rollout(next(source.batches())[1])
    targets = {**rollout.targets, "log_probability": rollout.targets["log_probability"] - 200}
    metrics = Engine(CPU, clip=0.5).descend(method.loss, replace(rollout, targets=targets), method.optimizers)
    assert np.isfinite(float(metrics["loss"]))
    assert all(bool(value.isfinite().all()) for value in method.weights().values())


def test_learning_stops_once_the_policy_has_gone_far() -> None:
    def steps(target: float) -> int:
        options = ppo.Options(copies=4, horizon=16, epochs=5, minibatches=2, target_kl=target)
        method, source = ppo.build(setting(open_world("test_ppo:Aims"), rate=0.01), options)
        taken: list[float] = []

        class Counting(Engine):
            def descend(self, *arguments: Any) -> dict[str, Tensor]:
                taken.append(0.0)
                return super().descend(*arguments)

        method.update(next(source.batches())[1], Counting(CPU))
        return len(taken)

    assert steps(0.0) == 10
    assert 1 < steps(0.001) < 10


@pytest.mark.parametrize("activation", ["tanh", "relu", "silu"])
def test_dense_layers_in_numpy_give_what_the_modules_give(activation: str) -> None:
    features = {
        "speed": Feature("numbers", (3,), "float32"),
        "gear": Feature("category", (), "int32", 7),
        "place": Feature("numbers", (2,), "float32"),
        "door": Feature("category", (), "int32", 5),
        "room": Feature("category", (), "int32", 40),
    }
    plan = {"all": NetworkPlan("dense", tuple(features), {"activation": activation, "width": 16})}
    network = Observed(build_assembly(plan, features, {"action": 4}), features, frozenset({"place"}))
    run = ppo.forward(network, "action")
    assert run.__name__ == "run", "the quick way is taken"
    random = np.random.default_rng(0)

    def agree() -> None:
        rows: Observations = {
            name: random.normal(2, 30, (9, *feature.shape)).astype(np.float32)
            if feature.kind == "numbers"
            else random.integers(-2, feature.size + 2, 9).astype(np.int32)
            for name, feature in features.items()
        }
        with torch.inference_mode():
            expected = network(tensors(rows, CPU))["action"][:, 0].numpy()
        np.testing.assert_allclose(run(rows), expected, rtol=1e-4, atol=1e-5)
        network.follow(tensors(rows, CPU))

    agree()
    agree()
    network.load_state_dict({name: torch.rand_like(value) for name, value in network.state_dict().items()})
    agree()
    optimizer = torch.optim.Adam(network.parameters(), 0.1, fused=True)
    network({name: torch.zeros(1, *feature.shape) for name, feature in features.items()})["action"].sum().backward()
    optimizer.step()
    agree()


RECURRENT = {"all": NetworkPlan("recurrent", ("observation",), {"width": 8, "embedding": 8})}
MIXED = {"eye": NetworkPlan("convolutional", ("eye",), {"hidden": 32}), "gear": NetworkPlan("dense", ("gear",))}


@pytest.mark.parametrize(
    ("name", "history", "plans"),
    [("test_ppo:Counts", 4, RECURRENT), ("test_ppo:Aims", 3, RECURRENT), ("test_ppo:Looks", 2, MIXED)],
)
def test_it_learns_from_pictures_and_histories(name: str, history: int, plans: dict[str, NetworkPlan]) -> None:
    world = open_world(name, history=history)
    method, source = ppo.build(setting(world, **plans), ppo.Options(copies=2, horizon=8, minibatches=2))
    before = {name: value.clone() for name, value in method.weights().items()}
    for _, batch in source.batches():
        rollout = method._rollout(batch)
        assert abs(float(method.loss(rollout).metrics["kl"])) < 1e-5
        metrics = method.update(batch, Engine(CPU, clip=0.5))
        break
    assert all(np.isfinite(float(value)) for value in metrics.values())
    assert not any(
        torch.equal(value, method.weights()[name]) for name, value in before.items() if name.endswith("weight")
    )
    assert len(method.act(source.vector.observations)) == 2


def test_weights_are_those_of_both_networks_and_come_back() -> None:
    made = setting(open_world("test_ppo:Aims"))
    options = ppo.Options(copies=2, horizon=8)
    method, source = ppo.build(made, options)
    metrics = method.update(next(source.batches())[1], Engine(CPU))
    assert {"loss", "policy_loss", "value_loss", "entropy", "kl", "clipped", "explained", "return"} <= set(metrics)
    other, _ = ppo.build(made, options)
    other.load(method.weights())
    assert {name.split(".")[0] for name in method.weights()} == {"policy", "value", "log_deviation"}
    for name, value in method.weights().items():
        assert torch.equal(value, other.weights()[name]), name
    np.testing.assert_array_equal(method.act(source.vector.observations), other.act(source.vector.observations))


def test_numbers_are_learned_and_resumed_exactly() -> None:
    made = setting(open_world("test_ppo:Aims"), rate=5e-3)
    options = ppo.Options(copies=8, horizon=32)
    method, source, record = trained(made, options, 256 * 40)
    assert record.of("train")[0]["return"] < -0.8
    shown = np.random.default_rng(0).uniform(-1, 1, (200, 2)).astype(np.float32)
    aimed = made.world.actions.taken(method.act({"observation": shown}))
    assert np.abs(aimed[:, 0] - 2 * shown[:, 0]).mean() < 0.3

    _, batch = next(source.batches())
    again, _ = ppo.build(made, options)
    again.restore(checkpoint.unpack(*checkpoint.pack(method.state())))
    one, other = (learner.update(batch, Engine(CPU, clip=0.5)) for learner in (method, again))
    assert {name: float(value) for name, value in one.items() if name != "return"} == {
        name: float(value) for name, value in other.items() if name != "return"
    }


def test_a_pole_is_balanced_longer_and_longer() -> None:
    made = setting(open_world("gym:CartPole-v1"), rate=2.5e-3)
    _, _, record = trained(made, ppo.Options(copies=8), 20_480)
    assert record.of("train")[0]["return"] < 40
    assert record.of("train")[-1]["return"] > 150
