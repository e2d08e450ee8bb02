"""Experience of a policy, collected as it learns: a source whose batches are rollouts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from lamina.environments import Array, Observations
from lamina.learn.batch import Batch

if TYPE_CHECKING:
    from lamina.environments.vector import Stepped, Vector

RECENT = 100
"""Episodes that `recent_return` looks back on."""


class Player(Protocol):
    """Who plays; learns between rollouts only."""

    def explore(self, observations: Observations) -> Mapping[str, Array]:
        """Draws from the policy, "action" as `Actions` counts them, and what else of them learning wants to know."""
        ...

    def values(self, observations: Observations) -> Array:
        """float32 [row]: the discounted rewards that are expected from here on."""
        ...


class Collector:
    """Plays `horizon` steps in all copies of an environment for each batch.

    A batch has horizon * copies rows, time-major: first all copies at the first step. Its targets, each [row]:

    - "action" int64, or float32 [row, size], and whatever else `Player.explore` says;
    - "reward" float32; "ended" bool, terminated or truncated;
    - "value" float32, of the observation; "next_value" float32, of what followed the action: 0 where the episode
      terminated; where it was merely cut off, the value of its last observation, as the future would have gone on
      (Pardo et al. 2018, "Time limits in reinforcement learning").

    The policy must not change while a batch is collected, so values are asked for once, for all steps.

    Args:
        vector: copies of the environment.
        player: chooses actions and judges observations.
        horizon: steps of each copy in a batch.
    """

    def __init__(self, vector: Vector, player: Player, horizon: int) -> None:
        self.vector, self.player, self.horizon = vector, player, horizon
        self._recent: deque[float] = deque(maxlen=RECENT)

    @property
    def rows(self) -> int:
        """Steps in the environment for a batch, over all copies."""
        return self.horizon * self.vector.number

    @property
    def recent_return(self) -> float | None:
        """Mean return of the last episodes that ended; None before the first one."""
        return sum(self._recent) / len(self._recent) if self._recent else None

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """(step, batch) from `start`, for ever; each is collected when it is asked for."""
        step = start
        while True:
            yield step, self._collect(step * self.rows)
            step += 1

    def _collect(self, first_row: int) -> Batch:
        vector, explore = self.vector, self.player.explore
        observed: list[Observations] = []
        chosen: list[Mapping[str, Array]] = []
        stepped: list[Stepped] = []
        for _ in range(self.horizon):
            observed.append(vector.observations)
            chosen.append(explore(vector.observations))
            stepped.append(vector.step(chosen[-1]["action"]))
        self._recent.extend(episode[0] for step in stepped for episode in step.ended)

        inputs = {name: np.concatenate([step[name] for step in observed]) for name in observed[0]}
        value = self.player.values(inputs)
        targets = {
            **{name: np.concatenate([step[name] for step in chosen]) for name in chosen[0]},
            "reward": np.concatenate([step.reward for step in stepped]),
            "ended": np.concatenate([step.terminated | step.truncated for step in stepped]),
            "value": value,
            "next_value": self._next_value(value, stepped),
        }
        return Batch(
            rows=torch.arange(first_row, first_row + self.rows),
            inputs={name: torch.from_numpy(array) for name, array in inputs.items()},
            targets={name: torch.from_numpy(array) for name, array in targets.items()},
        )

    def _next_value(self, value: Array, stepped: list[Stepped]) -> Array:
        """float32 [row]: the value of what followed each action."""
        terminated = np.stack([step.terminated for step in stepped])
        cut = np.stack([step.truncated for step in stepped]) & ~terminated
        # The next row of a copy is the next episode's first where one ended: those last observations are judged apart.
        last = {
            name: np.concatenate([now, *(step.following[name][at] for step, at in zip(stepped, cut, strict=True))])
            for name, now in self.vector.observations.items()
        } if cut.any() else self.vector.observations  # fmt: skip
        judged = self.player.values(last)
        number = self.vector.number
        following = np.concatenate([value[number:], judged[:number]]).reshape(cut.shape)
        following[cut] = judged[number:]
        following[terminated] = 0.0
        return following.reshape(-1)

    def state(self) -> dict[str, Any]:
        """The environments, and the returns of recent episodes; a batch is learned from before it is saved."""
        return {"vector": self.vector.state(), "recent": list(self._recent)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.vector.restore(state["vector"])
        self._recent = deque(state["recent"], maxlen=RECENT)
