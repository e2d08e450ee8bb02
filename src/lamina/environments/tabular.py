"""Baselines of control: acting at random, and a table of values where states are few (Watkins 1989)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.environments import Array, Observations, Policy, World
from lamina.environments.copies import given
from lamina.environments.opening import close
from lamina.environments.spaces import encode, value_of
from lamina.environments.vector import earned, failed, reset, seed_of
from lamina.modalities.category import FIRST, Encoder

MOST_CELLS = 1_000_000
"""States times actions."""
DISCOUNT = 0.99
EXPLORING, LEAST_RANDOM = 0.6, 0.02
"""The share of the steps over which random actions become rarer, and how rare they become."""
FADING = 0.77
"""A value's rate is 1 / visits to this power (Even-Dar & Mansour 2003, "Learning rates for Q-learning")."""
LEAST_RATE = 0.01
DRAWN = 1024
"""Random numbers that are drawn at once."""


class States:
    """What is observed as one of a few numbers: the codes of all fields, as digits of one number.

    Args:
        world: one that `suits`.
    """

    def __init__(self, world: World) -> None:
        self.world, self.count = world, 1
        self._fields: list[tuple[str, int, dict[int, int]]] = []
        for name, encoder in _few(world).items():
            codes = {int(level): code for code, level in enumerate(encoder.levels, start=FIRST)}
            self._fields.append((name, encoder.feature.size, codes))
            self.count *= encoder.feature.size

    def __call__(self, observation: Any) -> int:
        """The state that an environment's own observation is."""
        state = 0
        try:
            for name, size, codes in self._fields:
                state = state * size + codes[int(value_of(name, observation))]
        except (LookupError, ValueError, TypeError):
            # Slower, but it says what is wrong.
            shown = [[observation]] if self.world.history > 1 else [observation]
            return int(self.of(encode(self.world, shown))[0])
        return state

    def of(self, observations: Observations) -> Array:
        """The states of encoded observations, int64 [copy]."""
        states: Array = np.zeros(1, np.int64)
        for name, size, _ in self._fields:
            states = states * size + observations[name]
        return states


def _few(world: World) -> dict[str, Encoder]:
    """The encoders of the fields; without those of fields that are not one of a few values."""
    found = {field.name: world.encoders[field.name] for field in world.fields}
    return {name: encoder for name, encoder in found.items() if isinstance(encoder, Encoder)}


def suits(world: World) -> bool:
    """Is one of a few states observed, in one field or in several, and one of several actions taken?"""
    few = _few(world)
    cells = math.prod((encoder.feature.size for encoder in few.values()), start=world.actions.size)
    return 0 < len(few) == len(world.fields) and world.actions.kind == "discrete" and cells <= MOST_CELLS


def learn(world: World, steps: int, seed: int, *, seconds: float | None = None) -> Policy:
    """The greedy policy of Q-learning with random actions that become rarer (Watkins 1989).

    Q(s, a) += rate * (reward + discount * max Q(s', .) - Q(s, a)); where an episode terminated, nothing follows;
    where it was merely cut off, the future counts as if it had gone on.

    Args:
        world: one that `suits`.
        steps: in the environment.
        seconds: ends earlier after so many.

    Raises:
        InputError: the environment failed.
    """
    if not suits(world):
        raise ValueError(f"{world.name} has no few states with discrete actions")
    states = States(world)
    environment = world.make(None)
    try:
        table = _table(
            world,
            environment,
            states,
            _share_done(steps, seconds),
            seed,
        )
    finally:
        close(environment)
    best = np.array([values.index(max(values)) for values in table], np.int64)
    return lambda observations: best[states.of(observations)]


def _share_done(steps: int, seconds: float | None) -> Callable[[int], float]:
    """From the steps so far to the share of the whole, by steps or by time, whichever is further."""
    begin = time.monotonic()

    def done(step: int) -> float:
        return max((time.monotonic() - begin) / seconds if seconds else 0.0, step / steps)

    return done


def _table(
    world: World,
    environment: Any,
    state_of: States,
    done: Callable[[int], float],
    seed: int,
) -> list[list[float]]:
    """The value of every action in every state."""
    # Plain lists: for one number at a time they are several times quicker than arrays.
    count = world.actions.size
    taken = list(given(world.actions, environment, np.arange(count)))
    table = [[0.0] * count for _ in range(state_of.count)]
    visits = [[0] * count for _ in range(state_of.count)]
    random = np.random.default_rng(seed)
    coins: list[float] = []
    choices: list[int] = []
    episode = step = length = 0
    state = state_of(reset(world, environment, seed_of(seed, 0)))
    while (share := done(step)) < 1:
        if not coins:
            coins, choices = random.random(DRAWN).tolist(), random.integers(count, size=DRAWN).tolist()
        values, action, coin = table[state], choices.pop(), coins.pop()
        if coin >= max(1 - share / EXPLORING, LEAST_RANDOM):
            highest = max(values)
            # Where several are as good, as at first, any of them.
            if values[action] < highest:
                action = values.index(highest)
        try:
            observation, reward, terminated, truncated, _ = environment.step(taken[action])
            gained = earned(reward)
        except Exception as error:
            raise failed(world, seed_of(seed, episode), length, error) from error
        following = state_of(observation)
        visits[state][action] += 1
        rate = max(visits[state][action] ** -FADING, LEAST_RATE)
        target = gained + (0.0 if terminated else DISCOUNT * max(table[following]))
        values[action] += rate * (target - values[action])
        state, step, length = following, step + 1, length + 1
        if terminated or truncated:
            episode, length = episode + 1, 0
            state = state_of(reset(world, environment, seed_of(seed, episode)))
    return table


def random_policy(world: World, seed: int) -> Policy:
    """Any action as likely as any other; of a number without bounds, standard normal ones."""
    random, actions = np.random.default_rng(seed), world.actions
    if actions.kind == "discrete":

        def choose(observations: Observations) -> Array:
            return random.integers(actions.size, size=_rows(observations))

        return choose
    bounded = np.isfinite(actions.low) & np.isfinite(actions.high)

    def draw(observations: Observations) -> Array:
        shape = (_rows(observations), actions.size)
        return np.where(bounded, random.uniform(-1, 1, shape), random.normal(size=shape)).astype(np.float32)

    return draw


def _rows(observations: Observations) -> int:
    return len(next(iter(observations.values())))
