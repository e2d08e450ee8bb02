"""Copies of an environment that are stepped one after the other in this process; `workers` has them step at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lamina.environments import Actions, Array
from lamina.environments.opening import close


@dataclass(frozen=True)
class Replayed:
    """An episode that was brought back to its middle.

    Attributes:
        seen: the last observations, the newest last; the first one of the episode where there are no others.
        total: sum of the rewards.
        steps: that were taken.
        going_on: the episode has not ended.
        error: what the environment raised, or None.
    """

    seen: tuple[Any, ...]
    total: float
    steps: int
    going_on: bool
    error: Exception | None = None


class Copies(Protocol):
    """Copies of an environment, numbered from 0.

    Each method appends what the copies give to `results`, in the order in which they are named, always the same one as
    that of their numbers. What a copy raises is raised: `results` then holds what those before it gave.
    """

    def reset(self, seeds: Mapping[int, int], results: list[Any]) -> None:
        """Begin an episode in these copies, each with its seed; appends the first observations."""
        ...

    def step(self, running: Sequence[int], actions: Array, results: list[Any]) -> None:
        """One step in each of these copies; appends what `step` of Gymnasium gives, the last of it (info) or None.

        Args:
            actions: as a policy gives them, one for each of `running`.
        """
        ...

    def replay(self, episodes: Mapping[int, tuple[int, Array]], keep: int, results: list[Replayed]) -> None:
        """Begin an episode in these copies and repeat its actions: (seed, actions as a policy gave them) of each.

        Args:
            keep: how many of the last observations are wanted.
        """
        ...

    def close(self) -> None:
        """Give back what the copies hold."""
        ...


class Here:
    """Copies in this process.

    Args:
        environments: fresh ones.
        actions: what can be done.
    """

    def __init__(self, environments: Sequence[Any], actions: Actions) -> None:
        self._environments, self._actions = environments, actions
        self._steps = [environment.step for environment in environments]

    def reset(self, seeds: Mapping[int, int], results: list[Any]) -> None:
        for copy, seed in seeds.items():
            observation, _ = self._environments[copy].reset(seed=seed)
            results.append(observation)

    def step(self, running: Sequence[int], actions: Array, results: list[Any]) -> None:
        steps = self._steps
        for copy, action in zip(running, given(self._actions, self._environments[0], actions), strict=True):
            results.append(steps[copy](action))

    def replay(self, episodes: Mapping[int, tuple[int, Array]], keep: int, results: list[Replayed]) -> None:
        results.extend(self._replayed(copy, seed, actions, keep) for copy, (seed, actions) in episodes.items())

    def _replayed(self, copy: int, seed: int, actions: Array, keep: int) -> Replayed:
        seen: deque[Any] = deque(maxlen=keep)
        total, steps, over = 0.0, 0, False
        try:
            observation, _ = self._environments[copy].reset(seed=seed)
            # An environment may write to what it has given.
            seen.append(deepcopy(observation))
            for action in given(self._actions, self._environments[copy], actions):
                if over:
                    break
                observation, reward, terminated, truncated, _ = self._steps[copy](action)
                seen.append(deepcopy(observation))
                total, steps, over = total + float(reward), steps + 1, bool(terminated or truncated)
        except Exception as error:  # noqa: BLE001
            return Replayed(tuple(seen), total, steps, not over, error)
        return Replayed(tuple(seen), total, steps, not over)

    def close(self) -> None:
        for environment in self._environments:
            close(environment)


def given(known: Actions, environment: Any, actions: Array) -> Array:
    """A policy's actions [copy] or [copy, size] as the environment's step wants them, one each."""
    taken = known.taken(actions)
    if known.sizes:
        space = environment.action_space
        return taken.reshape(len(actions), *space.shape).astype(space.dtype)
    if known.kind == "continuous":
        space = environment.action_space
        taken = taken.reshape(len(actions), *space.shape)
        if taken.dtype != space.dtype:
            # What is the bound in float32 may lie beyond it in float64, and the other way round.
            taken = np.clip(taken.astype(space.dtype), space.low, space.high)
    return taken
