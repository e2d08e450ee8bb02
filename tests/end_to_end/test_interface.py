"""The interfaces that others script against: files, columns, exit codes, what goes to which stream."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from fixtures import Finished, finished, jsonl, only_trained, prices, read_csv, write_csv

from lamina.cli import main
from lamina.plan import read

QUICK = ("training.epochs=1", "training.threads=1", "network.name=mlp", "network.width=16", "network.depth=1")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Finished:
    return finished("several", tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Finished:
    return finished("images", tmp_path_factory.getbasetemp())


@pytest.fixture
def here(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with prices.csv."""
    prices(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_json_alone_on_standard_output_and_progress_on_standard_error(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("train", "prices.csv", "--target", "dear", "--json", "--set", "schema.price.role=ignore", *QUICK)
    assert main(list(words)) == 0
    said = capfd.readouterr()
    document = json.loads(said.out)
    assert Path(document["run"]) == Path("runs/prices"), "the default run folder is runs/NAME"
    assert (here / document["model"]).is_file()
    assert document["seal"]["same_answers"] == 1.0
    assert set(document["targets"]) == {"dear"}
    for step in ("1/5 Understand", "2/5 Prepare", "3/5 Choose", "4/5 Train", "5/5 Test"):
        assert step in said.err
    for name in ("plan.toml", "log.jsonl", "report.html", "model.lamina"):
        assert (here / "runs" / "prices" / name).is_file()
    assert (here / "runs" / "prices" / "checkpoints").is_dir()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["list"], 0),
        (["--help"], 0),
        (["--version"], 0),
        (["train"], 2),
        (["trian", "prices.csv"], 2),
        (["train", "missing.csv"], 2),
        (["train", "prices.csv", "--target", "prize"], 2),
        (["train", "prices.csv", "--target", "price", "--budget", "soon"], 2),
        (["train", "prices.csv", "--target", "price", "--set", "network.depht=2"], 2),
        (["predict", "missing.lamina", "prices.csv"], 2),
        (["resume", "."], 2),
    ],
)
def test_exit_codes(words: list[str], code: int, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == code
    said = capsys.readouterr()
    assert ("fix:" in said.err) == (code == 2)
    if code == 2:
        assert main([*words, "--json"]) == 2
        assert json.loads(capsys.readouterr().out)["error"]["fix"]


def test_our_own_fault_is_exit_code_1(table: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lamina.model.format import read as read_sealed
    from lamina.model.format import write

    sealed = read_sealed(table.folder / "model.lamina")
    golden = json.loads(json.dumps(sealed.golden))
    text = json.dumps(golden).replace('"yes"', '"?"').replace('"no"', '"yes"').replace('"?"', '"no"')
    import dataclasses

    write(tmp_path / "wrong.lamina", dataclasses.replace(sealed, golden=json.loads(text)))
    assert main(["doctor", str(tmp_path / "wrong.lamina")]) == 1
    assert main(["doctor", str(table.folder)]) == 0


def test_every_reading_verb_prints_one_json_document(table: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    run, data = str(table.folder), str(table.data)
    verbs = [
        ["inspect", data, "--target", "price", "--json"],
        ["test", run, data, "--json"],
        ["report", run, "--json"],
        ["doctor", run, "--json"],
        ["list", "--json"],
        ["explain", run, data, "--row", "3", "--json"],
    ]
    for words in verbs:
        assert main(words) == 0, words
        assert isinstance(json.loads(capsys.readouterr().out), dict | list), words


def test_a_folder_of_classes_gives_the_target_label(pictures: Finished) -> None:
    assert [target.target for target in pictures.trained.results.targets] == ["label"]


def test_test_data_of_its_own(here: Path) -> None:
    rows = read_csv(here / "prices.csv")
    write_csv(here / "train.csv", rows[:200])
    write_csv(here / "held-out.csv", rows[200:])
    words = ["train", "train.csv", "--test", "held-out.csv", "--target", "price", "--quiet", "--out", "run"]
    assert main([*words, "--set", "schema.dear.role=ignore", *QUICK]) == 0
    results = json.loads((here / "run" / "results.json").read_text())
    assert results["data"]["test"] == results["seal"]["rows"] == 100
    assert results["data"]["train"] + results["data"]["validation"] == 200


def test_a_split_column(here: Path) -> None:
    rows = read_csv(here / "prices.csv")
    for number, row in enumerate(rows):
        row["fold"] = "test" if number % 5 == 0 else "valid" if number % 5 == 1 else "train"
    write_csv(here / "folds.csv", rows)
    words = ["train", "folds.csv", "--split", "fold", "--target", "price", "--quiet", "--out", "run"]
    assert main([*words, "--set", "schema.dear.role=ignore", *QUICK]) == 0
    data = json.loads((here / "run" / "results.json").read_text())["data"]
    assert (data["train"], data["validation"], data["test"]) == (180, 60, 60)


def test_set_changes_the_plan_and_a_plan_reproduces_the_run(here: Path) -> None:
    words = ["train", "prices.csv", "--target", "price", "--seed", "5", "--quiet"]
    sets = ["schema.dear.role=ignore", "optimizer.name=sgd", "optimizer.learning_rate=0.02", "schedule.name=cosine"]
    only_trained(here, here / "one", *words, "--set", *QUICK, *sets)
    plan = read(here / "one" / "plan.toml")
    assert (plan.optimizer.name, plan.optimizer.learning_rate, plan.schedule.name) == ("sgd", 0.02, "cosine")
    assert plan.seed == 5
    assert next(iter(plan.network.values())).options["width"] == 16
    only_trained(here, here / "two", "train", "prices.csv", "--plan", "one/plan.toml", "--quiet")
    weights = [(here / name / "weights.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


def test_csv_json_lines_and_parquet_hold_the_same_answers(table: Finished, tmp_path: Path) -> None:
    import pyarrow.parquet

    for kind in ("csv", "jsonl", "parquet"):
        assert main(["predict", str(table.folder), str(table.data), "--out", str(tmp_path / f"answers.{kind}")]) == 0
    lines = jsonl(tmp_path / "answers.jsonl")
    parquet = pyarrow.parquet.read_table(tmp_path / "answers.parquet").to_pylist()
    columns = ["price", "price.low", "price.high", "dear", "dear.p", "dear.p.no", "dear.p.yes", "error"]
    assert list(lines[0]) == list(parquet[0]) == list(read_csv(tmp_path / "answers.csv")[0]) == columns
    for cells, line, row in zip(read_csv(tmp_path / "answers.csv"), lines, parquet, strict=True):
        assert cells["dear"] == line["dear"] == row["dear"]
        assert float(cells["price"]) == line["price"] == pytest.approx(row["price"], rel=1e-6)
        assert line["error"] is row["error"] is None


def test_a_bad_row_gives_one_error_entry_and_the_rest_is_answered(table: Finished, tmp_path: Path) -> None:
    rows = read_csv(table.data)[:20]
    good = write_csv(tmp_path / "good.csv", rows)
    rows[7] = {**rows[7], "size": "large"}
    rows[9] = {**rows[9], "size": "", "kind": ""}
    bad = write_csv(tmp_path / "bad.csv", rows)
    for source in (good, bad):
        assert main(["predict", str(table.folder), str(source), "--out", str(source.with_suffix(".out.csv"))]) == 0
    one, other = read_csv(tmp_path / "good.out.csv"), read_csv(tmp_path / "bad.out.csv")
    assert len(other) == 20
    assert [number for number, row in enumerate(other) if row["error"]] == [7]
    assert "size" in other[7]["error"]
    assert "large" in other[7]["error"]
    assert other[7]["price"] == other[7]["dear"] == ""
    assert other[9]["price"], "a missing value is no error"
    for number in {*range(20)} - {7, 9}:
        assert float(other[number]["price"]) == pytest.approx(float(one[number]["price"]), rel=1e-4)


def test_an_unreadable_picture_gives_one_error_entry(pictures: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    for number, file in enumerate(sorted(pictures.tested.rglob("*.png"))[::8]):
        shutil.copy(file, folder / f"{number}.png")
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:80])
    out = tmp_path / "answers.csv"
    assert main(["predict", str(pictures.folder), str(folder), "--out", str(out)]) == 0
    answers = read_csv(out)
    assert [row["path"] for row in answers] == [f"{number}.png" for number in range(len(answers))]
    assert [row["path"] for row in answers if row["error"]] == ["2.png"]
    assert all(row["label"] for row in answers if not row["error"])


def test_a_run_folder_is_never_written_over(table: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    before = (table.folder / "model.lamina").read_bytes()
    assert main(["train", str(table.data), "--target", "price", "--out", str(table.folder)]) == 2
    assert "lamina resume" in capsys.readouterr().err
    assert (table.folder / "model.lamina").read_bytes() == before


def test_a_reader_that_goes_away_is_no_error(table: Finished) -> None:
    import subprocess
    import sys

    from fixtures import environment

    words = f"{sys.executable} -m lamina predict {table.folder} {table.data} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", words], env=environment(), capture_output=True, text=True, check=False)
    assert done.stdout.startswith("price,")
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, os.EX_OK)
