"""Dreams: what a class or a layer looks for, drawn; and what cannot be dreamed of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures import credit, images, run_here
from PIL import Image

from lamina import api
from lamina.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("dreams")
    images(folder)
    words = ("training.epochs=6", "training.threads=1", "network.width=8", "optimizer.learning_rate=0.005")
    run_here(folder, "train", "images", "--quiet", "--out", "run", "--set", *words)
    return folder / "run"


def dreamed(
    run: Path, out: Path, capsys: pytest.CaptureFixture[str], *words: str
) -> list[tuple[dict[str, object], np.ndarray]]:  # type: ignore[type-arg]
    assert main(["dream", str(run), "--out", str(out), "--json", *words]) == 0
    told = json.loads(capsys.readouterr().out)["dreams"]
    return [(one, np.asarray(Image.open(str(one["file"])))) for one in told]


def test_each_class_is_surer_of_its_dream_than_of_noise(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = dreamed(run, tmp_path / "one", capsys, "--steps", "120")
    assert len(found) == 4
    for told, picture in found:
        assert float(str(told["after"])) > max(0.5, float(str(told["before"])))
        assert picture.std() > 5
    again = dreamed(run, tmp_path / "two", capsys, "--steps", "120", "--class", str(found[1][0]["name"]))
    assert len(again) == 1
    assert np.array_equal(again[0][1], found[1][1])
    other = dreamed(
        run, tmp_path / "three", capsys, "--steps", "120", "--seed", "1", "--class", str(found[1][0]["name"])
    )
    assert not np.array_equal(other[0][1], found[1][1])


def test_a_channel_answers_more_strongly(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layer = api.network(run).layers()[1]  # type: ignore[union-attr,operator]
    found = dreamed(
        run, tmp_path / "out", capsys, "--layer", layer, "--channel", "0", "--channel", "3", "--steps", "40"
    )
    assert [told["name"] for told, _ in found] == [f"{layer}-0", f"{layer}-3"]
    assert all(float(str(told["after"])) > float(str(told["before"])) for told, _ in found)


@pytest.mark.parametrize("size", [(28, 28), (70, 40)])
def test_what_a_layer_sees_in_a_picture_is_amplified(
    size: tuple[int, int], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = next((run.parent / "images" / "test").rglob("*.png"))
    Image.open(source).resize(size).save(tmp_path / "shirt.png")
    layer = api.network(run).layers()[1]  # type: ignore[union-attr,operator]
    words = ("--layer", layer, "--from", str(tmp_path / "shirt.png"), "--steps", "10")
    ((told, picture),) = dreamed(run, tmp_path / "out", capsys, *words)
    assert float(str(told["after"])) > 1.2 * float(str(told["before"]))
    assert picture.shape[:2] == size[::-1]


def test_a_picture_is_painted_in_the_manner_of_another(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stripes have a manner: what is painted like them differs more from column to column, and is still the shirt."""
    source = next((run.parent / "images" / "test").rglob("*.png"))
    Image.open(source).resize((40, 32)).save(tmp_path / "shirt.png")
    stripes = np.tile(np.array([0, 0, 255, 255], np.uint8), (36, 9))
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    words = ("--from", str(tmp_path / "shirt.png"), "--like", str(tmp_path / "stripes.png"), "--steps", "120")
    ((told, painted),) = dreamed(run, tmp_path / "out", capsys, *words)
    assert told["name"] == "shirt-like-stripes"
    assert float(str(told["after"])) < 0.6 * float(str(told["before"]))
    shirt = np.asarray(Image.open(tmp_path / "shirt.png")).astype(np.float64)
    assert painted.shape == shirt.shape == (32, 40)
    rough = [np.abs(np.diff(picture.astype(np.float64), axis=1)).mean() for picture in (shirt, painted)]
    assert rough[1] > 1.2 * rough[0]
    assert np.corrcoef(shirt.ravel(), painted.ravel())[0, 1] > 0.3
    ((weaker, _),) = dreamed(run, tmp_path / "less", capsys, *words, "--strength", "0.01")
    assert float(str(weaker["after"])) > float(str(told["after"]))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--like", "{missing}"), "--from PICTURE"),
        (("--like", "{missing}", "--from", "{picture}"), "cannot be read"),
        (("--like", "{picture}", "--from", "{picture}", "--layer", "{layer}"), "all layers"),
        (("--like", "{picture}", "--from", "{picture}", "--strength", "0"), "above 0"),
        (("--strength", "2"), "of --like"),
        (("--class", "hats"), "no class 'hats'"),
        (("--layer", "stagee"), "no layer called 'stagee'"),
        (("--layer", "{layer}", "--channel", "999"), "no number 999"),
        (("--layer", "{layer}", "--class", "bag"), "two things"),
        (("--from", "x.png"), "a layer sees"),
        (("--layer", "{layer}", "--from", "{missing}"), "cannot be read"),
        (("--channel", "1"), "of a layer"),
        (("--steps", "-1"), "negative"),
        (("--target", "other"), "no classes"),
    ],
)
def test_what_cannot_be_dreamed_of_is_said(
    words: tuple[str, ...], told: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = next((run.parent / "images" / "test").rglob("*.png"))
    known = {"layer": api.network(run).layers()[1], "missing": tmp_path / "none.png", "picture": picture}  # type: ignore[union-attr,operator]
    given = [word.format(**known) for word in words]
    assert main(["dream", str(run), "--out", str(tmp_path / "out"), *given]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "fix:" in error
    assert not (tmp_path / "out").exists()


def test_tables_have_no_dreams_and_a_full_folder_is_left_alone(
    run: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    credit(tmp_path)
    words = ("training.epochs=1", "training.threads=1", "network.name=mlp")
    run_here(tmp_path, "train", "credit.csv", "--target", "Status", "--quiet", "--out", "table", "--set", *words)
    assert main(["dream", str(tmp_path / "table"), "--out", str(tmp_path / "out")]) == 2
    assert "does not read pictures" in capsys.readouterr().err
    assert main(["dream", str(run), "--out", str(run)]) == 2
    assert "is not empty" in capsys.readouterr().err
