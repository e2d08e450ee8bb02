"""A second run on the same data starts from what the first found out, and gives the very same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixtures import credit

import lamina
from lamina.steps import baselines, prepare, understand

ALL = ["recognise", "split", "_fit", "audit", "compare"]
SET = {"network.name": "mlp", "network.width": 16, "training.epochs": 1, "training.threads": 1}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    return credit(tmp_path)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which of the slow parts were really done."""
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
        monkeypatch.setattr(module, name, told(name, getattr(module, name)))
    return done


def run(data: Path, out: str, **changes: Any) -> Path:
    options = {"seed": 3, "set": SET, **changes}
    return lamina.train(data, "Status", quiet=True, out=data.parent / out, **options).run.folder


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


def test_the_same_question_is_not_asked_twice(data: Path, asked: list[str]) -> None:
    first = run(data, "first")
    assert asked == ALL
    second = run(data, "second")
    assert len(asked) == len(ALL)
    assert weights(first) == weights(second)
    for name in ("prepared.json", "baselines.json", "baselines.npz"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    one, other = (lamina.load(folder).predict(str(data)).to_rows() for folder in (first, second))
    assert one == other


def test_another_network_is_the_same_question(data: Path, asked: list[str]) -> None:
    run(data, "first")
    run(data, "second", set={**SET, "network.width": 8, "optimizer.learning_rate": 0.01})
    assert len(asked) == len(ALL)


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
def test_another_question_is_asked(data: Path, asked: list[str], change: dict[str, Any], again: list[str]) -> None:
    run(data, "first")
    run(data, "second", **change)
    assert asked[len(ALL) :] == again


def test_other_data_is_another_question(data: Path, asked: list[str]) -> None:
    run(data, "first")
    lines = data.read_text().splitlines(keepends=True)
    data.write_text("".join(lines[:-1]))
    run(data, "second")
    assert len(asked) == 2 * len(ALL)


def test_damaged_and_lost_files_are_found_out_again(data: Path, asked: list[str]) -> None:
    first = run(data, "first")
    questions = data.parent / "cache" / "questions"
    for name in ("understood.json", "split.safetensors", "prepared.json"):
        (kept,) = questions.glob(f"*/{name}.*")
        kept.write_bytes(kept.read_bytes()[:-10])
    for file in questions.glob("*/baselines.npz.*"):
        file.unlink()
    second = run(data, "second")
    assert asked[len(ALL) :] == ALL
    assert weights(first) == weights(second)
    run(data, "third")
    assert len(asked) == 2 * len(ALL), "and kept again"


def test_a_cache_of_questions_that_cannot_be_written_is_no_hindrance(data: Path, asked: list[str]) -> None:
    (data.parent / "cache").mkdir()
    (data.parent / "cache" / "questions").write_text("a file where the folder should be")
    run(data, "first")
    run(data, "second")
    assert len(asked) == 2 * len(ALL)
