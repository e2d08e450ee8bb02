"""`lamina train FOLDER` with boxes: found far better than by chance, sealed, resumed exactly, answered as JSON."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures import check_same, kept_at, run_here
from PIL import Image

import lamina
from lamina.cli import main
from lamina.modalities import boxes as raw

WIDTH, HEIGHT = 96, 64
COLORS = {"red": (220, 40, 40), "blue": (40, 60, 220)}
SETS = (
    "training.threads=1", "training.precision=fp32", "training.epochs=10", "training.batch_size=8",
    "training.evaluations=2", "training.checkpoint_seconds=0", "training.keep=last", "network.width=12",
    "network.stages=2", "network.halvings=3", "task.boxes.head_width=24", "task.boxes.head_depth=1",
    "task.boxes.levels=2", "training.augment.path.crop=0.2",
)  # fmt: skip
TRAIN = ("--seed", "2", "--quiet", "--set", *SETS)


def scenes(folder: Path, train: int = 120, test: int = 40) -> Path:
    """Red and blue rectangles on noise, in COCO's form; every tenth picture may hold nothing."""
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        (folder / part).mkdir(parents=True)
        images, annotations = [], []
        for number in range(count):
            pixels = random.integers(100, 140, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            for _ in range(random.integers(0 if number % 10 == 0 else 1, 4)):
                wide, high = random.integers(14, 34, 2).tolist()
                x, y = int(random.integers(0, WIDTH - wide)), int(random.integers(0, HEIGHT - high))
                color = int(random.integers(2))
                pixels[y : y + high, x : x + wide] = list(COLORS.values())[color]
                annotations.append({"image_id": number, "category_id": color, "bbox": [x, y, wide, high]})
            name = f"{number:03}.png"
            Image.fromarray(pixels).save(folder / part / name)
            images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        categories = [{"id": number, "name": name} for number, name in enumerate(COLORS)]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A folder with pictures and the run that learned to find what is in them."""
    folder = tmp_path_factory.mktemp("detect")
    scenes(folder / "scenes")
    with kept_at(80, folder / "broken off"):
        run_here(folder, "train", "scenes", "--out", "run", *TRAIN)
    return folder


def test_boxes_are_found_far_better_than_by_the_usual_ones(place: Path) -> None:
    (result,) = json.loads((place / "run" / "results.json").read_text())["targets"]
    assert (result["target"], result["task"], result["verdict_kind"]) == ("boxes", "detect", "network")
    baselines = {item["name"]: item["scores"] for item in result["baselines"]}
    assert set(baselines) == {"no boxes", "the usual boxes"}
    best = max(scores["ap50"]["value"] for scores in baselines.values())
    found = result["scores"]["ap50"]
    assert found["value"] > best + 0.4
    assert found["low"] <= found["value"] <= found["high"]
    assert {"ap", "ap75", "recall", "f1", "ap.red", "ap.blue"} <= set(result["scores"])
    plan = (place / "run" / "plan.toml").read_text()
    assert "size = [64, 96]" in plan
    report = (place / "run" / "report.html").read_text()
    assert "Boxes in test pictures" in report
    assert "AP at an overlap of 0.5" in report


def test_the_sealed_model_answers_the_same_and_in_pixels_of_each_picture(place: Path, tmp_path: Path) -> None:
    seal = json.loads((place / "run" / "results.json").read_text())["seal"]
    assert seal["same_answers"] >= 0.95
    model = lamina.load(place / "run")
    assert model.check_golden()["sound"]
    source = place / "scenes" / "test"
    large = tmp_path / "pictures"
    large.mkdir()
    for name in ("001.png", "002.png"):
        Image.open(source / name).resize((2 * WIDTH, 2 * HEIGHT), Image.Resampling.NEAREST).save(large / name)
    (large / "broken.png").write_bytes(b"\x89PNG nothing")
    out = tmp_path / "answers.csv"
    assert main(["predict", str(place / "run" / "model.lamina"), str(large), "--out", str(out)]) == 0
    with out.open(encoding="utf-8", newline="") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert rows["broken.png"]["error"]
    assert rows["broken.png"]["boxes"] == ""
    small = {Path(row["path"]).name: row["boxes"] for row in model.predict(source).to_rows()}
    for name in ("001.png", "002.png"):
        answer = json.loads(rows[name]["boxes"])
        assert (answer["width"], answer["height"]) == (2 * WIDTH, 2 * HEIGHT)
        # The enlarged picture is brought back to the size it was drawn in: the surest box is the same, twice as large.
        first, second = raw.read(answer), raw.read(small[name])
        assert isinstance(first, raw.Boxes)
        assert isinstance(second, raw.Boxes)
        assert first.labels[0] == second.labels[0]
        np.testing.assert_allclose(first.edges[0], 2 * second.edges[0], atol=4)


def test_scored_again_on_labelled_pictures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held_out = place / "held out"
    (held_out / "annotations").mkdir(parents=True)
    shutil.copy(place / "scenes" / "annotations" / "instances_test.json", held_out / "annotations")
    shutil.copytree(place / "scenes" / "test", held_out / "test")
    assert main(["test", str(place / "run" / "model.lamina"), str(held_out), "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)["targets"]["boxes"]
    (result,) = json.loads((place / "run" / "results.json").read_text())["targets"]
    for name in ("ap", "ap50", "f1"):
        assert scored[name]["value"] == pytest.approx(result["scores"][name]["value"], abs=1e-3)


def test_broken_off_and_resumed_it_ends_with_the_same_bits(place: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(place / "broken off", tmp_path / "run"))
    torch.seed()
    run_here(tmp_path, "resume", "run")
    check_same(run, place / "run")
    assert (run / "model.lamina").is_file()


def test_mistakes_name_the_fix(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(place / "scenes")
    cases = {
        "task.boxes.overlap=7": "number from 0 to 1",
        "task.boxes.primary=ap51": "ap50",
        "network.name=convnext": "network",
        "training.mixup=0.2": "training.mixup=0",
        "schema.boxes.role=input": "--target boxes",
        "schema.path.resize=crop": "resize=pad",
    }
    for item, fix in cases.items():
        assert main(["train", data, "--quiet", "--out", str(tmp_path / "run"), "--set", item]) != 0
        assert fix in capsys.readouterr().err
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
    shutil.copytree(place / "scenes", tmp_path / "broken")
    file = tmp_path / "broken" / "annotations" / "instances_train.json"
    file.write_text(file.read_text()[:-40])
    assert main(["train", str(tmp_path / "broken"), "--quiet", "--out", str(tmp_path / "run")]) != 0
    assert "instances_train.json is not valid JSON" in capsys.readouterr().err
