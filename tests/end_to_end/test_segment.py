"""Masks from the command line: learned, resumed, sealed, answered at the pictures' own size, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures import check_same, kept_at, read_csv, run_here
from outlined import folder_of_outlines
from PIL import Image

import lamina
from lamina.cli import main

SETS = (
    "training.epochs=16", "training.threads=1", "training.precision=fp32", "training.checkpoint_seconds=0",
    "training.keep=last", "training.batch_size=8", "network.width=8", "network.halvings=1", "network.stages=2",
    "task.mask.decoder_width=8", "task.mask.upsampling=transposed",
)  # fmt: skip
TRAIN = ("train", "discs", "--target", "mask", "--seed", "1", "--set", *SETS)
SIDE = 32


def disc(random: np.random.Generator, height: int = SIDE, width: int = SIDE) -> tuple[Any, Any]:
    """A picture of a bright disc on a noisy ground, and its mask."""
    y, x = random.integers(8, height - 8), random.integers(8, width - 8)
    rows, columns = np.mgrid[:height, :width]
    mask = ((rows - y) ** 2 + (columns - x) ** 2 < 36).astype(np.uint8)
    picture = np.clip(90 + 100 * mask + random.normal(0, 20, mask.shape), 0, 255).astype(np.uint8)
    return picture, 255 * mask


def discs(folder: Path, number: int = 48) -> Path:
    """`images` and `masks` with the same names."""
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / "discs" / name).mkdir(parents=True)
    for row in range(number):
        picture, mask = disc(random)
        Image.fromarray(picture).save(folder / "discs" / "images" / f"{row:02d}.png")
        Image.fromarray(mask).save(folder / "discs" / "masks" / f"{row:02d}.png")
    return folder / "discs"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A folder with the data, and a finished run on it."""
    folder = tmp_path_factory.mktemp("segment")
    discs(folder)
    with kept_at(40, folder / "broken off"):
        run_here(folder, *TRAIN, "--out", "whole")
    return folder


def test_it_learns_the_masks_and_says_how_well(whole: Path) -> None:
    results = json.loads((whole / "whole" / "results.json").read_text())
    target = results["targets"][0]
    assert target["task"] == "segment"
    assert list(target["scores"]) == ["dice", "iou", "pixel_accuracy"]
    assert target["scores"]["dice"]["value"] > 0.75
    assert {item["name"] for item in target["baselines"]} == {
        "the commonest class everywhere", "a threshold on the brightness", "gradient-boosted trees for each pixel",
    }  # fmt: skip
    assert results["seal"]["same_answers"] == 1
    shown = results["exhibits"]
    assert len(shown[0]["pictures"]) >= 9
    assert any("IoU" in line for line in shown[1]["lines"])
    report = (whole / "whole" / "report.html").read_text()
    assert "mask: answers" in report


def test_broken_off_and_resumed_it_is_as_if_nothing_had_happened(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole / "broken off", tmp_path / "run"))
    torch.seed()
    run_here(tmp_path, "resume", "run")
    check_same(run, whole / "whole")
    assert (run / "model.lamina").is_file()


def test_pictures_of_any_size_get_masks_of_their_size(whole: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    (tmp_path / "new").mkdir()
    truths = {}
    for name, height, width in (("same", 32, 32), ("large", 70, 90), ("small", 24, 24)):
        picture, truths[name] = disc(random, height, width)
        Image.fromarray(picture).save(tmp_path / "new" / f"{name}.png")
    (tmp_path / "new" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    model = whole / "whole" / "model.lamina"
    assert main(["predict", str(model), str(tmp_path / "new"), "--out", str(tmp_path / "answers")]) == 0
    rows = {row["path"]: row for row in read_csv(tmp_path / "answers" / "answers.csv")}
    assert rows["broken.png"]["error"]
    assert not rows["broken.png"]["mask"]
    for name, truth in truths.items():
        row = rows[f"{name}.png"]
        assert row["error"] == ""
        mask = np.asarray(Image.open(tmp_path / "answers" / row["mask"]))
        assert mask.shape == truth.shape
        assert set(np.unique(mask)) <= {0, 255}
        assert 2 * ((mask > 0) & (truth > 0)).sum() / ((mask > 0).sum() + (truth > 0).sum()) > 0.6
        assert float(row["mask.share.255"]) == pytest.approx(float((mask > 0).mean()), abs=1e-6)
    loaded = lamina.load(model)
    assert loaded.check_golden()["sound"]
    answer = loaded.predict([{"path": np.asarray(Image.open(tmp_path / "new" / "large.png"))}])[0]
    assert (answer["mask"] == np.asarray(Image.open(tmp_path / "answers" / "large.png"))).all()


def test_labelled_pictures_score_a_sealed_model(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(whole / "whole" / "model.lamina"), str(whole / "discs"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 48
    assert found["targets"]["mask"]["dice"]["value"] > 0.75


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("size", ("its picture 32 x 32", "bad_rows")),
        ("single", ("one class only", "two different values")),
    ],
)
def test_what_is_wrong_with_masks_is_said(
    change: str, words: tuple[str, ...], whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "discs"
    shutil.copytree(whole / "discs", data)
    for number, mask in enumerate(sorted((data / "masks").iterdir())):
        if change == "size" and number % 2:
            Image.open(mask).resize((16, 16)).save(mask)
        if change == "single":
            Image.new("L", (SIDE, SIDE)).save(mask)
    assert main(["train", str(data), "--target", "mask", "--out", str(tmp_path / "run"), "--set", *SETS]) != 0
    said = capsys.readouterr().err
    for word in words:
        assert word in said
    assert not (tmp_path / "run").exists()


def specks(folder: Path, number: int = 12, height: int = 360, width: int = 420) -> Path:
    """Large pictures of small things, which shrinking would lose."""
    random = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rows, columns = np.mgrid[:height, :width]
    for row in range(number):
        mask = np.zeros((height, width), np.uint8)
        for _ in range(60):
            y, x = random.integers(0, height), random.integers(0, width)
            mask[(rows - y) ** 2 + (columns - x) ** 2 < 5] = 255
        picture = np.clip(90 + 0.4 * mask + random.normal(0, 15, mask.shape), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / "images" / f"{row:02d}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{row:02d}.png")
    return folder


def test_small_things_in_large_pictures_are_learned_from_in_parts(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = specks(tmp_path / "specks")
    sets = [item for item in SETS if not item.startswith("training.epochs")]
    line = ["train", str(data), "--target", "mask", "--out", str(tmp_path / "run"), "--seed", "1", "--set", *sets]
    more = ["training.epochs=8", "training.evaluations=2", "optimizer.learning_rate=0.02"]
    assert main([*line, *more, "schema.path.size=64", "task.mask.window=cut", "task.mask.parts=8"]) == 0
    assert "96 parts of 64 x 64 pixels, 8 of each of 12 pictures" in capsys.readouterr().err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["seal"]["same_answers"] == 1
    dice = results["targets"][0]["scores"]["dice"]["value"]
    assert dice > 0.4
    model = lamina.load(tmp_path / "run" / "model.lamina")
    picture, mask = (np.asarray(Image.open(data / name / "03.png")) for name in ("images", "masks"))
    answer = model.predict([{"path": picture}])[0]["mask"]
    assert answer.shape == mask.shape
    own = 2 * ((answer > 0) & (mask > 0)).sum() / ((answer > 0).sum() + (mask > 0).sum())
    assert own == pytest.approx(dice, abs=0.1), "what is reported holds for what is answered"
    assert main(["test", str(tmp_path / "run" / "model.lamina"), str(data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["errors"]) == (12, 0)
    assert found["targets"]["mask"]["dice"]["value"] == pytest.approx(dice, abs=0.1)


def test_answers_that_are_pictures_need_a_place(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(whole / "whole" / "model.lamina"), str(whole / "discs"), "--out", "-"]) != 0
    assert "--out answers/" in capsys.readouterr().err


def test_pictures_without_a_mask_are_counted(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "discs"
    shutil.copytree(whole / "discs", data)
    for mask in sorted((data / "masks").iterdir())[:4]:
        mask.unlink()
    words = ["--set", *SETS, "training.epochs=1"]
    assert main(["train", str(data), "--target", "mask", "--out", str(tmp_path / "run"), *words]) == 0
    assert "4 rows (8.3%) have no answer in the target and are left out" in capsys.readouterr().err


def test_polygons_in_a_table_are_masks(tmp_path: Path, cache: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["photo\tshape"]
    for row in range(24):
        picture = np.full((24, 28), 60, np.uint8)
        top, left = (int(random.integers(0, most)) for most in (14, 18))
        picture[top : top + 8, left : left + 8] = 200
        Image.fromarray(picture).save(tmp_path / f"{row}.png")
        corners = [[left, top], [left + 7, top], [left + 7, top + 7], [left, top + 7]]
        lines.append(f"{row}.png\t{json.dumps([{'label': 'box', 'points': corners}] if row % 4 else [])}")
    (tmp_path / "scenes.tsv").write_text("\n".join([*lines, ""]))
    sets = [item.replace("task.mask", "task.shape") for item in SETS if not item.startswith("training.epochs")]
    run_here(tmp_path, "train", "scenes.tsv", "--target", "shape", "--out", "run", "--set", *sets, "training.epochs=2")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["targets"][0]["task"] == "segment"
    assert results["seal"]["same_answers"] == 1.0
    found = lamina.load(tmp_path / "run" / "model.lamina").predict(tmp_path / "scenes.tsv").to_rows()
    assert {row["shape"].shape for row in found} == {(24, 28)}


def test_coco_outlines_are_learned_from_and_tested_again(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_of_outlines(tmp_path / "things", pictures=24)
    sets = [item.replace("task.mask", "task.outlines") for item in SETS if not item.startswith("training.epochs")]
    run_here(tmp_path, "train", "things", "--task", "segment", "--out", "run", "--set", *sets, "training.epochs=2")
    target = json.loads((tmp_path / "run" / "results.json").read_text())["targets"][0]
    assert (target["target"], target["task"]) == ("outlines", "segment")
    assert {"iou.disc", "iou.square"} <= set(target["scores"])
    capsys.readouterr()
    run_here(tmp_path, "test", "run", "things", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["errors"]) == (24, 0)
    assert set(target["scores"]) == set(found["targets"]["outlines"])
