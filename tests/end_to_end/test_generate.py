"""Making pictures from the command line: exact resume, what is sealed, what it makes, wrong wishes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures import same_when_broken_off
from PIL import Image

import lamina
import lamina.api
from lamina.cli import main

SETS = (
    "training.threads=1", "training.precision=fp32", "training.keep=last",
    "training.epochs=20", "training.batch_size=16", "method.width=4", "method.critic=8", "method.noise=8",
    "training.ema=0.9", "task.judge=10",
)  # fmt: skip


def pictures(folder: Path, each: int = 40, classes: tuple[str, ...] = ("left", "right")) -> Path:
    """Pictures that are light on one side, in class folders."""
    random = np.random.default_rng(0)
    for name in classes:
        (folder / "sides" / name).mkdir(parents=True)
        for number in range(each):
            picture = np.full((12, 12), 40)
            picture[:, slice(0, 6) if name == "left" else slice(6, 12)] = 200
            noisy = np.clip(picture + random.normal(0, 10, (12, 12)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / "sides" / name / f"{number}.png")
    return folder / "sides"


def test_broken_off_and_resumed_it_is_as_if_nothing_had_happened(tmp_path: Path, cache: Path) -> None:
    pictures(tmp_path)
    words = ("train", "sides", "--task", "generate", "--seed", "1", "--set", *SETS, "training.checkpoint_seconds=0")
    same_when_broken_off(tmp_path, *words, files=["judge.safetensors"])


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("sides")
    line = ["train", str(pictures(folder)), "--task", "generate", "--quiet", "--out", str(folder / "run")]
    more = ["training.epochs=80", "optimizer.learning_rate=0.003", "task.judge=40"]
    assert main([*line, "--set", *SETS, *more]) == 0
    return folder / "run"


def test_each_class_is_made_as_it_is(sides: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made"
    assert main(["generate", str(sides), "--out", str(out), "--count", "40", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 40
    for name, light in (("left", slice(0, 6)), ("right", slice(6, 12))):
        files = sorted((out / name).glob("*.png"))
        assert len(files) == 20
        mean = np.mean([np.asarray(Image.open(file), float) for file in files], axis=0)
        other = slice(6, 12) if name == "left" else slice(0, 6)
        assert mean[:, light].mean() > mean[:, other].mean() + 60
    each = tmp_path / "each"
    assert main(["generate", str(sides), "--out", str(each), "--each", "7", "--class", "left", "--class", "right"]) == 0
    found = lamina.inspect(sides.parent / "sides", also=each).document()
    assert (found["rows"], found["sources"][1]["learned"]) == (94, 14)
    again = tmp_path / "again"
    assert main(["generate", str(sides), "--out", str(again), "--class", "left", "--count", "3", "--seed", "5"]) == 0
    assert main(["generate", str(sides), "--out", str(tmp_path / "third"), "--class", "left", "--count", "3"]) == 0
    one, other_seed = ((place / "left" / "000001.png").read_bytes() for place in (again, tmp_path / "third"))
    assert one != other_seed
    assert main(["generate", str(sides), "--out", str(tmp_path / "way"), "--between", "0", "5", "--count", "4"]) == 0
    assert len(list((tmp_path / "way").glob("*.png"))) == 4


def test_test_pictures_without_a_class_stop_nothing(tmp_path: Path, cache: Path) -> None:
    folder = pictures(tmp_path)
    named = [f"{name}/{number}.png,{name}" for name in ("left", "right") for number in range(30)]
    plain = [f"{name}/{number}.png," for name in ("left", "right") for number in range(30, 40)]
    for file, lines in (("train.csv", named), ("test.csv", plain)):
        (folder / file).write_text("\n".join(["path,side", *lines, ""]))
    line = ["train", str(folder / "train.csv"), "--task", "generate", "--target", "side", "--quiet"]
    line += ["--test", str(folder / "test.csv"), "--out", str(tmp_path / "run")]
    assert main([*line, "--set", *SETS, "training.epochs=2"]) == 0
    (found,) = json.loads((tmp_path / "run" / "results.json").read_text())["targets"]
    assert "accuracy_from_made" not in found["scores"]
    assert "No test picture has a side" in found["verdict"]


def test_results_and_report(sides: Path) -> None:
    result = json.loads((sides / "results.json").read_text())["targets"][0]
    assert list(result["scores"])[:3] == ["frechet", "precision", "recall"]
    assert result["scores"]["accuracy_from_made"]["value"] > 0.9
    page = (sides / "report.html").read_text()
    for title in ("Made pictures", "While it learned", "From one to another", "the training picture most like it"):
        assert title in page


def test_the_sealed_model_answers_like_any_other(sides: Path) -> None:
    model = lamina.load(sides)
    (row,) = model.predict([{"noise": [0.0] * 8, "label": "left"}])
    assert np.shape(row["picture"]) == (12, 12, 1)
    assert model.check_golden()["sound"]
    (row,) = model.predict([{"noise": [0.0] * 7, "label": "left"}])
    assert row["error"]
    generator = lamina.api.network(sides)
    made = generator({"noise": torch.zeros(1, 8), "class": torch.tensor([2])})
    assert made.shape == (1, 1, 12, 12)


def test_what_it_reads_is_in_no_row(sides: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", str(sides)]) == 2
    assert "noise" in capsys.readouterr().err
    assert main(["search", str(sides), str(sides.parent / "sides"), "--duplicates"]) == 2
    assert "no embeddings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--class", "lefd"], "left"),
        (["--truncation", "-1"], "--truncation"),
        (["--count", "0"], "--count"),
        (["--seed", "-4"], "--seed"),
    ],
)
def test_wrong_wishes_of_what_to_make_are_told(
    sides: Path, more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", str(sides), "--out", str(tmp_path / "made"), *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--set", "task.judge=0"], "at least 1"),
        (["--set", "task.judg=5"], "judge"),
        (["--set", "method.name=contrastive"], "adversarial"),
        (["--set", "method.nois=5"], "noise"),
        (["--target", "lable"], "label"),
    ],
)
def test_wrong_wishes_of_how_to_learn_are_told(
    more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    path = pictures(tmp_path, 8)
    assert main(["train", str(path), "--task", "generate", *more, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_a_table_is_no_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("x,y\n" + "\n".join(f"{row},{row * row}" for row in range(60)) + "\n")
    assert main(["train", str(file), "--task", "generate", "--out", str(tmp_path / "run")]) == 2
    assert "pictures" in capsys.readouterr().err


def test_without_classes_it_makes_any(tmp_path: Path, cache: Path) -> None:
    path = pictures(tmp_path, 60, ("left",))
    line = ["train", str(path), "--task", "generate", "--quiet", "--out", str(tmp_path / "run"), "--set", *SETS]
    assert main([*line, "training.epochs=3"]) == 0
    result = json.loads((tmp_path / "run" / "results.json").read_text())["targets"][0]
    assert "mirror images" in result["verdict"]
    assert main(["generate", str(tmp_path / "run"), "--out", str(tmp_path / "made"), "--count", "5"]) == 0
    assert len(list((tmp_path / "made").glob("*.png"))) == 5
