"""Pictures made better from the command line: better than bicubic, exact resume, what is sealed, wrong wishes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from fixtures import images, same_when_broken_off, write_csv
from PIL import Image

import lamina
from lamina.cli import main
from lamina.tasks._fidelity import decibels

SETS = (
    "training.threads=1", "training.precision=fp32", "training.keep=last",
    "training.batch_size=16", "training.evaluations=2",
)  # fmt: skip
SMALL = ("network.width=12", "network.depth=2")


@pytest.fixture(scope="module")
def enlarged(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A finished run that makes pictures of clothes twice as large."""
    folder = tmp_path_factory.mktemp("enlarged")
    data = images(folder)
    line = ["train", str(data), "--restore", "super-resolution", "--quiet", "--out", str(folder / "run")]
    more = ["training.epochs=8", "optimizer.learning_rate=0.004", "network.width=16", "network.depth=3"]
    assert main([*line, "--set", *SETS, *more]) == 0
    return folder


def results(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())


def test_it_is_better_than_bicubic(enlarged: Path) -> None:
    found = results(enlarged / "run")
    target = found["targets"][0]
    assert target["task"] == "restore"
    assert 'name = "edsr"' in (enlarged / "run" / "plan.toml").read_text()
    names = [item["name"] for item in target["baselines"]]
    assert names == ["bicubic enlargement", "Lanczos enlargement"]
    bicubic = target["baselines"][0]["scores"]["psnr"]["value"]
    assert target["scores"]["psnr"]["value"] > bicubic + 0.2
    assert target["scores"]["ssim"]["value"] > 0.5
    assert found["seal"]["same_answers"] == 1.0
    assert any("truth" in item["text"].lower() for item in found["exhibits"])


def test_baselines_are_what_pillow_does(enlarged: Path) -> None:
    """Bicubic enlargement of the halved test pictures, by hand."""
    found = results(enlarged / "run")["targets"][0]["baselines"][0]["scores"]["psnr"]["value"]
    values = []
    for file in sorted((enlarged / "images" / "test").rglob("*.png")):
        picture = Image.open(file).convert("L")
        back = picture.resize((14, 14), Image.Resampling.BICUBIC).resize((28, 28), Image.Resampling.BICUBIC)
        values.append(decibels(np.asarray(back)[None, :, :, None], np.asarray(picture)[None, :, :, None])[0])
    assert found == pytest.approx(np.mean(values), abs=0.02)


def test_pictures_are_written_and_read_like_those_of_python(enlarged: Path, tmp_path: Path) -> None:
    worse = tmp_path / "worse"
    worse.mkdir()
    for number, file in enumerate(sorted((enlarged / "images" / "test").rglob("*.png"))[:3]):
        Image.open(file).convert("L").resize((14, 14), Image.Resampling.BICUBIC).save(worse / f"{number}.png")
    (worse / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = tmp_path / "better" / "answers.csv"
    assert main(["predict", str(enlarged / "run"), str(worse), "--out", str(tmp_path / "better")]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["error"]) for row in rows] == [False, False, False, True]
    answers = lamina.load(enlarged / "run" / "model.lamina").predict(worse).to_rows()
    assert main(["predict", str(enlarged / "run"), str(worse), "--out", str(worse)]) == 2
    for row, answer in zip(rows[:3], answers[:3], strict=True):
        written = np.asarray(Image.open(out.parent / row["restored"]))
        assert written.shape == (28, 28)
        assert np.array_equal(written, np.asarray(answer["restored"]))


def test_a_large_picture_is_answered_at_its_own_size(enlarged: Path) -> None:
    file = min((enlarged / "images" / "test").rglob("*.png"))
    large = Image.open(file).convert("L").resize((60, 45), Image.Resampling.BICUBIC)
    (answer,) = lamina.load(enlarged / "run" / "model.lamina").predict([{"path": np.asarray(large)}]).to_rows()
    assert answer["error"] is None
    assert answer["restored"].shape == (90, 120)
    bicubic = np.asarray(large.resize((120, 90), Image.Resampling.BICUBIC))
    assert decibels(answer["restored"][None, :, :, None], bicubic[None, :, :, None])[0] > 20


def test_broken_off_and_resumed_it_is_as_if_nothing_had_happened(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(60):
        Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    words = ("train", "photos", "--restore", "inpaint", "--seed", "1")
    sets = ("--set", *SETS, "training.epochs=4", "network.name=edsr", *SMALL, "task.restored.parts=2")
    sets = (*sets, "training.checkpoint_seconds=0")
    run = same_when_broken_off(tmp_path, *words, *sets, step=5)
    assert results(run)["seal"]["same_answers"] == 1.0


def pairs(folder: Path, number: int = 40, scale: int = 1, odd: int = -1) -> Path:
    """A table of noisy and clean pictures; the pair number `odd` does not fit."""
    random = np.random.default_rng(0)
    rows = []
    for place in range(number):
        clean = np.clip(np.add.outer(np.arange(16) * random.uniform(0, 12), np.arange(16) * 5.0), 0, 255)
        noisy = np.clip(clean + random.normal(0, 30, clean.shape), 0, 255)
        side = 16 * scale + (3 if place == odd else 0)
        better = Image.fromarray(clean.astype(np.uint8)).resize((side, side))
        better.save(folder / f"clean{place}.png")
        Image.fromarray(noisy.astype(np.uint8)).save(folder / f"noisy{place}.png")
        rows.append({"scan": f"noisy{place}.png", "clean": f"clean{place}.png", "page": place})
    return write_csv(folder / "scans.csv", rows)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that are larger than the parts that are learned from."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(10):
        Image.fromarray(photo(number)).save(folder / f"{number:02d}.png")
    return folder


def photo(number: int) -> np.ndarray:
    random = np.random.default_rng(number)
    coarse = Image.fromarray(random.integers(0, 256, (12, 10, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((72, 90), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("kind", "sets", "side"),
    [
        ("denoise", ("task.restored.way=poisson", "task.restored.parts=2"), 1),
        ("deblur", ("task.restored.way=motion", "task.restored.parts=2"), 1),
        ("super-resolution", ("task.restored.scale=4", "task.restored.enlarging=transposed"), 4),
    ],
)
def test_every_kind_learns_from_parts_and_answers_whole_pictures(
    kind: str, sets: tuple[str, ...], side: int, photos: Path, tmp_path: Path, cache: Path
) -> None:
    line = ["train", str(photos), "--restore", kind, "--quiet", "--out", str(tmp_path / "run"), "--set", *SETS, *SMALL]
    assert main([*line, *sets, "training.epochs=1", "task.restored.size=24"]) == 0
    found = results(tmp_path / "run")
    assert found["seal"]["same_answers"] == 1.0
    parts = 2 if "task.restored.parts=2" in sets else 4 * 3
    assert found["data"]["rows"] == 10 * parts, "90 x 72 pixels hold 4 x 3 parts"
    assert not [item for item in found["audit"] if "duplicates" in item["kind"]]
    plan = (tmp_path / "run" / "plan.toml").read_text()
    assert f"parts = {parts}" in plan
    assert f"{10 * parts} parts of 24 x 24 pixels" in plan
    (answer,) = lamina.load(tmp_path / "run" / "model.lamina").predict([{"path": photo(3)}]).to_rows()
    assert answer["restored"].shape == (side * 90, side * 72, 3)


def test_folders_of_worse_and_better_pictures_are_pairs_that_keep_what_is_fine(tmp_path: Path, cache: Path) -> None:
    """Beyond 96 pixels pairs were once made small, and answers enlarged from there."""
    for name in ("noisy", "clean"):
        (tmp_path / "scans" / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(12):
        clean = random.integers(0, 2, (120, 150), dtype=np.uint8) * 200 + 20
        noisy = np.clip(clean + random.normal(0, 10, clean.shape), 0, 255).astype(np.uint8)
        Image.fromarray(clean).save(tmp_path / "scans" / "clean" / f"{number}.png")
        Image.fromarray(noisy).save(tmp_path / "scans" / "noisy" / f"{number}.png")
    line = ["train", str(tmp_path / "scans"), "--task", "restore", "--quiet", "--out", str(tmp_path / "run")]
    assert main([*line, "--set", *SETS, *SMALL, "training.epochs=3"]) == 0
    target = results(tmp_path / "run")["targets"][0]
    (answer,) = lamina.load(tmp_path / "run" / "model.lamina").predict([{"path": noisy}]).to_rows()
    small = Image.fromarray(clean).resize((96, 96), Image.Resampling.BICUBIC).resize((150, 120))
    own, blurred = (
        decibels(one[None, :, :, None], clean[None, :, :, None])[0] for one in (answer["restored"], np.asarray(small))
    )
    assert own > blurred + 8, "the answer is no blurred picture"
    assert own == pytest.approx(target["scores"]["psnr"]["value"], abs=2.0), "and what is reported is what is answered"


def test_pairs_that_are_given(tmp_path: Path, cache: Path) -> None:
    table = pairs(tmp_path)
    line = ["train", str(table), "--task", "restore", "--target", "clean", "--quiet", "--out", str(tmp_path / "run")]
    assert main([*line, "--set", *SETS, *SMALL, "training.epochs=30", "optimizer.learning_rate=0.004"]) == 0
    target = results(tmp_path / "run")["targets"][0]
    names = {item["name"]: item["scores"]["psnr"]["value"] for item in target["baselines"]}
    assert {"left as it is", "median filter", "non-local means", "unsharp mask"} == set(names)
    assert target["scores"]["psnr"]["value"] > names["left as it is"] + 2


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    return capsys.readouterr().err


def test_wrong_wishes_name_the_fix(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(np.full((14, 14), 20 * number, np.uint8)).save(folder / f"{number}.png")
    photos = str(folder)
    assert "tell" in told(capsys, "train", photos, "--restore", "colourise")
    small = told(capsys, "train", photos, "--restore", "super-resolution", "--set", "task.restored.scale=4")
    assert "14 x 14" in small
    assert "smaller scale" in small
    assert "denoise" in told(capsys, "train", photos, "--restore", "denoize")
    assert "--restore" in told(capsys, "train", photos, "--task", "restore")
    assert "poisson" in told(capsys, "train", photos, "--restore", "denoise", "--set", "task.restored.way=poison")
    assert "grey levels" in told(capsys, "train", photos, "--restore", "denoise", "--set", "task.restored.strength=-1")
    assert "Leave out one" in told(capsys, "train", photos, "--restore", "denoise", "--task", "classify")
    (tmp_path / "pairs").mkdir()
    odd = told(capsys, "train", str(pairs(tmp_path / "pairs", 12, odd=5)), "--task", "restore", "--target", "clean")
    assert "19" in odd
    assert "noisy5" in odd or "line 7" in odd
    network = told(capsys, "train", photos, "--restore", "denoise", "--set", "network.name=transformer")
    assert "edsr" in network
