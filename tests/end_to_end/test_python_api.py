"""`import lamina` as a script or a notebook uses it: data frames, networks, learners, transfer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow
import pytest
import torch
from fixtures import Finished, finished, prices, read_csv

import lamina
from lamina import api
from lamina.errors import InputError

CHANGES = {
    "training.epochs": 2, "training.threads": 1, "network.name": "mlp", "network.width": 16, "network.depth": 1,
    "schema.dear.role": "ignore",
}  # fmt: skip
FRAMES: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "columns": dict,
    "pandas": pandas.DataFrame,
    "polars": polars.DataFrame,
    "pyarrow": pyarrow.table,
}


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> dict[str, list[Any]]:
    """The prices as columns of Python values."""
    rows = read_csv(prices(tmp_path_factory.mktemp("columns")))
    numbers = {name: [float(row[name]) for row in rows] for name in ("size", "age", "price")}
    return {**numbers, **{name: [row[name] for row in rows] for name in ("kind", "dear")}}


@pytest.fixture(scope="module")
def runs(columns: dict[str, list[Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, api.Trained]:
    """A run of the same data from each kind of frame."""
    folder = tmp_path_factory.mktemp("frames")
    return {
        kind: lamina.train(make(columns), "price", out=folder / kind, set=CHANGES, quiet=True)
        for kind, make in FRAMES.items()
    }


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Finished:
    return finished("several", tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("kind", FRAMES)
def test_inspect_tells_the_same_of_every_frame(kind: str, columns: dict[str, list[Any]]) -> None:
    found = lamina.inspect(FRAMES[kind](columns), "price").document()
    assert found["rows"] == 300
    kinds = {item["name"]: item["modality"] for item in found["fields"]}
    assert kinds == {"size": "number", "age": "number", "price": "number", "kind": "category", "dear": "category"}
    assert found["tasks"]["price"].startswith("regress")
    assert sum(found["split"].values()) == 300


def test_every_frame_gives_the_same_network(runs: dict[str, api.Trained]) -> None:
    weights = {kind: trained.run.weights.read_bytes() for kind, trained in runs.items()}
    assert all(content == weights["columns"] for content in weights.values())


def test_every_frame_gets_the_same_answers(runs: dict[str, api.Trained], columns: dict[str, list[Any]]) -> None:
    model = runs["pandas"].model
    found = [[row["price"] for row in model.predict(make(columns)).to_rows()] for make in FRAMES.values()]
    assert len(found[0]) == 300
    assert all(answers == found[0] for answers in found)
    assert np.corrcoef(found[0], columns["price"])[0, 1] > 0.5
    assert list(model.predict(columns).to_pandas()["price"]) == found[0]
    assert model.predict(columns).to_polars()["price"].to_list() == found[0]


def test_the_network_of_a_frame_is_at_hand_without_the_frame(runs: dict[str, api.Trained]) -> None:
    network = runs["polars"].network
    assert not network.training
    for name in network.layers():
        assert isinstance(network.layer(name), torch.nn.Module), name
    with pytest.raises(InputError, match="no"):
        network.layer("nothing like it")


def test_a_frame_is_asked_for_again_where_it_is_needed(runs: dict[str, api.Trained], columns: dict[str, Any]) -> None:
    folder = runs["pandas"].run.folder
    with pytest.raises(InputError, match="data frame"):
        api.learner(folder)
    learner = api.learner(folder, data=pandas.DataFrame(columns))
    assert len(learner.source.rows) == runs["pandas"].results.data["train"]
    other = pandas.DataFrame(columns).head(200)
    with pytest.raises(InputError, match="not what the run"):
        api.learner(folder, data=other)


def test_a_learner_scores_as_the_run_did(several: Finished) -> None:
    learner = api.learner(several.folder)
    best = max(entry["score"] for entry in several.trained.results.curves["validation"])
    assert learner.validation_scores()["score"] == pytest.approx(best, rel=1e-5)
    _, batch = next(learner.source.batches(0))
    outputs = learner.network(batch.inputs)
    assert set(outputs) == {"price", "dear"}
    loss = learner.method.loss(batch)
    assert torch.isfinite(loss.sum)


def test_the_summary_is_plain_json(several: Finished) -> None:
    import json

    document = json.loads(json.dumps(several.trained.summary(), allow_nan=False))
    assert set(document["targets"]) == {"price", "dear"}


def test_transfer_takes_the_weights_of_an_earlier_run(several: Finished, tmp_path: Path) -> None:
    changes = {
        "training.epochs": 1, "training.threads": 1, "network.width": 32, "network.depth": 1, "network.name": "mlp",
        "network.frozen": "all", "schema.dear.role": "ignore",
    }  # fmt: skip
    weights = several.folder
    trained = lamina.train(several.data, "price", out=tmp_path / "run", weights=weights, set=changes, quiet=True)
    before, after = several.trained.network.network("table"), trained.network.network("table")
    given, kept = before.state_dict(), after.state_dict()
    assert given.keys() == kept.keys()
    for name, tensor in given.items():
        assert torch.equal(tensor, kept[name]), f"{name} was frozen and must be as the earlier run left it"
    assert trained.results.seal is not None
    assert trained.results.seal.same_answers == 1.0


def test_an_unknown_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="budgte") as caught:
        lamina.train("x.csv", "y", budgte="5m")
    assert "budget" in caught.value.fix
