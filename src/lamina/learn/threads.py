"""How many CPU threads train fastest, on a machine that others use too.

Threads that wait for each other on cores that are taken can be ten times slower than one thread alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

FIRST_WAIT = 60.0
"""Seconds until all threads are tried for the first time; each time it takes twice as long."""
TRY_STEPS = 5
"""Steps of a try, after one to warm up."""
BETTER, WORSE, FAR_WORSE = 1.1, 0.5, 0.25
"""All threads must be so much faster than few; they are given up when the pace falls to such a share of the best, over
several looks or in a single one."""


@dataclass
class Threads:
    """Falls back from `most` to `few` threads when the pace halves, and tries all of them again now and then.

    Attributes:
        most: all that may be used.
        few: what to fall back to.
        number: in use, but for tries.
    """

    most: int
    few: int
    number: int
    _alone: float = 0.0
    """Steps a second with few threads, as last seen."""
    _smooth: float = 0.0
    _best: float = 0.0
    _tried_at: float = 0.0
    _wait: float = FIRST_WAIT
    _try: tuple[int, float] | None = None
    """Step and time at which the try that is under way began to count; a time below 0 while it warms up."""
    _disturbed: bool = False
    _shared: bool = False

    def step(self, step: int, seconds: float) -> bool:
        """After every step: end a try that is under way; True if `number` has changed.

        Args:
            step: steps taken.
            seconds: of training.
        """
        if self._try is None:
            return False
        begin, since = self._try
        if since < 0:
            self._try = step, seconds
            return False
        if step - begin < TRY_STEPS:
            return False
        self._try, self._disturbed = None, True
        if (step - begin) / max(seconds - since, 1e-9) > BETTER * self._alone:
            self._go_on_with(self.most)
            return True
        torch.set_num_threads(self.few)
        return False

    def look(self, pace: float, step: int, seconds: float, *, shared: bool = False) -> bool:
        """Now and then: fall back, or begin a try; True if `number` has changed.

        Args:
            pace: steps a second since the last look.
            shared: other work of ours is at the rest of the cores: they are left to it, and tried when it has ended.
        """
        disturbed, self._disturbed = self._disturbed or self._try is not None, False
        if self.most <= self.few or disturbed:
            return False
        ended, self._shared = self._shared and not shared, shared
        if ended:
            self._tried_at, self._wait = -math.inf, FIRST_WAIT / 2
        if self.number == self.few:
            self._alone = pace
            if not shared and seconds - self._tried_at > self._wait:
                self._tried_at, self._wait = seconds, self._wait * 2
                self._try, self._disturbed = (step, -1.0), True
                torch.set_num_threads(self.most)
            return False
        self._smooth = pace if self._smooth == 0 else 0.7 * self._smooth + 0.3 * pace
        self._best = max(self._best, self._smooth)
        if self._smooth >= WORSE * self._best and pace >= FAR_WORSE * self._best:
            return False
        self._go_on_with(self.few)
        self._tried_at = seconds
        return True

    @property
    def disturbed(self) -> bool:
        """Does the pace since the last look say nothing, because of a try?"""
        return self._disturbed or self._try is not None

    def _go_on_with(self, number: int) -> None:
        self.number = number
        torch.set_num_threads(number)
        self._smooth = self._best = 0.0


def threads(most: int, present: int, kept: int) -> Threads:
    """At the start of a training, or where it goes on.

    Args:
        most: all that may be used; 0 for no more than there are.
        present: in use now; fewer than `most` where they were measured to be faster.
        kept: what an earlier process of the training went on with; 0: as it began.
    """
    most = max(most, present)
    found = Threads(most, present if present < most else 1, kept or present)
    if kept:
        torch.set_num_threads(kept)
    return found
