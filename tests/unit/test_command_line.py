"""What the command line does to files that are there, and to a standard output that takes less than it is given."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lamina.cli import main
from lamina.cli.doctor import LIBRARIES, PACKAGES
from lamina.errors import InputError
from lamina.files import write_text
from lamina.model.verify import check_keep

MODEL = Path(__file__).parents[1] / "golden" / "formats" / "v1-tiny.lamina"
ROWS = "age,color\n30,red\n41,blue\n"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(ROWS, encoding="utf-8")
    return path


@pytest.mark.parametrize("out", ["rows.csv", "./rows.csv", "answers", "no/page.html", "."])
def test_an_explanation_is_written_over_nothing_but_a_page(
    rows: Path, out: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(rows.parent)
    assert main(["explain", str(MODEL), "rows.csv", "--out", out]) == 2
    assert "fix:" in capsys.readouterr().err
    assert rows.read_text(encoding="utf-8") == ROWS


def test_a_page_that_is_the_input_is_refused(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = rows.rename(rows.with_name("rows.html"))
    assert main(["explain", str(MODEL), str(page), "--out", str(page)]) == 2
    assert "the input itself" in capsys.readouterr().err
    assert main(["explain", str(MODEL), '{"age": 30, "color": "red"}', "--out", str(page)]) == 0


def test_a_threshold_is_kept_over_no_data(rows: Path) -> None:
    with pytest.raises(InputError, match="the input itself"):
        check_keep(rows, str(rows))
    with pytest.raises(InputError, match="no threshold"):
        check_keep(rows, "pairs.csv")
    kept = rows.with_name("threshold.json")
    check_keep(kept, str(rows))
    kept.write_text('{"format": "lamina threshold"}', encoding="utf-8")
    check_keep(kept, str(rows))


@pytest.mark.parametrize("place", ["rows.csv/page.html", f"{'a' * 250}.html"])
def test_a_file_that_cannot_be_made_is_told_by_its_reason(rows: Path, place: str) -> None:
    with pytest.raises(InputError, match="Cannot write") as caught:
        write_text(rows.parent / place, "text")
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__.errno in (errno.ENOTDIR, errno.ENAMETOOLONG)  # type: ignore[attr-defined]


def test_answers_in_a_file_of_too_long_a_name_are_refused(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(MODEL), str(rows), "--out", str(rows.with_name(f"{'a' * 246}.csv"))]) == 2
    assert "Cannot write" in capsys.readouterr().err


def test_json_on_the_screen_is_nothing_but_json(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(MODEL), str(rows), "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [list(answer)[-1] for answer in answers] == ["error", "error"]
    out = rows.with_name("answers.csv")
    assert main(["predict", str(MODEL), str(rows), "--json", "--out", str(out)]) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": 2, "errors": 0}
    assert len(out.read_text(encoding="utf-8").splitlines()) == 3


def run(*words: str, stdout: int | None = None, **more: str) -> subprocess.CompletedProcess[bytes]:
    """`lamina` in a process of its own, whose output waits in a buffer as it usually does."""
    known = {name: value for name, value in os.environ.items() if name not in ("PYTHONUNBUFFERED", "PYTHONIOENCODING")}
    command = [sys.executable, "-m", "lamina", *words]
    out = subprocess.PIPE if stdout is None else stdout
    return subprocess.run(command, stdout=out, stderr=subprocess.PIPE, env={**known, **more}, check=False)


@pytest.mark.parametrize("words", [["--help"], ["list", "networks"], ["predict", str(MODEL), "ROWS"]])
def test_a_reader_that_has_gone_before_the_output_came_is_no_error(rows: Path, words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = run(*[str(rows) if word == "ROWS" else word for word in words], stdout=write)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_finds_no_room_is_one_error() -> None:
    with open("/dev/full", "wb") as full:
        done = run("list", "networks", stdout=full.fileno())
    assert done.returncode == 2
    assert done.stderr.startswith(b"lamina: No space left on device.")
    assert b"Exception ignored" not in done.stderr


def test_answers_can_be_read_whatever_the_encoding_of_the_output(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("age,color\n日本,red\n", encoding="utf-8")
    plain = run("predict", str(MODEL), str(rows), LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert "'日本'" in plain.stdout.decode("utf-8"), plain.stderr
    named = run("predict", str(MODEL), str(rows), PYTHONIOENCODING="latin1")
    assert rb"'\u65e5\u672c'" in named.stdout, named.stderr


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["generate", "MODEL", "--out", "made", "--between", "1", "2", "--truncation", "1.0"], "--truncation"),
        (["generate", "MODEL", "--out", "made", "--between", "1", "2", "--class", "a", "--class", "b"], "one --class"),
        (["test", "MODEL", "rows.csv", "--episodes", "5"], "environment"),
        (["test", "MODEL", "gym:CartPole-v1", "--seed", "-1"], "from 0"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    words: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(MODEL) if word == "MODEL" else word for word in words]) == 2
    assert shown in capsys.readouterr().err


def test_the_doctor_knows_every_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {extra: libraries for extra, libraries in project["optional-dependencies"].items() if extra != "dev"}
    wanted["predict"] += project["dependencies"]
    assert set(LIBRARIES) == set(wanted)
    for extra, libraries in wanted.items():
        named = {re.split("[>=]", library)[0] for library in libraries if not library.startswith("lamina[")}
        assert {PACKAGES.get(module, module) for module in LIBRARIES[extra]} == named
