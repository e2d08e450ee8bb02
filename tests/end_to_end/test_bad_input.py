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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import customers
from lamina import run as runs
from lamina.cli import main

Files = Mapping[str, str | bytes]
TABLE = customers()
LINES = TABLE.splitlines()
PLAN = 'version = 1\n[task.label]\nname = "classify"\n'


def with_column(name: str, value: Callable[[int], object], lines: list[str] = LINES) -> str:
    """The table with one more column in front; `value` gives its cell in row 0, 1, ..."""
    return "\n".join([f"{name},{lines[0]}", *(f"{value(n)},{line}" for n, line in enumerate(lines[1:]))]) + "\n"


def picture(seed: int) -> bytes:
    """A small PNG."""
    target = BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(target, "png")
    return target.getvalue()


def pictures(*classes: str, each: int = 12, broken: int = 0) -> dict[str, str | bytes]:
    """A folder `photos` of class folders; the first `broken` files of each class are cut short."""
    found: dict[str, str | bytes] = {}
    for number, name in enumerate(classes):
        for item in range(each):
            content = picture(100 * number + item)
            found[f"photos/{name}/{item:02d}.png"] = content[:60] if item < broken else content
    return found


@dataclass(frozen=True)
class Case:
    """One mistake.

    Attributes:
        name: what is wrong.
        command: the command line, split at spaces; RUN stands for a copy of a finished run, FOLDER for the test's.
        tell: words that the error must have.
        files: what lies in the folder, beside customers.csv.
        change: done to the folder before the command.
    """

    name: str
    command: str
    tell: tuple[str, ...]
    files: Files = field(default_factory=dict)
    change: Callable[[Path], None] = lambda folder: None


TRAIN = "train customers.csv --target label --budget 2s --set schema.spent.role=ignore"


def given(name: str, content: str | bytes, *tell: str, to: str = "given.csv", more: str = "--target label") -> Case:
    """Training on one wrong file."""
    return Case(name, f"train {to} {more} --budget 2s", tell, {to: content})


def asked(name: str, more: str, *tell: str, files: Files | None = None) -> Case:
    """Training on the sound table with a wrong wish."""
    return Case(name, f"{TRAIN} {more}", tell, files or {})


NO_DATA = [
    Case("missing file", "train custmers.csv --target label", ("custmers.csv", "Did you mean customers.csv")),
    Case("missing folder of a file", "train data/new.csv --target label", ("data/new.csv", "does not exist")),
    Case("folder without data", "train empty --target label", ("empty",), change=lambda f: (f / "empty").mkdir()),
    Case("folder of a README only", "train docs --target label", ("docs",), {"docs/README": "hello"}),
    Case("data is a URL of no kind", "train gopher://x/y.csv --target label", ("gopher",)),
    Case("empty path", "train  --target label", ("path is empty",)),
    given("empty file", "", "given.csv is empty"),
    given("header only", LINES[0] + "\n", "given.csv", "row"),
    given("binary garbage", bytes(range(256)) * 40, "given.csv"),
    given("a picture called csv", picture(1), "given.csv", "PNG"),
    given("a web page called csv", "<!DOCTYPE html><html><body>Sign in</body></html>", "given.csv", "web page"),
    given("parquet cut short", b"PAR1" + b"\x00" * 50, "given.parquet", to="given.parquet"),
    given("json cut short", '[{"a": 1, "label": "x"}, {"a": 2, "lab', "given.json", "JSON", to="given.json"),
    given("zip cut short", b"PK\x03\x04" + b"\x00" * 40, "given.zip", to="given.zip"),
    given("gzip cut short", b"\x1f\x8b\x08\x00" + b"\x01" * 20, "given.csv.gz", to="given.csv.gz"),
    given("no such format", TABLE, "given.xyz", to="given.xyz"),
    given("sqlite without tables", b"SQLite format 3\x00" + b"\x00" * 84, "given.db", to="given.db"),
    given("duplicate columns", "a,a,label\n" + "1,2,x\n3,4,y\n" * 20, "Two columns", "'a'"),
    given(
        "ragged lines",
        "\n".join(line + (",extra" if n % 5 == 2 else "") for n, line in enumerate(LINES)),
        "given.csv",
        "line 3",
    ),
    given("one column only", "label\n" + "x\ny\n" * 20, "target is the only one"),
    given("too few rows", "\n".join(LINES[:6]) + "\n", "5 rows", "at least 10"),
]

TARGETS = [
    Case("no target", "train customers.csv", ("--target",)),
    Case("misspelt target", "train customers.csv --target lable", ("'lable'", "did you mean 'label'")),
    Case("inspect with a misspelt target", "inspect customers.csv --target agee", ("'agee'", "did you mean 'age'")),
    asked("misspelt split column", "--split spilt", "'spilt'", "--split", "Known: age"),
    given("target of one class", "a,label\n" + "1,x\n2,x\n" * 20, "'label'", "in every row"),
    given("constant amount", "a,spent\n" + "1,2.5\n2,2.5\n" * 20, "'spent'", "2.5", more="--target spent"),
    given("target missing everywhere", "a,b,label\n" + "1,4,\n2,3,\n" * 20, "'label'", "no value"),
    given(
        "a class of its own for every row",
        "a,label\n" + "".join(f"{n % 7},person {n}\n" for n in range(60)),
        "label",
    ),
    given(
        "infinite targets",
        "a,spent\n" + "".join(f"{n % 7},{'inf' if n % 20 == 7 else n + 0.5}\n" for n in range(60)),
        "spent",
        "inf",
        more="--target spent --task regress",
    ),
    asked("unknown task", "--task clasify", "'clasify'", "did you mean 'classify'"),
    asked("amounts of words", "--task regress", "label"),
    asked("target is ignored as well", "--set schema.label.role=ignore", "'label'", "ignore"),
]

ROLES = [
    asked("unknown column in --set", "--set schema.agee.role=input", "'agee'", "did you mean 'age'"),
    asked("unknown role", "--set schema.age.role=inptu", "'inptu'", "did you mean 'input'"),
    asked("unknown modality", "--set schema.age.modality=nubmer", "'nubmer'", "did you mean 'number'"),
    asked("unknown column setting", "--set schema.age.flavor=sweet", "age", "flavor"),
    asked("schema without column", "--set schema.modality=number", "schema.COLUMN"),
    asked("city as a number", "--set schema.city.modality=number", "city", "Ba"),
    asked("city as pictures", "--set schema.city.modality=image", "city"),
    asked("everything ignored", "--set " + " ".join(f"schema.{n}.role=ignore" for n in ("age", "income", "city")), "no column left"),
    given("negative weights", with_column("w", lambda n: n - 5), "column w", "negative", more="--target label --set schema.w.role=weight schema.spent.role=ignore"),
    given("split column of unknown words", with_column("part", lambda n: "abc"[n % 3]), "part", "'a'", "train, test", more="--target label --split part"),
    given("split column without test", with_column("part", lambda n: "train"), "test rows", more="--target label --split part"),
    given("one group only", with_column("g", lambda n: "A"), "'g'", "one group", more="--target label --set schema.g.role=group"),
    given("unreadable times", with_column("when", lambda n: f"moon {n}"), "when", more="--target label --set schema.when.role=time schema.when.modality=time"),
    asked("test data lacks a column", "--test test.csv", "test.csv", "city", files={"test.csv": "age,income,spent,label\n" + "1,2,3,yes\n" * 20}),
    asked("test data of unknown classes", "--test test.csv", "label", "maybe", files={"test.csv": LINES[0] + "\n" + "30,2000,Bern,5,maybe\n31,2000,Bern,6,perhaps\n" * 20}),
    asked("missing test data", "--test tset.csv", "tset.csv"),
]  # fmt: skip

WISHES = [
    Case("unknown command", "trian customers.csv", ("'trian'", "did you mean 'train'")),
    Case("no data", "train", ("required", "DATA")),
    asked("unknown option", "--bugdet 5m", "--bugdet"),
    asked("option without value", "--out", "--out", "expected one argument"),
    asked("budget zero", "--budget 0", "'0'", "--budget", "5m"),
    Case("negative budget", "train customers.csv --target label --budget=-5m", ("'-5m'", "5m")),
    asked("budget in words", "--budget soon", "'soon'", "5m"),
    asked("seed in words", "--seed lucky", "--seed", "lucky"),
    asked("negative seed", "--seed -3", "-3", "--seed"),
    asked("set without =", "--set training.epochs", "training.epochs", "key=value"),
    asked("column set without =", "--set schema.age.modality", "schema.age.modality", "key=value"),
    asked("unknown setting", "--set trainin.epochs=3", "'trainin'", "did you mean 'training'"),
    asked("unknown part of a setting", "--set training.epoch=3", "'training.epoch'", "did you mean 'epochs'"),
    asked("text for a number", "--set training.epochs=many", "training.epochs", "'many'", "number"),
    asked("fraction for a whole number", "--set training.batch_size=1.5", "training.batch_size", "whole number"),
    asked("batch size zero", "--set training.batch_size=0", "training.batch_size is 0", "at least 1"),
    asked("epochs zero", "--set training.epochs=0", "training.epochs", "above 0"),
    asked("negative epochs", "--set training.epochs=-3", "training.epochs", "above 0"),
    asked("infinite epochs", "--set training.epochs=inf", "training.epochs", "finite"),
    asked("learning rate zero", "--set optimizer.learning_rate=0", "optimizer.learning_rate", "above 0"),
    asked("negative learning rate", "--set optimizer.learning_rate=-1", "optimizer.learning_rate", "above 0"),
    asked("validation share zero", "--set data.validation_share=0", "validation_share", "above 0"),
    asked("validation share one", "--set data.validation_share=1", "validation_share", "below 1"),
    asked("validation share two", "--set data.validation_share=2", "validation_share", "below 1"),
    asked("test share takes all", "--set data.test_share=0.9999", "data.test_share"),
    asked("unknown way to split", "--set data.split=randm", "'randm'", "did you mean 'random'"),
    asked("unknown precision", "--set training.precision=fp64", "fp64", "bf16"),
    asked("unknown network", "--set network.name=resnt", "'resnt'", "did you mean 'resnet'"),
    asked("network for other inputs", "--set network.name=efficientnet", "'efficientnet'", "tabm"),
    asked("unknown network option", "--set network.dept=3", "'dept'", "network.table"),
    asked("network option out of range", "--set network.dropout=1.5", "dropout", "below 1"),
    asked("unknown network part", "--set network.photo.depth=3", "'network.table.photo'"),
    asked("unknown optimizer", "--set optimizer.name=admaw", "'admaw'", "did you mean 'adamw'"),
    asked("unknown schedule", "--set schedule.name=cosin", "'cosin'", "did you mean 'cosine'"),
    asked("unknown schedule option", "--set schedule.steps=3", "'steps'", "schedule"),
    asked("unknown method", "--set method.name=magic", "'magic'", "supervised"),
    asked("augmentation of no field", "--set training.augment.photo.flip=true", "photo", "augment"),
    asked("unknown augmentation", "--set training.augment.age.flip=true", "flip", "age"),
    asked("unknown task option", "--set task.primry=auc", "'primry'", "did you mean 'primary'"),
    asked("unknown primary score", "--set task.primary=rmse", "rmse", "label"),
]  # fmt: skip

PLACES = [
    asked("plan missing", "--plan paln.toml", "paln.toml"),
    asked("plan is a folder", "--plan .", "folder"),
    asked("plan is no TOML", "--plan plan.toml", "plan.toml", "TOML", files={"plan.toml": "epochs = = 3"}),
    asked("plan with unknown key", "--plan plan.toml", "'trainig'", "training", files={"plan.toml": PLAN + "[trainig]\nepochs = 3\n"}),
    asked("plan with a wrong value", "--plan plan.toml", "plan.toml", "training.batch_size", files={"plan.toml": PLAN + "[training]\nbatch_size = -1\n"}),
    asked("plan of the future", "--plan plan.toml", "version 99", "Update", files={"plan.toml": "version = 99\n"}),
    asked("out is a file", "--out customers.csv", "customers.csv is a file", "--out"),
    asked("out under a file", "--out customers.csv/run", "customers.csv/run", "--out"),
    asked("out has other files", "--out full", "full is not empty", files={"full/thesis.doc": "precious"}),
    asked("out has a run", "--out old", "There is a run in old", "lamina resume old", files={"old/plan.toml": PLAN}),
    asked("weights missing", "--weights wieghts", "wieghts", "--weights"),
    asked("weights of no kind", "--weights notes.txt", "notes.txt", files={"notes.txt": "hello"}),
    asked("weights for a column that is none", "--weights photo=w.safetensors", "'photo'", "--weights", files={"w.safetensors": b"x"}),
    asked("damaged weights", "--weights w.safetensors", "w.safetensors", files={"w.safetensors": b"\x00" * 30}),
    asked("tokenizer of no column", "--weights bert", "bert", "--weights COLUMN=bert", files={"bert/tokenizer.json": "{}"}),
    asked("tokenizer of an unknown column", "--weights words=bert", "'words'", files={"bert/tokenizer.json": "{}"}),
    asked("text weights for a table", "--weights table=bert", "--weights", "bert", "table", files={"bert/config.json": '{"model_type": "bert"}'}),
]  # fmt: skip

MEDIA = [
    Case("one picture in ten is broken", "train photos --budget 2s", ("cat/00.png", "8 of 80 rows", "1.0%", "data.bad_rows"), pictures("cat", "dog", each=40, broken=4)),
    Case("all pictures are broken", "train photos --budget 2s", ("None of the pictures", "column path"), pictures("cat", "dog", broken=12)),
    Case("one class folder", "train photos --budget 2s", ("cat",), pictures("cat")),
    Case("empty class folders", "train photos --budget 2s", ("photos",), change=lambda f: [(f / "photos" / n).mkdir(parents=True) for n in ("a", "b")]),
    Case("folders of texts", "train notes --budget 2s", ("notes",), {f"notes/{n}/{i}.txt": "hello" for n in "ab" for i in range(9)}),
    Case("target of pictures misspelt", "train photos --target lable --budget 2s", ("'lable'", "did you mean 'label'"), pictures("cat", "dog")),
    Case("table of missing pictures", "train list.csv --target label --budget 2s --set schema.file.modality=image", ("file", "0.png"), {"list.csv": "file,label\n" + "".join(f"{n}.png,{'ab'[n % 2]}\n" for n in range(40))}),
]  # fmt: skip


def rewritten(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """A change of one file of the run's copy."""
    return lambda folder: (folder / "run" / name).write_bytes(change((folder / "run" / name).read_bytes())) and None


def removed(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / "run" / name).unlink()

    return change


AFTERWARDS = [
    Case("predict: no such model", "predict modl.lamina customers.csv", ("modl.lamina",)),
    Case("predict: not a model", "predict customers.csv customers.csv", ("customers.csv", "not a sealed model")),
    Case("predict: model cut short", "predict RUN customers.csv", ("truncated",), change=rewritten("model.lamina", lambda b: b[:-500])),
    Case("predict: model changed", "predict RUN customers.csv", ("model.lamina",), change=rewritten("model.lamina", lambda b: b[:2000] + b"\x00" * 50 + b[2050:])),
    Case("predict: empty model", "predict RUN customers.csv", ("empty",), change=rewritten("model.lamina", lambda b: b"")),
    Case("predict: folder without model", "predict RUN customers.csv", ("model.lamina",), change=removed("model.lamina")),
    Case("predict: no such data", "predict RUN custmers.csv", ("Did you mean customers.csv",)),
    Case("predict: column missing", "predict RUN new.csv", ("'city'", "new.csv"), {"new.csv": "age,income\n1,2\n"}),
    Case("predict: column misspelt", "predict RUN new.csv", ("'income'", "incone"), {"new.csv": "age,incone,city\n1,2,Bern\n"}),
    Case("predict: empty data", "predict RUN new.csv", ("new.csv is empty",), {"new.csv": ""}),
    Case("predict: header only", "predict RUN new.csv", ("new.csv", "row"), {"new.csv": "age,income,city\n"}),
    Case("predict: unknown ending", "predict RUN customers.csv --out answers.cvs", (".cvs", "did you mean '.csv'")),
    Case("predict: out is a folder", "predict RUN customers.csv --out answers.csv", ("answers.csv is a folder",), change=lambda f: (f / "answers.csv").mkdir()),
    Case("predict: out is the input", "predict RUN customers.csv --out ./customers.csv", ("the input itself",)),
    Case("predict: no folder for out", "predict RUN customers.csv --out answers/today.csv", ("There is no folder answers",)),
    Case("predict: threads below none", "predict RUN customers.csv --threads -2", ("--threads", "-2")),
    Case("test: no target", "test RUN new.csv", ("'label'", "new.csv"), {"new.csv": "age,income,city\n1,2,Bern\n"}),
    Case("test: unknown answers only", "test RUN new.csv", ("No row could be scored",), {"new.csv": "age,income,city,label\n1,2,Bern,maybe\n"}),
    Case("explain: row out of range", "explain RUN customers.csv --row 9999", ("9999", "300")),
    Case("explain: negative row", "explain RUN customers.csv --row -1", ("-1",)),
    Case("explain: bad JSON", 'explain RUN {"age":', ("JSON",)),
    Case("explain: incomplete JSON", 'explain RUN {"age":3}', ("income",)),
    Case("explain: no such folder for out", "explain RUN customers.csv --out no/page.html", ("no",)),
    Case("resume: no run", "resume rnu", ("There is no run in rnu", "did you mean 'run'")),
    Case("resume: stopped before its plan", "resume RUN", ("prepared", "lamina train"), change=removed("plan.toml")),
    Case("resume: damaged plan", "resume RUN", ("plan.toml", "TOML"), change=rewritten("plan.toml", lambda b: b[:60] + b"\n= =")),
    Case("resume: data has gone", "resume RUN", ("customers.csv",), change=rewritten("plan.toml", lambda b: b.replace(b"customers.csv", b"gone.csv").replace(b"gone.csv", b"no/customers.csv"))),
    Case("resume: data has changed", "resume RUN", ("customers.csv", "not what the run"), change=rewritten("plan.toml", lambda b: b.replace(b'fingerprint = "', b'fingerprint = "0'))),
    Case("resume: fitted parts damaged", "resume RUN", ("prepared.json",), change=rewritten("prepared.json", lambda b: b[:100])),
    Case("report: no run", "report rnu", ("There is no run in rnu", "did you mean 'run'")),
    Case("report: unfinished run", "report RUN", ("run is not finished", "lamina resume run"), change=removed("results.json")),
    Case("report: damaged results", "report RUN", ("results.json",), change=rewritten("results.json", lambda b: b[:200])),
    Case("list: unknown", "list netwroks", ("'netwroks'", "did you mean 'networks'")),
    Case("doctor: not a model", "doctor customers.csv", ("not a sealed model",)),
    Case("doctor: damaged model", "doctor RUN", ("truncated",), change=rewritten("model.lamina", lambda b: b[:-9])),
    Case("demo: unknown", "demo imges", ("'imges'", "did you mean 'images'")),
    Case("demo: bad budget", "demo table --budget never", ("'never'", "5m")),
]  # fmt: skip

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
    monkeypatch.setattr("lamina.steps.baselines.fit_baselines", interrupt)
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
    check_error(capsys.readouterr().err, ("not", "finite", "the batch of rows", "optimizer.learning_rate"))
    assert not (tmp_path / "out" / "model.lamina").exists()


def full_disk(*given: object) -> None:
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
