"""Private training from the command line: what the model promises, no raw rows in it, exact resume, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fixtures import broken_off_and_resumed, credit, images, run_here
from safetensors.torch import load_file

import lamina
from lamina import api
from lamina import plan as plans
from lamina.cli import main
from lamina.steps import private

SETS = ("training.epochs=4", "training.threads=1", "training.checkpoint_seconds=0", "network.width=24")
TRAIN = (
    "train",
    "credit.csv",
    "--target",
    "Status",
    "--seed",
    "3",
    "--private",
    "4",
    "--set",
    "network.name=mlp",
    *SETS,
)


def test_the_promise_is_in_plan_report_and_model_and_no_raw_row(tmp_path: Path, cache: Path) -> None:
    credit(tmp_path)
    run_here(tmp_path, *TRAIN, "--out", "run")
    run = tmp_path / "run"
    plan = plans.read(run / "plan.toml")
    assert plan.privacy.epsilon == 4
    assert plan.privacy.noise > 0.3
    assert plan.privacy.delta == pytest.approx(0.1 / 216, rel=0.3)
    assert (plan.training.mixup, plan.training.keep, plan.training.clip) == (0, "last", 0)
    model = lamina.load(run)
    promised = model.card["privacy"]
    assert 3.5 < promised["epsilon"] <= 4
    assert promised["steps"] == 4 * (promised["rows"] // plan.training.batch_size)
    assert "Trained privately" in model.card["limits"][0]
    assert not any("raw example rows" in limit for limit in model.card["limits"])
    assert model.sealed.golden.get("rows", []) == []
    assert model.check_golden()["sound"]
    results = json.loads((run / "results.json").read_text())
    assert results["audit"][0]["kind"] == "privacy"
    assert "simpler tools learned without privacy" in results["targets"][0]["verdict"]
    assert results["seal"]["same_answers"] == 1.0
    assert "Trained privately" in (run / "report.html").read_text()
    assert not (run / "secret.key").exists()
    assert len(model.predict(tmp_path / "credit.csv")) == 320
    run_here(tmp_path, "resume", "run")
    run_here(tmp_path, "doctor", "run/model.lamina")


def test_broken_off_and_resumed_it_draws_the_same(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private.os, "urandom", lambda count: bytes(range(count)))
    credit(tmp_path)
    run_here(tmp_path, *TRAIN, "--out", "whole")
    assert not (tmp_path / "whole" / "secret.key").exists()
    run = broken_off_and_resumed(tmp_path, *TRAIN, step=3)
    weights = [load_file(folder / "weights.safetensors") for folder in (run, tmp_path / "whole")]
    assert all(torch.equal(weights[0][name], tensor) for name, tensor in weights[1].items())


def test_the_same_seed_gives_another_result_as_the_secret_is_another(tmp_path: Path, cache: Path) -> None:
    credit(tmp_path)
    words = [word for word in TRAIN if word != "network.name=mlp"]
    for name in ("one", "two"):
        run_here(tmp_path, *words, "--out", name)
    plan = plans.read(tmp_path / "one" / "plan.toml")
    assert plan.network["table"].name == "mlp"
    assert "noise" in plan.reasons["network.table.name"]
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    assert any(not torch.equal(one[name], tensor) for name, tensor in two.items())


def test_pictures_are_learned_without_statistics_of_batches(tmp_path: Path, cache: Path) -> None:
    images(tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir() and path != cache)
    words = ["train", str(folder), "--private", "8", "--out", str(tmp_path / "run"), "--quiet"]
    run_here(tmp_path, *words, "--set", "training.epochs=2", "training.threads=1", "network.width=8")
    network = api.network(tmp_path / "run")
    assert any(isinstance(part, torch.nn.GroupNorm) for part in network.modules())
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in network.modules())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--private", "-1"), "epsilon is -1"),
        (("--private", "1e-9", "--set", "privacy.delta=1e-12"), "No noise"),
        (("--private", "2", "--set", "training.mixup=0.2"), "training.mixup"),
        (("--private", "2", "--set", "privacy.noise=1"), "The noise follows"),
        (("--private", "2", "--set", "privacy.delta=0.5"), "may be told whole"),
        (("--private", "2", "--set", "privacy.clip=0"), "clip 0"),
        (("--private", "2", "--task", "embed"), "privacy.epsilon"),
    ],
)
def test_what_promises_nothing_is_refused_and_leaves_nothing(
    words: tuple[str, ...], told: str, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    credit(tmp_path)
    target = () if "embed" in words else ("--target", "Status")
    assert main(["train", str(tmp_path / "credit.csv"), *target, "--out", str(tmp_path / "run"), *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "fix:" in error
    assert not (tmp_path / "run").exists()
