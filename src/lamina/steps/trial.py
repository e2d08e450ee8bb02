"""Steps that are taken to see how they go, and leave no trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from lamina.choose import hardware
from lamina.learn import checkpoint
from lamina.learn.engine import Engine

AGREEING = 1.5
"""So many times may a ratio of paces differ from what an earlier run found."""


def agree(now: float, earlier: float) -> bool:
    """Is a ratio of paces about what an earlier run found?"""
    return earlier / AGREEING <= now <= earlier * AGREEING


class Tried(Protocol):
    """What takes steps on trial."""

    engine: Engine

    @property
    def method(self) -> Any: ...


@contextmanager
def trial(learner: Tried) -> Iterator[None]:
    """Steps that are taken in here leave no trace: the rates are 0, and method and draws are put back afterwards.

    They are computed as those at the end of training are, when networks that thaw learn as a whole: a step takes most
    time and memory then.
    """
    saved = checkpoint.pack({"method": learner.method.state(), "random": checkpoint.random_state()})
    for optimizer in learner.method.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = 0.0
    progress, learner.engine.progress = learner.engine.progress, 1.0
    try:
        with hardware.products("high"):
            yield
    finally:
        learner.engine.progress = progress
        state = checkpoint.unpack(*saved)
        learner.method.restore(state["method"])
        checkpoint.restore_random_state(state["random"])
