"""Several processes that train one network, each in a process of its own as a launcher starts them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from fixtures import command, credit, environment, jsonl, run_here
from safetensors.torch import load_file

TRAIN = (
    "train", "credit.csv", "--target", "Status", "--seed", "3", "--out", "run", "--set", "training.epochs=4",
    "training.precision=fp32", "training.checkpoint_seconds=0", "training.threads=1", "training.batch_size=64",
    "network.name=mlp", "network.width=24", "training.keep=last",
)  # fmt: skip
PLAIN = ("network.dropout=0", "network.stochastic_depth=0", "training.mixup=0")


def started(folder: Path, *words: str, number: int = 2) -> list[subprocess.Popen[str]]:
    """The same command in several processes that are told of each other."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared = {
        "WORLD_SIZE": str(number),
        "LOCAL_WORLD_SIZE": str(number),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    return [
        subprocess.Popen(
            command(*words), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **shared),
        )
        for rank in range(number)
    ]  # fmt: skip


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Of each process its exit code, and what it said on standard error."""
    said = [process.communicate()[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "weights.safetensors")


def test_two_processes_learn_what_one_does(tmp_path: Path, cache: Path) -> None:
    credit(tmp_path)
    for (code, said), quiet in zip(ended(started(tmp_path, *TRAIN, *PLAIN)), (False, True), strict=True):
        assert code == 0, said
        assert (not said) == quiet, said
    assert (tmp_path / "run" / "model.lamina").exists()
    words = [word if word != "run" else "alone" for word in TRAIN]
    run_here(tmp_path, *words, *PLAIN)
    both, alone = weights(tmp_path / "run"), weights(tmp_path / "alone")
    assert both.keys() == alone.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(both[name], tensor, rtol=1e-3, atol=1e-5)
    steps = [[entry["step"] for entry in jsonl(tmp_path / run / "log.jsonl")] for run in ("run", "alone")]
    assert steps[0] == steps[1]


def test_killed_and_resumed_in_as_many_processes_it_goes_the_same_way(tmp_path: Path, cache: Path) -> None:
    """With random draws: each process has its own, and the same again."""
    credit(tmp_path)
    assert [code for code, _ in ended(started(tmp_path, *TRAIN))] == [0, 0]
    (tmp_path / "run").rename(tmp_path / "whole")
    processes = started(tmp_path, *TRAIN)
    while not list((tmp_path / "run" / "checkpoints").glob("*.safetensors")):
        assert processes[0].poll() is None
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGKILL)
    (lead, said), (killed, _) = ended(processes)
    assert killed == -signal.SIGKILL
    assert lead == 1
    assert "lost the others" in said
    assert "lamina resume" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "model.lamina").exists()
    assert [code for code, _ in ended(started(tmp_path, "resume", "run"))] == [0, 0]
    resumed, whole = weights(tmp_path / "run"), weights(tmp_path / "whole")
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


def test_a_launcher_starts_them(tmp_path: Path, cache: Path) -> None:
    credit(tmp_path)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "lamina"]
    more = ["training.epochs=1", "--json"]
    done = subprocess.run(
        [*words, *TRAIN, *more], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["targets"]
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train", "nothing.csv", "--target", "Status"), "nothing.csv"),
        (("train", "credit.csv", "--task", "embed", "--out", "run"), "one of 2 processes"),
        ((*TRAIN[:-1], "training.batch_size=3"), "A batch of 3 rows"),
        (("resume", "nothing"), "nothing"),
    ],
)
def test_what_is_wrong_is_told_once_and_nobody_is_left(
    words: tuple[str, ...], told: str, tmp_path: Path, cache: Path
) -> None:
    credit(tmp_path)
    (lead, said), (other, silence) = ended(started(tmp_path, *words))
    assert lead == 2
    assert told in said
    assert "Traceback" not in said
    assert other == 0
    assert silence == ""


def test_a_row_that_makes_the_loss_no_number_is_named_once(tmp_path: Path, cache: Path) -> None:
    credit(tmp_path)
    (lead, said), (other, silence) = ended(started(tmp_path, *TRAIN, *PLAIN, "optimizer.learning_rate=1e30"))
    assert lead == 2
    assert "training stopped before the update" in said
    assert other == 2
    assert silence == ""


def test_an_interruption_ends_training_and_seals_what_there_is(tmp_path: Path, cache: Path) -> None:
    credit(tmp_path)
    processes = started(tmp_path, *TRAIN, "training.epochs=100000", "training.evaluations=100")
    while not list((tmp_path / "run" / "checkpoints").glob("*.safetensors")):
        assert processes[0].poll() is None
        time.sleep(0.01)
    for process in processes:
        process.send_signal(signal.SIGINT)
    (lead, said), (other, silence) = ended(processes)
    assert (lead, other) == (130, 0), said + silence
    assert silence == ""
    assert (tmp_path / "run" / "model.lamina").exists()
    assert os.listdir(tmp_path / "run" / "checkpoints")
