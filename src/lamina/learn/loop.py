"""The loop: batches in, steps taken; logging, evaluation, saving follow in plain sight."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from lamina.errors import LaminaError
from lamina.learn import checkpoint
from lamina.learn.batch import Batch, Source
from lamina.learn.checkpoint import Checkpoints
from lamina.learn.engine import Engine
from lamina.learn.record import Record
from lamina.learn.schedules import Schedule
from lamina.learn.threads import Threads, threads


class Learns(Protocol):
    """What the loop needs of a method."""

    optimizers: list[Optimizer]

    def update(self, batch: Batch, engine: Engine) -> Mapping[str, Tensor]: ...

    def weights(self) -> dict[str, Tensor]: ...

    def load(self, weights: Mapping[str, Tensor]) -> None: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


Evaluate = Callable[[], Mapping[str, float]]
"""Scores of the method as it is now; the first is the one that counts, higher is better."""


@dataclass
class Limits:
    """When to evaluate, save and stop.

    Attributes:
        every: steps from one evaluation to the next; 0 for only one at the end.
        patience: evaluations without a new best before training stops; 0 for never.
        most_steps: where `seconds` leave time for more than the schedule has, it is lengthened to at most so many.
        seconds: time that training may take, counted over all its processes; 0 for no limit.
        after: time that answers take after the training, at the pace at which an evaluation takes `scoring` seconds; if
            evaluations turn out slower, so will those, and training ends the earlier.
        save_seconds: at most so much work is lost when the process dies.
        log_steps: how often the loss is logged.
        keep_best: end with the weights of the best evaluation rather than the last.
        threads: the most CPU threads. Where there are any, training goes on with fewer while the machine is busy, and
            with more when it is free (`lamina.learn.threads`); 0: with as many as it began.
        shared: does other work of ours go on beside the training at the moment? Then threads do not become more.
    """

    every: int = 0
    patience: int = 0
    most_steps: int = 0
    seconds: float = 0.0
    after: float = 0.0
    scoring: float = 0.0
    save_seconds: float = 30.0
    log_steps: int = 20
    keep_best: bool = True
    threads: int = 0
    shared: Callable[[], bool] = lambda: False


@dataclass
class Status:
    """Where training stands; all of it is in the checkpoint."""

    step: int = 0
    seconds: float = 0.0
    best: float = float("-inf")
    best_step: int = -1
    waited: int = 0
    planned: int = 0
    """The most steps: what was planned, or what it may be lengthened to within the budget."""
    threads: int = 0
    """CPU threads that training goes on with, where that was changed; 0: as it began."""
    stopped: str = ""
    """Why training ended before its last step: "", "patience", "budget" or "interrupted"."""
    scores: dict[str, float] = field(default_factory=dict)


def fit(
    method: Learns,
    source: Source,
    schedule: Schedule,
    engine: Engine,
    *,
    limits: Limits | None = None,
    evaluate: Evaluate | None = None,
    record: Record | None = None,
    folder: Path | None = None,
    begin: Callable[[], None] | None = None,
) -> Status:
    """Train `method` on `source` for `schedule.steps` steps.

    With a folder that holds checkpoints, training goes on from the newest sound one, bit for bit (CPU) as if it had
    never stopped. Ctrl-C ends it after the running step, with everything saved.

    Args:
        evaluate: scores on the validation part; called every `limits.every` steps and at the end.
        record: where losses and scores are logged.
        folder: where checkpoints are kept; None keeps none.
        begin: called before the first step of a training, and not where one goes on from a checkpoint.

    Returns:
        Where training ended; the method holds the best weights (or the last, see Limits).
    """
    limits, record = limits or Limits(), record or Record(None)
    # Before the generator is put back to where a checkpoint left it.
    seed = torch.initial_seed()
    checkpoints = None if folder is None else Checkpoints(folder)
    status, best_weights = _resumed(checkpoints, method, source, schedule, engine)
    if not status.step and begin is not None:
        begin()
    if engine.team is not None:
        known = {"step": status.step, "seed": seed, "done": _done(schedule, status)}
        own = {"method": method.state(), "schedule": schedule.state(), "engine": engine.state()}
        engine.team.send(checkpoint.to_bytes({**known, **own}))
    record.go_on_from(status.step)
    run = _Run(method, source, schedule, engine, limits, evaluate, record, checkpoints, status, best_weights, seed)
    with _interruptible() as interrupted, _not_waiting_for(engine):
        run.train(interrupted)
    if limits.keep_best and run.best_weights is not None:
        method.load(run.best_weights)
    return status


@dataclass
class _Run:
    method: Learns
    source: Source
    schedule: Schedule
    engine: Engine
    limits: Limits
    evaluate: Evaluate | None
    record: Record
    checkpoints: Checkpoints | None
    status: Status
    best_weights: dict[str, Tensor] | None
    seed: int
    _threads: Threads = field(init=False)
    saved: float = field(default_factory=time.monotonic)
    _pace: float = 0.0
    """Steps a second, smoothed: one slow moment must not shorten the training."""
    _clock: float = 0.0
    _aside: float = 0.0
    """Seconds of scoring and saving: they belong to the budget, but say nothing of the machine's pace."""
    _slower: float = 1.0
    """How many times as long as expected the last evaluation took."""
    _spared: dict[str, Any] = field(init=False)

    def train(self, interrupted: threading.Event) -> None:
        status, schedule = self.status, self.schedule
        if _done(schedule, status):
            return
        status.stopped, status.planned = "", status.planned or max(schedule.steps, self.limits.most_steps)
        kept = 0 if self.limits.shared() else status.threads
        self._threads = threads(self.limits.threads, torch.get_num_threads(), kept)
        self._clock, self._spared = time.monotonic() - status.seconds, self.engine.spared()
        first = log_step = status.step
        begun = log_from = status.seconds
        team, told = self.engine.team, schedule.state()
        for step, batch in self.source.batches(status.step):
            self.engine.step, self.engine.progress = step, schedule.progress(step)
            rate = schedule.apply(step, self.method.optimizers)
            if team is not None:
                team.seed(self.seed, step)
            metrics = self.method.update(batch, self.engine)
            self._tell_memory(step + 1, len(batch))
            status.step = step + 1
            last = status.step >= schedule.steps
            looks = last or status.step % self.limits.log_steps == 0
            if looks:
                self.engine.settle()
            status.seconds = time.monotonic() - self._clock
            stepped = status.seconds - self._aside
            if self._threads.step(status.step, stepped):
                self._threads_changed()
            if step == first:
                # It compiles, traces and fetches memory besides, so it says nothing of the pace.
                begun = stepped
                if not looks:
                    log_from, log_step = stepped, status.step
            if looks:
                pace = (status.step - log_step) / max(stepped - log_from, 1e-9)
                examples = pace * len(batch.all)
                self.record.write(
                    "train", step=status.step, steps=schedule.steps, seconds=status.seconds, rate=rate,
                    examples_per_second=examples, **metrics,
                )  # fmt: skip
                log_from, log_step = stepped, status.step
                if step > first:
                    if not self._threads.disturbed:
                        self._pace = pace if self._pace == 0 else 0.7 * self._pace + 0.3 * pace
                    shared = self.limits.shared()
                    if self.limits.threads and self._threads.look(pace, status.step, stepped, shared=shared):
                        self._threads_changed()
                    share = (stepped - begun) / max(status.seconds - begun, 1e-9)
                    self._keep_budget(self._pace * share)
                    last = status.step >= schedule.steps
            if last or (self.limits.every and status.step % self.limits.every == 0):
                last = self._score() or last
            if interrupted.is_set() and not last:
                status.stopped, last = "interrupted", True
            if last or time.monotonic() - self.saved > self.limits.save_seconds:
                self._save()
            if team is not None:
                changed = schedule.state() != told
                team.send(LAST if last else json.dumps(schedule.state()).encode() if changed else b"")
                told = schedule.state()
            if last:
                return

    def _score(self) -> bool:
        """Evaluate; True if training should stop for want of progress."""
        if self.evaluate is None:
            return False
        self.engine.settle()
        begin = time.monotonic()
        scores = dict(self.evaluate())
        self._tell_memory(self.status.step, 0)
        if self.limits.scoring:
            # Half a second more on both sides: short times vary for reasons of their own.
            self._slower = max(1.0, (time.monotonic() - begin + 0.5) / (self.limits.scoring + 0.5))
        primary = next(iter(scores.values()))
        self.schedule.observe(-primary)
        # Of equals the later one is kept: its rate was lower, and few validation rows often give equal scores.
        better = primary >= self.status.best
        self.status.waited = 0 if primary > self.status.best else self.status.waited + 1
        if better:
            self.status.best, self.status.best_step, self.status.scores = primary, self.status.step, scores
            self.best_weights = {name: value.detach().clone() for name, value in self.method.weights().items()}
        self.status.seconds = time.monotonic() - self._clock
        took = self.status.seconds + self._clock - begin
        self._aside += took
        self.record.write("validation", step=self.status.step, seconds=self.status.seconds, best=better, **scores)
        self.record.write("aside", step=self.status.step, seconds=took)
        if self.limits.patience and self.status.waited >= self.limits.patience:
            self.status.stopped = "patience"
            return True
        return False

    def _tell_memory(self, step: int, rows: int) -> None:
        """Log how memory is spared, where that has changed; `rows` of a batch that is learned from."""
        spared = self.engine.spared()
        if spared != self._spared:
            self.record.write("memory", step=step, rows=rows, **spared)
            self._spared = spared

    def _threads_changed(self) -> None:
        """Remember it, and judge the pace anew."""
        self.status.threads = self._threads.number
        self._pace = 0.0
        self.record.write("threads", step=self.status.step, threads=self._threads.number)

    def _keep_budget(self, pace: float) -> None:
        """Shorten the schedule if at this pace (steps a second) the time would not suffice; undo that if it would."""
        step, steps = self.status.step, self.schedule.steps
        # What has come down to its lowest rate would learn nothing in steps that are added now.
        if not self.limits.seconds or not pace or step >= steps:
            return
        reserve = self.limits.after * (self._slower - 1)
        left = max(self.limits.seconds - reserve - self.status.seconds, 0.0)
        possible = max(min(step + int(left * pace), self.status.planned), step)
        if possible < steps * 0.97 or possible > steps * 1.1:
            self.schedule.shorten(step, possible)
            self.record.write("shortened", step=step, steps=self.schedule.steps, planned=steps)

    def _save(self) -> None:
        if self.checkpoints is None:
            return
        self.engine.settle()
        begin = time.monotonic()
        state = {
            "status": {**vars(self.status), "best": _finite(self.status.best)},
            "method": self.method.state(),
            "source": self.source.state(),
            "schedule": self.schedule.state(),
            "random": checkpoint.random_state(),
            "engine": self.engine.state(),
            "best_weights": self.best_weights,
        }
        self.checkpoints.write(self.status.step, state)
        self.saved = time.monotonic()
        self._aside += self.saved - begin


@contextmanager
def _not_waiting_for(engine: Engine) -> Iterator[None]:
    """Within, steps on an accelerator are looked at later; there is nothing to wait for on the computer's own cores."""
    asked = engine.deferred
    engine.deferred = asked or engine.device.type != "cpu"
    try:
        yield
        engine.settle()
    finally:
        engine.deferred = asked


def _finite(value: float) -> float | None:
    return None if value == float("-inf") else value


def follow(method: Learns, source: Source, schedule: Schedule, engine: Engine) -> None:
    """Take the steps that the first process of the engine's team takes in `fit`, from its state to its end.

    Raises:
        LaminaError: that process has ended before.
        NonFiniteLossError: in it, too.
    """
    team = engine.team
    assert team is not None
    state = checkpoint.from_bytes(team.receive())
    method.restore(state["method"])
    schedule.restore(state["schedule"])
    engine.restore(state["engine"])
    if state["done"]:
        return
    with _not_waiting_for(engine):
        for step, batch in source.batches(state["step"]):
            engine.step, engine.progress = step, schedule.progress(step)
            schedule.apply(step, method.optimizers)
            team.seed(state["seed"], step)
            try:
                method.update(batch, engine)
                told = team.receive()
            except LaminaError:
                # The first one may have ended for a step that is no number here, too.
                engine.settle()
                raise
            if told == LAST:
                return
            if told:
                schedule.restore(json.loads(told))


LAST = b"last"
"""What the others are told after the last step; after any other step nothing, or how the schedule has changed."""


def _done(schedule: Schedule, status: Status) -> bool:
    """Has training come to its end in an earlier process?"""
    return status.step >= schedule.steps or status.stopped == "patience"


def _resumed(
    checkpoints: Checkpoints | None, method: Learns, source: Source, schedule: Schedule, engine: Engine
) -> tuple[Status, dict[str, Tensor] | None]:
    """The newest sound checkpoint's state, put into method, source, schedule and engine; else a fresh start."""
    state = checkpoints.newest() if checkpoints else None
    if state is None:
        return Status(), None
    method.restore(state["method"])
    source.restore(state["source"])
    schedule.restore(state["schedule"])
    checkpoint.restore_random_state(state["random"])
    # Checkpoints of versions before did not keep it.
    engine.restore(state.get("engine") or engine.state())
    status = Status(
        **{**state["status"], "best": state["status"]["best"] if state["status"]["best"] is not None else float("-inf")}
    )
    return status, state["best_weights"]


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Within, the first Ctrl-C sets the event and the second one raises as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def first(number: int, frame: Any) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, first)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
