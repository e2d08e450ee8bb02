"""The largest useful batch that is found safely: with a clock and a memory that are made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lamina.choose import hardware
from lamina.learn.engine import Engine
from lamina.plan import OptimizerPlan, Plan, TrainingPlan
from lamina.steps.batch_size import bearable, largest_useful

GIB = 2**30


@dataclass(frozen=True)
class Source:
    batch_size: int
    rows: range = field(default=range(1_000_000))


@dataclass
class Machine:
    """A machine on which a step of so many examples takes `seconds` and `bytes`."""

    seconds: Callable[[int], float]
    bytes: Callable[[int], float] = lambda size: 0.0
    """A share of a GPU's memory, or bytes of a processor's."""
    cut: int = 2**40
    """Examples from which on the engine cuts the batch."""
    dies: int = 2**40
    """Examples from which on memory does not suffice even so."""
    now: float = 0.0
    held: float = 0.0

    def learner(self, size: int, device: str) -> Any:
        source = Source(size)
        return SimpleNamespace(source=source, engine=Engine(torch.device(device)), method=None)

    def step(self, learner: Any) -> None:
        size = learner.source.batch_size
        if size >= self.dies:
            raise torch.OutOfMemoryError("no room")
        if size >= self.cut:
            learner.engine.accumulation *= 2
        self.now += self.seconds(size)
        self.held = max(self.held, self.bytes(size))


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[Machine], None]:
    def put(machine: Machine) -> None:
        monkeypatch.setattr(hardware.time, "perf_counter", lambda: machine.now)  # type: ignore[attr-defined]
        monkeypatch.setattr(hardware, "forget_peak", lambda device: setattr(machine, "held", 0.0))
        monkeypatch.setattr(hardware, "peak_share", lambda device: machine.held)

    return put


PLAN = Plan(training=TrainingPlan(batch_size=128, epochs=10), optimizer=OptimizerPlan("adamw", 1e-3))


@pytest.mark.parametrize(
    ("machine", "size"),
    [
        (Machine(lambda size: 0.01), 1024),
        (Machine(lambda size: 0.01 + size / 10_000), 512),
        (Machine(lambda size: size / 10_000), 128),
        (Machine(lambda size: 0.01, bytes=lambda size: size / 800), 512),
        (Machine(lambda size: 0.01, dies=512), 256),
        (Machine(lambda size: 0.01, cut=256), 128),
    ],
    ids=["eight times at most", "while it pays", "does not pay", "memory is full", "no memory", "is cut"],
)
def test_a_gpu_gets_the_largest_batch_that_pays_and_is_held(
    machine: Machine, size: int, made_up: Callable[[Machine], None]
) -> None:
    made_up(machine)
    learner = machine.learner(128, "cuda")
    plan, pace, reasons = largest_useful(learner, PLAN, set(), partial(machine.step, learner), machine.seconds(128))
    assert plan.training.batch_size == learner.source.batch_size == size
    assert pace == pytest.approx(machine.seconds(size))
    assert learner.engine.accumulation == 1
    # Malladi et al. 2022: the rate of Adam follows the root.
    assert plan.optimizer.learning_rate == pytest.approx(1e-3 * (size / 128) ** 0.5, rel=0.04)
    assert set(reasons) == ({"training.batch_size", "optimizer.learning_rate"} if size > 128 else set())


def test_the_batch_stays_where_it_was_asked_for_or_enough_steps_would_not_be_left(
    made_up: Callable[[Machine], None],
) -> None:
    machine = Machine(lambda size: 0.01)
    made_up(machine)
    for fixed in ("training.batch_size", "optimizer.learning_rate"):
        learner = machine.learner(128, "cuda")
        assert largest_useful(learner, PLAN, {fixed}, partial(machine.step, learner), 0.01) == (PLAN, 0.01, {})
    assert largest_useful(machine.learner(128, "cpu"), PLAN, set(), lambda: None, 0.01) == (PLAN, 0.01, {})
    # 30 steps an epoch, and 2,000 of the whole training.
    for rows, epochs, size in ((128 * 30 * 2, 1000, 256), (128 * 2000 // 10 * 4, 10, 512)):
        learner = machine.learner(128, "cuda")
        learner.source = replace(learner.source, rows=range(rows))
        plan = replace(PLAN, training=replace(PLAN.training, epochs=epochs))
        found, _, _ = largest_useful(learner, plan, set(), partial(machine.step, learner), 0.01)
        assert found.training.batch_size == size


def test_the_rate_of_plain_descent_follows_in_proportion(made_up: Callable[[Machine], None]) -> None:
    machine = Machine(lambda size: 0.01)
    made_up(machine)
    learner, plan = machine.learner(128, "cuda"), replace(PLAN, optimizer=OptimizerPlan("sgd", 0.01))
    found, _, reasons = largest_useful(learner, plan, set(), partial(machine.step, learner), 0.01)
    assert found.optimizer.learning_rate == pytest.approx(0.08)
    assert "in proportion" in reasons["optimizer.learning_rate"]


@pytest.mark.parametrize(
    ("free", "size"),
    [(100 * GIB, 128), (40 * GIB, 64), (12 * GIB, 32), (1, 32)],
    ids=["all", "half", "quarter", "none"],
)
def test_a_processor_gets_the_batch_that_its_memory_holds(
    free: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(lambda size: 0.01, bytes=lambda size: 3 * GIB + size * GIB / 2)
    taken = []
    learner = machine.learner(128, "cpu")

    def step() -> None:
        taken.append(learner.source.batch_size)
        machine.step(learner)

    monkeypatch.setattr(hardware, "own_memory", lambda: int(machine.held))
    monkeypatch.setattr(hardware, "free_memory", lambda: float(free))
    plan, reasons = bearable(learner, PLAN, set(), step)
    assert plan.training.batch_size == learner.source.batch_size == size
    assert taken == [16, 32], "no step is tried that might end the process"
    assert plan.optimizer.learning_rate == pytest.approx(1e-3 * (size / 128) ** 0.5, rel=0.04)
    assert (reasons == {}) is (size == 128)
    assert size == 128 or f"{size}: 128 would take about 64.0 GiB" in reasons["training.batch_size"]
    learner = machine.learner(128, "cpu")
    assert bearable(learner, PLAN, {"training.batch_size"}, step) == (PLAN, {})


def test_the_memory_that_is_left_is_that_of_the_container_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GROUP", "MACHINE", "OWN"):
        monkeypatch.setattr(hardware, name, tmp_path / name)
    assert hardware.own_memory() == 0
    assert hardware.free_memory() == float("inf")
    (tmp_path / "OWN").write_text("Name:\tpython\nRssAnon:\t  300 kB\n")
    (tmp_path / "MACHINE").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    assert (hardware.own_memory(), hardware.free_memory()) == (300 * 1024, 8000 * 1024)
    group = tmp_path / "GROUP"
    group.mkdir()
    (group / "memory.max").write_text("5000\n")
    assert hardware.free_memory() == 5000
    files = {"memory.current": "4000", "memory.stat": "anon 3000\nactive_file 200\ninactive_file 700"}
    for name, content in files.items():
        (group / name).write_text(content + "\n")
    assert hardware.free_memory() == 1900
    (group / "memory.max").write_text("max\n")
    assert hardware.free_memory() == 8000 * 1024
