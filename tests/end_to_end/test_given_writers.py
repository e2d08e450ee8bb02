"""A causal model that is given: learned on from, killed and resumed, sealed, asked; and wrong wishes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import given_writers as given
import numpy as np
import pytest
from fixtures import only_trained, same_when_broken_off
from safetensors.numpy import load_file, save_file

import lamina
from lamina import api
from lamina.cli import main
from lamina.plan import read

SETS = (
    "training.threads=1", "training.keep=last", "training.epochs=2",
    "training.batch_size=16", "task.context=24", "optimizer.learning_rate=0.02",
)  # fmt: skip
LOOKS, NAMES, DEEDS = ("red", "old", "small"), ("cat", "dog", "bird"), ("sees", "likes", "finds")


def letters(folder: Path) -> Path:
    """A folder of texts: animals that do something to others."""
    random = np.random.default_rng(0)
    target = folder / "letters"
    target.mkdir()
    for number in range(30):
        lines = [" ".join(part[random.integers(3)] for part in (LOOKS, NAMES, DEEDS, LOOKS, NAMES)) for _ in range(25)]
        (target / f"{number:02d}.txt").write_text("".join(f"The {line}.\n" for line in lines))
    return target


def texts(folder: Path) -> list[str]:
    return [file.read_text() for file in sorted((folder / "letters").glob("*.txt"))]


def words_of(folder: Path, kind: str) -> tuple[str, ...]:
    """`lamina train` on from a model of one of the kinds, with all data made in the folder."""
    letters(folder)
    if kind == "llama":
        given.llama(folder / "model", given.byte_level(texts(folder)))
    else:
        given.gpt2(folder / "model", given.spaced(texts(folder)), bos_token_id=1, eos_token_id=2)
    sets = ("--seed", "1", "--set", *SETS, "training.checkpoint_seconds=0", "training.evaluations=2")
    line = ("train", "letters", "--task", "write", "--weights", "model", *sets)
    return line if kind == "llama" else (*line, "network.frozen=gradual")


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_broken_off_and_resumed_it_is_as_if_nothing_had_happened(kind: str, tmp_path: Path, cache: Path) -> None:
    run = same_when_broken_off(tmp_path, *words_of(tmp_path, kind))
    assert lamina.load(run).check_golden()["sound"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A folder with a run that has learned on from a Llama, by adapters."""
    folder = tmp_path_factory.mktemp("given")
    letters(folder)
    given.llama(folder / "model", given.byte_level(texts(folder)))
    line = ["train", str(folder / "letters"), "--task", "write", "--weights", str(folder / "model"), "--quiet"]
    more = ["training.epochs=20", "training.keep=best", "training.evaluations=4"]
    assert main([*line, "--out", str(folder / "run"), "--set", *SETS, *more]) == 0
    return folder


def test_the_report_tells_what_learning_on_gave(folder: Path) -> None:
    results = json.loads((folder / "run" / "results.json").read_text())
    result = results["targets"][0]
    others = {item["name"]: item for item in result["baselines"]}
    assert set(others) == {"token counts", "4-grams (Kneser-Ney)", "xz", "the given model as it is"}
    before = others["the given model as it is"]
    bits = result["scores"]["bits_per_byte"]["value"]
    # The given weights are random: they tell nothing of the text.
    assert bits < 0.3 * before["scores"]["bits_per_byte"]["value"]
    assert before["difference"]["low"] > 0
    assert "Learning on from the given model paid" in result["verdict"]
    assert results["seal"]["same_answers"] == 1
    page = (folder / "run" / "report.html").read_text()
    assert "the given model as it is" in page


def test_adapters_learn_unless_asked_otherwise_and_the_plan_knows_the_model(folder: Path) -> None:
    run = folder / "run"
    part = read(run / "plan.toml").network["writer"]
    assert (part.name, part.frozen, part.options["groups"]) == ("llama", "lora", 2)
    assert part.fingerprint
    kept = load_file(run / "weights.safetensors")
    assert all(name.rpartition(".")[2] == "scale" or ".up." in name or ".down." in name for name in kept)
    network: Any = api.network(run)
    own, base = dict(network.named_parameters()), load_file(folder / "model" / "model.safetensors")
    assert np.array_equal(own["trunk.embedding.weight"].detach().numpy(), base["model.embed_tokens.weight"])
    out = own["trunk.layers.0.attention.out.weight"].detach().numpy()
    assert not np.array_equal(out, base["model.layers.0.self_attn.o_proj.weight"])


def test_the_sealed_model_writes_without_the_given_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["write", str(folder / "run"), "--prompt", "The red cat", "--tokens", "60", "--seed", "3"]
    assert main([*line, "--json"]) == 0
    text = json.loads(capsys.readouterr().out)["text"]
    assert main(line) == 0
    assert capsys.readouterr().out == f"The red cat{text}\n"
    assert text.startswith(" "), "the space after the prompt is written, and not lost"
    known = {"The", *LOOKS, *NAMES, *DEEDS}
    written = [word.rstrip(".") in known for word in text.split()]
    assert np.mean(written) > 0.8
    model = lamina.load(folder / "run")
    assert model.check_golden()["sound"]


def test_another_model_in_the_folder_is_noticed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("run", "model"):
        shutil.copytree(folder / name, tmp_path / name)
    plan, file = tmp_path / "run" / "plan.toml", tmp_path / "model" / "model.safetensors"
    plan.write_text(plan.read_text().replace(str((folder / "model").resolve()), str(tmp_path / "model")))
    tensors = load_file(file)
    save_file({name: value * 2 for name, value in tensors.items()}, file)
    assert main(["resume", str(tmp_path / "run")]) == 2
    assert "not what the run was started with" in capsys.readouterr().err


def test_a_plan_is_followed_with_its_model(folder: Path, tmp_path: Path) -> None:
    plan = folder / "run" / "plan.toml"
    line = ("train", str(folder / "letters"), "--plan", str(plan), "--quiet")
    only_trained(tmp_path, tmp_path / "run", *line, "--set", "training.epochs=1", "network.frozen=all")
    part = read(tmp_path / "run" / "plan.toml").network["writer"]
    assert (part.weights, part.frozen) == (str((folder / "model").resolve()), "all")
    assert set(load_file(tmp_path / "run" / "weights.safetensors")) == {"trunk.norm.scale", "trunk.last.weight"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--weights", "absent"], "no folder"),
        (["--weights", "letters"], "no config.json"),
        (["--weights", "model", "model"], "one folder"),
        (["--weights", "model", "--set", "task.vocabulary=400"], "vocabulary"),
        (["--weights", "model", "--set", "network.width=64"], "width = 32"),
        (["--weights", "model", "--set", "network.name=decoder"], "name = 'llama'"),
        (["--weights", "model", "--set", "network.frozen=half"], "lora"),
        (["--set", "network.frozen=lora"], "--weights FOLDER"),
        (["--weights", "bert"], "BertModel, which does not write"),
    ],
)
def test_wrong_wishes_are_told(
    words: list[str], said: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    bert = folder / "bert"
    bert.mkdir(exist_ok=True)
    (bert / "config.json").write_text(json.dumps({"architectures": ["BertModel"], "model_type": "bert"}))
    assert main(["train", "letters", "--task", "write", *words, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()
