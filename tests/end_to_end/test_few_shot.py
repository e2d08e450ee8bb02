"""`lamina few-shot`: an encoder that has never seen a label answers with classes, in a sealed file of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures import Finished, finished, images, read_csv, run_command, write_csv
from test_without_torch import COMMAND, alone

import lamina
from lamina.cli import main
from lamina.errors import InputError

SETS = (
    "training.threads=1", "training.precision=fp32", "training.epochs=6", "training.batch_size=32",
    "network.width=8", "network.stages=2", "method.width=32", "method.hidden=32",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A folder with pictures of four classes, and the run of an encoder of them."""
    folder = tmp_path_factory.mktemp("few")
    data = images(folder)
    line = ["train", str(data / "train"), "--task", "embed", "--quiet", "--seed", "1", "--out", str(folder / "run")]
    assert main([*line, "--set", *SETS]) == 0
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Finished:
    return finished("several", tmp_path_factory.getbasetemp())


def test_pictures_by_their_class_folders(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, examples = tmp_path / "clothes.lamina", place / "images" / "test"
    assert main(["few-shot", str(place / "run"), str(examples), "--episodes", "60", "--out", str(out), "--json"]) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert "20 of each class: not measured" in said.err
    assert list(document["counts"].values()) == [10] * 4
    one, five, twenty = document["episodes"]
    assert (one["ways"], one["chance"], five["queries"], twenty["accuracy"]) == (4, 0.25, 5, {})
    for way, interval in five["accuracy"].items():
        assert interval["low"] <= interval["value"] <= interval["high"]
        assert interval["low"] > 0.25, f"{way} is no better than guessing"
    model = lamina.load(out)
    assert model.check_golden() == {"rows": 16, "agree": 16, "sound": True, "differences": []}
    card = model.card
    assert card["adapted"] | {"network": ""} == {
        "from": lamina.load(place / "run").card["name"], "network": "", "way": document["way"],
        "examples": document["counts"],
    }  # fmt: skip
    assert card["targets"]["label"]["scores"]["accuracy"] == document["accuracy"]
    assert model.sealed.network == lamina.load(place / "run").sealed.network
    assert main(["predict", str(out), str(examples), "--out", str(tmp_path / "answers.csv")]) == 0
    rows = read_csv(tmp_path / "answers.csv")
    right = [row["label"] == Path(row["path"]).parent.name for row in rows]
    assert len(right) == 40
    assert sum(right) > 20
    capsys.readouterr()
    assert main(["test", str(out), str(examples), "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)["targets"]["label"]["accuracy"]["value"]
    assert scored == pytest.approx(sum(right) / 40)
    assert main(["doctor", str(out)]) == 0
    assert main(["explain", str(out), str(next(examples.rglob("*.png"))), "--out", str(tmp_path / "page.html")]) == 0


def test_as_a_table_for_a_person_and_without_torch(place: Path, tmp_path: Path) -> None:
    examples, out = place / "images" / "test", tmp_path / "clothes.lamina"
    words = ("few-shot", str(place / "run"), str(examples), "--shots", "1,5", "--episodes", "20", "--out", str(out))
    done = alone(COMMAND, *words)
    assert done.returncode == 0, done.stderr
    for text in ("40 examples of 4 classes", "prototypes", "neighbors", "probe", "25.0%", "way: ", f"model: {out}"):
        assert text in done.stdout
    picture = next(examples.rglob("*.png"))
    answer = alone(COMMAND, "predict", str(out), str(picture), "--out", str(tmp_path / "one.jsonl"))
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("way", ["prototypes", "neighbors", "probe"])
def test_each_way_is_sealed_and_can_be_adapted_again(way: str, place: Path, tmp_path: Path) -> None:
    examples, out = place / "images" / "test", tmp_path / "new.lamina"
    done = lamina.few_shot(place / "run", examples, way=way, shots=(1,), episodes=5, out=out)
    assert done.reason == "you asked for it"
    assert done.model.check_golden()["sound"]
    again = lamina.few_shot(out, examples, way=way, shots=(1,), episodes=5)
    picture = str(next(examples.rglob("*.png")))
    assert again.model.predict(picture).to_rows() == lamina.load(out).predict(picture).to_rows()


def test_an_unreadable_picture_and_a_single_example_are_told(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place / "images" / "test", tmp_path / "examples")
    first, second = sorted(folder for folder in (tmp_path / "examples").iterdir())[:2]
    for file in sorted(first.iterdir())[1:]:
        file.unlink()
    torn = sorted(second.iterdir())[0]
    torn.write_bytes(torn.read_bytes()[:60])
    words = ["few-shot", str(place / "run"), str(tmp_path / "examples"), "--shots", "5", "--episodes", "5"]
    assert main([*words, "--out", str(tmp_path / "new.lamina")]) == 0
    said = capsys.readouterr().err
    assert "1 rows could not be read" in said
    assert f"one example only, so never asked about in an episode: {first.name}" in said
    card = lamina.load(tmp_path / "new.lamina").card
    assert card["adapted"]["examples"][first.name] == 1
    assert card["adapted"]["examples"][second.name] == 9


def test_what_a_classifier_reads_last_serves_as_an_embedding(
    table: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {**row, "band": "small" if float(row["size"]) < 0 else "large"} for row in read_csv(table.data) if row["size"]
    ]
    rows[3]["band"] = ""
    path = write_csv(tmp_path / "bands.csv", rows)
    out = tmp_path / "bands.lamina"
    words = ["few-shot", str(table.folder), str(path), "--target", "band", "--episodes", "40"]
    assert main([*words, "--json", "--out", str(out)]) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert "its last layer reads" in said.err
    assert "1 rows have no label" in said.err
    assert document["episodes"][-1]["accuracy"]["probe"]["low"] > 0.6
    model, full = lamina.load(out), lamina.load(table.folder)
    assert model.targets == ("band",)
    assert len(model.sealed.network) < len(full.sealed.network) + 1000
    assert model.check_golden()["sound"]
    assert model.predict(rows[:3])[0]["band"] in ("small", "large")


def test_from_python_with_rows_in_memory(table: Finished) -> None:
    rows = [{**row, "band": number % 2} for number, row in enumerate(read_csv(table.data)[:40])]
    done = lamina.few_shot(table.folder, rows, "band", way="prototypes", shots=(1,), episodes=5)
    assert done.counts == {"0": 20, "1": 20}
    assert done.out == ""
    assert done.model.predict(rows[:1])[0]["band"] in ("0", "1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["RUN", "TEST", "--way", "prototype"], "did you mean 'prototypes'"),
        (["RUN", "TEST", "--shots", "1,many"], "--shots"),
        (["RUN", "TEST", "--ways", "9"], "from 2 to 4"),
        (["RUN", "TEST", "--target", "kind"], "no column 'kind'"),
        (["RUN", "TEST", "--out", "new.onnx"], "new.lamina"),
        (["RUN", "TEST", "--out", "nowhere/new.lamina"], "There is no folder nowhere"),
        (["RUN/model.lamina", "TEST", "--out", "RUN/model.lamina"], "the encoder itself"),
        (["RUN", "nothing"], "nothing"),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else "",
)
def test_wrong_requests(words: list[str], said: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = {"RUN": str(place / "run"), "TEST": str(place / "images" / "test")}
    line = [word.replace("RUN", named["RUN"]) if word.startswith("RUN") else named.get(word, word) for word in words]
    assert main(["few-shot", *line]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "fix:" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row, number: {**row, "band": "one"}, "All examples are of one class: 'one'"),
        (lambda row, number: {**row, "band": ""}, "have no label in 'band'"),
        (lambda row, number: {**row, "band": f"value {number}"}, "at most 1,000 can be classes"),
    ],
    ids=["one class", "no label", "too many"],
)
def test_labels_that_are_no_classes(
    change: Callable[[dict[str, str], int], dict[str, str]], said: str, table: Finished, tmp_path: Path
) -> None:
    rows = read_csv(table.data) * 4
    path = write_csv(tmp_path / "rows.csv", [change(row, number) for number, row in enumerate(rows)])
    with pytest.raises(InputError, match=said):
        lamina.few_shot(table.folder, path, "band")


def test_a_column_that_the_encoder_reads_is_no_target(table: Finished) -> None:
    with pytest.raises(InputError, match="reads the column 'kind' itself"):
        lamina.few_shot(table.folder, table.data, "kind")


def test_it_is_not_trained_and_its_verb_has_a_hyphen(table: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(table.data), "--task", "few_shot"]) == 2
    assert "lamina few-shot MODEL EXAMPLES" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "  few-shot " in capsys.readouterr().out
    assert main(["few_shot"]) == 2
    assert "did you mean 'few-shot'" in capsys.readouterr().err
    assert "usage: lamina few-shot" in run_command(table.data.parent, "few-shot", "--help").stdout
