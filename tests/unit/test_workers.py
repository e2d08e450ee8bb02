"""Copies of an environment in worker processes: the same episodes, the same errors, and nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.environments import Observations, World, messages, tabular
from lamina.environments.play import play
from lamina.environments.spaces import open_world
from lamina.environments.vector import Stepped, Vector
from lamina.environments.workers import Workers
from lamina.errors import InputError
from lamina.steps.control import working

Array = np.ndarray[Any, Any]
MODULE = '''
import numpy as np
from gymnasium import spaces


class Rich:
    """Parts of several kinds, all drawn from its own generator; what it prints must not be taken for an answer."""

    observation_space = spaces.Dict(
        {
            "numbers": spaces.Box(-9, 9, (2,), np.float32),
            "state": spaces.Discrete(4),
            "both": spaces.Tuple((spaces.Box(0, 255, (4, 5, 3), np.uint8), spaces.Discrete(3))),
        }
    )
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, seed=None, options=None):
        self.random, self.steps = np.random.default_rng(seed), 0
        self.numbers = np.zeros(2, np.float32)
        print("an episode begins")
        return self.seen(), {"made": object()}

    def seen(self):
        # The very array that it has given before.
        self.numbers[:] = self.random.uniform(-1, 1, 2)
        picture = self.random.integers(0, 255, (4, 5, 3)).astype(np.uint8)
        return {"numbers": self.numbers, "state": self.random.integers(4), "both": (picture, int(self.steps % 3))}

    def step(self, action):
        self.steps += 1
        reward = np.float32(action.sum() + self.random.normal())
        return self.seen(), reward, self.random.random() < 0.1, self.steps >= 9, {"made": object()}


class Fragile(Rich):
    """Breaks in its third step, in the copy whose first action was negative."""

    def step(self, action):
        if self.steps == 0:
            self.weak = action[0] < 0
        if self.steps == 2 and self.weak:
            raise RuntimeError("the wheel is off")
        return *super().step(action)[:2], False, False, {}


class Slow(Rich):
    def step(self, action):
        import time

        time.sleep(60)
'''


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "far_worlds.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("far_worlds", None)


def equal(one: Observations, other: Observations) -> bool:
    return all(array.dtype == other[name].dtype and np.array_equal(array, other[name]) for name, array in one.items())


def same(one: Stepped, other: Stepped) -> bool:
    ends = np.array_equal(one.terminated, other.terminated) and np.array_equal(one.truncated, other.truncated)
    gained = np.array_equal(one.reward, other.reward) and one.ended == other.ended
    return ends and gained and equal(one.following, other.following)


@pytest.mark.parametrize(("name", "history", "number"), [("gym:CartPole-v1", 1, 3), ("far_worlds:Rich", 2, 5)])
def test_workers_play_the_same_episodes_and_go_on_with_each_others(
    base: Path, name: str, history: int, number: int
) -> None:
    world = open_world(name, base=base, history=history)
    policy = tabular.random_policy(world, 0)
    here, there = Vector(world, number, 3), Vector(world, number, 3, workers := Workers(world, 2))
    started = workers._processes[:]
    for step in range(60):
        actions = policy(here.observations)
        assert same(here.step(actions), there.step(actions))
        assert equal(here.observations, there.observations)
        if step == 21:
            stopped = there.state(), here.state()
            ahead = [policy(here.observations) for _ in range(12)]
    end = here.state()
    assert there.state() == end
    assert stopped[0] == stopped[1]
    for vector, state in zip((here, there), stopped, strict=True):
        vector.restore(state)
        assert vector.exact
        assert vector.state() == state
    for actions in ahead:
        assert same(here.step(actions), there.step(actions))
    there.close()

    one, other = (
        play(world, tabular.random_policy(world, 1), 5, 3, copies=3, keep=9, workers=where) for where in (None, workers)
    )
    np.testing.assert_array_equal(one.returns, other.returns)
    np.testing.assert_array_equal(one.lengths, other.lengths)
    assert equal(one.observations, other.observations)
    assert str(one.raw) == str(other.raw)
    workers.close()
    assert None not in [process.returncode for process in started]


def test_what_an_environment_raises_is_told_as_ever_and_a_dead_worker_is_no_hang(base: Path) -> None:
    world = open_world("far_worlds:Fragile", base=base)
    here, there = Vector(world, 4, 3), Vector(world, 4, 3, workers := Workers(world, 2))
    started = workers._processes[:]
    strong, weak = np.full((4, 2), 0.5, np.float32), np.full((4, 2), 0.5, np.float32)
    weak[2:] = -0.5
    caught = []
    for vector in (here, there):
        vector.step(weak)
        vector.step(strong)
        with pytest.raises(InputError, match="RuntimeError: the wheel is off") as error:
            vector.step(strong)
        caught.append((error.value.what, error.value.where, error.value.fix))
    assert caught[0] == caught[1]
    assert "far_worlds.py" in str(error.value.__cause__.__notes__)  # type: ignore[union-attr]

    os.kill(started[1].pid, signal.SIGKILL)
    with pytest.raises(InputError, match="ended by SIGKILL") as error:
        there.step(strong)
    assert "training.workers=0" in error.value.fix
    # The other one was ended at once.
    assert None not in [process.returncode for process in started]
    there.close()


def test_what_only_this_process_knows_cannot_be_opened_elsewhere(base: Path) -> None:
    world = open_world("far_worlds:Rich", base=base)
    with (
        closing(Workers(replace(world, name="far_away:Rich"), 1)) as workers,
        pytest.raises(InputError, match="no module 'far_away'") as caught,
    ):
        workers.copies(1)
    assert "training.workers=0" in caught.value.fix


@pytest.mark.skipif(sys.platform != "linux", reason="it looks in /proc")
def test_no_worker_outlives_a_process_that_is_killed(base: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from lamina.environments.spaces import open_world\n"
        "from lamina.environments.vector import Vector\n"
        "from lamina.environments.workers import Workers\n"
        f"world = open_world('far_worlds:Slow', base=Path({str(base)!r}))\n"
        "vector = Vector(world, 1, 0, workers := Workers(world, 1))\n"
        "print(workers._processes[0].pid, flush=True)\n"
        "vector.step(np.zeros((1, 2), np.float32))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    while _alive(worker):
        time.sleep(0.05)


def _alive(process: int) -> bool:
    try:
        # Nobody may be there to ask how it ended.
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_messages_bring_back_what_they_were_given() -> None:
    Pair = namedtuple("Pair", "left right")
    numbers = np.arange(6, dtype=">f4").reshape(2, 3)
    arrays: tuple[Array, ...] = (numbers.T, np.zeros((0, 3), np.int16), np.array(7), np.array([True, False]))
    given: dict[str, Any] = {
        "plain": [None, True, 2**70, 0.1, float("-inf"), "é"],
        "arrays": arrays,
        "scalars": [np.float64(0.1), np.int8(3), np.bool_(True)],
        "nested": {"pair": Pair(1, {"deep": ()}), 5: np.array([1, 2.5], object)},
    }
    pipe, end = os.pipe()
    messages.write(end, messages.encoded(given))
    os.close(end)
    with os.fdopen(pipe, "rb") as source:
        found = messages.read(source)
        with pytest.raises(EOFError):
            messages.read(source)
    assert found["plain"] == given["plain"]
    for before, after in zip(arrays, found["arrays"], strict=True):
        assert isinstance(after, np.ndarray)
        assert after.dtype == before.dtype
        np.testing.assert_array_equal(after, before)
    assert [type(value) for value in found["scalars"]] == [np.float64, np.int8, np.bool_]
    assert found["scalars"] == given["scalars"]
    assert found["nested"] == {"pair": (1, {"deep": ()}), "5": [1.0, 2.5]}
    with pytest.raises(TypeError, match="object is neither"):
        messages.encoded([object()])


@pytest.mark.parametrize(
    ("copies", "cores", "step", "stepping", "found", "told"),
    [
        (8, 2, 0.005, 100, 2, "2: a step of all 8 copies took 40 ms in one process, 21 ms in 2"),
        (8, 1, 0.005, 100, 0, "one core"),
        (1, 4, 0.005, 100, 0, "one copy"),
        (8, 2, 0.00002, 100, 0, "0.02 ms is too short"),
        (8, 2, 0.005, 5, 0, "so few steps take less"),
        (8, 2, 2.0, 100, 0, "none are left for a trial"),
        (9, 3, 0.005, 100, 0, "took 40 ms in one process, 35 ms in 3"),
    ],
)
def test_workers_are_chosen_where_they_pay(
    monkeypatch: pytest.MonkeyPatch, copies: int, cores: int, step: float, stepping: float, found: int, told: str
) -> None:
    def compared(world: World, number: int, workers: int, seed: int) -> tuple[float, float]:
        return 0.04, 0.021 if workers == 2 else 0.035

    monkeypatch.setattr(working, "compared", compared)
    world = open_world("gym:CartPole-v1")
    number, why = working.workers_for(world, 0, copies=copies, cores=cores, step=step, stepping=stepping)
    assert number == found
    assert told in why


def test_workers_whose_episodes_are_others_are_not_chosen(base: Path) -> None:
    world = open_world("far_worlds:Rich", base=base)
    sys.modules["far_worlds"].Rich.seen = lambda self: {  # as a script may set what a worker cannot know of
        "numbers": np.zeros(2, np.float32), "state": 0, "both": (np.zeros((4, 5, 3), np.uint8), 0),
    }  # fmt: skip
    found, why = working.workers_for(world, 0, copies=2, cores=2, step=0.005, stepping=100)
    assert found == 0
    assert "other consequences" in why
