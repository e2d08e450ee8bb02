"""A second run on the same data starts from what the first found out, and gives the very same model."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from fixtures import credit

import lamina
from lamina.steps import answered, baselines, prepare, understand

ALL = ["recognise", "split", "_fit", "audit", "compare"]
SET = {"network.name": "mlp", "network.width": 16, "training.epochs": 1, "training.threads": 1}


@dataclass(frozen=True)
class First:
    """The first run on some data: what was done in it, and what it left in the cache."""

    data: Path
    folder: Path
    cache: Path
    asked: list[str]


def listening(patch: pytest.MonkeyPatch) -> list[str]:
    """Which of the slow parts are really done from now on."""
    done: list[str] = []

    def told(name: str, function: Any) -> Any:
        def call(*words: Any, **options: Any) -> Any:
            done.append(name)
            return function(*words, **options)

        return call

    parts = (
        (understand, "recognise"),
        (prepare, "split"),
        (prepare, "audit"),
        (prepare, "_fit"),
        (baselines, "compare"),
    )
    for module, name in parts:
        patch.setattr(module, name, told(name, getattr(module, name)))
    return done


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> First:
    place = tmp_path_factory.mktemp("known")
    data, cache = credit(place), place / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAMINA_CACHE", str(cache))
        asked = listening(patch)
        return First(data, run(data, place / "first"), cache, asked)


@pytest.fixture
def cache(first: First, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache as the first run left it, for this test alone."""
    own = shutil.copytree(first.cache, tmp_path / "cache")
    monkeypatch.setenv("LAMINA_CACHE", str(own))
    return own


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return listening(monkeypatch)


def run(data: Path, out: Path, **changes: Any) -> Path:
    options = {"seed": 3, "set": SET, **changes}
    return lamina.train(data, "Status", quiet=True, out=out, **options).run.folder


class Begun(Exception):
    """The training would begin now."""


def ask(data: Path, out: Path, **changes: Any) -> None:
    """A run up to its training: what is asked of the data is asked before."""
    with mock.patch.object(answered, "train_and_test", side_effect=Begun), pytest.raises(Begun):
        run(data, out, **changes)


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


@pytest.mark.usefixtures("cache")
def test_the_same_question_is_not_asked_twice(first: First, tmp_path: Path, asked: list[str]) -> None:
    assert first.asked == ALL
    second = run(first.data, tmp_path / "second")
    assert asked == []
    assert weights(first.folder) == weights(second)
    for name in ("prepared.json", "baselines.json", "baselines.npz"):
        assert (first.folder / name).read_bytes() == (second / name).read_bytes()
    one, other = (lamina.load(folder).predict(str(first.data)).to_rows() for folder in (first.folder, second))
    assert one == other


@pytest.mark.usefixtures("cache")
def test_another_network_is_the_same_question(first: First, tmp_path: Path, asked: list[str]) -> None:
    ask(first.data, tmp_path / "second", set={**SET, "network.width": 8, "optimizer.learning_rate": 0.01})
    assert asked == []


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"seed": 4}, ALL[1:]),
        ({"set": {**SET, "schema.Age.role": "ignore"}}, ALL),
        ({"set": {**SET, "data.validation_share": 0.2}}, ALL[1:]),
        ({"budget": "20s"}, ["compare"]),
    ],
    ids=["seed", "column", "shares", "budget"],
)
def test_another_question_is_asked(
    first: First, tmp_path: Path, asked: list[str], change: dict[str, Any], again: list[str]
) -> None:
    ask(first.data, tmp_path / "second", **change)
    assert asked == again


@pytest.mark.usefixtures("cache")
def test_other_data_is_another_question(first: First, tmp_path: Path, asked: list[str]) -> None:
    lines = first.data.read_text().splitlines(keepends=True)
    other = tmp_path / first.data.name
    other.write_text("".join(lines[:-1]))
    ask(other, tmp_path / "second")
    assert asked == ALL


def test_damaged_and_lost_files_are_found_out_again(
    first: First, cache: Path, tmp_path: Path, asked: list[str]
) -> None:
    questions = cache / "questions"
    for name in ("understood.json", "split.safetensors", "prepared.json"):
        (kept,) = questions.glob(f"*/{name}.*")
        kept.write_bytes(kept.read_bytes()[:-10])
    for file in questions.glob("*/baselines.npz.*"):
        file.unlink()
    second = run(first.data, tmp_path / "second")
    assert asked == ALL
    assert weights(first.folder) == weights(second)
    ask(first.data, tmp_path / "third")
    assert len(asked) == len(ALL), "and kept again"


def test_a_cache_of_questions_that_cannot_be_written_is_no_hindrance(
    first: First, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "questions").write_text("a file where the folder should be")
    run(first.data, tmp_path / "first")
    ask(first.data, tmp_path / "second")
    assert len(asked) == 2 * len(ALL)
