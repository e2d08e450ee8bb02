"""Every method in the registry solves its smallest case, reaches every weight, repeats and resumes exactly."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from method_case import Case

from lamina import registry
from lamina.learn import checkpoint
from lamina.learn.batch import Batch, Source
from lamina.learn.engine import Engine
from lamina.learn.loop import Learns, Limits, fit
from lamina.learn.schedules import Schedule
from lamina.plan import SchedulePlan

CPU = torch.device("cpu")
CASES = sorted(file.stem for file in (Path(__file__).parent / "method_cases").glob("*.py"))


def test_every_method_has_a_case() -> None:
    assert tuple(CASES) == registry.names("methods"), "give the new method its smallest case in method_cases"


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    found = importlib.import_module(f"method_cases.{request.param}").CASE
    assert isinstance(found, Case)
    return found


class _Ending:
    """A source that ends before step `until`, as if the process had died there."""

    def __init__(self, source: Source, until: int) -> None:
        self.source, self.until = source, until

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        for step, batch in self.source.batches(start):
            if step == self.until:
                return
            yield step, batch

    def state(self) -> dict[str, Any]:
        return self.source.state()

    def restore(self, state: Any) -> None:
        self.source.restore(state)


def run(case: Case, seed: int, steps: int, folder: Path | None = None, until: int | None = None) -> Learns:
    method, source = case.make(seed)
    torch.manual_seed(seed)
    schedule = Schedule.over(steps, SchedulePlan("cosine"))
    ending = source if until is None else _Ending(source, until)
    fit(method, ending, schedule, Engine(CPU, clip=1.0), limits=Limits(save_seconds=0), folder=folder)
    return method


def same(one: Learns, other: Learns) -> bool:
    first, second = checkpoint.pack(one.state()), checkpoint.pack(other.state())
    return first[1] == second[1] and all(torch.equal(first[0][name], second[0][name]) for name in first[0])


def test_it_solves_its_smallest_case(case: Case) -> None:
    assert case.distance(case.make(0)[0]) > case.solved * 4, "the case must not be solved from the start"
    assert case.distance(run(case, 0, case.steps)) < case.solved


def test_the_same_seed_gives_the_same_result_and_another_does_not(case: Case) -> None:
    one = run(case, 3, 20)
    assert same(one, run(case, 3, 20))
    assert not same(one, run(case, 4, 20))


def test_a_step_changes_every_weight(case: Case) -> None:
    before = {name: value.clone() for name, value in case.make(0)[0].weights().items()}
    after = run(case, 0, 20).weights()
    unchanged = {
        name for name, value in before.items() if value.is_floating_point() and torch.equal(value, after[name])
    }
    assert not unchanged - case.constant


def test_stopped_anywhere_it_resumes_exactly(case: Case, tmp_path: Path) -> None:
    whole = run(case, 5, 20, tmp_path / "whole")
    for until in (1, 7, 19):
        folder = tmp_path / str(until)
        run(case, 5, 20, folder, until=until)
        assert same(run(case, 5, 20, folder), whole), until


def test_its_state_survives_a_file(case: Case, tmp_path: Path) -> None:
    method = run(case, 2, 10)
    checkpoint.write(tmp_path / "state.safetensors", method.state())
    other, _ = case.make(9)
    other.restore(checkpoint.read(tmp_path / "state.safetensors"))
    assert same(method, other)
