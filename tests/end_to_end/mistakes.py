"""Mistakes that stop `lamina train` and `lamina inspect`: the files, the command, and what the error must say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

CITIES = ("Bern", "Basel", "Chur")


def customers(rows: int = 300, seed: int = 0) -> str:
    """A table as CSV: age, income, city; `label` (yes or no) and `spent` follow from them, with noise."""
    generator = np.random.default_rng(seed)
    lines = ["age,income,city,spent,label"]
    for _ in range(rows):
        age, income = int(generator.integers(18, 80)), int(generator.integers(1000, 9000))
        city = CITIES[generator.integers(3)]
        spent = 100 * age + income + 500 * (city == "Bern") + generator.normal(0, 500)
        lines.append(f"{age},{income},{city},{spent:.1f},{'yes' if spent > 10_000 else 'no'}")
    return "\n".join(lines) + "\n"


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
        "60 of 300 rows",
        "given.csv, line 3: 6 fields",
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
    asked(
        "everything ignored",
        "--set " + " ".join(f"schema.{n}.role=ignore" for n in ("age", "income", "city")),
        "no column left",
    ),
    given(
        "negative weights",
        with_column("w", lambda n: n - 5),
        "'w' is negative in 5 rows",
        "first in given.csv, line 2",
        more="--target label --set schema.w.role=weight schema.spent.role=ignore",
    ),
    given(
        "split column of unknown words",
        with_column("part", lambda n: "abc"[n % 3]),
        "part",
        "'a'",
        "train, test",
        more="--target label --split part",
    ),
    given(
        "split column without test",
        with_column("part", lambda n: "train"),
        "test rows",
        more="--target label --split part",
    ),
    given(
        "one group only",
        with_column("g", lambda n: "A"),
        "'g'",
        "one group",
        more="--target label --set schema.g.role=group",
    ),
    given(
        "unreadable times",
        with_column("when", lambda n: f"moon {n}"),
        "when",
        more="--target label --set schema.when.role=time schema.when.modality=time",
    ),
    asked(
        "test data lacks a column",
        "--test test.csv",
        "test.csv",
        "city",
        files={"test.csv": "age,income,spent,label\n" + "1,2,3,yes\n" * 20},
    ),
    asked(
        "test data of unknown classes",
        "--test test.csv",
        "label",
        "maybe",
        files={"test.csv": LINES[0] + "\n" + "30,2000,Bern,5,maybe\n31,2000,Bern,6,perhaps\n" * 20},
    ),
    asked("missing test data", "--test tset.csv", "tset.csv"),
]

WISHES = [
    Case("unknown command", "trian customers.csv", ("'trian'", "did you mean 'train'")),
    Case("no data", "train", ("required", "DATA")),
    asked("unknown option", "--bugdet 5m", "--bugdet", "Did you mean --budget?"),
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
    asked("threads beyond reason", "--set training.threads=100000", "training.threads", "at most 1024"),
    asked("data by --set", "--set data.train=other.csv", "'data.train'", "first argument"),
    asked("budget by --set", "--set budget=10", "'budget'", "--budget"),
    asked("column to split by is none", "--set data.split=group data.column=agee", "'agee'", "did you mean 'age'"),
    asked("infinite epochs", "--set training.epochs=inf", "training.epochs", "finite"),
    asked("learning rate zero", "--set optimizer.learning_rate=0", "optimizer.learning_rate", "above 0"),
    asked("negative learning rate", "--set optimizer.learning_rate=-1", "optimizer.learning_rate", "above 0"),
    asked("validation share zero", "--set data.validation_share=0", "validation_share", "above 0"),
    asked("validation share one", "--set data.validation_share=1", "validation_share", "below 1"),
    asked("validation share two", "--set data.validation_share=2", "validation_share", "below 1"),
    asked("test share takes all", "--set data.test_share=0.9999", "data.test_share"),
    asked("unknown way to split", "--set data.split=randm", "'randm'", "did you mean 'random'"),
    asked("unknown precision", "--set training.precision=fp64", "fp64", "bf16"),
    asked("setting of environments", "--set training.steps=90", "training.steps", "it is for environments"),
    asked("setting of another optimizer", "--set optimizer.name=rmsprop optimizer.beta2=0.9", "rmsprop", "adamw"),
    asked("unknown network", "--set network.name=resnt", "'resnt'", "did you mean 'resnet'"),
    asked("network for other inputs", "--set network.name=efficientnet", "'efficientnet'", "tabm"),
    asked("unknown network option", "--set network.dept=3", "'dept'", "network.table"),
    asked("network option out of range", "--set network.dropout=1.5", "dropout", "below 1"),
    asked("unknown network part", "--set network.photo.depth=3", "'network.table.photo'"),
    asked("unknown optimizer", "--set optimizer.name=admaw", "'admaw'", "did you mean 'adamw'"),
    asked("unknown schedule", "--set schedule.name=cosin", "'cosin'", "did you mean 'cosine'"),
    asked("unknown schedule option", "--set schedule.steps=3", "'steps'", "schedule"),
    asked("text for a schedule option", "--set schedule.name=step schedule.drops=x", "'drops'", "'x'", "number"),
    asked("a method without answers", "--set method.name=masked", "'masked'", "--task embed"),
    asked("unknown method", "--set method.name=magic", "'magic'", "supervised"),
    asked("augmentation of no field", "--set training.augment.photo.flip=true", "photo", "augment"),
    asked("unknown augmentation", "--set training.augment.age.flip=true", "flip", "age"),
    asked("unknown task option", "--set task.primry=auc", "'primry'", "did you mean 'primary'"),
    asked("unknown primary score", "--set task.primary=rmse", "rmse", "label"),
]

PLACES = [
    asked("plan missing", "--plan paln.toml", "paln.toml"),
    asked("plan is a folder", "--plan .", "folder"),
    asked("plan is no TOML", "--plan plan.toml", "plan.toml", "TOML", files={"plan.toml": "epochs = = 3"}),
    asked(
        "plan with unknown key",
        "--plan plan.toml",
        "'trainig'",
        "training",
        files={"plan.toml": PLAN + "[trainig]\nepochs = 3\n"},
    ),
    asked(
        "plan with a wrong value",
        "--plan plan.toml",
        "plan.toml",
        "training.batch_size",
        files={"plan.toml": PLAN + "[training]\nbatch_size = -1\n"},
    ),
    asked("plan of the future", "--plan plan.toml", "version 99", "Update", files={"plan.toml": "version = 99\n"}),
    asked("out is a file", "--out customers.csv", "customers.csv is a file", "--out"),
    asked("out under a file", "--out customers.csv/run", "customers.csv/run", "--out"),
    asked("out has other files", "--out full", "full is not empty", files={"full/thesis.doc": "precious"}),
    asked("out has a run", "--out old", "There is a run in old", "lamina resume old", files={"old/plan.toml": PLAN}),
    asked("weights missing", "--weights wieghts", "wieghts", "--weights"),
    asked("weights are the data", "--weights customers.csv", "customers.csv", "no file of PyTorch's"),
    asked("weights without a path", "--weights table=", "'table='", "COLUMN=PATH"),
    asked("weights of no kind", "--weights notes.txt", "notes.txt", files={"notes.txt": "hello"}),
    asked(
        "weights for a column that is none",
        "--weights photo=w.safetensors",
        "'photo'",
        "--weights",
        files={"w.safetensors": b"x"},
    ),
    asked("damaged weights", "--weights w.safetensors", "w.safetensors", files={"w.safetensors": b"\x00" * 30}),
    asked(
        "tokenizer of no column", "--weights bert", "bert", "--weights COLUMN=bert", files={"bert/tokenizer.json": "{}"}
    ),
    asked("tokenizer of an unknown column", "--weights words=bert", "'words'", files={"bert/tokenizer.json": "{}"}),
    asked(
        "text weights for a table",
        "--weights table=bert",
        "--weights",
        "bert",
        "table",
        files={"bert/config.json": '{"model_type": "bert"}'},
    ),
]

MEDIA = [
    Case(
        "one picture in ten is broken",
        "train photos --budget 2s",
        ("cat/00.png", "8 of 80 rows", "1.0%", "data.bad_rows"),
        pictures("cat", "dog", each=40, broken=4),
    ),
    Case(
        "all pictures are broken",
        "train photos --budget 2s",
        ("None of the pictures", "column path"),
        pictures("cat", "dog", broken=12),
    ),
    Case("one class folder", "train photos --budget 2s", ("cat",), pictures("cat")),
    Case(
        "empty class folders",
        "train photos --budget 2s",
        ("photos",),
        change=lambda f: [(f / "photos" / n).mkdir(parents=True) for n in ("a", "b")],
    ),
    Case(
        "folders of texts",
        "train notes --budget 2s",
        ("notes",),
        {f"notes/{n}/{i}.txt": "hello" for n in "ab" for i in range(9)},
    ),
    Case(
        "target of pictures misspelt",
        "train photos --target lable --budget 2s",
        ("'lable'", "did you mean 'label'"),
        pictures("cat", "dog"),
    ),
    Case(
        "table of missing pictures",
        "train list.csv --target label --budget 2s --set schema.file.modality=image",
        ("file", "0.png"),
        {"list.csv": "file,label\n" + "".join(f"{n}.png,{'ab'[n % 2]}\n" for n in range(40))},
    ),
]
