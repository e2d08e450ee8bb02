"""Sealed models answer where only NumPy and ONNX Runtime (and readers of pictures, sounds, texts) are installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures import Finished, environment, finished, jsonl, read_csv, write_csv

import lamina

ABSENT = (
    "torch", "polars", "pyarrow", "sklearn", "lightgbm", "pandas", "onnx", "onnxscript", "scipy", "transformers",
    "safetensors", "fsspec", "fastexcel", "jinja2", "rich",
)  # fmt: skip
BLOCK = f'''
import sys

class Without:
    """A finder of modules that does not find some."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {ABSENT!r} else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
'''
COMMAND = f"{BLOCK}\nimport runpy\nrunpy.run_module('lamina', run_name='__main__', alter_sys=True)"


def alone(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python code where the libraries for training are absent."""
    return subprocess.run(
        [sys.executable, "-c", code, *words], env=environment(), capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module", params=["table", "several", "text", "images", "sound", "series", "tags", "mixed"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Finished:
    return finished(request.param, tmp_path_factory.getbasetemp())


def test_the_block_blocks() -> None:
    answer = alone(f"{BLOCK}\nimport torch")
    assert "No module named 'torch'" in answer.stderr


def test_the_command_gives_the_same_answers(done: Finished, tmp_path: Path) -> None:
    out = tmp_path / "answers.csv"
    answer = alone(COMMAND, "predict", str(done.folder), str(done.tested), "--out", str(out), "--json")
    assert answer.returncode == 0, answer.stderr
    expected = lamina.load(done.folder).predict(str(done.tested))
    assert json.loads(answer.stdout) == {"rows": len(expected), "errors": 0}
    target = done.trained.results.targets[0].target
    for cells, row in zip(read_csv(out), expected.to_rows(), strict=True):
        if isinstance(row[target], float):
            assert float(cells[target]) == pytest.approx(row[target], rel=1e-5)
        else:
            assert float(cells[f"{target}.p"]) == pytest.approx(row[f"{target}.p"], abs=1e-5)


def test_json_lines_in_and_out_and_rows_from_python(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> None:
    done = finished("several", tmp_path_factory.getbasetemp())
    folder = tmp_path_factory.mktemp("rows")
    rows = read_csv(done.data)[:12]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_csv(folder / "rows.csv", rows)
    for kind in ("csv", "jsonl"):
        words = ("predict", str(done.folder), str(folder / f"rows.{kind}"), "--out", str(folder / f"{kind}.jsonl"))
        answer = alone(COMMAND, *words)
        assert answer.returncode == 0, answer.stderr
    assert jsonl(folder / "csv.jsonl") == jsonl(folder / "jsonl.jsonl")
    code = (
        f"{BLOCK}\nimport json, lamina\nrows = [json.loads(line) for line in open(sys.argv[2])]\n"
        "model = lamina.load(sys.argv[1])\nassert model.check_golden()['sound']\n"
        "print(json.dumps([row['dear'] for row in model.predict(rows).to_rows()]))"
    )
    answer = alone(code, str(done.folder), str(folder / "rows.jsonl"))
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == [row["dear"] for row in jsonl(folder / "csv.jsonl")]


@pytest.mark.parametrize("verb", ["test", "doctor", "explain"])
def test_other_verbs_on_a_sealed_model(verb: str, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> None:
    done = finished("table", tmp_path_factory.getbasetemp())
    words = {
        "test": ("test", str(done.folder), str(done.data)),
        "doctor": ("doctor", str(done.folder)),
        "explain": ("explain", str(done.folder), str(done.data), "--row", "2"),
    }
    answer = alone(COMMAND, *words[verb])
    assert answer.returncode == 0, answer.stderr


def test_training_says_what_to_install(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> None:
    done = finished("table", tmp_path_factory.getbasetemp())
    answer = alone(COMMAND, "train", str(done.data), "--target", "Status", "--out", str(done.data.parent / "none"))
    assert answer.returncode == 2, answer.stderr
    assert "pip install 'lamina[" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_parquet_says_what_to_install(tmp_path_factory: pytest.TempPathFactory, cache: Path, tmp_path: Path) -> None:
    done = finished("table", tmp_path_factory.getbasetemp())
    answer = alone(COMMAND, "predict", str(done.folder), str(done.data), "--out", str(tmp_path / "answers.parquet"))
    assert answer.returncode == 2, answer.stderr
    assert "pip install 'lamina[tables]'" in answer.stderr
