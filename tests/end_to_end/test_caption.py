"""Captions, from the command line: learned, broken off and resumed, sealed, asked; and wrong wishes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import jsonl, same_when_broken_off, write_csv
from PIL import Image

import lamina
from lamina import api
from lamina import run as runs
from lamina.cli import main
from lamina.data.schema import Schema
from lamina.data.split import split
from lamina.steps.request import Sources
from lamina.steps.session import data_of

COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230)}
SIDES = ("left", "right")
SIZE = 16
SETS = (
    "training.threads=1", "training.keep=last", "training.batch_size=16", "network.name=convolutional",
    "network.picture.width=8", "network.picture.hidden=16", "network.writer.width=32", "network.writer.depth=1",
    "network.writer.heads=2", "task.vocabulary=300", "training.augment.picture.flip=0",
)  # fmt: skip


def captioned(folder: Path, pictures: int = 300) -> Path:
    """A square of a color on one side of a grey ground, and where it is; of every third picture two people say it."""
    random = np.random.default_rng(0)
    (folder / "pictures").mkdir(parents=True)
    rows = []
    for number in range(pictures):
        color, side = list(COLORS)[random.integers(3)], SIDES[random.integers(2)]
        pixels = random.integers(90, 160, (SIZE, SIZE, 3), dtype=np.uint8)
        top, left = int(random.integers(2, 8)), 1 if side == "left" else 9
        pixels[top : top + 6, left : left + 6] = COLORS[color]
        name = f"pictures/{number:03d}.png"
        Image.fromarray(pixels).save(folder / name)
        said = [f"a {color} square on the {side}", f"there is a {color} square, {side}"]
        told = said if number % 3 == 0 else [said[number % 2]]
        rows += [{"picture": name, "text": text, "place": str(number)} for text in told]
    return write_csv(folder / "captions.csv", rows)


def words_of(folder: Path) -> tuple[str, ...]:
    sets = (*SETS, "training.checkpoint_seconds=0", "training.evaluations=2", "training.epochs=2")
    return ("train", str(captioned(folder)), "--task", "caption", "--target", "text", "--seed", "1", "--set", *sets)


def test_broken_off_and_resumed_it_is_as_if_nothing_had_happened(tmp_path: Path, cache: Path) -> None:
    run = same_when_broken_off(tmp_path, *words_of(tmp_path / "data"))
    assert lamina.load(run).check_golden()["sound"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run that has learned to say what is where."""
    folder = tmp_path_factory.mktemp("captions")
    line = ["train", str(captioned(folder)), "--task", "caption", "--target", "text", "--quiet"]
    more = ["training.epochs=60", "training.evaluations=3", "task.beams=2", "optimizer.learning_rate=0.003"]
    assert main([*line, "--out", str(folder / "run"), "--set", *SETS, *more]) == 0
    return folder / "run"


def results_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "results.json").read_text())
    return found


def test_it_says_what_is_to_be_seen_and_where(run: Path) -> None:
    results = results_of(run)
    (result,) = results["targets"]
    assert list(result["scores"]) == ["cider", "bleu", "chrf"]
    others = {item["name"]: item["scores"]["cider"]["value"] for item in result["baselines"]}
    assert set(others) == {"nearest neighbors", "the commonest words"}
    assert result["scores"]["cider"]["value"] > 5 > others["the commonest words"]
    assert results["seal"]["same_answers"] == 1
    # Pictures are judged, not their captions.
    assert results["data"]["judged"] < results["data"]["test"]
    assert results["data"]["train"] + results["data"]["validation"] + results["data"]["test"] == 400
    # Several captions of a picture are neither copies nor contradictions.
    assert not {item["kind"] for item in results["audit"]} & {"duplicates", "conflicting labels"}


def test_rows_of_one_picture_stay_in_one_part(run: Path) -> None:
    found = runs.find(run)
    plan = found.plan()
    table, boundary = data_of(found, plan, Sources(None, None, ()))
    parts = split(table, Schema(plan.schema), plan.data, plan.seed, test_from=boundary)
    files = [set(table.take(rows, ["picture"])["picture"]) for rows in (parts.train, parts.validation, parts.test)]
    assert len(set.union(*files)) == sum(map(len, files)) == 300


def test_new_pictures_are_described(run: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    for name, left in (("a", 1), ("b", 9)):
        pixels = np.full((SIZE, SIZE, 3), 120, np.uint8)
        pixels[5:11, left : left + 6] = COLORS["red"]
        Image.fromarray(pixels).save(tmp_path / "new" / f"{name}.png")
    (tmp_path / "new" / "c.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    assert main(["predict", str(run), str(tmp_path / "new"), "--out", str(tmp_path / "said.jsonl")]) == 0
    first, second, broken = jsonl(tmp_path / "said.jsonl")
    assert "left" in first["text"]
    assert "right" in second["text"]
    assert broken["error"]


def test_other_captions_are_judged_as_those_of_the_test_part(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["test", str(run), str(run.parent / "captions.csv"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 400
    assert told["errors"] == 0
    assert told["targets"]["text"]["cider"]["value"] > 5
    assert main(["test", str(run), str(run.parent / "captions.csv")]) == 0
    assert "captions" in capsys.readouterr().out


def test_the_page_shows_pictures_captions_and_where_it_looked(run: Path) -> None:
    page = (run / "report.html").read_text()
    for words in ("Captions", "reference:", "Where it looked", "CIDEr-D", "While it learned"):
        assert words in page


def test_its_network_comes_back_without_data(run: Path) -> None:
    network: Any = api.network(run)
    names = [name for name, _ in network.stages()]
    assert names[-3:] == ["embedding", "writing1", "norm"]
    assert "bridge" in names


def test_given_weights_look_at_the_pictures(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["train", str(run.parent / "captions.csv"), "--task", "caption", "--target", "text", "--quiet"]
    sets = [item for item in SETS if not item.startswith("network.picture")]
    assert main([*line, "--out", str(tmp_path / "run"), "--weights", str(run), "--set", *sets,
                 "network.picture.frozen=all", "training.epochs=1", "training.evaluations=1"]) == 0  # fmt: skip
    old, new = (dict(api.network(folder).state_dict()) for folder in (run, tmp_path / "run"))
    seen = [name for name in old if name.startswith("pictures.") and name.endswith("weight")]
    assert seen
    assert all(bool((old[name] == new[name]).all()) for name in seen)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--target"),
        (["--target", "txt"], "text"),
        (["--target", "text", "place"], "place"),
        (["--target", "text", "--set", "task.beams=0"], "from 1"),
        (["--target", "text", "--set", "task.beam=2"], "beams"),
        (["--target", "text", "--set", "network.writer.widht=3"], "width"),
        (["--target", "text", "--set", "network.writer.width=18", "network.writer.heads=4"], "heads"),
        (["--target", "text", "--set", "network.writer.name=decoder"], "captioner"),
        (["--target", "text", "--set", "network.name=mlp"], "mlp"),
        (["--target", "text", "--set", "method.name=supervised"], "next_token"),
        (["--target", "text", "--set", "training.augment.picture.flop=1"], "flip"),
        (["--target", "text", "--set", "training.mixup=0.2"], "mixup"),
        (["--target", "text", "--set", "schema.picture.role=ignore"], "image"),
        (["--target", "text", "--private", "3"], "privacy"),
        (["--target", "text", "--set", "schema.place.role=weight"], "not weighed"),
    ],
)
def test_wrong_wishes_are_told(
    words: list[str], said: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(run.parent / "captions.csv"), "--task", "caption", *words, "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_other_verbs_say_what_they_are_not_for(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(run.parent / "captions.csv")
    for words in (["write", str(run), "--prompt", "x"], ["quantize", str(run)], ["explain", str(run), data]):
        assert main(words) == 2, words
        error = capsys.readouterr().err
        assert "fix:" in error
        assert "Traceback" not in error
