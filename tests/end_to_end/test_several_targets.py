"""Several tasks at once, whose answers are not all there in every row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures import QUICK, Row, read_csv, run_here, write_csv

from lamina import api
from lamina.cli import main
from lamina.data.examples import known_targets
from lamina.errors import InputError
from lamina.learn.engine import NonFiniteLossError

ROWS = 240


def rows() -> list[Row]:
    """A number in two rows of three, a class in three of four, labels in four of five; in few rows all of them."""
    draw = np.random.default_rng(0)
    found = []
    for number in range(ROWS):
        a, b = draw.normal(size=2).round(3).tolist()
        found.append(
            {
                "a": a,
                "b": b,
                "size": "" if number % 3 == 0 else round(a + b, 3),
                "kind": "" if number % 4 == 0 else ("up" if a > b else "down"),
                "tags": "" if number % 5 == 0 else ";".join(["x"] * (a > 0) + ["y"] * (b > 0) + ["z"]),
            }
        )
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("several")
    write_csv(folder / "rows.csv", rows())
    sets = [f"{name}={value}" for name, value in QUICK.items()]
    targets = ("--target", "size", "--target", "kind", "--target", "tags")
    # Without clipping nothing but the loss tells of a gradient that is no number.
    run_here(folder, "train", "rows.csv", *targets, "--quiet", "--out", "run", "--set", *sets, "training.clip=0")
    return folder


def test_a_row_counts_for_the_targets_that_it_has(place: Path) -> None:
    results = json.loads((place / "run" / "results.json").read_text())
    # Every sixtieth row has none of them.
    assert results["data"]["dropped_count"] == ROWS // 60
    learner = api.learner(place / "run")
    loaders = (learner.source, learner.validation)
    shares = {"size": 2 / 3, "kind": 3 / 4, "tags": 4 / 5}
    for name, share in shares.items():
        target = np.concatenate([loader.examples.arrays[name][loader.rows] for loader in loaders])
        assert 0 < known_targets(target).mean() == pytest.approx(share, abs=0.08)
    lacking = next(item for item in results["audit"] if item["kind"] == "some targets only")
    assert "`size` in " in lacking["text"]


def test_every_target_is_learned_and_compared(place: Path) -> None:
    for target in json.loads((place / "run" / "results.json").read_text())["targets"]:
        assert len(target["baselines"]) >= 2
        assert all(np.isfinite(score["value"]) for score in target["scores"].values())


def test_the_sealed_model_is_scored_on_each_target_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(place / "run" / "model.lamina")
    assert main(["test", model, str(place / "rows.csv"), "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    known = [row for row in read_csv(place / "rows.csv") if row["size"]]
    write_csv(place / "known.csv", known)
    assert main(["test", model, str(place / "known.csv"), "--json"]) == 0
    part = json.loads(capsys.readouterr().out)
    assert part["targets"]["size"]["rmse"]["value"] == pytest.approx(whole["targets"]["size"]["rmse"]["value"])


def test_what_is_missing_is_no_error_and_what_cannot_be_read_is_one(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_csv(place / "rows.csv")[1:4]
    for row, size, kind in zip(rows, ("NA", "many", "1.5"), ("up", "down", " "), strict=True):
        row |= {"size": size, "kind": kind, "tags": "x"}
    write_csv(place / "odd.csv", rows)
    assert main(["test", str(place / "run" / "model.lamina"), str(place / "odd.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["errors"]) == (3, 1)


def test_a_loss_that_is_no_number_is_noticed(place: Path) -> None:
    learner = api.learner(place / "run")
    _, batch = next(learner.source.batches(0))
    for weight in list(learner.network.parameters())[-1:]:
        weight.detach().fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match="loss"):
        learner.method.update(batch, learner.engine)


def _without(name: str, keep: int) -> Callable[[int, Row], Row]:
    return lambda number, row: row if number < keep else {**row, name: ""}


def test_a_target_in_few_rows_is_refused(tmp_path: Path, cache: Path) -> None:
    few = _without("kind", 12)
    write_csv(tmp_path / "few.csv", [few(number, row) for number, row in enumerate(rows())])
    with pytest.raises(InputError, match="9 rows have the target 'kind'"):
        api.train(str(tmp_path / "few.csv"), ["size", "kind"], quiet=True, out=tmp_path / "run")
