"""Environments to act in: what is observed, what can be done, and how an environment is opened.

An environment is anything with the interface of Gymnasium (`reset(seed=)`, `step(action)`, two spaces). Here it becomes
what the rest of Lamina knows: observations are fields with a modality and an encoder, as columns of a table are, and
actions are what the task "control" answers. NumPy only; Gymnasium is imported where an environment is opened.

- `opening` finds it by its name;
- `spaces` turns its spaces into a `World`;
- `vector` runs several copies side by side: `copies` in this process, `workers` in processes of their own;
- `play` plays whole episodes with any policy, and films one;
- `tabular` is the baseline where states are few.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lamina.data.schema import Field

if TYPE_CHECKING:
    from gymnasium import Env

    from lamina.modalities import Encoder

Array = np.ndarray[Any, Any]
Observations = Mapping[str, Array]
"""Encoded observations by field name, [environment, ...]; as `Batch.inputs`, but in NumPy."""

Policy = Callable[[Observations], Array]
"""From encoded observations to actions as `Actions` counts them: int64 [environment] or float32 [environment, size]."""

COPY_SEED, VALIDATION_SEED, TEST_SEED, LATER_SEED = 1, 2, 3, 4
"""Training, choosing, testing and playing with the sealed policy never share an episode, whatever their seeds."""


@dataclass(frozen=True)
class Actions:
    """What can be done.

    A policy counts discrete actions from 0 and gives continuous ones between -1 and 1 for each axis that is
    bounded; `taken` makes of them what the environment wants.

    Attributes:
        kind: one of `size` choices, or `size` numbers at once.
        start: the environment's number of the first choice.
        low, high: bounds of each number; infinite where there is none.
        sizes: where several choices are made at once, among how many each; a policy then chooses one of all their
            `size` combinations.
        starts: the environment's numbers of the first choice of each.
    """

    kind: Literal["discrete", "continuous"]
    size: int
    start: int = 0
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    sizes: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()

    def taken(self, actions: Array) -> Array:
        """A policy's actions in the environment's own numbers; beyond the bounds is clipped."""
        if self.sizes:
            parts = np.unravel_index(np.asarray(actions, np.int64), self.sizes)
            return np.stack(parts, axis=1) + np.array(self.starts, np.int64)
        if self.kind == "discrete":
            return np.asarray(actions, np.int64) + self.start
        low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
        bounded = np.isfinite(low) & np.isfinite(high)
        # Where a side is open the policy's number is the action itself.
        least, most = np.where(bounded, low, -1), np.where(bounded, high, 1)
        scaled = np.asarray(actions, np.float32) * ((most - least) / 2) + (most + least) / 2
        return np.clip(scaled, low, high).astype(np.float32)


@dataclass(frozen=True)
class World:
    """An environment as the five steps see it.

    Attributes:
        name: as the user gave it, e.g. "gym:CartPole-v1".
        make: opens a fresh copy; with a render mode ("rgb_array") where pictures are wanted.
        fields: what is observed, in order: modality "vector", "category", "frames", or, with a history, "series".
        encoders: by field name; the very code that the sealed policy runs.
        actions: what can be done.
        history: how many observations, the newest last, a policy is shown at once.
        longest: steps after which an episode is cut off; 0 for never.
        solved: the mean return at which its makers call it solved, or None.
        reach: by field of numbers, the standard deviation of each if it came equally often from anywhere within its
            bounds; infinite where it has none.
        base: a folder whose modules can be imported too, for who opens it by its name again.
    """

    name: str
    make: Callable[[str | None], Env[Any, Any]]
    fields: tuple[Field, ...]
    encoders: Mapping[str, Encoder]
    actions: Actions
    history: int = 1
    longest: int = 0
    solved: float | None = None
    reach: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    base: Path | None = None


def use_seed(seed: int, what: int) -> int:
    """A seed for one use of the environment, such as `TEST_SEED`."""
    return seed * 16 + what


def is_environment(data: Any) -> bool:
    """Does the user's DATA name an environment: "gym:ID", or "module:factory" of an importable module?"""
    if not isinstance(data, str):
        return False
    head, colon, rest = data.partition(":")
    if not colon or not rest or rest.startswith("//"):
        return False
    if head == "gym":
        return True
    return all(part.isidentifier() for part in head.split(".")) and rest.isidentifier() and len(head) > 1
