"""The fastest of a model and its variants, and how nearly two networks say the same where nothing is right or wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import table, table_model

import lamina
from lamina.cli import main
from lamina.evaluate.agreeing import agrees, neighbors_kept
from lamina.model import fastest, golden
from lamina.model.format import write
from lamina.model.runtime import Model, load
from lamina.tasks import anomaly, embed

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, two variants of it, one of another model, and what is none."""
    tmp_path = tmp_path / "[a] model"
    tmp_path.mkdir()
    sealed, _ = table_model()
    sealed = golden.sealed_with(Model(sealed, threads=1), table(16))
    write(tmp_path / "model.lamina", sealed)
    scores = {"bought": {"score": "accuracy", "before": 0.8, "after": 0.79}}
    made = {"of": fastest.digest_of(sealed.network), "scores": scores, "allowed": 0.02}
    for kind in ("int8", "fp16"):
        write(tmp_path / f"model-{kind}.lamina", replace(sealed, card={"variant": made, "kind": kind}))
    write(tmp_path / "model-old.lamina", replace(sealed, card={"variant": {**made, "of": "another"}}))
    write(tmp_path / "model-copy.lamina", sealed)
    (tmp_path / "model-torn.lamina").write_bytes(b"PK nothing")
    return tmp_path


def taking(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float]) -> None:
    def timed(models: list[Model], encoded: dict[str, Array]) -> list[float]:
        assert {len(array) for array in encoded.values()} == {256}
        for model in models:
            model.outputs(encoded)
        return [seconds[Path(model.where).stem] for model in models]

    monkeypatch.setattr(fastest, "_timed", timed)


def test_the_fastest_variant_is_taken_and_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taking(monkeypatch, {"model": 3.0, "model-int8": 1.0, "model-fp16": 2.0})
    model = fastest.fastest(folder / "model.lamina", 1)
    assert model.card["kind"] == "int8"
    said = "\n".join(model.chosen)
    assert "model-int8.lamina: 3.00 times the pace of model.lamina here" in said
    assert "bought: accuracy 0.8 before, 0.79 after on the test rows; a loss of 0.02 was allowed" in said
    assert "model-int8.lamina answers: it is the fastest here" in said
    assert "model-old.lamina is left out: it was made of another model" in said
    assert "model-copy.lamina is left out: it is no variant" in said
    assert "model-torn.lamina is left out" in said


def test_what_is_hardly_faster_is_not_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taking(monkeypatch, {"model": 1.0, "model-int8": 0.97, "model-fp16": 1.4})
    model = lamina.load(folder / "model.lamina", fastest=True)
    assert Path(model.where).name == "model.lamina"
    assert "no variant is clearly faster" in model.chosen[-1]


def test_it_is_measured_and_the_proven_model_stays_the_default(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lamina.load(folder / "model.lamina").chosen == ()
    (folder / "rows.csv").write_text("age,color\n30,red\n")
    words = ["predict", str(folder / "model.lamina"), str(folder / "rows.csv"), "--threads", "1"]
    assert main([*words, "--fastest"]) == 0
    told = capsys.readouterr()
    assert "times the pace of model.lamina here" in told.err
    assert " answers: " in told.err
    assert main(words) == 0
    assert capsys.readouterr() == (told.out, "")
    (folder / "alone").mkdir()
    (folder / "model.lamina").rename(folder / "alone" / "model.lamina")
    assert "there is no smaller variant" in fastest.fastest(folder / "alone" / "model.lamina", 1).chosen[-1]
    assert load(folder / "alone" / "model.lamina", 1).chosen == ()


def directions(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_neighbors_stay_by_hand() -> None:
    angles = np.array([0.0, 0.1, 0.2, 2.0, 2.1])
    before = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert neighbors_kept(before, before, 2).tolist() == [1] * 5
    angles[2] = 1.6
    after = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # What lay beside the first two now lies beside the last two.
    assert neighbors_kept(before, after, 1).tolist() == [1, 1, 0, 1, 1]
    assert neighbors_kept(before, after, 2).tolist() == [1, 1, 0, 1, 1]
    same = np.repeat(before[:1], 30, axis=0)
    assert neighbors_kept(same, same[::-1]).min() == 1, "of equals any may be found"


def test_how_much_stays_where_no_answer_is_right() -> None:
    vectors = directions(RANDOM.normal(size=(200, 8)))
    near = directions(vectors + RANDOM.normal(0, 0.01, (200, 8)))
    task = embed.Task("embedding", 8)
    score, stays = agrees(task, vectors, near) or ("", None)
    assert score == "neighbors_kept"
    assert stays is not None
    assert 0.9 < stays.low < stays.value < stays.high <= 1
    scores = RANDOM.exponential(size=(200, 3))
    detector = anomaly.Task("anomaly")
    score, stays = agrees(detector, scores, 2 * scores + 1) or ("", None)
    assert (score, stays and stays.value) == ("rank_agreement", pytest.approx(1))
    _, opposite = agrees(detector, scores, -scores) or ("", None)
    assert opposite is not None
    assert opposite.value == pytest.approx(-1)
    assert agrees(detector, scores[:2], scores[:2]) is None
