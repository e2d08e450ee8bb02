"""The memory of transitions: n-step sums against a slow loop, draws against plain chances, exact resume."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from lamina.environments import Actions, Observations
from lamina.environments.spaces import open_world
from lamina.environments.vector import Stepped, Vector
from lamina.learn import checkpoint
from lamina.learn.replay import BRANCHES, LEAST_PRIORITY, Memory, Replay, Spans, SumTree, Transitions

Array = np.ndarray[Any, Any]


class Wanders(gymnasium.Env[Any, Any]):
    """A picture and a number, random episodes that end or are cut off."""

    observation_space = spaces.Dict(
        {"picture": spaces.Box(0, 255, (4, 4, 3), np.uint8), "place": spaces.Box(-9, 9, (2,), np.float32)}
    )
    action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        chance = self.np_random.random()
        return self._look(), float(action) + chance, bool(chance < 0.1), bool(0.1 <= chance < 0.2), {}

    def _look(self) -> dict[str, Array]:
        picture = self.np_random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        return {"picture": picture, "place": self.np_random.normal(size=2).astype(np.float32)}


class Drifts(Wanders):
    """What it shows is no function of its seed."""

    def _look(self) -> dict[str, Array]:
        return {**super()._look(), "place": np.random.default_rng().normal(size=2).astype(np.float32)}


@dataclass
class Script:
    """Steps of several copies that were drawn beforehand."""

    steps: list[tuple[Observations, Array, Stepped]]


def script(copies: int, length: int, seed: int) -> Script:
    """Each observation is (copy, time, 0), or (copy, time, 1) where it is the last of its episode."""
    generator = np.random.default_rng(seed)
    steps = []
    for time in range(length):
        terminated = generator.random(copies) < 0.15
        truncated = ~terminated & (generator.random(copies) < 0.15)
        rewards = generator.normal(size=copies).astype(np.float32)

        def seen(when: int, last: Array) -> Observations:
            return {"x": np.stack([np.arange(copies), np.full(copies, when), last], 1).astype(np.float32)}

        stepped = Stepped(rewards, terminated, truncated, seen(time + 1, terminated | truncated), ())
        steps.append((seen(time, np.zeros(copies)), generator.integers(0, 5, copies), stepped))
    return Script(steps)


def slowly(played: Script, copies: int, steps: int, discount: float) -> dict[tuple[float, ...], tuple[float, ...]]:
    """(action, reward, discount, following...) by (copy, time) of every complete transition, one by one."""
    found = {}
    for copy in range(copies):
        for time in range(len(played.steps)):
            total, reached = 0.0, 1.0
            for later in range(time, time + steps):
                if later == len(played.steps):
                    break
                _, _, stepped = played.steps[later]
                total += reached * float(stepped.reward[copy])
                reached *= discount
                over = stepped.terminated[copy] or stepped.truncated[copy]
                if over or later == time + steps - 1:
                    bootstraps = 0.0 if stepped.terminated[copy] else reached
                    following = tuple(map(float, stepped.following["x"][copy]))
                    found[(copy, time)] = (int(played.steps[time][1][copy]), total, bootstraps, *following)
                    break
    return found


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_sums_over_several_steps_are_those_of_a_slow_loop(steps: int) -> None:
    copies, played = 4, script(4, 60, steps)
    spans, found = Spans(copies, steps, 0.9), {}
    for observations, actions, stepped in played.steps:
        for new in spans.add(observations, actions, stepped):
            for row in range(len(new.reward)):
                copy, time, _ = new.observations["x"][row]
                known = (int(new.action[row]), new.reward[row], new.discount[row], *new.following["x"][row])
                assert (copy, time) not in found
                found[(copy, time)] = tuple(map(float, known))
    expected = slowly(played, copies, steps, 0.9)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, abs=1e-5)


def test_a_time_limit_bootstraps_from_the_last_observation_and_an_end_does_not() -> None:
    spans = Spans(2, 3, 0.5)
    first, last = {"x": np.zeros((2, 1), np.float32)}, {"x": np.full((2, 1), 7, np.float32)}
    stepped = Stepped(np.ones(2, np.float32), np.array([True, False]), np.array([False, True]), last, ())
    (new,) = spans.add(first, np.zeros(2, np.int64), stepped)
    assert new.discount.tolist() == [0.0, 0.5]
    assert new.following["x"].tolist() == [[7.0], [7.0]]


def numbered(first: int, rows: int) -> Transitions:
    numbers = np.arange(first, first + rows, dtype=np.float32)
    return Transitions({"x": numbers[:, None]}, numbers.astype(np.int64), numbers, numbers, {"x": -numbers[:, None]})


def plain(rows: int) -> Transitions:
    return numbered(0, rows)


def memory(size: int, priority: float = 0.0) -> Memory:
    return Memory(size, {"x": np.zeros((2, 1), np.float32)}, np.zeros(2, np.int64), priority)


def test_the_oldest_are_overwritten() -> None:
    kept = memory(5)
    for start in range(0, 12, 3):
        new = plain(start + 3)
        kept.add(
            Transitions(
                {"x": new.observations["x"][start:]},
                new.action[start:],
                new.reward[start:],
                new.discount[start:],
                {"x": new.following["x"][start:]},
            )
        )
    assert kept.filled == 5
    assert sorted(kept.targets["action"].tolist()) == [7, 8, 9, 10, 11]
    assert (kept.inputs["x"] == -kept.targets["next.x"]).all()
    assert kept.inputs["x"][:, 0].tolist() == kept.targets["reward"].tolist()


@pytest.mark.parametrize("size", [1, 3, BRANCHES, BRANCHES + 1, 5000])
def test_the_sum_tree_finds_rows_as_a_cumulated_sum_does(size: int) -> None:
    generator = np.random.default_rng(size)
    tree, values = SumTree(size), np.zeros(size)
    for _ in range(5):
        rows = generator.integers(0, size, 40)
        # Of a row that is set twice at once, the last value counts, as in NumPy.
        values[rows] = fresh = generator.random(40) * (generator.random(40) < 0.7)
        tree.set(rows, fresh)
        assert tree.total == pytest.approx(values.sum())
        if not values.any():
            continue
        shares = generator.random(300)
        expected = np.searchsorted(values.cumsum(), shares * values.sum(), side="right")
        assert (tree.find(shares) == expected).all()
        assert values[tree.find(np.array([0.0, np.nextafter(1.0, 0.0)]))].all()


def test_draws_are_in_proportion_to_priorities_and_weights_undo_it() -> None:
    kept, errors = memory(6, priority=0.5), np.array([4.0, 0.0, 1.0, 9.0, 16.0, 1.0])
    kept.add(plain(6))
    kept.prioritise(np.arange(6), errors)
    chances = (errors + LEAST_PRIORITY) ** 0.5
    chances /= chances.sum()
    generator = np.random.default_rng(0)
    drawn = np.concatenate([kept.draw(64, generator) for _ in range(400)])
    assert np.bincount(drawn, minlength=6) / len(drawn) == pytest.approx(chances, abs=0.01)
    rows = np.array([0, 3, 4])
    weight = kept.batch(rows, correction=1.0).weight
    assert weight is not None
    assert weight.numpy() == pytest.approx((1 / chances[rows]) / (1 / chances[rows]).max())
    half = kept.batch(rows, correction=0.5).weight
    assert half is not None
    assert half.numpy() == pytest.approx(weight.numpy() ** 0.5)


def test_new_transitions_have_the_highest_priority() -> None:
    kept = memory(8, priority=1.0)
    kept.add(plain(4))
    kept.prioritise(np.arange(4), np.array([0.0, 5.0, 2.0, 0.0]))
    kept.add(plain(2))
    assert kept.tree is not None
    assert kept.tree.leaves[4:6] == pytest.approx([5.0 + LEAST_PRIORITY] * 2)


@pytest.mark.parametrize("priority", [0.0, 1.0])
@pytest.mark.parametrize(("size", "least"), [(50, 7), (48, 8), (5, 1), (20, 1000)])
def test_every_transition_is_kept_once_and_found_again(
    size: int, least: int, priority: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = 8 + 2 * 4 + 2 * 4
    monkeypatch.setattr("lamina.learn.replay.LEAST_BLOCK", least * row)
    kept, checkpoints, written = memory(size, priority), checkpoint.Checkpoints(tmp_path), set[str]()
    generator = np.random.default_rng(size)
    for step in range(40):
        number = int(generator.integers(1, min(size, 9) + 1))
        kept.add(numbered(kept.added, number))
        kept.prioritise(generator.integers(0, kept.filled, 3), generator.random(3))
        if generator.random() < 0.5:
            continue
        checkpoints.write(step, {"memory": kept.state()})
        written |= {file.name for file in (tmp_path / checkpoint.BLOCKS).glob("*")}
        state = checkpoint.Checkpoints(tmp_path).newest()
        assert state is not None
        other = memory(size, priority)
        other.restore(state["memory"])
        assert (other.filled, other.position, other.highest) == (kept.filled, kept.position, kept.highest)
        for name, array in kept._arrays().items():
            assert (other._arrays()[name] == array).all(), name
        if kept.tree is not None and other.tree is not None:
            assert (other.tree.leaves == kept.tree.leaves).all()
        if generator.random() < 0.3:
            # Going on in a new process; what it wrote since is of no matter.
            kept, checkpoints = other, checkpoint.Checkpoints(tmp_path)
            checkpoints.newest()
    assert kept.added > 2 * size
    assert len(written) <= -(-size // kept._block) * (kept.added // size + 1)


def test_the_memory_of_an_older_checkpoint_can_be_read() -> None:
    for filled in (4, 7, 12):
        kept, other = memory(7), memory(7)
        kept.add(numbered(0, min(filled, 7)))
        kept.add(numbered(7, max(filled - 7, 0)))
        parts = {
            part: {name: torch.from_numpy(array[: kept.filled]) for name, array in arrays.items()}
            for part, arrays in (("inputs", kept.inputs), ("targets", kept.targets))
        }
        whole = {"filled": kept.filled, "position": kept.position, "priorities": None, "highest": 1.0}
        other.restore({**parts, **whole})
        assert (other.filled, other.position) == (kept.filled, kept.position)
        assert all((other._arrays()[name] == array).all() for name, array in kept._arrays().items())


def replay(
    seed: int,
    *,
    priority: float = 0.6,
    steps: int = 3,
    updates: float = 0.5,
    copies: int = 4,
    name: str = "test_replay:Wanders",
) -> Replay:
    vector = Vector(open_world(name), copies, seed)
    generator = np.random.default_rng(seed)

    def act(observations: Observations, progress: float) -> Array:
        # As a policy would: by what is observed.
        return (observations["place"][:, 0] > 0).astype(np.int64)

    actions = Actions("discrete", 3)
    kept = Memory(200, vector.observations, generator.integers(0, 3, copies), priority)
    return Replay(
        vector, actions, act, kept, Spans(copies, steps, 0.9), batch_size=16, warmup=40, updates=updates, seed=seed
    )


def test_batches_have_the_promised_fields_and_types() -> None:
    source = replay(0)
    _, batch = next(source.batches())
    assert source.taken >= 40
    assert batch.rows.dtype == torch.int64
    assert {name: (value.dtype, tuple(value.shape)) for name, value in batch.inputs.items()} == {
        "picture": (torch.uint8, (16, 4, 4, 3)),
        "place": (torch.float32, (16, 2)),
    }
    assert {name: value.dtype for name, value in batch.targets.items()} == {
        "action": torch.int64, "reward": torch.float32, "discount": torch.float32,
        "next.picture": torch.uint8, "next.place": torch.float32,
    }  # fmt: skip
    assert batch.weight is not None
    assert float(batch.weight.max()) == 1.0


@pytest.mark.parametrize("updates", [0.25, 0.3, 1.0, 2.5])
def test_there_are_so_many_batches_for_each_step(updates: float) -> None:
    source = replay(0, updates=updates)
    before = 40
    for step, _ in source.batches():
        if step == 200:
            break
    assert (source.taken - before) * updates == pytest.approx(201, abs=4 * updates + 1)
    assert source.batches_in(source.taken) == pytest.approx(201, abs=4 * updates + 1)


def test_the_random_beginning_is_shown_once() -> None:
    source, shown = replay(0), []

    def warmed(observations: Mapping[str, torch.Tensor]) -> None:
        shown.append({name: value.clone() for name, value in observations.items()})

    source._warmed = warmed
    for step, _ in source.batches():
        if step == 20:
            break
    assert len(shown) == 1
    assert len(shown[0]["place"]) >= 30


def drawn(source: Replay, number: int) -> list[dict[str, Any]]:
    """What the next batches hold; their rows get new priorities, as learning would give them."""
    found = []
    for step, batch in source.batches():
        assert batch.weight is None or batch.weight.isfinite().all()
        source.priorities(batch.rows, batch.targets["reward"])
        found.append({"rows": batch.rows, **batch.inputs, **batch.targets})
        if step == number - 1:
            break
    return found


@pytest.mark.parametrize("before", [1, 30, 300])
@pytest.mark.parametrize("priority", [0.0, 0.6])
def test_it_goes_on_exactly_where_it_was_stopped(before: int, priority: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamina.learn.replay.LEAST_BLOCK", 3000)
    source = replay(3, priority=priority)
    drawn(source, before)
    assert source.memory.state()["blocks"]
    tensors, document = checkpoint.pack(source.state())
    expected = drawn(source, 60)
    other = replay(9, priority=priority)
    drawn(other, 5)
    other.vector = Vector(open_world("test_replay:Wanders"), 4, 3)
    other.restore(checkpoint.unpack(tensors, document))
    json.loads(document)
    for one, two in zip(drawn(other, 60), expected, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in two)


def test_steps_before_and_after_an_episode_that_is_lost_are_not_joined() -> None:
    source = replay(3, name="test_replay:Drifts")
    drawn(source, 1)
    tensors, document = checkpoint.pack(source.state())
    assert source.spans.counts.any()
    source.restore(checkpoint.unpack(tensors, document))
    assert not source.vector.exact
    assert not source.spans.counts.any()
