"""Environments from the command line: all five steps, exact resume, the sealed policy at work, wrong wishes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures import broken_off_and_resumed, jsonl, only_trained, run_here

import lamina
from lamina.cli import main
from lamina.errors import InputError
from lamina.evaluate.sealed import score_model

pytest.importorskip("gymnasium")

COMMON = ("training.threads=1", "training.checkpoint_seconds=0.1", "training.evaluations=3", "training.keep=last")
PICTURES = (
    "training.steps=800", "method.memory=600", "method.warmup=200", "method.batch_size=16", "method.priority=0.6",
)  # fmt: skip
QUICK: dict[str, tuple[str, tuple[str, ...]]] = {
    "ppo": ("gym:CartPole-v1", ("training.steps=4096", "method.copies=4", "method.horizon=64")),
    "dqn with pictures": ("bright_spots:make", PICTURES),
    "sac": ("gym:Pendulum-v1", ("training.steps=450", "method.warmup=100", "network.width=32")),
}


def words(case: str) -> tuple[str, ...]:
    name, sets = QUICK[case]
    return ("train", name, "--seed", "2", "--set", f"method.name={case.split()[0]}", *COMMON, *sets)


@pytest.mark.parametrize("case", sorted(QUICK))
def test_broken_off_and_resumed_it_is_as_if_nothing_had_happened(case: str, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "bright_spots.py").write_text(SPOTS)
    if case == "ppo":
        run_here(tmp_path, *words(case), "--out", "whole")
    else:
        only_trained(tmp_path, tmp_path / "whole", *words(case))
    last = max(int(file.stem) for file in (tmp_path / "whole" / "checkpoints").glob("*.safetensors"))
    run, whole = broken_off_and_resumed(tmp_path, *words(case), step=0.4 * last), tmp_path / "whole"
    assert (run / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    seen = [
        [
            (entry["step"], entry.get("loss"), entry.get("return"), entry.get("score"))
            for entry in jsonl(path / "log.jsonl")
        ]
        for path in (run, whole)
    ]
    assert seen[0] == seen[1]
    files = [path / "results.json" for path in (run, whole)]
    assert files[0].is_file()
    if files[1].is_file():
        scores = [json.loads(file.read_text())["targets"][0]["scores"] for file in files]
        assert scores[0] == scores[1]
    # What is remembered of pictures is more than a checkpoint holds itself.
    assert (run / "checkpoints" / "blocks").is_dir() or case != "dqn with pictures"


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("cartpole") / "run"
    name, sets = QUICK["ppo"]
    assert main(["train", name, "--quiet", "--out", str(folder), "--set", *COMMON, *sets]) == 0
    return folder


def test_the_sealed_policy_answers_observations(cartpole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(cartpole), '{"observation": [0.0, 0.1, 0.02, 0.0]}']) == 0
    header, row = capsys.readouterr().out.strip().splitlines()
    assert header == "action,action.p.0,action.p.1,error"
    assert row.split(",")[0] in ("0", "1")
    model = lamina.load(cartpole)
    assert model.check_golden()["sound"]
    (answer,) = model.predict([{"observation": [0.0, 0.1, 0.02]}])
    assert answer["action"] is None
    assert "4" in answer["error"]


def test_it_plays_fresh_episodes(cartpole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["test", str(cartpole), "gym:CartPole-v1", "--episodes", "5", "--json"]
    found = []
    for seed in ("0", "0", "1"):
        assert main([*line, "--seed", seed]) == 0
        found.append(json.loads(capsys.readouterr().out)["targets"]["action"]["mean_return"]["value"])
    assert found[0] == found[1] != found[2]


def test_the_report_shows_the_episode(cartpole: Path) -> None:
    page = (cartpole / "report.html").read_text()
    assert "data:image/gif;base64," in page
    assert "steps of experience" in page
    card = lamina.load(cartpole).card
    assert card["data"]["source"] == "gym:CartPole-v1"
    assert card["targets"]["action"]["baselines"]["acting at random"]["mean_return"] < 60


def test_the_network_can_be_looked_into(cartpole: Path) -> None:
    import torch

    from lamina.api import network

    policy = network(cartpole)
    row = np.array([[0.0, 0.1, 0.02, 0.0]], np.float32)
    with torch.inference_mode():
        output = policy({"observation": torch.from_numpy(row)})["action"][:, 0].numpy()
    np.testing.assert_allclose(lamina.load(cartpole).outputs({"observation": row})["action"], output, atol=1e-5)


def test_a_budget_limits_the_steps(tmp_path: Path, cache: Path) -> None:
    trained = lamina.train("gym:CartPole-v1", budget="6s", out=tmp_path / "run", quiet=True)
    # Not the 20 million that a budget without end would have.
    assert 0 < trained.results.data["steps"] < 2_000_000
    assert trained.results.targets[0].scores["mean_return"].value > 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["train", "gym:CartPoll-v1"], "CartPole-v1"),
        (["train", "gym:CartPole-v1", "--target", "x"], "--target"),
        (["train", "gym:CartPole-v1", "--task", "classify"], "classify"),
        (["train", "gym:CartPole-v1", "--set", "method.name=sac"], "dqn, ppo"),
        (["train", "gym:CartPole-v1", "--set", "method.name=ppoo"], "ppo"),
        (["train", "gym:CartPole-v1", "--set", "method.horizonn=3"], "horizon"),
        (["train", "gym:CartPole-v1", "--set", "method.horizon=0"], "at least 1"),
        (["train", "gym:CartPole-v1", "--set", "task.histori=3"], "history"),
        (["train", "gym:CartPole-v1", "--set", "schedule.name=linnear"], "linear"),
        (["train", "gym:CartPole-v1", "--set", "training.steps=-4"], "at least 0"),
        (["train", "nowhere_at_all:make"], "nowhere_at_all"),
    ],
)
def test_wrong_wishes_are_told_before_anything_is_done(
    line: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    assert main([*line, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert said in error.splitlines()[-1] or said in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_a_method_for_environments_is_refused_for_rows(tmp_path: Path, cache: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_text("a,b\n" + "".join(f"{number * 7 % 40},{number % 3}\n" for number in range(60)))
    with pytest.raises(InputError, match="environment"):
        lamina.train(str(data), target="b", out=tmp_path / "run", quiet=True, set={"method.name": "ppo"})


@pytest.mark.parametrize("verb", ["quantize", "explain"])
def test_verbs_that_need_rows_say_so(verb: str, cartpole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = [verb, str(cartpole)] + ['{"observation": [0, 0, 0, 0]}'] * (verb == "explain")
    code = main(line)
    assert code in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_labelled_data_cannot_test_a_policy(cartpole: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_text("observation,action\n1,2\n")
    with pytest.raises(InputError, match="action"):
        score_model(lamina.load(cartpole), str(data))


def test_the_sealed_policy_acts_in_an_environment_of_ones_own(cartpole: Path) -> None:
    import gymnasium

    from lamina.environments.play import play
    from lamina.environments.spaces import open_world
    from lamina.environments.vector import seed_of
    from lamina.model.policy import Policy

    model = lamina.load(cartpole)
    policy, world = Policy(model), gymnasium.make("CartPole-v1")
    observation, _ = world.reset(seed=seed_of(7, 0))
    policy.reset()
    total, over = 0.0, False
    while not over:
        observation, reward, terminated, truncated, _ = world.step(policy.act(observation))
        total, over = total + float(reward), terminated or truncated
    task = model.tasks["action"]
    played = play(open_world("gym:CartPole-v1"), lambda seen: task.chosen(model.outputs(seen)["action"]), 1, 7)
    assert total == played.returns[0]
    with pytest.raises(InputError, match="cannot be read"):
        policy.act([0.0])


def test_what_happened_before_can_be_shown_to_it(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pole's and the cart's speeds are hidden: only earlier observations tell them."""
    (tmp_path / "hidden_speeds.py").write_text(HIDDEN)
    sets = {"training.steps": 256, "task.history": 4, "method.copies": 4, "method.horizon": 32, "training.threads": 1}
    wishes = [f"{key}={value}" for key, value in sets.items()]
    run_here(tmp_path, "train", "hidden_speeds:make", "--out", "run", "--set", *wishes)
    assert "recurrent" in capsys.readouterr().err
    model = lamina.load(tmp_path / "run")
    assert model.card["data"]["history"] == 4
    from lamina.model.policy import Policy

    policy = Policy(model)
    assert {policy.act([0.01 * step, 0.02]) for step in range(6)} <= {0, 1}


HIDDEN = """
import gymnasium
import numpy as np


class Hidden(gymnasium.ObservationWrapper):
    def __init__(self, env):
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Box(-5, 5, (2,), np.float32)

    def observation(self, observation):
        return observation[[0, 2]]


def make(render_mode=None):
    return Hidden(gymnasium.make("CartPole-v1", render_mode=render_mode))
"""

SPOTS = """
import gymnasium
import numpy as np


class Spots(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (24, 24, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.seen(), {}

    def step(self, action):
        reward, self.steps = float(action == self.right), self.steps + 1
        return self.seen(), reward, self.steps == 20, False, {}

    def seen(self):
        self.right = self.np_random.integers(2)
        picture = self.np_random.integers(0, 50, (24, 24, 3), dtype=np.uint8)
        picture[8:16, 4 + 12 * self.right : 8 + 12 * self.right] = 255
        return picture


def make(render_mode=None):
    return Spots()
"""
