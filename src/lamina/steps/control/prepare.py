"""Step 2: what simpler policies reach, on the very episodes that test the network later."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.environments import TEST_SEED, Policy, World, tabular, use_seed
from lamina.environments.play import play
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.control.player import LEAST_EPISODES

Array = np.ndarray[Any, Any]

TEST_EPISODES = 100
FEWEST_EPISODES = 20
"""Where there is no budget."""
TABLE_STEPS = 500_000
"""Steps that tabular Q-learning takes."""
SHARE = 0.1
"""Of the budget, for the simpler policies."""
SECONDS = 30.0
"""For each simpler policy where there is no budget; so much at most where there is one."""
FILE = "baselines.json"


@dataclass(frozen=True)
class Simpler:
    """What a simpler policy reached on the test episodes.

    Attributes:
        name: for the reader.
        returns: float64 [episode].
        seconds: to learn and to play.
        playing: seconds of these to play.
        steps: in those episodes.
    """

    name: str
    returns: Array
    seconds: float
    playing: float
    steps: int


def prepare(plan: Plan, world: World, run: Run, narrator: Narrator) -> tuple[Simpler, ...]:
    """Play the test episodes at random and, where states are few, by a table of values; kept in the run folder."""
    narrator.step("Prepare")
    seconds = min(SECONDS, SHARE * plan.budget) if plan.budget else SECONDS
    found = [_measured("acting at random", world, tabular.random_policy(world, plan.seed), plan, 0.0, seconds)]
    if tabular.suits(world):
        begin = time.monotonic()
        policy = tabular.learn(world, TABLE_STEPS, plan.seed, seconds=seconds)
        found.append(
            _measured("tabular Q-learning", world, policy, plan, time.monotonic() - begin, seconds)
        )  # fmt: skip
    document = [{**vars(item), "returns": item.returns.tolist()} for item in found]
    run.write_json(run.folder / FILE, {"simpler": document})
    for item in found:
        narrator.say(f"{item.name}: a mean return of {item.returns.mean():.4g} over {len(item.returns)} episodes")
    if plan.budget and (fewest := min(len(item.returns) for item in found)) < TEST_EPISODES:
        narrator.say(f"{fewest} of {TEST_EPISODES} test episodes: the budget has no time for more")
    return tuple(found)


def prepared_again(plan: Plan, world: World, run: Run, narrator: Narrator) -> tuple[Simpler, ...]:
    """What `prepare` found when the run was started."""
    try:
        document = json.loads((run.folder / FILE).read_text(encoding="utf-8"))
        return tuple(
            Simpler(**{**item, "returns": np.array(item["returns"], np.float64)}) for item in document["simpler"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return prepare(plan, world, run, narrator)


def _measured(name: str, world: World, policy: Policy, plan: Plan, learning: float, seconds: float) -> Simpler:
    """The test episodes as the policy plays them; fewer, but the first ones, where an episode takes long.

    Without a budget how many they are depends on the clock as little as can be: same seed, same result.
    """
    begin = time.monotonic()
    seed = use_seed(plan.seed, TEST_SEED)
    if plan.budget:
        played = play(world, policy, TEST_EPISODES, seed, seconds=seconds, least=LEAST_EPISODES)
    else:
        played = play(world, policy, FEWEST_EPISODES, seed)
        if (time.monotonic() - begin) * TEST_EPISODES / FEWEST_EPISODES < seconds:
            begin, played = time.monotonic(), play(world, policy, TEST_EPISODES, seed)
    playing = time.monotonic() - begin
    return Simpler(name, played.returns, learning + playing, playing, int(played.lengths.sum()))
