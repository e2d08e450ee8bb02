"""Baselines fitted by a process of their own: the same answers, no orphans, nothing lost when either side dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.errors import InputError
from lamina.learn.loop import Status
from lamina.narrate import Silent
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps import alongside, baselines, beside
from lamina.steps.alongside import Company, company, joined
from lamina.steps.pace import Allowance
from lamina.steps.prepare import Prepared, prepare
from lamina.steps.request import Request
from lamina.steps.understand import understand

CORES = 2
SLEEPS = [sys.executable, "-c", "import time; time.sleep(3600)"]
FAILS = [sys.executable, "-c", "raise SystemExit('no luck today')"]


class Told(Silent):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Prepared, Plan, Run]:
    """Data whose two parts lie in two files, with a text, after steps 1 and 2; the run has a plan."""
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    generator = np.random.default_rng(0)
    for name, rows in (("train", 240), ("test", 60)):
        lines = ["size,note,kind"]
        for number in range(rows):
            kind = "ab"[int(generator.integers(2))]
            word = "fine" if kind == "a" else "poor"
            lines.append(f"{generator.normal(kind == 'a'):.3f},a {word} piece of work number {number},{kind}")
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    data, test = str(tmp_path / "train.csv"), str(tmp_path / "test.csv")
    understood = understand(Request(data=data, test=test, targets=("kind",)), Silent())
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    run.write_plan(understood.plan)
    return prepare(understood, run, Silent()), understood.plan, run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[str]], None]]:
    """Has another command started in place of the process that fits baselines."""

    def instead(command: list[str]) -> None:
        usual = subprocess.Popen
        monkeypatch.setattr(alongside.subprocess, "Popen", lambda words, **options: usual(command, **options))

    return instead


def join(
    found: Company, prepared: tuple[Prepared, Plan, Run], told: Told | None = None, **given: Any
) -> tuple[baselines.Answers, baselines.LeftOut]:
    material, plan, run = prepared
    options = {"ended": Status(), "allowed": Allowance(), "cores": CORES, **given}
    return joined(found, plan, material, run, told or Told(), **options)


def files(run: Run) -> set[str]:
    return {item.name for item in run.folder.iterdir()}


def test_the_process_answers_as_the_run_itself_would(prepared: tuple[Prepared, Plan, Run], tmp_path: Path) -> None:
    material, plan, run = prepared
    assert {encoder.feature.kind for encoder in material.encoders.values()} == {"numbers", "tokens"}
    here = Run(tmp_path / "here")
    here.folder.mkdir()
    expected = baselines.fit(plan, material, here, seconds=90, threads=1)
    told = Told()
    with company(plan, material, run, CORES) as found:
        answers, missing = join(found, prepared, told)
    assert not found.running()
    assert missing == {"kind": {}}
    assert [item.name for item in answers["kind"]] == [item.name for item in expected["kind"]]
    for one, other in zip(answers["kind"], expected["kind"], strict=True):
        np.testing.assert_array_equal(one.output, other.output)
        assert one.task is not None
        assert other.task is not None
        assert json.dumps(one.task.state()) == json.dumps(other.task.state())
        assert any(line.startswith(f"  {one.name}: ") for line in told.lines)
    assert files(run) == {"plan.toml", "prepared.json", *baselines.FILES}
    # Whoever asks the same question later has them from the cache.
    again = Run(tmp_path / "again")
    again.folder.mkdir()
    assert baselines.known_baselines(plan, again, Silent(), CORES) is not None
    assert baselines.known_baselines(plan, again, Silent(), CORES + 1) is None


def test_a_process_that_ended_long_before_is_joined_alike(prepared: tuple[Prepared, Plan, Run]) -> None:
    material, plan, run = prepared
    told = Told()
    with company(plan, material, run, CORES) as found:
        assert found.wait(None)
        answers, _ = join(found, prepared, told)
    assert len(answers["kind"]) == 3
    assert not [line for line in told.lines if "waiting" in line]


def test_a_process_that_fails_is_told_and_replaced(
    prepared: tuple[Prepared, Plan, Run], started: Callable[[list[str]], None]
) -> None:
    material, plan, run = prepared
    started(FAILS)
    told = Told()
    with company(plan, material, run, CORES) as found:
        answers, missing = join(found, prepared, told)
    assert any("no luck today" in line and "fitting them here" in line for line in told.lines)
    assert len(answers["kind"]) == 3
    assert missing == {"kind": {}}
    assert baselines.read_baselines(run, plan) is not None


def test_what_fails_in_the_run_itself_too_is_raised(
    prepared: tuple[Prepared, Plan, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    material, plan, run = prepared
    run.prepared.write_text("{}")

    def compare(*given: object, **more: object) -> None:
        raise InputError("The disk is full.", fix="Free some of it.")

    monkeypatch.setattr(baselines, "compare", compare)
    told = Told()
    with company(plan, material, run, CORES) as found, pytest.raises(InputError, match="disk is full"):
        join(found, prepared, told)
    assert any("has failed" in line for line in told.lines)


def test_the_budget_ends_the_waiting_and_what_is_missing_is_named(
    prepared: tuple[Prepared, Plan, Run], started: Callable[[list[str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    material, plan, run = prepared
    monkeypatch.setattr(alongside, "LEAST", 0.0)
    started(SLEEPS)
    told = Told()
    with company(plan, material, run, CORES) as found:
        # The first baseline has been finished, the others have not.
        baselines.fit(plan, material, run, seconds=90, threads=1)
        document = json.loads((run.folder / "baselines.json").read_text())
        first, *rest = document["kind"]
        document["kind"] = [first, *({"name": item["name"], "left_out": baselines.WAITING} for item in rest)]
        (run.folder / "baselines.json").write_text(json.dumps(document))
        assert baselines.read_baselines(run, plan) is None, "it is not finished"
        answers, missing = join(found, prepared, told, ended=Status(seconds=30), allowed=Allowance(seconds=30))
    assert not found.running()
    assert [item.name for item in answers["kind"]] == [first["name"]]
    assert missing == {"kind": dict.fromkeys([item["name"] for item in rest], alongside.OVER)}
    for item in rest:
        assert f"  {item['name']}: left out, {alongside.OVER}" in told.lines
    # Resuming the run gives the same; another run does not take it.
    again = baselines.read_baselines(run, plan)
    assert again is not None
    assert [item.name for item in again["kind"]] == [first["name"]]
    assert baselines.left_out(run) == missing
    assert baselines.known_baselines(plan, run, Silent(), CORES) is None


def test_control_c_while_waiting_goes_on_without_and_resuming_fits_again(
    prepared: tuple[Prepared, Plan, Run], started: Callable[[list[str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    material, plan, run = prepared
    started(SLEEPS)

    def interrupt(self: Company, seconds: float | None) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(Company, "wait", interrupt)
    with company(plan, material, run, CORES) as found:
        answers, missing = join(found, prepared)
    assert not found.running()
    assert answers == {"kind": ()}
    assert missing == {"kind": {"all baselines": alongside.INTERRUPTED}}
    assert baselines.read_baselines(run, plan) is None


def test_an_error_while_training_ends_the_process(
    prepared: tuple[Prepared, Plan, Run], started: Callable[[list[str]], None]
) -> None:
    material, plan, run = prepared
    started(SLEEPS)
    half = run.folder / ".baselines.npz.1.part"
    half.write_bytes(b"half")
    seen: list[Company] = []

    def train() -> None:
        with company(plan, material, run, CORES) as found:
            seen.append(found)
            assert found.running()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert not seen[0].running()
    assert not half.exists()


@pytest.mark.skipif(os.name != "posix", reason="kills with a signal")
def test_the_process_ends_when_its_parent_is_killed(prepared: tuple[Prepared, Plan, Run], tmp_path: Path) -> None:
    """A parent that gives an order and never reads another; the child would wait for a lock for an hour."""
    material, _, run = prepared
    order = tmp_path / "order"
    order.write_bytes(beside.order(run, material.table, material.split, seconds=90, threads=1))
    child = (
        "import sys, time\n"
        "from lamina.steps import beside\n"
        "beside._fit = lambda wanted, rows: (print('begun', flush=True), time.sleep(3600))\n"
        "beside.main(sys.stdin.buffer)\n"
    )
    parent = (
        "import subprocess, sys, time\n"
        f"command = [sys.executable, '-c', {child!r}]\n"
        "process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)\n"
        f"process.stdin.write(open({str(order)!r}, 'rb').read())\n"
        "process.stdin.flush()\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(3600)\n"
    )
    giver = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert giver.stdout is not None
    said = {giver.stdout.readline().strip(), giver.stdout.readline().strip()}
    assert "begun" in said
    (number,) = said - {"begun"}
    os.kill(int(number), 0)
    giver.send_signal(signal.SIGKILL)
    # The end of the child closes the pipe that it has inherited.
    assert giver.stdout.read() == ""
    giver.wait()


def test_only_where_it_is_worth_it(prepared: tuple[Prepared, Plan, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    material, plan, _ = prepared
    assert not alongside.worthwhile(plan, material, CORES), "few rows"
    monkeypatch.setattr(alongside, "FEW_MEDIA", 100)
    assert alongside.worthwhile(plan, material, CORES)
    assert not alongside.worthwhile(plan, material, 1), "one core"
    assert not alongside.possible(1)
    given = replace(plan, training=replace(plan.training, threads=CORES))
    assert not alongside.worthwhile(given, material, CORES), "no core is left"
    assert alongside.worthwhile(given, material, 2 * CORES)
    monkeypatch.setattr(sys, "executable", "")
    assert not alongside.worthwhile(plan, material, CORES), "no Python to start"
