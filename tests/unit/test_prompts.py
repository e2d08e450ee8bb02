"""Files of prompts: each is written on as alone, whatever stands around it, and one that cannot be has its reason."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
from small_models import writing_model

from lamina.cli import main
from lamina.errors import InputError
from lamina.model import format as sealed_format
from lamina.model.runtime import Model
from lamina.model.write import Written, write, write_each, write_to_file

SETTINGS: dict[str, Any] = {"tokens": 12, "temperature": 1.5, "top_p": 1.0, "seed": 3}
PROMPTS = ("the cat ", "on the mat and ", "the cat ", "the dog ")


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(writing_model(False)[0], threads=1)


def test_what_is_drawn_depends_on_the_seed_and_the_place_alone(model: Model) -> None:
    found = list(write_each(model, PROMPTS, **SETTINGS))
    assert [one.prompt for one in found] == list(PROMPTS)
    assert found[0].text == write(model, PROMPTS[0], **SETTINGS)
    assert found[0].text != found[2].text, "of a prompt that stands there twice there are two texts"
    assert list(write_each(model, PROMPTS[:3], **SETTINGS)) == found[:3]
    assert list(write_each(model, ("", "a b " * 99, *PROMPTS[2:]), **SETTINGS))[2:] == found[2:]
    assert list(write_each(model, PROMPTS, **{**SETTINGS, "seed": 4})) != found
    likeliest = list(write_each(model, PROMPTS, **{**SETTINGS, "temperature": 0.0}))
    assert likeliest[0] == likeliest[2]


def test_what_cannot_be_written_on_has_its_reason(model: Model) -> None:
    odd = ("", " \t", None, float("nan"), "\ud800", "the cat sat on the mat " * 9, ["a"], 12, "12.10")
    found = list(write_each(model, odd, **SETTINGS))
    reasons = ("empty", "empty", "no text", "no text", "UTF-8", "tokens, and the model reads 12 at most", "is no text")
    for one, reason in zip(found, reasons, strict=False):
        assert reason in one.error
        assert not one.text
    assert [(one.prompt, one.error) for one in found[7:]] == [("12", ""), ("12.10", "")]


def write_file(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


FILES = {
    "p.txt": "\ufeffthe cat \r\non the mat and \n\nthe dog ",
    "p.csv": "id,prompt\n1,the cat \n2,on the mat and \n3,\n4,the dog \n",
    "p.jsonl": "".join(json.dumps({"id": 1, "prompt": text}) + "\n" for text in (*PROMPTS[:2], None, "the dog ")),
    "p.tsv": 'only\nthe cat \non the mat and \n""\nthe dog \n',
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_files_of_prompts_become_rows(model: Model, tmp_path: Path, name: str, ending: str) -> None:
    file, out = write_file(tmp_path / name, FILES[name]), tmp_path / f"out{ending}"
    assert write_to_file(model, file, out, **SETTINGS) == {"rows": 4, "errors": 1}
    expected = list(write_each(model, (*PROMPTS[:2], "", "the dog "), **SETTINGS))
    rows: list[Any]
    if ending == ".parquet":
        rows = parquet.read_table(out).to_pylist()
    elif ending == ".jsonl":
        rows = [json.loads(line) for line in out.read_text().split("\n")[:-1]]
    else:
        with out.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
    assert list(rows[0]) == ["prompt", "text", "error"]
    found = [Written(**row) for row in rows]
    assert [one._replace(error="") for one in found] == [one._replace(error="") for one in expected]
    assert [bool(one.error) for one in found] == [False, False, True, False]


@pytest.mark.parametrize(
    ("name", "content", "column", "said", "fix"),
    [
        ("p.txt", "", "", "holds no prompts", "on each line"),
        ("p.txt", "\ufeff", "", "holds no prompts", "on each line"),
        ("p.txt", "a\n", "prompt", "every line is a prompt", "Leave it out"),
        ("p.txt", b"\xff\xfe\0a", "", "UTF-16", "iconv"),
        ("p.csv", "id,prompt\n1,a\n", "promt", "no column 'promt'", "prompt"),
        ("p.csv", "id,text\n1,a\n", "", "not said which column", "--column NAME. Columns: id, text"),
        ("p.csv", "prompt\n", "", "", ""),
        ("gone.txt", None, "", "no file", ""),
        ("gone.csv", None, "", "gone.csv", ""),
    ],
)
def test_a_file_without_prompts_says_so(
    model: Model, tmp_path: Path, name: str, content: Any, column: str, said: str, fix: str
) -> None:
    if content is not None:
        write_file(tmp_path / name, content)
    with pytest.raises(InputError) as caught:
        write_to_file(model, tmp_path / name, tmp_path / "out.csv", column, **SETTINGS)
    assert said in caught.value.what
    assert fix in (caught.value.fix or "")
    assert not (tmp_path / "out.csv").exists()


def test_settings_and_places_are_refused_before_anything_is_written(model: Model, tmp_path: Path) -> None:
    file = write_file(tmp_path / "p.csv", FILES["p.csv"])
    with pytest.raises(InputError, match="--top-p is 2"):
        write_to_file(model, tmp_path / "gone.csv", **{**SETTINGS, "top_p": 2})
    for out in (file, tmp_path, tmp_path / "x.docx", tmp_path / "none" / "x.csv"):
        with pytest.raises(InputError):
            write_to_file(model, file, out, **SETTINGS)
    assert file.read_text() == FILES["p.csv"]
    with pytest.raises(InputError, match="does not write"):
        write_each(Model(writing_model(True)[0], threads=1), PROMPTS)


def test_the_command_line_writes_on_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, file = str(tmp_path / "m.lamina"), str(write_file(tmp_path / "p.txt", FILES["p.txt"]))
    sealed_format.write(Path(place), writing_model(False)[0])
    words = ["write", place, "--tokens", "12", "--seed", "3"]
    assert main([*words, "--prompts", file, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert main([*words, "--prompt", "the cat ", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == rows[0]["text"]
    assert main([*words, "--prompts", file, "--out", str(tmp_path / "o.csv")]) == 0
    assert "3 prompts written on in" in (error := capsys.readouterr().err)
    assert "1 not (see the column `error`)" in error
    for more in (["--prompt", "a", "--prompts", file], ["--out", "o.csv"], ["--column", "a"]):
        assert main([*words, *more]) == 2
        assert "fix:" in capsys.readouterr().err
