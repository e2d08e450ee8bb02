"""Deep Q-network: its targets by hand, exploration, straight-line code, exact resume, and that it learns."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lamina.environments import Actions
from lamina.environments.play import play
from lamina.environments.spaces import open_world
from lamina.environments.vector import Vector
from lamina.learn import checkpoint
from lamina.learn.batch import Batch
from lamina.learn.engine import Engine
from lamina.learn.loop import Limits, fit
from lamina.learn.schedules import Schedule
from lamina.methods import dqn
from lamina.methods._control import Setting
from lamina.modalities import Feature
from lamina.networks.assembly import build_assembly
from lamina.networks.assembly.observed import Observed
from lamina.plan import NetworkPlan, OptimizerPlan, SchedulePlan

Array = np.ndarray[Any, Any]
CPU = torch.device("cpu")


def setting(
    name: str, *, seed: int = 0, steps: int = 10_000, width: int = 64, rate: float = 1e-3, **more: Any
) -> Setting:
    """For an environment of numbers, pictures (small convolutions) or a history (a recurrent network)."""
    world = open_world(name, **more)
    seen = {field: encoder.feature for field, encoder in world.encoders.items()}

    def network(heads: Mapping[str, int], *, action: bool = False) -> nn.Module:
        features = {**seen, **({"action": Feature("numbers", (world.actions.size,), "float32")} if action else {})}
        plans = {}
        kinds = {"image": "convolutional", "series": "recurrent"}
        for field, feature in features.items():
            if feature.kind in kinds:
                plans[field] = NetworkPlan(kinds[feature.kind], (field,))
        rest = tuple(field for field in features if field not in plans)
        if rest:
            plans["rest"] = NetworkPlan("dense", rest, {"width": width, "activation": "relu"})
        return Observed(build_assembly(plans, features, heads), features, frozenset({"action"}))

    torch.manual_seed(seed)
    plan = OptimizerPlan("adam", rate, 0.0)
    return Setting(world, lambda number: Vector(world, number, seed), network, plan, steps, seed, CPU)


def made(name: str = "gym:CartPole-v1", seed: int = 0, **options: Any) -> tuple[dqn.DeepQ, Batch]:
    """A method and its first batch."""
    method, source = dqn.build(setting(name, seed=seed), dqn.Options(**{"warmup": 64, "batch_size": 16, **options}))
    return method, next(source.batches())[1]


def values(network: nn.Module, inputs: Mapping[str, Tensor]) -> Array:
    """Of the actions, [row, choice], from the heads' own outputs."""
    with torch.no_grad():
        outputs = {name: value[:, 0].numpy() for name, value in network(inputs).items()}
    if "action" in outputs:
        found: Array = outputs["action"]
        return found
    total: Array = outputs["value"] + outputs["advantage"] - outputs["advantage"].mean(axis=1, keepdims=True)
    return total


@pytest.mark.parametrize(("double", "duelling"), list(itertools.product([False, True], repeat=2)))
def test_what_actions_are_worth_is_as_by_hand(double: bool, duelling: bool) -> None:
    method, batch = made(double=double, duelling=duelling, steps=2)
    with torch.no_grad():
        # Networks that agree could hide whose choice and whose value it was.
        for parameter in method.target.parameters():
            parameter.add_(torch.randn_like(parameter))
    following = {name: batch.targets[f"next.{name}"] for name in batch.inputs}
    slow, quick = values(method.target.network, following), values(method.policy.network, following)
    best = (quick if double else slow).argmax(axis=1)
    assert (quick.argmax(axis=1) != slow.argmax(axis=1)).any()
    rows = np.arange(len(batch))
    expected = batch.targets["reward"].numpy() + batch.targets["discount"].numpy() * slow[rows, best]
    assert method.goal(batch).numpy() == pytest.approx(expected, rel=1e-4, abs=1e-4)
    taken = values(method.policy.network, batch.inputs)[rows, batch.targets["action"].numpy()]
    loss, each = method.judge(batch)
    assert each["value"].numpy() == pytest.approx(taken, rel=1e-4, abs=1e-4)
    assert each["error"].numpy() == pytest.approx(abs(taken - expected), rel=1e-4, abs=1e-4)
    huber = functional.huber_loss(torch.from_numpy(taken), torch.from_numpy(expected), reduction="sum")
    assert float(loss.sum.detach()) == pytest.approx(float(huber), rel=1e-4)
    assert float(loss.weight) == len(batch)


def test_weights_of_the_draw_count_in_the_loss() -> None:
    method, batch = made(priority=0.6)
    plain = Batch(batch.rows, batch.inputs, batch.targets)
    half = Batch(batch.rows, batch.inputs, batch.targets, torch.full((len(batch),), 0.5))
    assert float(method.loss(half).sum.detach()) == pytest.approx(float(method.loss(plain).sum.detach()) / 2)


def test_errors_become_priorities() -> None:
    method, batch = made(priority=0.5)
    errors = method.judge(batch)[1]["error"].double().numpy()
    method.update(batch, Engine(CPU))
    tree = method.replay.memory.tree
    assert tree is not None
    rows = batch.rows.numpy()
    expected = dict(zip(rows, (errors + 1e-6) ** 0.5, strict=True))
    assert {row: tree.leaves[row] for row in rows} == pytest.approx(expected, rel=1e-4)


def test_exploration_falls_on_a_line_and_then_stays() -> None:
    method, _ = made(exploration_first=1.0, exploration_last=0.1, exploration_share=0.5)
    assert [method.exploration(progress) for progress in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([1, 0.55, 0.1, 0.1])
    seen = {"observation": np.tile(np.array([[0.1, 0.2, -0.1, 0.3]], np.float32), (4000, 1))}
    best = method.act(seen)
    # Half of the random actions are the best one by chance.
    assert (method.explore(seen, 0.25) != best).mean() == pytest.approx(0.55 / 2, abs=0.04)
    assert method.act(seen).dtype == np.int64


@pytest.mark.parametrize(("every", "rate"), [(1, 0.1), (3, 1.0)])
def test_the_target_network_follows(every: int, rate: float) -> None:
    method, batch = made(target_every=every, target_rate=rate)
    slow = [parameter.clone() for parameter in method.target.parameters()]
    for update in range(1, 7):
        method.update(batch, Engine(CPU))
        if update % every == 0:
            slow = [old.lerp(new, rate) for old, new in zip(slow, method.policy.parameters(), strict=True)]
        for old, new in zip(slow, method.target.parameters(), strict=True):
            assert torch.allclose(old, new, atol=1e-7)


def test_observations_are_normalised_by_the_random_beginning_alone() -> None:
    method, batch = made(warmup=400, copies=4)
    network = method.policy.network
    assert isinstance(network, Observed)
    kept = {name: value.clone() for name, value in network.normalizers.state_dict().items()}
    memory = method.replay.memory.inputs["observation"]
    assert kept["0.mean"].numpy() == pytest.approx(memory[: int(kept["0.count"])].mean(axis=0), abs=1e-5)
    assert int(kept["0.count"]) >= 390
    for step, more in method.replay.batches():
        method.update(more, Engine(CPU))
        if step == 20:
            break
    for part in (method.policy.network, method.target.network):
        assert all(torch.equal(kept[name], value) for name, value in part.normalizers.state_dict().items())
    assert len(batch) == 16


COMBINED = [
    {},
    {"double": False, "duelling": False, "steps": 1},
    {"priority": 0.6},
]


@pytest.mark.parametrize("options", COMBINED)
def test_straight_line_code_gives_the_same_loss_and_gradient(options: dict[str, Any]) -> None:
    method, batch = made(**options)
    found = []
    state = torch.get_rng_state()
    for judged in (method._judged.as_it_is, method._judged):
        method.optimizers[0].zero_grad()
        loss, each = judged(batch)
        loss.backward()
        gradients = [parameter.grad for parameter in method.policy.parameters()]
        found.append([loss.sum.detach(), loss.weight, *each.values(), *gradients])
        assert all(parameter.grad is None for parameter in method.target.parameters())
    assert list(method._judged.codes.values()) != [None]
    for one, two in zip(*found, strict=True):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-7)
    assert torch.equal(state, torch.get_rng_state())


def test_straight_line_code_reads_the_weights_of_now_and_other_rows() -> None:
    method, _ = made()
    for step, batch in method.replay.batches():
        loss = method._judged(batch)[0]
        assert torch.allclose(loss.sum, method.loss(batch).sum, rtol=1e-4)
        method.update(batch, Engine(CPU))
        if step == 10:
            break
    assert len(method._judged.codes) == 1
    seen = {"observation": np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)}
    method.options = dqn.Options(exploration_last=1e-9)
    assert (method.explore(seen, 1.0) == method.act(seen)).all()
    with torch.no_grad():
        for parameter in method.policy.parameters():
            parameter.mul_(-1)
    assert (method.explore(seen, 1.0) == method.act(seen)).all()


def test_it_goes_on_exactly_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = dqn.Options(warmup=64, batch_size=16, priority=0.6)

    def run(steps: int, folder: Path) -> dqn.DeepQ:
        method, source = dqn.build(setting("gym:CartPole-v1", seed=1), options)
        schedule = Schedule(SchedulePlan("constant"), [(0, 0.0), (40, 1.0)])
        if steps < 40:
            batches = source.batches
            monkeypatch.setattr(source, "batches", lambda start: itertools.islice(batches(start), steps))
        fit(method, source, schedule, Engine(CPU, clip=0.5), limits=Limits(save_seconds=0), folder=folder)
        return method

    run(10, tmp_path / "one")
    one, two = (run(40, tmp_path / name) for name in ("one", "two"))
    first, second = checkpoint.pack(one.state()), checkpoint.pack(two.state())
    assert first[1] == second[1]
    assert all(torch.equal(first[0][name], second[0][name]) for name in first[0])


@pytest.mark.parametrize(("name", "history"), [("test_replay:Wanders", 1), ("gym:CartPole-v1", 4)])
def test_pictures_and_histories_are_learned_from(name: str, history: int) -> None:
    method, source = dqn.build(setting(name, history=history), dqn.Options(warmup=32, batch_size=8))
    before = {key: value.clone() for key, value in method.weights().items()}
    for step, batch in source.batches():
        eager, straight = method._judged.as_it_is(batch)[0], method._judged(batch)[0]
        assert torch.allclose(eager.sum, straight.sum, rtol=1e-4)
        assert None not in method._judged.codes.values()
        method.update(batch, Engine(CPU))
        if step == 3:
            break
    after = method.weights()
    assert any(not torch.equal(value, after[key]) for key, value in before.items())
    with method.evaluating() as policy:
        assert policy(batch.inputs)["action"].shape == (8, 1, method.choices)


def test_only_choices_suit() -> None:
    assert dqn.suits(Actions("discrete", 3))
    assert not dqn.suits(Actions("continuous", 1, 0, (-1.0,), (1.0,)))


def test_cart_pole_is_learned() -> None:
    steps = 15_000
    given = setting("gym:CartPole-v1", steps=steps)
    method, source = dqn.build(given, dqn.Options(updates=0.25, batch_size=64, steps=3))
    before = play(given.world, method.act, 10, 1).returns.mean()
    number = source.batches_in(steps)
    fit(method, source, Schedule.over(number, SchedulePlan("linear")), Engine(CPU, clip=0.5), limits=Limits())
    after = play(given.world, method.act, 10, 1).returns.mean()
    assert before < 120
    assert after > 150
