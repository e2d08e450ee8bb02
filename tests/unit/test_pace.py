"""What an earlier run found out about steps is taken where it still holds, on machines whose time is made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lamina.choose import hardware
from lamina.learn.engine import Engine
from lamina.plan import NetworkPlan, Plan, TrainingPlan
from lamina.steps import known
from lamina.steps.pace import Stepping, stepping
from lamina.steps.trial import Steps

CPU = torch.device("cpu")
PLAN = Plan(network={"table": NetworkPlan("mlp")}, training=TrainingPlan(batch_size=64))


@dataclass
class Machine:
    """Its step takes `seconds(threads)`."""

    seconds: Callable[[int], float]
    cores: int = 4
    bf16: float = 0.0
    """So many times as fast are steps in bf16; 0 where it has none."""
    now: float = 0.0
    threads: int = 1
    taken: list[int] = field(default_factory=list)
    """The threads of each step."""
    engine: Engine = field(default_factory=lambda: Engine(CPU))

    def step(self) -> None:
        self.taken.append(self.threads)
        self.now += self.seconds(self.threads) / (self.bf16 if self.engine.precision == "bf16" else 1)

    def found(self, plan: Plan = PLAN, columns: int = 3) -> Stepping:
        """What is found out about steps on it."""
        self.taken.clear()

        def batches(start: int) -> Iterator[tuple[int, Any]]:
            yield start, SimpleNamespace(inputs={"a": torch.zeros(64, columns)}, targets={"y": torch.zeros(64)})

        self.engine = Engine(CPU)
        learner: Any = SimpleNamespace(
            engine=self.engine, method=None, source=SimpleNamespace(batches=batches), steps_in=lambda _: 100
        )
        machine = hardware.Hardware(CPU, self.cores, bool(self.bf16), "made up")
        return stepping(learner, plan, machine, set(), self.step)


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Machine], Machine]:
    def put(machine: Machine) -> Machine:
        monkeypatch.setattr(hardware.time, "perf_counter", lambda: machine.now)  # type: ignore[attr-defined]
        monkeypatch.setattr("torch.set_num_threads", lambda number: setattr(machine, "threads", number))
        return machine

    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path))
    return put


FREE: Callable[[int], float] = lambda threads: 0.4 / threads  # noqa: E731
BUSY: Callable[[int], float] = lambda threads: 0.4 * threads  # noqa: E731


def test_a_machine_as_free_as_it_was_tries_nothing_else(put: Callable[[Machine], Machine]) -> None:
    machine = put(Machine(FREE))
    machine.found()
    # A little slower, and then free again: it stays with what was found when it was first asked.
    for slower in (1.4, 1.4, 1.0):
        machine.seconds = lambda threads, slower=slower: slower * FREE(threads)  # type: ignore[misc]
        again = machine.found()
        assert again.threads == machine.threads == 4
        assert again.pace == pytest.approx(slower * 0.1)
        assert "steps take" in again.reasons["training.threads"]
        assert set(machine.taken) == {4}


def test_the_precision_goes_with_the_pace(put: Callable[[Machine], Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamina.steps.precision.losses", lambda *_: [1.0, 0.5])
    machine = put(Machine(FREE, bf16=2.0))
    first = machine.found()
    assert (first.precision, first.pace) == ("bf16", pytest.approx(0.05))
    again = machine.found()
    assert (again.threads, again.precision, again.pace) == (4, "bf16", pytest.approx(0.05))
    assert "an earlier run found" in again.reasons["training.precision"]
    assert set(machine.taken) == {4}
    # Steps that take so much longer tell nothing, and bf16 gains nothing any more.
    machine.bf16 = 1.0
    other = machine.found()
    assert (other.threads, other.precision, other.pace) == (4, "fp32", pytest.approx(0.1))


def test_the_next_run_needs_a_few_steps_only(put: Callable[[Machine], Machine]) -> None:
    machine = put(Machine(FREE))
    first = machine.found()
    assert (first.threads, set(machine.taken)) == (4, {1, 2, 4})
    steps = len(machine.taken)
    # Twice as slow, as another machine of its kind or on a hot day: ratios are what counts.
    machine.seconds = lambda threads: 2 * FREE(threads)
    again = machine.found()
    assert (again.threads, machine.threads) == (4, 4)
    assert again.pace == pytest.approx(0.2)
    assert "measured by an earlier run" in again.reasons["training.threads"]
    assert set(machine.taken) == {1, 4}
    assert len(machine.taken) < steps / 2


@pytest.mark.parametrize(("first", "later", "threads"), [(BUSY, FREE, 4), (FREE, BUSY, 1)])
def test_a_machine_that_was_busy_is_not_taken_for_a_slow_one(
    first: Callable[[int], float], later: Callable[[int], float], threads: int, put: Callable[[Machine], Machine]
) -> None:
    machine = put(Machine(first))
    assert machine.found().threads == 5 - threads
    machine.seconds = later
    found = machine.found()
    assert found.threads == machine.threads == threads
    assert found.reasons["training.threads"].startswith("measured, milliseconds")
    # What holds now is what the next run begins with.
    assert "earlier run" in machine.found().reasons["training.threads"]


def test_other_steps_are_another_question(put: Callable[[Machine], Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    machine = put(Machine(FREE))
    machine.found()

    def anew(plan: Plan = PLAN, columns: int = 3) -> bool:
        return "earlier run" not in machine.found(plan, columns).reasons["training.threads"]

    assert not anew(replace(PLAN, seed=9, training=replace(PLAN.training, epochs=77.0, evaluations=3)))
    assert anew(replace(PLAN, training=replace(PLAN.training, batch_size=32)))
    assert anew(replace(PLAN, network={"table": NetworkPlan("mlp", options={"width": 9})}))
    assert anew(columns=4)
    machine.cores = 2
    assert anew()
    machine.cores = 4
    monkeypatch.setattr("lamina.data.origin.versions", lambda libraries: ["9.9"])
    assert anew()


def test_nothing_is_kept_where_nothing_is_found_out(put: Callable[[Machine], Machine], tmp_path: Path) -> None:
    machine = put(Machine(FREE))
    assert machine.found(replace(PLAN, training=replace(PLAN.training, threads=3))).threads == machine.threads == 3
    machine.cores = 1
    assert machine.found().threads == 1
    assert not list(tmp_path.iterdir())


def test_a_damaged_memory_is_none(put: Callable[[Machine], Machine], tmp_path: Path) -> None:
    machine = put(Machine(FREE))
    machine.found()
    (file,) = tmp_path.glob(f"questions/*/{known.PACES}.*")
    file.write_bytes(file.read_bytes()[:-5])
    assert machine.found().reasons["training.threads"].startswith("measured, milliseconds")


def test_what_is_compared_takes_steps_on_the_same_batches() -> None:
    taken: list[str] = []

    class Numbered:
        """Batches that say which they are."""

        def __init__(self, name: str) -> None:
            self.name = name

        def batches(self, start: int = 0) -> Iterator[tuple[int, Any]]:
            yield from ((number, f"{self.name}{number}") for number in range(start, 99))

    learner: Any = SimpleNamespace(
        engine=Engine(CPU), source=Numbered("a"), method=SimpleNamespace(update=lambda batch, _: taken.append(batch))
    )
    steps = Steps(learner)
    steps()
    steps()
    steps.again()
    steps()
    steps.again(7)
    steps()
    steps()
    # Batches of another size come from another source.
    learner.source = Numbered("b")
    steps()
    assert taken == ["a0", "a1", "a0", "a7", "a8", "b0"]
