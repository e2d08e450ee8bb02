"""Runs that are killed or interrupted end as if nothing had happened; the same seed gives the same run."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures import command, credit, environment, jsonl, run_command, run_here, saved, wait_until

import lamina
from lamina.model.format import read

SETS = (
    "training.epochs=6", "training.threads=1", "training.precision=fp32", "training.checkpoint_seconds=0",
    "network.name=mlp", "network.width=24", "network.dropout=0.2", "training.ema=0.9", "training.keep=last",
    "training.patience=0",
)  # fmt: skip
TRAIN = ("train", "credit.csv", "--target", "Status", "--seed", "3", "--out", "run", "--set", *SETS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    return credit(tmp_path_factory.mktemp("resume"))


@pytest.fixture(scope="module")
def uninterrupted(data: Path) -> Path:
    """The run that all others must equal."""
    run_here(data.parent, *TRAIN)
    return data.parent / "run"


@pytest.fixture
def folder(data: Path, tmp_path: Path) -> Path:
    shutil.copy(data, tmp_path)
    return tmp_path


def stopped(folder: Path, words: tuple[str, ...], when: Callable[[], bool], how: signal.Signals) -> tuple[int, str]:
    """Start a command, stop it as soon as `when` holds; its exit code and what it said."""
    # A shell that runs the tests in the background has Ctrl-C ignored, and its children inherit that.
    process = subprocess.Popen(
        command(*words), cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    wait_until(process, when)
    process.send_signal(how)
    _, said = process.communicate()
    return process.returncode, said


def at_step(folder: Path, step: int) -> Callable[[], bool]:
    """Whether a checkpoint of `step` or later has been written."""
    return lambda: saved(folder / "run", step)


def assert_same(run: Path, uninterrupted: Path) -> None:
    """The same final weights, bit for bit, the same answers and the same log of losses."""
    assert (run / "weights.safetensors").read_bytes() == (uninterrupted / "weights.safetensors").read_bytes()
    one, other = (read(path / "model.lamina") for path in (run, uninterrupted))
    assert one.network == other.network
    data = str(uninterrupted.parent / "credit.csv")
    answers = [lamina.load(path).predict(data).to_rows() for path in (run, uninterrupted)]
    assert answers[0] == answers[1]
    losses = [
        [(entry["step"], entry.get("loss"), entry.get("score")) for entry in jsonl(path / "log.jsonl")]
        for path in (run, uninterrupted)
    ]
    assert losses[0] == losses[1]
    assert json.loads((run / "status.json").read_text())["state"] == "done"


def test_killed_at_random_moments_again_and_again(folder: Path, uninterrupted: Path) -> None:
    last = max(int(file.stem) for file in (uninterrupted / "checkpoints").glob("*.safetensors"))
    moments = sorted(random.Random(0).sample(range(1, last), 2))
    words = TRAIN
    for step in moments:
        code, _ = stopped(folder, words, at_step(folder, step), signal.SIGKILL)
        assert code == -signal.SIGKILL
        assert not (folder / "run" / "model.lamina").exists()
        words = ("resume", "run")
    run_here(folder, "resume", "run")
    assert_same(folder / "run", uninterrupted)


def test_killed_while_testing_and_resumed_from_elsewhere(folder: Path, uninterrupted: Path) -> None:
    weights = folder / "run" / "weights.safetensors"
    code, _ = stopped(folder, TRAIN, weights.exists, signal.SIGKILL)
    assert code == -signal.SIGKILL
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    run_here(elsewhere, "resume", "../run")
    assert_same(folder / "run", uninterrupted)


def test_control_c_seals_what_there_is_and_can_be_resumed(folder: Path, uninterrupted: Path) -> None:
    code, said = stopped(folder, TRAIN, at_step(folder, 70), signal.SIGINT)
    assert code == 130, said
    assert "lamina resume" in said
    assert json.loads((folder / "run" / "status.json").read_text())["state"] == "interrupted"
    sealed = lamina.load(folder / "run")
    assert len(sealed.predict(str(folder / "credit.csv"))) == 320
    assert json.loads((folder / "run" / "results.json").read_text())["stopped"] == "interrupted"
    assert (folder / "run" / "weights.safetensors").read_bytes() != (uninterrupted / "weights.safetensors").read_bytes()
    run_here(folder, "resume", "run")
    assert_same(folder / "run", uninterrupted)


def test_killed_while_preparing_says_to_start_again_and_lets_you(folder: Path) -> None:
    status = folder / "run" / "status.json"
    code, _ = stopped(folder, TRAIN, status.exists, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not (folder / "run" / "plan.toml").exists()
    answer = run_command(folder, "resume", "run")
    assert answer.returncode == 2
    assert "Start it again" in answer.stderr
    assert "Traceback" not in answer.stderr
    code, _ = stopped(folder, TRAIN, at_step(folder, 1), signal.SIGKILL)
    assert code == -signal.SIGKILL, "the same command takes the folder again"


def test_control_c_while_preparing_leaves_nothing_behind(folder: Path) -> None:
    code, said = stopped(folder, TRAIN, (folder / "run" / "status.json").exists, signal.SIGINT)
    assert code == 130, said
    assert "Traceback" not in said
    assert not (folder / "run").exists()


def test_the_same_seed_gives_the_same_weights_and_the_same_file(folder: Path, uninterrupted: Path) -> None:
    run_here(folder, *TRAIN)
    assert_same(folder / "run", uninterrupted)
    one, other = (_without_dates(path / "model.lamina") for path in (folder / "run", uninterrupted))
    assert one == other


def _without_dates(path: Path) -> dict[str, object]:
    """Entries of a sealed file; of the card and the manifest, what does not tell the time."""
    with zipfile.ZipFile(path) as archive:
        entries: dict[str, object] = {name: archive.read(name) for name in archive.namelist()}
        card = json.loads(archive.read("card.json"))
        manifest = json.loads(archive.read("manifest.json"))
    card.pop("created")
    for part in card["targets"].values():
        part.pop("verdict")  # tells how many times cheaper a baseline was
    card.pop("limits")
    manifest["entries"].pop("card.json")
    return {**entries, "card.json": card, "manifest.json": manifest}


def test_other_data_is_refused(folder: Path, uninterrupted: Path) -> None:
    run = folder / "run"
    shutil.copytree(uninterrupted, run)
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "base": str(folder)}))
    lines = (folder / "credit.csv").read_text().splitlines(keepends=True)
    (folder / "credit.csv").write_text("".join(lines[:-1]))
    answer = run_command(folder, "resume", "run")
    assert answer.returncode == 2
    assert "not what the run" in answer.stderr
