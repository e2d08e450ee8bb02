"""Whatever the user gets wrong: one clear error with a fix, exit code 2, no traceback, nothing lost.

Every case goes through the real command line. A failed `lamina train` must not block its `--out` folder.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mistakes import LINES, MEDIA, NO_DATA, PLACES, ROLES, TABLE, TARGETS, TRAIN, WISHES, Case
from mistakes_afterwards import AFTERWARDS

from lamina import run as runs
from lamina.cli import main

CASES = [*NO_DATA, *TARGETS, *ROLES, *WISHES, *PLACES, *MEDIA, *AFTERWARDS]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(item.relative_to(folder)): item.read_bytes() for item in sorted(folder.rglob("*")) if item.is_file()}


def prepared(case: Case, folder: Path, request: pytest.FixtureRequest) -> list[str]:
    """Lay out the case's files; returns the command line."""
    (folder / "customers.csv").write_text(TABLE)
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if case in AFTERWARDS:
        shutil.copytree(request.getfixturevalue("trained"), folder / "run")
    case.change(folder)
    words = ["run" if word == "RUN" else word for word in case.command.split(" ")]
    return [*words, "--out", "out"] if words[0] == "train" and not {"--out", "out"} & set(words) else words


def check_error(text: str, tell: tuple[str, ...]) -> None:
    """One error, with its fix, that names what it must."""
    assert "Traceback" not in text
    assert text.count("lamina: ") == 1, text
    assert text.count("\n  fix:   ") == 1, text
    error = text[text.index("lamina: ") :]
    assert len(error.split("\n  fix:   ")[1].strip()) > 5, text
    for words in tell:
        assert words in error, error


def test_there_are_enough_cases_and_each_has_its_own_name() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 70


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(
    case: Case,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = prepared(case, tmp_path, request)
    before = contents(tmp_path)
    capsys.readouterr()
    code = main(words)
    check_error(capsys.readouterr().err, case.tell)
    assert code == 2
    assert contents(tmp_path) == before, "files were changed, lost or left behind"
    if words[-2:] == ["--out", "out"]:
        assert runs.create("out", "x").folder == Path("out"), "a second attempt is blocked"


def test_the_corrected_command_works_with_the_same_folder(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "customers.csv").write_text(TABLE)
    words = [*TRAIN.split(), "training.epochs=1", "training.threads=1", "--out", "out"]
    # Found while preparing, when the folder is there already.
    assert main([*words, "--set", "network.dept=3"]) == 2
    (tmp_path / "out").mkdir()
    assert main([*words, "--set", "optimizer.name=admaw"]) == 2
    assert (tmp_path / "out").is_dir(), "the user's own folder is gone"
    # What a process leaves that was killed while preparing.
    for name in runs.PREPARATION:
        (tmp_path / "out" / name).write_text("{")
    assert main(["resume", "out"]) == 2
    assert "Start it again" in capsys.readouterr().err
    assert main(words) == 0
    assert main(["predict", "out", "customers.csv", "--out", "answers.csv"]) == 0
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == len(LINES)


def test_ctrl_c_while_preparing_leaves_nothing_behind(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lamina.steps.baselines.known_baselines", interrupt)
    (tmp_path / "customers.csv").write_text(TABLE)
    assert main([*TRAIN.split(), "--out", "out"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert contents(tmp_path) == {"customers.csv": TABLE.encode()}
    assert not (tmp_path / "out").exists()


def test_a_rate_far_too_high_stops_and_names_the_rows(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "customers.csv").write_text(TABLE)
    sets = ["optimizer.learning_rate=1e30", "optimizer.name=sgd", "training.epochs=5", "training.threads=1"]
    assert main([*TRAIN.split(), *sets, "--out", "out"]) == 2
    check_error(
        capsys.readouterr().err, ("not", "finite", "the batch of customers.csv, line ", "optimizer.learning_rate")
    )
    assert not (tmp_path / "out" / "model.lamina").exists()


def full_disk(*given: object, **more: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_fills_up_while_training_loses_nothing(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "customers.csv").write_text(TABLE)
    replace, saved = Path.replace, []

    def third_fails(self: Path, target: Path) -> Path:
        if target.suffix == ".safetensors":
            saved.append(target.name)
            if len(saved) > 2:
                full_disk()
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", third_fails)
        sets = ["training.checkpoint_seconds=0", "training.epochs=1", "training.threads=1"]
        assert main([*TRAIN.split(), *sets, "--out", "out"]) == 2
    check_error(
        capsys.readouterr().err, ("Cannot write", "No space left on device", "out/checkpoints", "lamina resume")
    )
    assert sorted(item.name for item in (tmp_path / "out" / "checkpoints").iterdir()) == saved[:2]
    assert main(["resume", "out"]) == 0
    assert main(["predict", "out", "customers.csv", "--out", "answers.csv"]) == 0


@pytest.mark.parametrize("at", ["os.posix_fallocate", "os.fsync"])
def test_a_disk_that_fills_up_while_preparing_leaves_nothing_behind(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "customers.csv").write_text(TABLE)
    with monkeypatch.context() as patch:
        patch.setattr(at, full_disk)
        assert main([*TRAIN.split(), "--out", "out"]) == 2
    check_error(capsys.readouterr().err, ("No space left on device", "Free disk space"))
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("*.part"))


def test_a_full_disk_met_anywhere_else_is_an_error_with_a_fix(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lamina.model.predict.predict_to_file", full_disk)
    assert main(["predict", str(trained), "customers.csv"]) == 2
    check_error(capsys.readouterr().err, ("No space left on device", "Free disk space"))


def test_a_script_gets_the_error_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "no.csv"), "--target", "y", "--json"]) == 2
    found = capsys.readouterr()
    error = json.loads(found.out)["error"]
    assert "no.csv" in error["what"]
    assert error["fix"]
    assert "no.csv" in found.err


@pytest.mark.parametrize("words", [["train", "no.csv"], ["trian"], ["predict", "no.lamina", "no.csv"]])
def test_a_process_of_its_own_ends_with_code_2(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lamina", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    check_error(done.stderr, ())
