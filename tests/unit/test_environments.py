"""Environments: their spaces as fields, stepping and exact restoring, fair play, films, and the simple policies."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from PIL import Image

from lamina.environments import Observations, World, is_environment, tabular
from lamina.environments.play import film, play
from lamina.environments.spaces import encode, gather, open_world, raw
from lamina.environments.vector import Sight, Vector, seed_of
from lamina.errors import InputError
from lamina.modalities import frames, vector
from lamina.modalities._canonical import object_array
from lamina.networks.assembly.observed import Normalizer
from lamina.tasks.control import Task

Array = np.ndarray[Any, Any]

MODULE = '''
"""Environments of a user's own; `Walk` and its kin know nothing of Gymnasium but its spaces."""

import os
import time

import gymnasium
import numpy as np
from gymnasium import spaces


class Walk:
    """Two steps to the right are the end; every step is 1."""

    observation_space = spaces.Box(-5, 5, (2,), np.float64)
    action_space = spaces.Discrete(2, start=5)

    def reset(self, seed=None, options=None):
        self.place, self.steps = 0, 0
        self.seen = np.array([0.25, seed % 7 / 7])
        return self.seen, {}

    def step(self, action):
        assert action in (5, 6) and isinstance(action, np.int64)
        self.place += 1 if action == 6 else -1
        self.steps += 1
        # The very array it has given before: whoever keeps it must copy it.
        self.seen[0] = self.place
        return self.seen, 1.0, self.place == 2, self.steps >= 4, {}


class Clock(Walk):
    """Not a function of its seed and actions."""

    def step(self, action):
        observation, *others = super().step(action)
        return np.array([time.perf_counter() % 1, 0.0]), *others


class Broken(Walk):
    def step(self, action):
        raise RuntimeError("the wheel is off")


class Wild(Walk):
    def step(self, action):
        return np.array([np.nan, 0.0]), 1.0, False, False, {}


class Costly(Walk):
    def step(self, action):
        return np.zeros(2), float("inf"), False, False, {}


class Vague(Walk):
    def step(self, action):
        return np.zeros(2), float("nan"), False, False, {}


class Longer(Walk):
    def step(self, action):
        return np.zeros(3), 0.0, False, False, {}


class Stairs(Walk):
    """Its fifth state was not announced."""

    observation_space = spaces.Discrete(4)

    def reset(self, seed=None):
        self.place = 0
        return 0, {}

    def step(self, action):
        self.place += 1
        return self.place, 1.0, False, False, {}


class Rumours(Stairs):
    def step(self, action):
        return 1, float("nan"), False, False, {}


class Rich(gymnasium.Env):
    """All spaces at once, and every number drawn from its own generator."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    observation_space = spaces.Dict(
        {
            "body": spaces.Dict({"speed": spaces.Box(-1, 1, (2, 3), np.float32), "gear": spaces.Discrete(4, start=-1)}),
            "keys": spaces.MultiBinary(3),
            "cards": spaces.MultiDiscrete([3, 5]),
            "eye": spaces.Box(0, 255, (100, 90, 3), np.uint8),
            "pair": spaces.Tuple((spaces.Box(0, 9, (), np.float64), spaces.Discrete(2))),
        }
    )
    action_space = spaces.Box(np.array([[-2.0, 0.0]]), np.array([[2.0, 10.0]]), (1, 2), np.float64)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def observe(self):
        space = self.observation_space
        space.seed(int(self.np_random.integers(2**31)))
        return space.sample()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observe(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        return self.observe(), float(action.sum()), False, self.steps >= 5, {}

    def render(self):
        return np.full((50, 60, 3), self.steps * 20, np.uint8)


class Blind(Rich):
    def __init__(self):
        super().__init__()
        self.spec = gymnasium.envs.registration.EnvSpec("Blind-v0", max_episode_steps=3, reward_threshold=7.5)


class Grid(Walk):
    observation_space = spaces.Box(0, 255, (5, 4, 3), np.uint8)

    def step(self, action):
        return np.full((5, 4, 3), action, np.uint8), 0.0, False, False, {}

    def reset(self, seed=None):
        return np.zeros((5, 4, 3), np.uint8), {}


class Narrow(Walk):
    """Bounds that float32 can only round, one of them outwards."""

    action_space = spaces.Box(np.array([-0.3, -0.1]), np.array([0.3, 0.1]), (2,), np.float64)

    def step(self, action):
        assert self.action_space.contains(action), action
        return np.zeros(2), 0.0, False, False, {}


class Boundless(Walk):
    """Without bounds, as some write it."""

    largest = np.finfo(np.float32).max
    action_space = spaces.Box(-largest, largest, (2,), np.float32)


class Signed(Walk):
    observation_space = spaces.Text(5)


class Many(Walk):
    action_space = spaces.MultiDiscrete([8, 8, 8, 8])


class Panel(Walk):
    """A lever with three places, of which the first is 5, and a button; what is done right is paid."""

    action_space = spaces.MultiDiscrete([3, 2], start=[5, 0])

    def step(self, action):
        assert self.action_space.contains(action), action
        return np.zeros(2), float(action[0] == 7) + float(action[1]), False, True, {}


class Buttons(Walk):
    action_space = spaces.MultiBinary((2, 2))

    def step(self, action):
        assert self.action_space.contains(action), action
        return np.zeros(2), float(action.sum()), False, True, {}


def nothing():
    return 3


def fails():
    raise OSError("no robot is connected")


gymnasium.register("Rich-v0", Rich, max_episode_steps=4)
'''


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("environments")
    (folder / "own_worlds.py").write_text(MODULE)
    (folder / "broken_world.py").write_text("import no_such_library\n")
    yield folder
    sys.path.remove(str(folder.resolve()))
    for name in ("own_worlds", "broken_world"):
        sys.modules.pop(name, None)
    gymnasium.registry.pop("Rich-v0", None)


def actions_of(world: World, steps: int, number: int, seed: int = 0) -> Array:
    policy = tabular.random_policy(world, seed)
    return np.stack([policy({"any": np.zeros(number)}) for _ in range(steps)])


def equal(one: Observations, other: Observations) -> bool:
    return list(one) == list(other) and all(
        one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name]) for name in one
    )


def test_names_of_environments() -> None:
    assert is_environment("gym:CartPole-v1")
    assert is_environment("own.worlds:make")
    assert not any(map(is_environment, ("data.csv", "C:/data", "s3://bucket/x", "sqlite:a b", 3, "gym:")))


def test_a_box_is_a_vector_and_its_encoder_changes_nothing() -> None:
    world = open_world("gym:CartPole-v1")
    (field,) = world.fields
    assert (field.name, field.modality, field.role) == ("observation", "vector", "input")
    assert (world.longest, world.solved, world.history) == (500, 475.0, 1)
    assert (world.actions.kind, world.actions.size, world.actions.start) == ("discrete", 2, 0)
    seen = [np.array([0.1, -1e6, 3, 4], np.float32), np.array([1, 2, 3, 4], np.float32)]
    np.testing.assert_array_equal(encode(world, seen)["observation"], np.stack(seen))
    assert raw(world, seen[0]) == {"observation": seen[0].tolist()}


def test_continuous_actions_know_their_bounds() -> None:
    actions = open_world("gym:Pendulum-v1").actions
    assert (actions.kind, actions.size, actions.low, actions.high) == ("continuous", 1, (-2.0,), (2.0,))


def test_several_choices_at_once_are_one_of_their_combinations(base: Path) -> None:
    world = open_world("own_worlds:Panel", base=base)
    actions = world.actions
    assert (actions.kind, actions.size, actions.sizes, actions.starts) == ("discrete", 6, (3, 2), (5, 0))
    assert actions.taken(np.arange(6)).tolist() == [[5, 0], [5, 1], [6, 0], [6, 1], [7, 0], [7, 1]]
    buttons = open_world("own_worlds:Buttons", base=base)
    assert buttons.actions.size == 16
    for each in (world, buttons):
        # The environments refuse whatever is not of their own space.
        play(each, tabular.random_policy(each, 0), 2, seed=0)
    task = Task("action", actions)
    again = Task.restore(json.loads(json.dumps(task.state())))
    assert again == task
    found = task.decode(np.array([[0, 0, 0, 0, 0, 9.0], [9.0, 0, 0, 0, 0, 0]], np.float32))
    assert found[""].tolist() == [[7, 1], [5, 0]]
    assert found[".p.7_1"][0] > 0.99
    assert list(found)[1:3] == [".p.5_0", ".p.5_1"]
    with pytest.raises(ValueError, match="as many as their combinations"):
        Task.restore({**task.state(), "actions": {**task.state()["actions"], "sizes": [4, 2]}})


def test_options_in_the_name() -> None:
    slippery = open_world("gym:FrozenLake-v1?is_slippery=False&map_name=8x8&max_episode_steps=30")
    encoder = slippery.encoders["observation"]
    assert encoder.feature.size == 66
    assert slippery.longest == 30
    assert encode(slippery, [0, 63])["observation"].tolist() == [2, 65]
    assert slippery.make(None).unwrapped.P[0][2] == [(1.0, 1, 0, False)]


def test_all_spaces_at_once(base: Path) -> None:
    world = open_world("own_worlds:Rich", base=base)
    found = {field.name: field.modality for field in world.fields}
    assert found == {
        "body.speed": "vector",
        "body.gear": "category",
        "keys": "vector",
        "cards.0": "category",
        "cards.1": "category",
        "eye": "frames",
        "pair.0": "vector",
        "pair.1": "category",
    }
    environment = world.make(None)
    seen = [environment.reset(seed=seed)[0] for seed in range(5)]
    shown = encode(world, seen)
    assert {name: array.shape for name, array in shown.items()} == {
        name: (5, *encoder.feature.shape) for name, encoder in world.encoders.items()
    }
    assert {name: array.dtype.name for name, array in shown.items()} == {
        name: encoder.feature.dtype for name, encoder in world.encoders.items()
    }
    np.testing.assert_array_equal(shown["body.gear"], [item["body"]["gear"] + 3 for item in seen])
    np.testing.assert_array_equal(shown["cards.1"], [item["cards"][1] + 2 for item in seen])
    np.testing.assert_array_equal(shown["body.speed"][3], seen[3]["body"]["speed"].reshape(-1))
    assert shown["eye"].shape == (5, 84, 84, 1)


@pytest.mark.parametrize("name", ["Rich", "Grid", "Walk"])
@pytest.mark.parametrize("history", [1, 3])
def test_raw_values_give_the_sealed_policy_what_the_trained_one_saw(base: Path, name: str, history: int) -> None:
    """Vector, `encode` of windows, and the encoders alone with raw values: the same bits."""
    world = open_world(f"own_worlds:{name}", base=base, history=history)
    running = Vector(world, 1, 5)
    environment = world.make(None)
    episode = [json_copy(environment.reset(seed=seed_of(5, 0, 0))[0])]
    # To the left the walk does not end.
    for action in actions_of(world, 3, 1) if world.actions.kind == "continuous" else np.zeros((3, 1), np.int64):
        window = episode if history > 1 else episode[-1]
        values = {name: object_array([value]) for name, value in raw(world, window).items()}
        alone = {name: encoder.encode(values[name]).array for name, encoder in world.encoders.items()}
        assert equal(running.observations, alone)
        assert equal(running.observations, encode(world, [window]))
        running.step(action)
        taken = world.actions.taken(action)[0]
        taken = taken.reshape(environment.action_space.shape) if world.actions.kind == "continuous" else taken
        episode.append(json_copy(environment.step(taken)[0]))


def json_copy(value: Any) -> Any:
    """A copy that the environment cannot write to."""
    if isinstance(value, dict):
        return {key: json_copy(part) for key, part in value.items()}
    return tuple(map(json_copy, value)) if isinstance(value, tuple) else np.array(value)


def test_numbers_and_categories_of_raw_values_are_json(base: Path) -> None:
    world = open_world("own_worlds:Rich", base=base, history=2)
    observation, _ = world.make(None).reset(seed=1)
    values = raw(world, [observation])
    eye = values.pop("eye")
    assert (eye.shape, eye.dtype) == ((2, 100, 90, 3), np.uint8)
    assert json.loads(json.dumps(values)) == values
    assert np.shape(values["body.speed"]) == (2, 6)


def test_history_shows_the_last_observations(base: Path) -> None:
    world = open_world("own_worlds:Walk", base=base, history=3)
    assert world.fields[0].modality == "series"
    vector = Vector(world, 2, 0)
    first = vector.observations["observation"]
    assert first.shape == (2, 3, 2)
    assert (first == first[:, :1]).all()
    before = first.copy()
    vector.step(np.array([1, 0]))
    vector.step(np.array([0, 0]))
    assert vector.observations["observation"][:, :, 0].tolist() == [[0.25, 1, 0], [0.25, -1, -2]]
    np.testing.assert_array_equal(first, before)


def test_pictures_of_a_stack_are_joined_along_channels(base: Path) -> None:
    world = open_world("own_worlds:Grid", base=base, history=2)
    assert world.encoders["observation"].feature.shape == (5, 4, 6)
    sight = Sight(world, 1)
    one, two = (np.full((5, 4, 3), number, np.uint8) for number in (1, 2))
    assert sight.first([0], [one])["observation"][0, 0, 0].tolist() == [1] * 6
    assert sight.then([0], [two])["observation"][0, 0, 0].tolist() == [1, 1, 1, 2, 2, 2]
    assert gather(world, [one])["observation"].shape == (1, 1, 5, 4, 3)


@pytest.mark.parametrize(
    ("name", "number", "steps", "stop"),
    [
        ("gym:CartPole-v1", 4, 60, 37),
        ("gym:LunarLander-v3", 2, 120, 70),
        ("gym:Pendulum-v1", 3, 30, 11),
        ("gym:FrozenLake-v1", 5, 40, 23),
        ("own_worlds:Rich", 2, 12, 8),
        # Nothing was done yet in the episodes that have just begun.
        ("own_worlds:Rich", 2, 12, 5),
    ],
)
@pytest.mark.parametrize("history", [1, 3])
def test_restored_in_the_middle_it_goes_on_as_if_nothing_had_happened(
    base: Path, name: str, number: int, steps: int, stop: int, history: int
) -> None:
    world = open_world(name, base=base, history=history)
    actions = actions_of(world, steps, number)
    one, state = Vector(world, number, 3), {}
    for step, action in enumerate(actions):
        if step == stop:
            state = json.loads(json.dumps(one.state()))
            before = one.observations
        one.step(action)
    other = Vector(world, number, 99)
    other.seed = 3
    other.restore(state)
    assert other.exact
    assert equal(other.observations, before)
    assert other.state() == state
    again = Vector(world, number, 3)
    for action in actions[:stop]:
        again.step(action)
    for action in actions[stop:]:
        expected, found = again.step(action), other.step(action)
        np.testing.assert_array_equal(found.reward, expected.reward)
        np.testing.assert_array_equal(found.terminated, expected.terminated)
        np.testing.assert_array_equal(found.truncated, expected.truncated)
        assert equal(found.following, expected.following)
        assert equal(other.observations, again.observations)
        assert found.ended == expected.ended
    assert other.state() == again.state() == one.state()


def test_what_cannot_be_brought_back_begins_its_next_episode(base: Path) -> None:
    world = open_world("own_worlds:Clock", base=base)
    one = Vector(world, 2, 0)
    one.step(np.array([0, 1]))
    state = one.state()
    other = Vector(world, 2, 0)
    other.restore(state)
    assert not other.exact
    found = other.state()
    assert found["episodes"] == [1, 1]
    assert found["actions"] == [[], []]
    assert found["returns"] == [0.0, 0.0]
    later = Vector(world, 2, 0)
    later.restore(found)
    assert not later.exact
    with pytest.raises(InputError, match="2 copies"):
        Vector(world, 3, 0).restore(state)


def test_a_long_episode_beside_short_ones_keeps_its_actions(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamina.environments.vector.FORGET", 2)
    world = open_world("own_worlds:Walk", base=base)
    one = Vector(world, 2, 0)
    for step in range(40):
        one.step(np.array([1, step % 2]))
        other = Vector(world, 2, 0)
        other.restore(one.state())
        assert other.exact
    assert len(one._actions) < 20


def test_a_time_limit_is_no_termination(base: Path) -> None:
    vector = Vector(open_world("own_worlds:Walk", base=base), 3, 0)
    script = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 1, 0], [0, 0, 0]])
    steps = [vector.step(actions) for actions in script]
    assert [step.terminated.tolist() for step in steps[:4]] == [
        [False] * 3,
        [True, False, False],
        [False, False, False],
        # The second copy reaches its goal with the very step that is its last.
        [False, True, False],
    ]
    assert [step.truncated.tolist() for step in steps[:4]] == [[False] * 3] * 3 + [[False, False, True]]
    assert steps[1].ended == ((2.0, 2),)
    assert steps[3].ended == ((4.0, 4), (4.0, 4))
    # What followed is the last observation; what is observed now belongs to the next episode.
    assert steps[1].following["observation"][0, 0] == 2
    assert steps[1].reward.dtype == np.float32


def test_an_episode_without_end_is_cut_off(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamina.environments.vector.MOST_STEPS", 3)
    vector = Vector(open_world("own_worlds:Grid", base=base), 2, 0)
    steps = [vector.step(np.zeros(2, np.int64)) for _ in range(6)]
    assert [step.truncated.all() for step in steps] == [False, False, True] * 2
    assert not any(step.terminated.any() for step in steps)
    assert steps[2].ended == ((0.0, 3), (0.0, 3))


def test_actions_keep_to_bounds_of_more_digits(base: Path) -> None:
    vector = Vector(open_world("own_worlds:Narrow", base=base), 2, 0)
    for step in (-1.0, 0.0, 1.0):
        vector.step(np.full((2, 2), step, np.float32))


def test_the_largest_numbers_of_a_type_are_no_bounds(base: Path) -> None:
    actions = open_world("own_worlds:Boundless", base=base).actions
    assert (actions.low, actions.high) == ((-math.inf,) * 2, (math.inf,) * 2)
    assert actions.taken(np.array([[0.0, 1.5]])).tolist() == [[0.0, 1.5]]


def test_limits_of_registered_environments_truncate() -> None:
    vector = Vector(open_world("gym:Pendulum-v1"), 2, 0)
    steps = [vector.step(np.zeros((2, 1), np.float32)) for _ in range(200)]
    assert not any(step.terminated.any() for step in steps)
    assert [step.truncated.all() for step in steps] == [False] * 199 + [True]
    falling = Vector(open_world("gym:CartPole-v1"), 1, 0)
    while not (last := falling.step(np.array([1]))).ended:
        pass
    assert last.terminated[0]
    assert not last.truncated[0]


def test_a_specification_limits_an_environment_of_ones_own(base: Path) -> None:
    world = open_world("own_worlds:Blind", base=base)
    assert (world.longest, world.solved) == (3, 7.5)
    vector = Vector(world, 1, 0)
    assert [bool(vector.step(actions).truncated[0]) for actions in actions_of(world, 3, 1)] == [False, False, True]


def test_registered_by_a_module_of_ones_own(base: Path) -> None:
    world = open_world("gym:own_worlds:Rich-v0", base=base)
    assert world.longest == 4
    assert len(world.fields) == 8


def test_the_same_seed_gives_the_same_episodes_and_another_does_not() -> None:
    world = open_world("gym:CartPole-v1")
    assert equal(Vector(world, 3, 1).observations, Vector(world, 3, 1).observations)
    assert not equal(Vector(world, 3, 1).observations, Vector(world, 3, 2).observations)
    # More copies leave the first ones' episodes as they were.
    few, more = Vector(world, 2, 1).observations["observation"], Vector(world, 5, 1).observations["observation"]
    np.testing.assert_array_equal(few, more[:2])
    assert len({tuple(row) for row in more}) == 5
    assert seed_of(2**70, -1) < 2**31


@pytest.mark.parametrize(
    ("name", "what", "fix"),
    [
        ("gym:CartPoles-v1", "CartPoles-v1", "did you mean 'CartPole-v1'"),
        ("gym:cartpole", "cartpole", "did you mean 'CartPole-v1'"),
        ("gym:CartPole-v1?gravitation=3", "gravitation", "no option 'gravitation'"),
        ("gym:FrozenLake-v1?is_slipery=false", "is_slipery", "did you mean 'is_slippery'"),
        ("gym:CartPole-v1?render_mode=human", "render mode", "Leave it out"),
        ("gym:no_package:Thing-v1", "no_package", "install it"),
        ("own_world:Walk", "own_world", "did you mean 'own_worlds'"),
        ("own_worlds:walk", "walk", "did you mean 'Walk'"),
        ("broken_world:make", "no_such_library", "Install it"),
        ("own_worlds:nothing", "int has no reset", "interface of gymnasium.Env"),
        ("own_worlds:fails", "no robot is connected", "Correct the function"),
        ("own_worlds:Signed", "Text space", "Box, Discrete, MultiDiscrete"),
        ("own_worlds:Many", "4 choices at once, 4,096 combinations", "fewer choices"),
    ],
)
def test_wrong_names_and_spaces_give_the_fix(base: Path, name: str, what: str, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        open_world(name, base=base)
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert name in (caught.value.where or "")


def test_without_gymnasium_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['gymnasium'] = None\n"
        "from lamina.environments.spaces import open_world\n"
        "try: open_world('gym:CartPole-v1')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingDependencyError")
    assert "lamina[control]" in done.stdout


def test_environments_need_neither_torch_nor_gymnasium_to_import() -> None:
    code = (
        "import sys, lamina.environments.play, lamina.environments.tabular\n"
        "print([name for name in ('torch', 'gymnasium', 'PIL', 'pygame') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("Broken", "the wheel is off"),
        ("Wild", "finite"),
        ("Costly", "a reward of inf"),
        ("Vague", "a reward of nan"),
        ("Longer", "3 numbers, where 2"),
    ],
)
def test_faults_of_an_environment_are_told(base: Path, name: str, what: str) -> None:
    for history in (1, 2):
        world = open_world(f"own_worlds:{name}", base=base, history=history)
        vector = Vector(world, 2, 0)
        with pytest.raises(InputError) as caught:
            vector.step(np.array([0, 1]))
        assert what in caught.value.what
        assert "own_worlds" in (caught.value.where or "")
        with pytest.raises(InputError) as caught:
            play(world, tabular.random_policy(world, 0), 2, seed=0)
        assert what in caught.value.what


@pytest.mark.parametrize(("name", "what"), [("Stairs", "not all among its 4 values"), ("Rumours", "a reward of nan")])
def test_faults_of_an_environment_are_told_where_a_table_is_learned(base: Path, name: str, what: str) -> None:
    for history in (1, 2):
        with pytest.raises(InputError) as caught:
            tabular.learn(open_world(f"own_worlds:{name}", base=base, history=history), 100, seed=0)
        assert what in caught.value.what


def test_play_counts_the_episodes_it_began_not_those_that_end_first(base: Path) -> None:
    """Episodes that end after 2 steps or are cut off after 4, with equal chances: half of each must be counted."""
    world = open_world("own_worlds:Walk", base=base)

    def by_seed(observations: Observations) -> Array:
        return (observations["observation"][:, 1] * 7).round().astype(np.int64) % 2

    played = play(world, by_seed, 400, seed=1)
    short = np.array([seed_of(1, number) % 7 % 2 == 1 for number in range(400)])
    np.testing.assert_array_equal(played.lengths, np.where(short, 2, 4))
    np.testing.assert_array_equal(played.returns, played.lengths)
    # Of fewer episodes with one seed, the same; and however many copies play them.
    np.testing.assert_array_equal(play(world, by_seed, 30, seed=1).lengths, played.lengths[:30])
    np.testing.assert_array_equal(play(world, by_seed, 30, seed=1, copies=3).lengths, played.lengths[:30])
    assert played.cut == 0
    cut = play(world, by_seed, 50, seed=1, most_steps=3)
    assert cut.lengths.max() == 3
    assert cut.cut == int((~short[:50]).sum())


@pytest.mark.parametrize(("seconds", "least", "fewest", "most"), [(0.0, 5, 5, 5), (90, 1, 20, 30), (900, 5, 60, 60)])
def test_play_begins_no_episode_that_there_is_no_time_for(
    base: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, least: int, fewest: int, most: int
) -> None:
    """A step takes a second: episodes take three on average."""
    world, now = open_world("own_worlds:Walk", base=base), 0.0

    def by_seed(observations: Observations) -> Array:
        nonlocal now
        now += len(observations["observation"])
        return (observations["observation"][:, 1] * 7).round().astype(np.int64) % 2

    whole = play(world, by_seed, 60, seed=1)
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    played = play(world, by_seed, 60, seed=1, seconds=seconds, least=least)
    assert fewest <= len(played.returns) == len(played.lengths) <= most
    np.testing.assert_array_equal(played.lengths, whole.lengths[: len(played.lengths)])
    assert now <= max(seconds, 5 * 4)


@pytest.mark.parametrize("history", [1, 2])
def test_play_keeps_observations_and_the_raw_values_behind_them(base: Path, history: int) -> None:
    for name in ("own_worlds:Rich", "own_worlds:Walk"):
        world = open_world(name, base=base, history=history)
        played = play(world, tabular.random_policy(world, 0), 9, seed=0, copies=3, keep=20)
        assert set(played.raw) == {field.columns[0] for field in world.fields}
        for field in world.fields:
            encoded = world.encoders[field.name].encode(object_array(played.raw[field.columns[0]]))
            assert not encoded.errors
            assert len(encoded.array) == 20
            np.testing.assert_array_equal(encoded.array, played.observations[field.name])
    assert play(world, tabular.random_policy(world, 0), 2, seed=0).observations == {}


def test_random_actions_on_a_cart_pole() -> None:
    world = open_world("gym:CartPole-v1")
    played = play(world, tabular.random_policy(world, 0), 400, seed=0)
    assert 20 < played.returns.mean() < 24.5
    np.testing.assert_array_equal(played.returns, played.lengths)


def test_random_actions_stay_in_their_bounds(base: Path) -> None:
    policy = tabular.random_policy(open_world("own_worlds:Rich", base=base), 0)
    actions = policy({"any": np.zeros(1000)})
    assert (actions.shape, actions.dtype) == ((1000, 2), np.float32)
    assert -1 <= actions.min() < -0.95
    assert 0.95 < actions.max() <= 1


def test_a_table_solves_what_has_few_states(base: Path) -> None:
    world = open_world("gym:FrozenLake-v1?is_slippery=false")
    assert tabular.suits(world)
    policy = tabular.learn(world, 30_000, seed=0)
    assert play(world, policy, 20, seed=1).returns.tolist() == [1.0] * 20
    again = tabular.learn(world, 30_000, seed=0)
    states = {"observation": np.arange(2, 18)}
    np.testing.assert_array_equal(policy(states), again(states))
    assert policy(states).dtype == np.int64
    for name in ("gym:CartPole-v1", "gym:Pendulum-v1", "own_worlds:Rich"):
        other = open_world(name, base=base)
        assert not tabular.suits(other)
        with pytest.raises(ValueError, match="few states"):
            tabular.learn(other, 10, seed=0)


def test_several_fields_of_few_values_are_one_state() -> None:
    world = open_world("gym:Blackjack-v1")
    assert len(world.fields) == 3
    assert tabular.suits(world)
    states = tabular.States(world)
    seen = [(total, dealt, ace) for total in (4, 20, 21) for dealt in (1, 10) for ace in (0, 1)]
    of_rows = states.of(encode(world, seen))
    assert of_rows.tolist() == [states(observation) for observation in seen]
    assert len(set(of_rows.tolist())) == len(seen)
    assert of_rows.max() < states.count
    policy = tabular.learn(world, 20_000, seed=0)
    by_luck = play(world, tabular.random_policy(world, 0), 300, seed=1).returns.mean()
    assert play(world, policy, 300, seed=1).returns.mean() > by_luck + 0.15


def test_learning_a_table_keeps_to_its_time() -> None:
    import time

    begin = time.monotonic()
    tabular.learn(open_world("gym:FrozenLake-v1"), 10**9, seed=0, seconds=0.5)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("name", ["gym:CartPole-v1", "own_worlds:Rich"])
def test_a_film_is_a_moving_picture(base: Path, name: str) -> None:
    world = open_world(name, base=base)
    told: list[str] = []
    content = film(world, tabular.random_policy(world, 0), 0, width=100, most_frames=12, tell=told.append)
    assert content is not None
    assert not told
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "GIF"
        assert picture.width == 100
        assert 2 <= picture.n_frames <= 13


@pytest.mark.parametrize("name", ["own_worlds:Walk", "own_worlds:Blind"])
def test_where_nothing_is_drawn_there_is_no_film_but_a_reason(base: Path, name: str) -> None:
    world = open_world(name, base=base)
    told: list[str] = []
    content = film(world, tabular.random_policy(world, 0), 0, seconds=2, tell=told.append)
    if name.endswith("Walk"):
        assert content is None
        assert "cannot be drawn" in told[0]
    else:
        # It takes no render mode, but draws all the same.
        assert content is not None


def column(items: list[Any]) -> Array:
    return object_array(items)


def test_vectors_are_scaled_by_place_or_left_as_they_are() -> None:
    numbers = np.random.default_rng(0).normal((3, -50), (2, 0.1), (5000, 2))
    fitted = vector.Encoder.fit(lambda: [numbers[:1500], numbers[1500:]], {})
    np.testing.assert_allclose(fitted.means, numbers.mean(axis=0))
    np.testing.assert_allclose(fitted.spreads, numbers.std(axis=0))
    scaled = fitted.encode(numbers).array
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(scaled, fitted.encode(column(numbers.tolist())).array)
    plain = vector.Encoder.fit(lambda: [numbers], {"scale": "none", "size": 2})
    np.testing.assert_array_equal(plain.encode(numbers).array, numbers.astype(np.float32))
    constant = vector.Encoder.fit(lambda: [column([[0.1, 7]] * 2000)], {})
    assert constant.spreads == (1.0, 1.0)


def test_one_huge_number_among_vectors_is_an_error_of_its_row_alone() -> None:
    values = column([*np.random.default_rng(0).normal(size=(50, 2)).tolist(), [1e300, 0.0]])
    fitted = vector.Encoder.fit(lambda: [values], {})
    encoded = fitted.encode(values)
    assert list(encoded.errors) == [50]
    np.testing.assert_allclose(encoded.array[:50].std(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "give 3 numbers"),
        ("", "give 3 numbers"),
        ([1, 2], "give 3"),
        ([1, 2, math.nan], "finite"),
        ([1, 2, None], "finite"),
        ([1, 2, 1e300], "float32"),
        ([1, 2, "x"], "flat list of numbers"),
        ([[1, 2, 3]], "flat list of numbers"),
        ("1, 2, 3", "write it as"),
        (3.5, "give a list"),
        (np.array(["2020-01-01"] * 3, "datetime64[D]"), "give numbers"),
    ],
)
def test_what_is_no_vector_is_an_error_of_its_row(value: Any, reason: str) -> None:
    for scale in ("standard", "none"):
        encoder = vector.Encoder.fit(lambda: [column([[1, 2, 3], [3, 4, 6]])], {"scale": scale})
        found = encoder.encode(column([[1, 2, 3], value, "[3, 4, 6]"]))
        assert set(found.errors) == {1}
        assert reason in found.errors[1]
        mean = [0, 0, 0] if scale == "standard" else [2, 3, 4.5]
        assert found.array[1].tolist() == mean
    typed = encoder.encode(np.array([[1, 2, 3], [1, np.inf, 3]]))
    assert set(typed.errors) == {1}
    assert set(encoder.encode(np.zeros((2, 4))).errors) == {0, 1}


def test_a_vector_of_another_size_than_asked_for() -> None:
    with pytest.raises(InputError, match="option size is 3"):
        vector.Encoder.fit(lambda: [column([[1, 2]])], {"size": 3})
    with pytest.raises(InputError, match="scale"):
        vector.Encoder.fit(lambda: [column([[1, 2]])], {"scale": "minmax"})


def test_areas_are_averaged() -> None:
    encoder = frames.Encoder(2, 2, 3, 1, False, (0.0,) * 3, (1.0,) * 3)
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    expected = np.rint(picture.reshape(2, 2, 2, 3, 3).mean(axis=(1, 3)) + 1e-9)
    np.testing.assert_array_equal(encoder.encode(column([picture])).array[0], expected)
    for height, width in ((5, 7), (2, 2), (1, 1), (210, 160), (3, 300)):
        random = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)
        found = encoder.encode(random)
        assert not found.errors
        # The mean of the whole is kept, to half a step and the weights' precision.
        np.testing.assert_allclose(found.array.mean(axis=(1, 2)), random.mean(axis=(1, 2)), atol=2.5)
        white = encoder.encode(np.full((1, height, width, 3), 255, np.uint8)).array
        assert (white == 255).all()


def test_gray_is_luminance() -> None:
    encoder = frames.Encoder(1, 1, 1, 1, True, (0.0,), (1.0,))
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [9, 9, 9]], np.uint8)
    found = encoder.encode(colors.reshape(5, 1, 1, 1, 3)).array.reshape(-1)
    assert found.tolist() == [77, 149, 29, 255, 9]


def test_stacks_are_filled_with_the_first_picture_and_cut_to_the_last() -> None:
    encoder = frames.Encoder.fit(lambda: [column([np.zeros((6, 5), np.uint8)])], {"size": [6, 5], "stack": 3})
    pictures = [np.full((6, 5), number, np.uint8) for number in range(5)]
    for count, expected in ((1, [0, 0, 0]), (2, [0, 0, 1]), (5, [2, 3, 4])):
        stack = np.stack(pictures[:count])
        assert encoder.encode(column([stack])).array[0, 0, 0].tolist() == expected
        assert encoder.encode(stack[None, ..., None]).array[0, 0, 0].tolist() == expected
        assert encoder.encode(column([stack.tolist()])).array[0, 0, 0].tolist() == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no picture"),
        ("x.png", "give an array"),
        ([[1, 2], [3]], "as many pixels"),
        ([[1, 300]], "0 to 255"),
        ([[0.5, 1]], "0 to 255"),
        (np.zeros(3, np.uint8), "shape (3,)"),
        (np.zeros((1, 9000), np.uint8), "reduce the picture"),
        ([["a", "b"]], "whole numbers"),
    ],
)
def test_what_is_no_picture_is_an_error_of_its_row(value: Any, reason: str) -> None:
    encoder = frames.Encoder.fit(lambda: [column([np.full((3, 3), 50, np.uint8)])], {"size": 3})
    found = encoder.encode(column([[[1, 2], [3, 4]], value]))
    assert set(found.errors) == {1}
    assert reason in found.errors[1]
    assert (found.array[1] == 50).all()


def test_bounds_of_observations_are_known_and_widen_what_a_random_beginning_shows() -> None:
    world = open_world("gym:CartPole-v1")
    (reach,) = world.reach.values()
    assert reach[0] == pytest.approx(9.6 / 12**0.5)
    assert reach[1] == float("inf")
    normalizer = Normalizer(3)
    normalizer.follow(torch.tensor([[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0]]))
    normalizer.widen([16.0, float("inf"), 4.0])
    # The geometric mean of 1 and 16; twice 1; what did not move at all counts as a hundredth of its bounds.
    assert normalizer.variance.sqrt().tolist() == pytest.approx([4.0, 2.0, 0.4])
    before = normalizer.variance.clone()
    normalizer.widen([0.5, 0.5, 0.1])
    assert bool((normalizer.variance >= before).all()), "bounds never make it narrower"
