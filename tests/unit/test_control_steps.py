"""The five steps in an environment: what is opened is given back, and an inexact resume is told; the policy outside."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

import lamina
from lamina import run as runs
from lamina.choose.hardware import Hardware
from lamina.environments import COPY_SEED, TEST_SEED, VALIDATION_SEED, Actions, World, use_seed
from lamina.environments.spaces import open_world
from lamina.environments.vector import seed_of
from lamina.errors import InputError
from lamina.evaluate.sealed import play_model
from lamina.methods.sac import SoftActorCritic
from lamina.model.policy import Policy
from lamina.model.runtime import Model
from lamina.narrate import Silent
from lamina.plan import DataPlan, NetworkPlan, Plan, TaskPlan, TrainingPlan
from lamina.steps.control import choose, understand
from lamina.steps.control.player import build, weights_of
from lamina.steps.control.prepare import Simpler
from lamina.steps.control.train import INEXACT, train
from lamina.steps.request import Request
from lamina.tasks.control import Task

CPU = torch.device("cpu")
MODULE = '''
import numpy as np
from gymnasium import spaces

opened, seeds = [], []


class Held:
    """Counts how many are open, and how they were reset; it writes to what it has given."""

    observation_space = spaces.Box(-9, 9, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self):
        opened.append(self)
        self.seen = np.zeros(2, np.float32)

    def reset(self, seed=None, options=None):
        seeds.append(seed)
        self.seen[:] = 0
        return self.seen, {}

    def step(self, action):
        self.seen += 1
        return self.seen, 1.0, bool(self.seen[0] >= 3), False, {}

    def close(self):
        opened.remove(self)


class Drifts(Held):
    """No function of its seed and its actions."""

    def reset(self, seed=None, options=None):
        super().reset(seed)
        self.seen[1] = np.random.default_rng().random()
        return self.seen, {}


class Remembers(Held):
    """What was done last is observed."""

    number = spaces.Box(-1, 1, (2,), np.float32)
    observation_space = spaces.Dict({"action": number, "state": number})
    action_space = number

    def reset(self, seed=None, options=None):
        return {"action": np.zeros(2, np.float32), "state": np.zeros(2, np.float32)}, {}

    def step(self, action):
        return {"action": action, "state": np.zeros(2, np.float32)}, 1.0, False, False, {}
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "held_worlds.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import held_worlds  # type: ignore[import-not-found]

    yield held_worlds
    sys.modules.pop("held_worlds")


def decided(name: str, method: str, steps: int, **options: Any) -> tuple[Plan, World]:
    world = open_world(f"held_worlds:{name}")
    plan = Plan(name=name, task={"action": TaskPlan("control")}, data=DataPlan(train=world.name, split="episodes"))
    plan = choose.decided(world, plan, [f"method.name={method}"], None)
    plan = replace(plan, method=replace(plan.method, options=options))
    return replace(plan, training=replace(plan.training, steps=steps, evaluations=1, threads=1)), world


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize("name", ["Held", "Drifts"])
def test_environments_are_closed_and_an_inexact_resume_is_told(module: ModuleType, tmp_path: Path, name: str) -> None:
    plan, world = decided(name, "ppo", 16, copies=2, horizon=8)
    run, told = runs.create(str(tmp_path / "run"), name), Told()
    for _ in range(2):
        assert INEXACT not in told.lines
        player, _, record = train(plan, world, run, told, 0.0)
        assert not module.opened
    # The second time it goes on from the last checkpoint.
    assert player.exact == (name == "Held")
    assert (INEXACT in told.lines) == bool(record.of("inexact")) == (name == "Drifts")


def test_worker_processes_learn_the_same(module: ModuleType, tmp_path: Path) -> None:
    found, (plan, world) = [], decided("Held", "ppo", 16, copies=2, horizon=8)
    for workers in (0, 1):
        told = Told()
        asked = replace(plan, training=replace(plan.training, workers=workers))
        player, _, record = train(asked, world, runs.create(str(tmp_path / str(workers)), "x"), told, 0.0)
        assert player.processes is None
        # Episodes can still be played.
        returns = player.play(5, 0).returns.tolist()
        found.append((weights_of(player.method), record.of("validation")[-1]["mean_return"], returns))
        assert not module.opened
        module.seeds.clear()
    assert module.seeds == []
    for name, weights in found[0][0].items():
        assert torch.equal(weights, found[1][0][name])
    assert found[0][1:] == found[1][1:]


def test_more_workers_than_copies_are_refused(module: ModuleType) -> None:
    plan, world = decided("Held", "ppo", 16)
    request = Request(world.name, sets=("method.name=ppo", "training.workers=17"))
    with pytest.raises(InputError, match="17 worker processes for 16 copies") as caught:
        choose.check(request, world, plan)
    assert caught.value.where == "training.workers"
    assert not module.opened


@pytest.mark.parametrize(("asked", "found"), [((), 2), (("training.workers",), 1), (("training.steps",), 0)])
def test_workers_are_measured_where_the_plan_leaves_them_open(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...], found: int
) -> None:
    plan, world = decided("Held", "ppo", 16)
    plan = replace(plan, training=replace(plan.training, workers=1))
    monkeypatch.setattr("lamina.steps.control.working.compared", lambda *_: (0.08, 0.04))
    slow = Simpler("acting at random", np.zeros(10), 4.0, 4.0, 400)
    plan, reasons = choose._working(plan, world, Hardware(CPU, 2, False, ""), asked, slow, time.monotonic())
    assert plan.training.workers == found
    assert reasons.get("training.workers", f"{found}").startswith(f"{found}")


def test_what_is_opened_to_check_wishes_is_closed(module: ModuleType) -> None:
    plan, world = decided("Held", "dqn", 16)
    choose.check(Request(world.name, sets=("method.name=dqn",)), world, plan)
    assert not module.opened


def test_an_observation_may_be_called_as_the_answer_is(module: ModuleType) -> None:
    plan, world = decided("Remembers", "sac", 64, copies=2, warmup=8, batch_size=4)
    method = cast(SoftActorCritic, build(plan, world, CPU).method)
    critic = method.critics[0]
    known = {"action": torch.zeros(1, 2), "state": torch.zeros(1, 2), method.acted: torch.zeros(1, 2)}
    before = critic(known)["value"]
    for name in known:
        assert not torch.equal(critic({**known, name: torch.ones(1, 2)})["value"], before), name


def policy_of(world: World) -> Model:
    """A stand-in for a sealed policy: it shows what it was given, and always does the first thing."""
    given: list[Any] = []

    def predict(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        given.extend(rows)
        return [{"action": 0, "error": None}]

    inputs = {field.name: SimpleNamespace(field=field, encoder=world.encoders[field.name]) for field in world.fields}
    return cast(
        Model,
        SimpleNamespace(
            tasks={"action": Task("action", Actions("discrete", 2))},
            card={"data": {"history": world.history, "source": world.name}},
            inputs=inputs,
            where="",
            given=given,
            predict=predict,
            outputs=lambda seen: {"action": np.zeros((len(seen["observation"]), 2), np.float32)},
        ),
    )


def test_a_policy_remembers_what_was_observed_though_it_is_written_to(module: ModuleType) -> None:
    model = policy_of(open_world("held_worlds:Held", history=3))
    policy, environment = Policy(model), module.Held()
    observation, _ = environment.reset()
    for _ in range(3):
        observation, *_ = environment.step(policy.act(observation))
    shown = cast(Any, model).given[-1]["observation"]
    assert shown == [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_episodes_played_later_are_those_of_no_training(module: ModuleType, seed: int) -> None:
    """The uses of a run with the seed 0 are the seeds 1, 2 and 3."""
    play_model(policy_of(open_world("held_worlds:Held")), "held_worlds:Held", 20, seed)
    learned = {seed_of(use_seed(0, COPY_SEED), copy, episode) for copy in range(20) for episode in range(5)}
    chosen = {seed_of(use_seed(0, use), episode) for use in (VALIDATION_SEED, TEST_SEED) for episode in range(20)}
    assert len(module.seeds) == 20
    assert not {*module.seeds} & (learned | chosen)


SLOW = '''
import time

import numpy as np
from gymnasium import spaces

passed = [0.0]


class Slow:
    """A step takes a quarter of a second, by the clock that the test has put in place of time's."""

    observation_space = spaces.Box(-9, 9, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        passed[0] += 0.25
        self.steps += 1
        return np.full(2, self.steps / 20, np.float32), float(action), self.steps == 100, False, {}
'''


@pytest.mark.parametrize(("method", "budget"), [("ppo", 3600), ("dqn", 1200)])
def test_a_slow_environment_keeps_the_budget(
    method: str, budget: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_world.py").write_text(SLOW)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    import slow_world  # type: ignore[import-not-found]

    for name in ("monotonic", "perf_counter"):
        real = getattr(time, name)
        monkeypatch.setattr(time, name, lambda real=real: real() / 100 + slow_world.passed[0])
    # Time passes in this process alone.
    settings = {"method.name": method, "training.workers": 0}
    trained = lamina.train("slow_world:Slow", budget=budget, out=tmp_path / "run", quiet=True, set=settings)
    taken = slow_world.passed[0]
    sys.modules.pop("slow_world")
    # An episode takes 25 seconds, and so do all that are begun together; each part of the run may end with some.
    assert 0.5 * budget < taken < 1.3 * budget
    data = trained.results.data
    tested = len(trained.results.exhibits[-1].points)
    assert 5 <= tested < 100
    assert data["episodes"].startswith(f"{tested} fresh episodes, and ")
    assert "the budget has no time for more" in data["episodes"]
    assert data["episodes"] in (tmp_path / "run" / "report.html").read_text()


GRIDS = '''
import numpy as np
from gymnasium import spaces


class Doors:
    """As MiniGrid shows it: kinds of things, colors and states. A door of color 5 is opened, one of 4 not."""

    observation_space = spaces.Box(0, 255, (7, 7, 3), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        self.random = np.random.default_rng(seed)
        self.steps = 0
        return self.look(), {}

    def step(self, action):
        reward = float(action == (self.color == 5))
        self.steps += 1
        return self.look(), reward, self.steps == 10, False, {}

    def look(self):
        self.color = int(self.random.integers(4, 6))
        grid = np.ones((7, 7, 3), np.uint8) * [1, 0, 0]
        grid[0], grid[3, 4] = [2, 5, 0], [4, self.color, 1]
        grid[6, 3] = [10, 0, 2]
        return grid.astype(np.uint8)


class Declared(Doors):
    observation_space = spaces.Box(0, 10, (7, 7, 3), np.uint8)


class Dark(Doors):
    """Black, but for some bright pixels."""

    def look(self):
        self.color = int(self.random.integers(4, 6))
        return np.uint8(200) * (self.random.random((7, 7, 3)) < 0.1)


class Large(Doors):
    observation_space = spaces.Box(0, 255, (70, 70, 3), np.uint8)

    def look(self):
        return np.repeat(np.repeat(super().look(), 10, axis=0), 10, axis=1)
'''


@pytest.fixture
def grids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "grid_worlds.py").write_text(GRIDS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    yield
    sys.modules.pop("grid_worlds", None)


@pytest.mark.parametrize(
    ("name", "sets", "kinds", "said"),
    [
        ("Doors", (), 16, "grids of 7 x 7 places, 3 of 16 codes at each"),
        ("Doors", ("task.codes=11",), 11, "3 of 11 codes"),
        ("Doors", ("task.codes=0",), 0, "pictures of 7 x 7 pixels, 3 channels"),
        ("Doors", ("task.history=2",), 16, "16 codes at each, the last 2 of them"),
        ("Declared", (), 11, "3 of 11 codes"),
        ("Dark", (), 0, "pictures of 7 x 7"),
        ("Large", (), 0, "pictures of 70 x 70"),
    ],
)
def test_small_grids_of_codes_are_told_from_pictures(
    grids: None, name: str, sets: tuple[str, ...], kinds: int, said: str
) -> None:
    understood = understand.understand(Request(f"grid_worlds:{name}", sets=sets), Told())
    (field,) = understood.world.fields
    assert said in field.reason
    assert understood.world.encoders["observation"].feature.details.get("codes", 0) == kinds
    # Resuming opens it by the plan alone.
    again = understand.opened(understood.plan, Path())
    assert understand.fingerprint(again) == understood.plan.data.fingerprint


@pytest.mark.parametrize("codes", ["1", "257", "-1", "true", "2.5"])
def test_a_wrong_number_of_codes_is_told(grids: None, codes: str) -> None:
    with pytest.raises(InputError, match="number of codes"):
        understand.understand(Request("grid_worlds:Doors", sets=(f"task.codes={codes}",)), Told())


def test_what_a_code_stands_for_is_learned_and_sealed(grids: None, tmp_path: Path) -> None:
    settings = {"method.name": "ppo", "training.steps": 4096, "method.copies": 8, "method.horizon": 64}
    small = {"network.observation.width": 8, "network.observation.hidden": 32, "training.threads": 1}
    trained = lamina.train(
        "grid_worlds:Doors", out=tmp_path / "run", quiet=True, set={**settings, **small, "training.evaluations": 2}
    )
    # Acting at random reaches 5 of 10; read as pixels, the two colors differ by a 255th.
    assert trained.results.targets[0].scores["mean_return"].value > 9.5
    assert trained.results.seal is not None
    model = lamina.load(tmp_path / "run")
    assert model.check_golden()["sound"]


@pytest.mark.parametrize(
    ("width", "network", "most", "busy", "threads", "said"),
    [
        (64, "dense", 1e9, False, 1, "layers this small"),
        (1024, "dense", 1e9, False, 4, "measured"),
        (1024, "dense", 1e9, True, 1, "measured"),
        (1024, "dense", 100, False, 1, "not worth its time"),
        (64, "convolutional", 1e9, True, 1, "measured"),
        (64, "convolutional", 100, False, 4, "not worth its time"),
    ],
)
def test_threads_are_measured_where_the_policy_is_large_and_there_is_time(
    width: int, network: str, most: float, busy: bool, threads: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, used, taken = [0.0], [0], [0]
    monkeypatch.setattr("lamina.choose.hardware.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("torch.set_num_threads", lambda number: used.__setitem__(0, number))

    def update(batch: object, engine: object) -> None:
        now[0] += 0.01 * (used[0] if busy else 1 / used[0])
        taken[0] += 1

    method = SimpleNamespace(policy=torch.nn.Linear(width, width), update=update)
    player = SimpleNamespace(method=method, engine=None, vectors=[SimpleNamespace(number=8)], each=4.0, before=60)
    plan = Plan(network={"observation": NetworkPlan(network)})
    machine = Hardware(CPU, 4, False, "")
    batches = ((number, None) for number in range(10**6))
    found, reasons = choose._threads(plan, cast(Any, player), machine, cast(Any, batches), most)
    assert found == used[0] == threads
    assert said in reasons["training.threads"]
    assert (taken[0] > 0) is (said == "measured")
    # A step of all copies gives two batches: a call has both.
    assert taken[0] % 2 == 0
    asked = replace(plan, training=TrainingPlan(threads=3))
    assert choose._threads(asked, cast(Any, player), machine, cast(Any, batches), most) == (3, {})
