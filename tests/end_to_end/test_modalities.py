"""From raw data to sealed answers, once for each modality and task, on small real or hand-made data."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from fixtures import CASES, Finished, finished, jsonl, read_csv, write_csv

import lamina
from lamina.evaluate.results import from_json, to_json


@pytest.fixture(scope="module", params=list(CASES))
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Finished:
    return finished(request.param, tmp_path_factory.getbasetemp())


def test_the_run_folder_is_complete(done: Finished) -> None:
    for name in ("plan.toml", "log.jsonl", "results.json", "report.html", "model.lamina", "weights.safetensors"):
        assert (done.folder / name).stat().st_size > 0, name
    assert list((done.folder / "checkpoints").glob("*.safetensors"))
    assert done.trained.run.status()["state"] == "done"


def test_the_log_tells_every_step_in_order(done: Finished) -> None:
    entries = jsonl(done.folder / "log.jsonl")
    steps = [entry["step"] for entry in entries if entry["kind"] == "train"]
    assert steps == sorted(set(steps))
    every = [entry["step"] for entry in entries]
    assert every == sorted(every)
    if not done.trained.results.stopped:
        train = [entry for entry in entries if entry["kind"] == "train"]
        assert steps[-1] == every[-1] == train[0]["steps"]
    assert all(math.isfinite(entry["loss"]) for entry in entries if entry["kind"] == "train")
    assert any(entry["kind"] == "validation" for entry in entries)


def test_the_results_are_read_as_they_were_written(done: Finished) -> None:
    document = json.loads((done.folder / "results.json").read_text())
    assert to_json(from_json(document)) == document
    assert [target["target"] for target in document["targets"]] == list(done.case.targets or ("label",))


def test_the_sealed_model_is_proven_equal_to_the_network(done: Finished) -> None:
    seal = done.trained.results.seal
    assert seal is not None
    assert seal.same_answers == 1.0
    assert seal.largest_difference < 1e-3
    assert seal.rows == done.trained.results.data["test"]
    assert lamina.load(done.folder).check_golden()["sound"]


def test_it_has_learned(done: Finished) -> None:
    for target in done.trained.results.targets:
        floor = done.case.floors[target.target]
        name, score = next(iter(target.scores.items()))
        value = score.value if score.higher_is_better else -score.value
        assert math.isnan(floor) or value > floor, f"{target.target}: {name} {value}"


def test_answers_have_the_fixed_columns(done: Finished) -> None:
    answers = lamina.load(done.folder).predict(str(done.tested))
    wanted = ["path"] if done.tested.is_dir() else []
    for target in done.trained.results.targets:
        name, rows = target.target, answers.to_rows()
        if target.task == "regress":
            wanted += [name, f"{name}.low", f"{name}.high"]
            assert all(row[f"{name}.low"] <= row[name] <= row[f"{name}.high"] for row in rows)
            continue
        classes = [key for key in answers.columns if key.startswith(f"{name}.p.")]
        wanted += [name, f"{name}.p", *classes]
        if target.task == "classify":
            probabilities = np.array([[row[key] for key in classes] for row in rows])
            assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
            assert [row[name] for row in rows] == [
                classes[n].removeprefix(f"{name}.p.") for n in probabilities.argmax(1)
            ]
            assert [row[f"{name}.p"] for row in rows] == list(probabilities.max(axis=1))
    assert list(answers.columns) == [*wanted, "error"]
    assert not answers.errors


def test_answers_come_in_the_order_of_the_input(done: Finished, tmp_path: Path) -> None:
    model = lamina.load(done.folder)
    if done.tested.is_dir():
        answers = model.predict(str(done.tested)).to_rows()
        files = sorted(str(file.relative_to(done.tested)) for file in done.tested.rglob("*.*"))
        assert [row["path"] for row in answers] == files
        alone = model.predict(str(done.tested / files[3])).to_rows()[0]
        key = next(key for key in alone if ".p." in key)
        assert alone[key] == pytest.approx(answers[3][key], abs=1e-5)
        return
    rows = read_csv(done.tested)
    turned = write_csv(done.tested.with_name("turned.csv"), rows[::-1])
    target = done.trained.results.targets[0].target
    there, back = (model.predict(str(path)).to_rows() for path in (done.tested, turned))
    assert len(there) == len(rows)
    one, other = [row[target] for row in there], [row[target] for row in back][::-1]
    assert one == (pytest.approx(other, rel=1e-5) if isinstance(one[0], float) else other)
