"""Several copies of an environment, stepped side by side, that go on exactly where they were stopped."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.environments import Array, Observations, World
from lamina.environments.copies import Copies, Here, Replayed
from lamina.environments.spaces import gather, is_windowed, show
from lamina.environments.workers import Workers
from lamina.errors import InputError

MOST_STEPS = 27_000
"""Of an episode; half an hour of a game at 15 steps a second (Machado et al. 2018)."""
FORGET = 1024
"""Steps of which the actions are kept though no running episode needs them."""


@dataclass(frozen=True)
class Stepped:
    """What followed the actions.

    Attributes:
        reward: float32 [copy].
        terminated: bool [copy]; the episode came to its end.
        truncated: bool [copy]; the episode was cut off, which says nothing of what would have followed: a time limit
            is a truncation, never a termination (Pardo et al. 2018, "Time limits in reinforcement learning").
        following: what was observed then, by field; of an ended episode its last observation, not the next one's first.
        ended: (return, length) of the episodes that ended in this step.
    """

    reward: Array
    terminated: Array
    truncated: Array
    following: Observations
    ended: tuple[tuple[float, int], ...]


class Sight:
    """What the policy is shown in each of several copies: with a history, windows of their last observations."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self._windows: dict[str, Array] = {}

    def first(self, copies: Sequence[int], observations: Sequence[Any]) -> Observations:
        """Encoded [copy, ...] after a reset of these copies; a window is filled with the first observation."""
        gathered = gather(self.world, observations)
        if self.world.history > 1:
            self._see(copies, {name: _repeated(array, self.world.history) for name, array in gathered.items()})
        return self._shown(copies, gathered)

    def then(self, copies: Sequence[int], observations: Sequence[Any]) -> Observations:
        """Encoded [copy, ...] after a step of these copies."""
        gathered = gather(self.world, observations)
        if self.world.history > 1:
            seen = {
                name: np.concatenate([self._windows[name][copies, array.shape[1] :], array], axis=1)
                for name, array in gathered.items()
                if is_windowed(self.world, name)
            }
            self._see(copies, seen)
        return self._shown(copies, gathered)

    def _see(self, copies: Sequence[int], windows: Mapping[str, Array]) -> None:
        for name, window in windows.items():
            if is_windowed(self.world, name):
                if name not in self._windows:
                    self._windows[name] = np.zeros((self.number, *window.shape[1:]), window.dtype)
                self._windows[name][copies] = window

    def _shown(self, copies: Sequence[int], gathered: Mapping[str, Array]) -> Observations:
        seen = {name: self._windows[name][copies] if name in self._windows else gathered[name] for name in gathered}
        return show(self.world, seen)


class Vector:
    """Several copies of an environment, stepped side by side; each episode is a function of its seed and its actions.

    Every episode is reset with a seed of its own, drawn from (seed, copy, number of the episode). So a copy is brought
    back to the middle of an episode by its actions since then; where that fails, as the environment is not such a
    function, it begins its next episode.

    Args:
        world: what to open.
        number: how many copies.
        seed: of all episodes.
        workers: processes that step them; None: this process does. The episodes are the same.

    Attributes:
        observations: encoded, [copy, ...] by field; new arrays after each step, never written to again.
        exact: False once an episode could not be brought back.
    """

    def __init__(self, world: World, number: int, seed: int, workers: Workers | None = None) -> None:
        self.world, self.number, self.seed = world, number, seed
        self.exact = True
        self._all = list(range(number))
        self._copies = opened(world, number, workers)
        self._sight = Sight(world, number)
        self._episodes = [0] * number
        self._returns = np.zeros(number)
        self._lengths = np.zeros(number, np.int64)
        # Of all copies at once, as the policy gave them, back to the first step of the longest running episode.
        self._actions: list[Array] = []
        try:
            self.observations: Observations = self._sight.first(self._all, self._reset(self._all))
        except BaseException:
            self.close()
            raise

    def step(self, actions: Array) -> Stepped:
        """One step in every copy; an ended one is reset by itself, and one of `MOST_STEPS` steps is cut off.

        Args:
            actions: as `lamina.environments.Actions` counts them.

        Raises:
            InputError: the environment failed, or gave a reward that is not finite.
        """
        # A copy, since they are kept: the policy may write to its array again.
        actions = np.array(actions)
        if len(actions) != self.number:
            raise ValueError(f"{len(actions)} actions for {self.number} copies")
        results: list[tuple[Any, ...]] = []
        try:
            self._copies.step(self._all, actions, results)
            observed, rewards, ends, cuts, _ = zip(*results, strict=True)
            exact = np.array(rewards, np.float64).reshape(self.number)
        except Exception as error:
            raise self._failed(min(len(results), self.number - 1), error) from error
        terminated = np.array(ends, bool)
        over = terminated | np.array(cuts, bool)
        if not np.isfinite(exact).all():
            wrong = int(np.argmin(np.isfinite(exact)))
            raise self._failed(wrong, ValueError(f"a reward of {exact[wrong]}"))
        following = self._sight.then(self._all, observed)
        self.observations = following
        self._actions.append(actions)
        self._returns += exact
        self._lengths += 1
        # Without an end the actions since the reset would pile up, and what is scored would never be learned from.
        over |= self._lengths >= MOST_STEPS
        ended: tuple[tuple[float, int], ...] = ()
        if over.any():
            places = np.flatnonzero(over)
            ended = tuple(zip(self._returns[places].tolist(), self._lengths[places].tolist(), strict=True))
            self._begin_next(places.tolist())
        return Stepped(exact.astype(np.float32), terminated, over & ~terminated, following, ended)

    def state(self) -> dict[str, Any]:
        """As JSON: the episodes, their actions so far, and a digest of what is observed now."""
        return {
            "episodes": list(self._episodes),
            "actions": [self._since_reset(copy) for copy in self._all],
            "returns": self._returns.tolist(),
            "observed": [_digest(self.observations, copy) for copy in self._all],
            "exact": self.exact,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Bring every copy back to where it was, by its actions."""
        if len(state["episodes"]) != self.number:
            raise InputError(
                f"The run has {len(state['episodes'])} copies of the environment, not {self.number}.",
                where=self.world.name,
                fix="Go on with as many copies as before.",
            )
        self.exact = bool(state["exact"])
        self._episodes = [int(episode) for episode in state["episodes"]]
        self._returns[:], self._lengths[:] = 0, 0
        kind = np.int64 if self.world.actions.kind == "discrete" else np.float32
        # The list of a copy that has not acted since its reset does not tell how many numbers an action has.
        axes = () if self.world.actions.kind == "discrete" else (self.world.actions.size,)
        known = [np.array(actions, kind).reshape(-1, *axes) for actions in state["actions"]]
        lost: list[int] = []
        rows: list[Observations] = []
        replayed: list[Replayed] = []
        episodes = {copy: (self._seed_of(copy), actions) for copy, actions in enumerate(known)}
        self._copies.replay(episodes, self.world.history, replayed)
        for copy, found in enumerate(replayed):
            shown = self._seen_again(copy, found)
            rows.append(shown)
            same = found.going_on and _digest(shown, 0) == state["observed"][copy]
            if not same or self._returns[copy] != state["returns"][copy]:
                lost.append(copy)
        self.observations = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        together = np.zeros((max(map(len, known)), self.number, *axes), kind)
        for copy, actions in enumerate(known):
            if len(actions):
                together[-len(actions) :, copy] = actions
        self._actions = list(together)
        if lost:
            self.exact = False
            self._begin_next(lost)

    @property
    def lengths(self) -> Array:
        """int64 [copy]: steps of the running episodes so far."""
        return self._lengths

    def close(self) -> None:
        """Give back what the copies hold."""
        self._copies.close()

    def _since_reset(self, copy: int) -> list[Any]:
        begin = len(self._actions) - int(self._lengths[copy])
        return [actions[copy].tolist() for actions in self._actions[begin:]]

    def _seen_again(self, copy: int, found: Replayed) -> Observations:
        """What is observed after an episode was brought back; the copy has its return and length from now on."""
        self._returns[copy], self._lengths[copy] = found.total, found.steps
        if found.error is not None:
            raise self._failed(copy, found.error) from found.error
        shown = self._sight.first([copy], [found.seen[0]])
        for observation in found.seen[1:]:
            shown = self._sight.then([copy], [observation])
        return shown

    def _begin_next(self, copies: Sequence[int]) -> None:
        for copy in copies:
            self._episodes[copy] += 1
        self._returns[copies], self._lengths[copies] = 0, 0
        # Forgotten now and then only, so that it costs nothing at each step.
        if len(self._actions) > 2 * int(self._lengths.max()) + FORGET:
            del self._actions[: len(self._actions) - int(self._lengths.max())]
        fresh = self._sight.first(copies, self._reset(copies))
        self.observations = placed(self.observations, copies, fresh)

    def _seed_of(self, copy: int) -> int:
        return seed_of(self.seed, copy, self._episodes[copy])

    def _failed(self, copy: int, error: Exception) -> InputError:
        return failed(self.world, self._seed_of(copy), int(self._lengths[copy]), error)

    def _reset(self, copies: Sequence[int]) -> list[Any]:
        return beginnings(self.world, self._copies, {copy: self._seed_of(copy) for copy in copies})


def opened(world: World, number: int, workers: Workers | None) -> Copies:
    """So many fresh copies, in worker processes or in this one."""
    if workers is not None:
        return workers.copies(number)
    return Here([world.make(None) for _ in range(number)], world.actions)


def beginnings(world: World, copies: Copies, seeds: Mapping[int, int]) -> list[Any]:
    """The first observations of the episodes of these seeds, by copy.

    Raises:
        InputError: the environment failed.
    """
    observations: list[Any] = []
    try:
        copies.reset(seeds, observations)
    except Exception as error:
        raise failed(world, list(seeds.values())[len(observations)], 0, error) from error
    return observations


def seed_of(*numbers: int) -> int:
    """A seed that depends on all of the numbers; below 2^31, as some environments want it."""
    return int(np.random.SeedSequence([number % 2**64 for number in numbers]).generate_state(1)[0] >> 1)


def reset(world: World, environment: Any, seed: int) -> Any:
    """The first observation of the episode of that seed."""
    try:
        observation, _ = environment.reset(seed=seed)
    except Exception as error:
        raise failed(world, seed, 0, error) from error
    return observation


def earned(reward: Any) -> float:
    """A reward as a number.

    Raises:
        ValueError: it is not finite.
    """
    number = float(reward)
    if not math.isfinite(number):
        raise ValueError(f"a reward of {number}")
    return number


def placed(observations: Observations, rows: Sequence[int], fresh: Observations) -> Observations:
    """The observations with these rows replaced; new arrays."""
    found = {name: array.copy() for name, array in observations.items()}
    for name, array in fresh.items():
        found[name][rows] = array
    return found


def failed(world: World, seed: int, steps: int, error: Exception) -> InputError:
    """What to tell where the environment's own code raised an error."""
    if isinstance(error, InputError):
        return error
    return InputError(
        f"The environment failed ({type(error).__name__}: {error}).",
        where=f"{world.name}, after {steps} steps of the episode that reset(seed={seed}) begins",
        fix="Correct its reset and step; they must answer every action of its action_space until the episode ends.",
    )


def _repeated(array: Array, history: int) -> Array:
    return np.concatenate([array] * history, axis=1) if array.ndim > 1 else array


def _digest(observations: Observations, row: int) -> str:
    found = hashlib.blake2b(digest_size=16)
    for array in observations.values():
        found.update(np.ascontiguousarray(array[row]).tobytes())
    return found.hexdigest()
