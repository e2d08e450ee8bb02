"""In which processes the copies of an environment are stepped: in worker processes where these were clearly faster."""

from __future__ import annotations

import time
from contextlib import closing
from statistics import median

import numpy as np

from lamina.environments import COPY_SEED, Observations, World, use_seed
from lamina.environments.tabular import random_policy
from lamina.environments.vector import Stepped, Vector
from lamina.environments.workers import Workers
from lamina.errors import InputError

LEAST_STEP = 0.0005
"""Seconds of a step below which nothing is tried. A message to a worker and its answer took 0.07 ms where observations
were a few numbers, 0.1 ms with pictures of 100 kB (on two cores of a server): several times that is clearly more."""
LEAST_STEPPING = 20.0
"""Seconds of stepping in one process below which the workers would hardly earn what starting them costs: a second or
more, on trial and for training."""
FASTER = 1.2
"""How much faster worker processes must be."""
MOST, SECONDS = 20, 2.0
"""Steps of all copies on trial, and after how long there are no more."""
TRIED = 0.1
"""The most of the stepping that one step of all copies on trial, here and in workers, may take."""


def fewest(copies: int, cores: int) -> int:
    """The processes in which the largest part is as small as the cores allow.

    >>> fewest(8, 2), fewest(8, 3), fewest(4, 3), fewest(4, 64)
    (2, 3, 2, 4)
    """
    return -(-copies // -(-copies // min(copies, cores)))


def workers_for(world: World, seed: int, *, copies: int, cores: int, step: float, stepping: float) -> tuple[int, str]:
    """(Worker processes, 0 for none; why).

    Args:
        seed: of the run.
        copies: of the environment, that experience is gathered from.
        step: seconds of one step, about: tells slow environments from quick ones without a trial.
        stepping: seconds of stepping in one process that training will take, about.
    """
    workers = fewest(copies, cores)
    if workers < 2:
        return 0, f"0: there is one {'core to use' if cores < 2 else 'copy of the environment'}"
    if step < LEAST_STEP:
        return 0, f"0: a step of {step * 1000:.2g} ms is too short to be worth a message to another process"
    if stepping < LEAST_STEPPING:
        return 0, "0: so few steps take less time than starting worker processes"
    if 2 * copies * step > TRIED * stepping:
        return 0, "0: so few steps can be taken that none are left for a trial of worker processes"
    try:
        found = compared(world, copies, workers, use_seed(seed, COPY_SEED))
    except InputError as error:
        return 0, f"0: {error.what}"
    if found is None:
        # What only this process has set, or a simulator that is no function of its seed and its actions.
        return 0, "0: in worker processes the same actions had other consequences"
    here, there = found
    told = f"a step of all {copies} copies took {here * 1000:.3g} ms in one process, {there * 1000:.3g} ms in {workers}"
    number = workers if here > FASTER * there else 0
    return number, f"{number}: {told}"


def compared(world: World, copies: int, workers: int, seed: int) -> tuple[float, float] | None:
    """Seconds of a step of all copies in this process, and in workers, with random actions; None if they differ.

    Raises:
        InputError: the environment failed, or a worker cannot open it.
    """
    policy = random_policy(world, seed)
    times: list[list[float]] = []
    with closing(Workers(world, workers)) as processes, closing(Vector(world, copies, seed)) as here:
        there, begin = Vector(world, copies, seed, processes), time.perf_counter()
        while len(times) < MOST and (not times or time.perf_counter() - begin < SECONDS):
            if not _alike(here.observations, there.observations):
                return None
            actions, found, took = policy(here.observations), [], []
            for vector in (here, there):
                start = time.perf_counter()
                found.append(vector.step(actions))
                took.append(time.perf_counter() - start)
            if not _same(*found):
                return None
            times.append(took)
    one, other = zip(*times, strict=True)
    return median(one), median(other)


def _same(one: Stepped, other: Stepped) -> bool:
    ends = np.array_equal(one.terminated, other.terminated) and np.array_equal(one.truncated, other.truncated)
    return ends and np.array_equal(one.reward, other.reward) and _alike(one.following, other.following)


def _alike(one: Observations, other: Observations) -> bool:
    return all(np.array_equal(array, other[name]) for name, array in one.items())
