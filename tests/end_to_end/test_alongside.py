"""Whole runs whose baselines are fitted while the network trains."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from fixtures import command, environment, kill_at, text

from lamina.cli import main
from lamina.steps import alongside, baselines

SETS = ("training.threads=1", "training.epochs=2", "training.precision=fp32")
TRAIN = ("train", "reviews", "--target", "sentiment", "--seed", "3", "--out", "run", "--set", *SETS)
NAMES = ["always the same answer", "a linear model", "gradient-boosted trees"]


def found(run: Path) -> list[str]:
    """The baselines that the finished run was compared with."""
    (result,) = json.loads((run / "results.json").read_text())["targets"]
    return [item["name"] for item in result["baselines"]]


@pytest.mark.parametrize("cores", [1, 2])
def test_the_order_of_steps_does_not_change_the_run(
    cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("lamina.cores.available", lambda: cores)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(alongside, "FEW_MEDIA", 100)
    text(tmp_path, 500, 100)
    here: list[bool] = []
    usual = baselines.fit_baselines
    monkeypatch.setattr(
        baselines, "fit_baselines", lambda *words, **more: (here.append(True), usual(*words, **more))[1]
    )
    assert main([*TRAIN]) == 0
    said = capsys.readouterr().err
    assert here == ([True] if cores == 1 else [])
    assert said.index("baselines, fitted") > said.index("4/5 Train") or cores == 1
    assert said.index("baselines, fitted") < said.index("3/5 Choose") or cores == 2
    assert found(tmp_path / "run") == NAMES
    assert all(f"  {name}: " in said for name in NAMES)


def test_killed_while_both_were_at_work_and_resumed(tmp_path: Path) -> None:
    text(tmp_path, 1200, 100)
    two = environment(OMP_NUM_THREADS="2", LAMINA_CACHE=str(tmp_path / "cache"))
    often = ("training.checkpoint_seconds=0", "training.epochs=1")
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command(*TRAIN, *often), cwd=tmp_path, env=two, stderr=said)
        run = tmp_path / "run"
        kill_at(process, run)
    assert "fitted alongside the training" in (tmp_path / "said").read_text()
    assert not (run / "model.lamina").exists()
    done = subprocess.run(command("resume", "run"), cwd=tmp_path, env=two, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert found(run) == NAMES
    assert not list(run.glob(".*.part"))


def test_a_budget_that_is_over_is_openly_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process that takes an hour: the verdict says what the network was not compared with."""
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("lamina.cores.available", lambda: 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(alongside, "FEW_MEDIA", 100)
    text(tmp_path, 500, 100)
    usual = subprocess.Popen
    slow = [*command()[:1], "-c", "import time; time.sleep(3600)"]
    monkeypatch.setattr(alongside.subprocess, "Popen", lambda words, **options: usual(slow, **options))
    assert main([*TRAIN, "--budget", "5s"]) == 0
    said = capsys.readouterr().err
    assert f"all baselines: left out, {alongside.OVER}" in said
    assert f"Not compared with all baselines ({alongside.OVER})." in said
    (result,) = json.loads((tmp_path / "run" / "results.json").read_text())["targets"]
    assert alongside.OVER in result["verdict"]
