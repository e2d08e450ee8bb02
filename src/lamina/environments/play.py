"""Whole episodes with any policy, for a fair score; and one of them as a film."""

from __future__ import annotations

import io
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.environments import Array, Observations, Policy, World
from lamina.environments.copies import Copies, Here
from lamina.environments.opening import close
from lamina.environments.spaces import raw
from lamina.environments.vector import MOST_STEPS, Sight, beginnings, earned, failed, opened, placed, seed_of
from lamina.environments.workers import Workers
from lamina.errors import InputError, LaminaError, MissingDependencyError

FPS = 30.0
"""Where the environment does not say how many pictures a second it draws."""
SHORTEST = 0.02
"""Seconds that a picture of a GIF is shown at least: browsers slow down shorter ones."""
LONGEST = 12.0
"""Seconds that a film lasts at most; longer episodes run faster."""
COLORS = 128


@dataclass(frozen=True)
class Played:
    """What a policy reached.

    Attributes:
        returns: float64 [episode], sums of the rewards.
        lengths: int64 [episode], steps.
        cut: episodes that were ended after `most_steps`.
        observations: the first ones that the policy was shown, [row, ...] by field.
        raw: the values by column that they were encoded from, [row] each.
    """

    returns: Array
    lengths: Array
    cut: int
    observations: Observations
    raw: Mapping[str, list[Any]]


def play(
    world: World,
    policy: Policy,
    episodes: int,
    seed: int,
    *,
    most_steps: int = MOST_STEPS,
    copies: int = 8,
    keep: int = 0,
    seconds: float = math.inf,
    least: int = 1,
    workers: Workers | None = None,
) -> Played:
    """Play `episodes` episodes to their ends, or the first ones of them that there is time for.

    Which episodes are played is settled before the first step: number i is reset with the seed of (seed, i). A copy
    that has ended one begins the next number. So short episodes are no more likely to be counted than long ones, as
    they would be if the first ones to end were, and of more episodes with one seed the first are the same.

    Args:
        policy: asked for the actions of all running copies at once, of which there are fewer at the end.
        most_steps: an episode is ended after so many.
        copies: of the environment.
        keep: observations to keep.
        seconds: no episode is begun that would not end within them at the pace so far.
        least: so many are played in any case.
        workers: processes that step the copies; None: this process does. The episodes are the same.

    Raises:
        InputError: the environment failed.
    """
    # What is begun is played to its end, so no more copies than are played in any case where the time is limited.
    number = min(copies, episodes, least if seconds < math.inf else episodes)
    playing = opened(world, number, workers)
    try:
        return _played(world, policy, playing, number, episodes, seed, most_steps, keep, _Time(seconds, least))
    finally:
        playing.close()


class _Time:
    """Is there time for another episode?"""

    def __init__(self, seconds: float, least: int) -> None:
        self.seconds, self.least, self._begin = seconds, least, time.monotonic()

    def allows(self, begun: int, running: int) -> bool:
        """One more, after `begun` episodes of which `running` have not ended; those count as half played."""
        if begun < self.least or self.seconds == math.inf:
            return True
        return (time.monotonic() - self._begin) * (begun + 1) <= self.seconds * (begun - running / 2)


def _played(
    world: World,
    policy: Policy,
    copies: Copies,
    number: int,
    episodes: int,
    seed: int,
    most_steps: int,
    keep: int,
    time_left: _Time,
) -> Played:
    returns, lengths = np.zeros(episodes), np.zeros(episodes, np.int64)
    sight, kept, cut = Sight(world, number), _Kept(world, keep), 0
    running, playing, begun = list(range(number)), list(range(number)), number

    def begin(fresh: Sequence[int]) -> list[Any]:
        observations = beginnings(world, copies, {copy: seed_of(seed, playing[copy]) for copy in fresh})
        for copy, observation in zip(fresh, observations, strict=True):
            kept.first(copy, observation)
        return observations

    shown = sight.first(running, begin(running)) if running else {}
    while running:
        kept.keep(running, shown)
        observed, ended = [], []
        outcomes, error = _stepped(copies, running, np.asarray(policy(shown)))
        if error is not None:
            episode = playing[running[len(outcomes)]]
            raise failed(world, seed_of(seed, episode), int(lengths[episode]), error) from error
        for place, (copy, (observation, reward, over)) in enumerate(zip(running, outcomes, strict=True)):
            episode = playing[copy]
            observed.append(observation)
            kept.then(copy, observation)
            returns[episode] += reward
            lengths[episode] += 1
            if over or lengths[episode] >= most_steps:
                cut += not over
                ended.append(place)
        shown = sight.then(running, observed)
        again: list[int] = []
        for place in ended:
            if begun < episodes and time_left.allows(begun, len(running) - len(ended) + len(again)):
                playing[running[place]] = begun
                begun += 1
                again.append(place)
        if again:
            fresh = [running[place] for place in again]
            shown = placed(shown, again, sight.first(fresh, begin(fresh)))
        if len(again) < len(ended):
            going_on = [place for place in range(len(running)) if place not in ended or place in again]
            running = [running[place] for place in going_on]
            shown = {name: array[going_on] for name, array in shown.items()}
    return Played(returns[:begun], lengths[:begun], cut, kept.observations(), kept.values)


def _stepped(
    copies: Copies, running: Sequence[int], actions: Array
) -> tuple[list[tuple[Any, float, bool]], Exception | None]:
    """(Observation, reward and whether it is over, of each copy up to the first that failed; what that one raised)."""
    results: list[Any] = []
    outcomes: list[tuple[Any, float, bool]] = []
    error = None
    try:
        copies.step(running, actions, results)
    except Exception as raised:  # noqa: BLE001
        error = raised
    try:
        for observation, reward, terminated, truncated, _ in results:
            outcomes.append((observation, earned(reward), bool(terminated or truncated)))
    except Exception as raised:  # noqa: BLE001
        error = raised
    # Where each has answered and something is wrong all the same, the last one is named.
    return outcomes[: len(running) - 1] if error else outcomes, error


class _Kept:
    """The first observations that a policy is shown, encoded and raw."""

    def __init__(self, world: World, most: int) -> None:
        self.world, self.most = world, most
        self.values: dict[str, list[Any]] = {field.columns[0]: [] for field in world.fields}
        self._encoded: list[Observations] = []
        self._recent: dict[int, deque[Any]] = {}

    @property
    def _full(self) -> bool:
        return len(self._encoded) >= self.most

    def first(self, copy: int, observation: Any) -> None:
        self._recent[copy] = deque(maxlen=self.world.history)
        self.then(copy, observation)

    def then(self, copy: int, observation: Any) -> None:
        if not self._full:
            # An environment may write to what it has given.
            self._recent[copy].append(deepcopy(observation))

    def keep(self, copies: Sequence[int], shown: Observations) -> None:
        for place, copy in enumerate(copies[: self.most - len(self._encoded)]):
            self._encoded.append({name: array[place] for name, array in shown.items()})
            window = list(self._recent[copy])
            for column, value in raw(self.world, window if self.world.history > 1 else window[0]).items():
                self.values[column].append(value)

    def observations(self) -> Observations:
        names = self._encoded[0] if self._encoded else ()
        return {name: np.stack([row[name] for row in self._encoded]) for name in names}


def film(
    world: World,
    policy: Policy,
    seed: int,
    *,
    width: int = 240,
    most_frames: int = 240,
    seconds: float = 30.0,
    tell: Callable[[str], None] | None = None,
) -> bytes | None:
    """A GIF of the first episode that `play` plays with this seed; None where the environment draws no pictures.

    Args:
        width: of the pictures, in pixels.
        most_frames: a longer episode is shown in larger steps.
        seconds: time for playing and drawing; what comes later in the episode is left out.
        tell: is told why there is no film.
    """
    try:
        frames, pause = _filmed(world, policy, seed, most_frames, seconds)
        return _gif(frames, width, pause)
    except LaminaError as error:
        if tell:
            tell(f"no film: {error.what}")
        return None


def _filmed(world: World, policy: Policy, seed: int, most: int, seconds: float) -> tuple[list[Array], float]:
    """Pictures of an episode, evenly spaced, and the seconds from one to the next."""
    begin = time.monotonic()
    with _without_screen():
        environment = world.make("rgb_array")
        try:
            sight, copies, number = Sight(world, 1), Here([environment], world.actions), seed_of(seed, 0)
            shown = sight.first([0], beginnings(world, copies, {0: number}))
            frames, every, steps, over = [_drawn(environment, world)], 1, 0, False
            while not over and time.monotonic() - begin < seconds:
                outcomes, error = _stepped(copies, [0], np.asarray(policy(shown)))
                if error is not None:
                    raise failed(world, number, steps, error) from error
                observation, _, over = outcomes[0]
                shown = sight.then([0], [observation])
                steps += 1
                if steps % every == 0 or over:
                    frames.append(_drawn(environment, world))
                if len(frames) > most and not over:
                    frames, every = frames[::2], every * 2
        finally:
            close(environment)
    rate = float((getattr(environment, "metadata", None) or {}).get("render_fps") or FPS)
    return frames, min(max(every / rate, SHORTEST), max(LONGEST / len(frames), SHORTEST))


def _drawn(environment: Any, world: World) -> Array:
    """uint8 [height, width, 3].

    Raises:
        InputError: the environment cannot be drawn.
    """
    try:
        picture = environment.render()
    except Exception as error:
        raise _undrawn(world, f"{type(error).__name__}: {error}") from error
    pixels = picture[-1] if isinstance(picture, list) and picture else picture
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise _undrawn(world, f"render() gives {type(picture).__name__}, no array [height, width, 3]")
    return pixels.astype(np.uint8)


def _undrawn(world: World, reason: str) -> InputError:
    return InputError(
        f"The environment cannot be drawn ({reason.rstrip('.')}).",
        where=world.name,
        fix='Let it take render_mode="rgb_array" and its render give pictures.',
    )


@contextmanager
def _without_screen() -> Iterator[None]:
    """Pygame then draws in memory, and does not greet."""
    wanted = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _gif(frames: Sequence[Array], width: int, pause: float) -> bytes:
    try:
        from PIL import Image
    except ImportError:
        raise MissingDependencyError("pillow", "A film", "images") from None
    pictures = []
    for frame in frames:
        height = max(1, round(frame.shape[0] * width / frame.shape[1]))
        picture = Image.fromarray(np.ascontiguousarray(frame)).resize((width, height), Image.Resampling.BILINEAR)
        pictures.append(picture.quantize(COLORS, dither=Image.Dither.NONE))
    target = io.BytesIO()
    first, *others = pictures
    # The last picture stays for a second, so that one sees how it ended.
    pauses = [round(1000 * pause)] * len(others) + [1000]
    first.save(target, "GIF", save_all=True, append_images=others, duration=pauses, loop=0)
    return target.getvalue()
