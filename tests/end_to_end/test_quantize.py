"""`lamina quantize`: smaller models beside the full one, each with its loss in the card; too lossy ones are refused."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
from fixtures import credit

import lamina
from lamina.cli import main
from lamina.steps import quantize as steps
from lamina.tasks import Score, classify

SET = {"network.name": "mlp", "network.width": 96, "training.epochs": 2, "training.threads": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    data = credit(tmp_path_factory.mktemp("quantize"))
    return lamina.train(data, "Status", quiet=True, out=data.parent / "run", seed=1, set=SET).run.folder


def test_variants_are_sealed_beside_with_what_they_lose(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", str(run), "--json"]) == 0
    told, shown = capsys.readouterr()
    found = json.loads(told)["variants"]
    assert [variant["kind"] for variant in found] == ["int8", "fp16"]
    assert "of the full model" in shown
    full = (run / "model.lamina").read_bytes()
    data = str(run.parent / "credit.csv")
    answers = lamina.load(run).predict(data).to_rows()
    for variant in found:
        path = run / f"model-{variant['kind']}.lamina"
        assert Path(variant["path"]) == path
        assert variant["bytes"] == path.stat().st_size < len(full)
        assert variant["pace"] > 0
        model = lamina.load(path)
        same = [
            one["Status"] == other["Status"] for one, other in zip(answers, model.predict(data).to_rows(), strict=True)
        ]
        assert sum(same) / len(same) > 0.95
        card = model.card
        compared = card["variant"]["scores"]["Status"]
        assert compared["gain"]["low"] <= compared["after"] - compared["before"] <= compared["gain"]["high"]
        assert any("bits" in limit for limit in card["limits"])
        assert main(["doctor", str(path)]) == 0, "golden answers are the variant's own"
    assert (run / "model.lamina").read_bytes() == full


def test_what_loses_too_much_is_not_sealed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "model-fp16.lamina").unlink(missing_ok=True)
    assert main(["quantize", str(run), "--kind", "fp16", "--most-loss", "-1"]) == 2
    assert "not sealed: Status" in capsys.readouterr().err
    assert not (run / "model-fp16.lamina").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([math.nan], "is not defined on the validation rows"),
        ([0.8, math.nan], "would no longer be defined"),
    ],
    ids=["before", "after"],
)
def test_what_cannot_be_measured_is_not_sealed(
    run: Path, values: list[float], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the AUC of validation rows of one class, or the score of outputs beyond 16 bits."""
    (run / "model-fp16.lamina").unlink(missing_ok=True)
    given = itertools.cycle(values)

    def scores(*_: object) -> dict[str, Score]:
        return {"accuracy": Score(next(given), True)}

    monkeypatch.setattr(classify.Task, "scores", scores)
    assert main(["quantize", str(run), "--kind", "fp16"]) == 2
    assert said in capsys.readouterr().err
    assert not (run / "model-fp16.lamina").exists()


def test_from_python_with_one_kind(run: Path) -> None:
    (variant,) = lamina.quantize(run, ["int8"])
    assert variant.kind == "int8"
    assert 0 < variant.size < steps.LEAST_GAIN
    assert 0.95 < variant.same_answers <= 1


@pytest.mark.parametrize(("task", "score"), [("embed", "neighbors_kept"), ("anomaly", "rank_agreement")])
def test_without_answers_it_is_measured_what_stays(
    run: Path, task: str, score: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = lamina.train(run.parent / "credit.csv", task=task, quiet=True, out=tmp_path / "run", set=SET)
    (variant,) = lamina.quantize(done.run.folder, "fp16")
    assert not variant.refused
    (compared,) = variant.scores.values()
    assert (compared.score, compared.before) == (score, 1)
    assert 0.9 < compared.after <= 1
    assert variant.allowed == (0.05 if task == "embed" else 0.01)
    assert variant.same_answers > 0.9
    model = lamina.load(done.run.folder, fastest=True)
    assert f"model-fp16.lamina: {model.chosen[0].split(': ')[1].split(' ')[0]} times the pace" in model.chosen[0]
    (refused,) = lamina.quantize(done.run.folder, "int8", most_loss=-1)
    assert "worse by" in refused.refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["RUN", "--kind", "int4"], "There is no kind 'int4'"),
        (["nowhere"], "nowhere"),
        (["RUN", "--most-loss", "much"], "--most-loss"),
    ],
    ids=["kind", "run", "loss"],
)
def test_wrong_requests(run: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", *(str(run) if word == "RUN" else word for word in words)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_an_unfinished_run_is_told_what_to_do(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = run / "model.lamina"
    away = model.rename(tmp_path / "model.lamina")
    try:
        assert main(["quantize", str(run)]) == 2
    finally:
        away.rename(model)
    assert "lamina resume" in capsys.readouterr().err
