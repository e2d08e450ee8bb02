"""Turning pictures of one class into those of another: exact resume, what is sealed, what is told, wrong wishes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures import read_csv, same_when_broken_off
from PIL import Image

import lamina
import lamina.api
from lamina.cli import main

SETS = (
    "task.restyled.source=dark", "task.restyled.result=light", "task.restyled.judge=20", "training.threads=1",
    "training.precision=fp32", "training.keep=last", "training.epochs=6",
    "training.batch_size=8", "method.width=4", "method.depth=1", "method.critic=4", "training.ema=0.9",
    "training.evaluations=4",
)  # fmt: skip
GROUND = {"dark": 40, "light": 170, "grey": 100}


def pictures(folder: Path, each: int = 40, classes: Sequence[str] = ("dark", "light"), part: str = "grounds") -> Path:
    """Bright squares on grounds of several shades, in class folders."""
    random = np.random.default_rng(len(part))
    for name in classes:
        place = folder / part / name
        place.mkdir(parents=True)
        for number in range(each):
            picture = GROUND[name] + random.normal(0, 4, (10, 10))
            row, column = random.integers(0, 7, 2)
            picture[row : row + 4, column : column + 4] = 250
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(place / f"{number}.png")
    return folder / part


def test_broken_off_and_resumed_it_is_as_if_nothing_had_happened(tmp_path: Path, cache: Path) -> None:
    pictures(tmp_path)
    words = ("train", "grounds", "--task", "restyle", "--seed", "1", "--set", *SETS, "training.checkpoint_seconds=0")
    same_when_broken_off(tmp_path, *words, files=["judge.safetensors"])


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A finished run; the data and pictures of another size lie beside it."""
    folder = tmp_path_factory.mktemp("grounds")
    data = pictures(folder, 60, ("dark", "light", "grey"))
    (folder / "new").mkdir()
    for number in range(3):
        with Image.open(data / "dark" / f"{number}.png") as picture:
            picture.resize((25, 20), Image.Resampling.NEAREST).save(folder / "new" / f"{number}.png")
    line = ["train", str(data), "--task", "restyle", "--quiet", "--out", str(folder / "run"), "--set", *SETS]
    assert main([*line, "training.epochs=30", "optimizer.learning_rate=0.003"]) == 0
    return folder


def test_pictures_of_another_size_are_turned_in_their_own(grounds: Path, tmp_path: Path) -> None:
    assert main(["predict", str(grounds / "run"), str(grounds / "new"), "--out", str(tmp_path / "turned")]) == 0
    rows = read_csv(tmp_path / "turned" / "answers.csv")
    assert [Path(row["path"]).name for row in rows] == ["0.png", "1.png", "2.png"]
    for row in rows:
        before, after = (
            np.asarray(Image.open(file), float)
            for file in (grounds / "new" / Path(row["path"]).name, tmp_path / "turned" / row["restyled"])
        )
        assert after.shape == before.shape == (20, 25)
        ground = before < 100
        assert after[ground].mean() > before[ground].mean() + 60
        assert after[~ground].mean() > after[ground].mean() + 20, "the square stays"


def test_results_report_and_what_is_kept(grounds: Path) -> None:
    run = grounds / "run"
    result = json.loads((run / "results.json").read_text())["targets"][0]
    assert list(result["scores"])[:3] == ["frechet", "taken", "cycle_psnr"]
    names = {item["name"]: item["scores"] for item in result["baselines"]}
    assert set(names) == {"the picture as it is", "colors transferred"}
    assert names["the picture as it is"]["taken"]["value"] < 0.2
    assert names["the picture as it is"]["cycle_psnr"]["value"] == 60
    assert result["scores"]["frechet"]["value"] < names["the picture as it is"]["frechet"]["value"]
    assert result["scores"]["taken"]["value"] > 0.5
    page = (run / "report.html").read_text()
    assert "Before and after" in page
    assert "While it learned" in page
    model = lamina.load(run)
    assert model.check_golden()["sound"]
    network = lamina.api.network(run)
    assert network(torch.zeros(2, 1, 10, 10)).shape == (2, 1, 10, 10)


def test_no_row_says_how_a_turned_picture_should_look(grounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(grounds / "run"), str(grounds / "grounds")]) == 2
    assert "restyled" in capsys.readouterr().err


def told(capsys: pytest.CaptureFixture[str], data: Path, *more: str) -> str:
    """What is said of a wish that cannot be followed, before anything is trained."""
    out = data.parent / "wrong"
    assert main(["train", str(data), "--task", "restyle", "--out", str(out), *more]) == 2
    assert not out.exists()
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


BOTH = ("--set", "task.restyled.source=dark", "task.restyled.result=light")


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ((), "Name both classes"),
        (("source=dark",), "which class they are to look like"),
        (("source=dark", "result=ligth"), "light"),
        (("source=drak", "result=light"), "dark"),
        (("source=dark", "result=dark"), "two different classes"),
        (("source=dark", "result=light", "judge=0"), "at least 1"),
        (("source=dark", "result=light", "jugde=5"), "judge"),
    ],
)
def test_wrong_classes_and_options_name_the_fix(
    sets: tuple[str, ...], said: str, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pictures(tmp_path, 10)
    wishes = ("--set", *(f"task.restyled.{item}" for item in sets)) if sets else ()
    assert said in told(capsys, data, *wishes)


def test_wrong_data_names_the_fix(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = pictures(tmp_path, 10)
    alone = tmp_path / "alone"
    shutil.copytree(data / "dark", alone / "dark")
    assert "two classes" in told(capsys, alone, *BOTH)
    assert "--target" in told(capsys, alone / "dark", *BOTH)
    lacking = told(capsys, data, "--test", str(alone), *BOTH)
    assert "no pictures of 'light' to test on" in lacking
    assert "--test" in lacking
    assert "cycle" in told(capsys, data, *BOTH, "method.name=adversarial")
    assert "depth" in told(capsys, data, *BOTH, "method.dpeth=3")
    assert "resize=pad" in told(capsys, data, *BOTH, "schema.path.resize=crop", "schema.path.size=8")
    table = tmp_path / "rows.csv"
    table.write_text("x,y\n" + "\n".join(f"{row},{row * row}" for row in range(60)) + "\n")
    assert "for pictures" in told(capsys, table, *BOTH)
