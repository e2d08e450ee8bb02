"""`lamina test` of models that learned without answers: against figures by hand, and what wrong data is told."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from small_models import objects
from torch import Tensor, nn, zeros
from torch.nn.functional import one_hot

from lamina import registry
from lamina.cli import main
from lamina.data.schema import Field
from lamina.data.windows import Cut
from lamina.errors import InputError
from lamina.evaluate.sealed import score_model
from lamina.modalities import Encoder
from lamina.modalities.items import Encoder as Items
from lamina.model.export import export
from lamina.model.format import Sealed, write
from lamina.model.runtime import Model
from lamina.tasks import Answering, anomaly, embed, recommend

RANDOM = np.random.default_rng(0)


class Loud(nn.Module):
    """How strange: the sum of what is read, as it lies from its middle; or what is read, as a direction."""

    def __init__(self, name: str, field: str) -> None:
        super().__init__()
        self.name, self.field = name, field

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        read = inputs[self.field].flatten(1)
        return {self.name: (read.abs().sum(dim=1, keepdim=True) if self.name == "anomaly" else read)[:, None]}


class Popular(nn.Module):
    """The first items of the catalogue to everybody who has not had them."""

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        had = one_hot(inputs["history"].long(), 13).sum(dim=1)[:, 1:] > 0
        scores = -(zeros(12) + 1).cumsum(0)
        return {"recommended": (scores - 1e9 * had)[:, None]}


def sealed_of(network: nn.Module, field: Field, encoder: Encoder, task: Answering, card: dict[str, Any]) -> Sealed:
    exported = export(network, {field.name: encoder.feature}, {task.name: task})
    state = {"field": asdict(field), "modality": field.modality, "state": encoder.state()}
    tasks = {task.name: {"task": task.task, "state": task.state()}}
    return Sealed(exported.network, exported.inputs, exported.outputs, {field.name: state}, tasks, card=card)


def fitted(field: Field, values: Any) -> Encoder:
    found: Encoder = registry.module("modalities", field.modality).Encoder.fit(lambda: [values], {})
    return found


@pytest.fixture(scope="module")
def detector() -> Sealed:
    field = Field("age", "number")
    encoder = fitted(field, objects([f"{value}" for value in range(-50, 51)]))
    task = anomaly.Task("anomaly", limit=0.3, levels=(0.0, 1.0))
    card = {"judged_by": {"column": "state", "ordinary": "good"}}
    return sealed_of(Loud("anomaly", "age"), field, encoder, task, card)


def rows_of(strange: int = 60, ordinary: int = 140) -> dict[str, list[Any]]:
    age = np.concatenate([RANDOM.normal(60, 30, strange), RANDOM.normal(0, 20, ordinary)])
    return {"age": age.tolist(), "state": ["odd"] * (strange // 2) + ["bad"] * (strange - strange // 2)
            + ["good"] * ordinary}  # fmt: skip


def test_a_detector_is_judged_by_the_labels_of_its_training(detector: Sealed) -> None:
    model, data = Model(detector, threads=1), rows_of()
    answers = model.predict(data).to_columns()
    data["age"].append("old")
    data["state"].append("good")
    data["age"].append(1.0)
    data["state"].append(None)
    found = score_model(model, data)
    scores, strange = found["targets"]["anomaly"], np.array(data["state"][:200]) != "good"
    assert (found["rows"], found["errors"]) == (202, 2)
    score, alarms = (np.array(answers[name]) for name in ("anomaly.score", "anomaly"))
    assert scores["auc"]["value"] == pytest.approx(roc_auc_score(strange, score))
    assert scores["average_precision"]["value"] == pytest.approx(average_precision_score(strange, score))
    assert scores["found"]["value"] == pytest.approx(alarms[strange].mean())
    assert scores["false_alarms"]["value"] == pytest.approx(alarms[~strange].mean())
    assert not scores["false_alarms"]["higher_is_better"]
    for figure in scores.values():
        assert figure["low"] < figure["value"] < figure["high"]
    assert "60 strange and 140 ordinary rows by the column 'state': ordinary is 'good'" in found["notes"][0]


def test_another_column_and_another_ordinary_can_be_named(detector: Sealed) -> None:
    model, data = Model(detector, threads=1), rows_of(140, 60)
    named = {"age": data["age"], "judged": data["state"]}
    assert "ordinary is 'good', as in training" in score_model(model, named, target="judged")["notes"][0]
    other = {**named, "judged": ["1" if state == "good" else "0" for state in data["state"]]}
    assert "ordinary is '0', the commonest" in score_model(model, other, target="judged")["notes"][0]
    said = score_model(model, other, target="judged", normal="1.0")
    assert said["targets"] == score_model(model, named, target="judged")["targets"]
    # Of nothing but strange rows something is known still.
    found = score_model(model, {"age": [300, 0], "state": ["bad", "bad"]})["targets"]["anomaly"]
    assert found["found"]["value"] == 0.5
    assert math.isnan(found["auc"]["value"])
    assert math.isnan(found["false_alarms"]["low"])


def test_a_long_series_is_judged_step_by_step(detector: Sealed) -> None:
    field = Field("window", "series")
    encoder = fitted(field, objects([[0.0, 1.0, 2.0, 1.0]] * 5))
    task = anomaly.Task("anomaly", limit=6.0, levels=(0.0, 1.0), cut=Cut(("x",), 4))
    model = Model(sealed_of(Loud("anomaly", "window"), field, encoder, task, {}), threads=1)
    numbers = [0.0, 1, 2, 1] * 15
    numbers[30:34] = [9.0, -9, 9, -9]
    data = {"x": numbers, "fault": [int(30 <= step < 34) for step in range(60)]}
    found = score_model(model, data, target="fault")
    scores = found["targets"]["anomaly"]
    assert found["counted"] == {"rows": "steps", "errors": "steps"}
    assert found["rows"] == 60
    assert scores["auc"]["value"] > 0.95
    assert (scores["stretches_found"]["value"], scores["located"]["value"]) == (1, 1)
    answers = model.predict({"x": numbers}).to_columns()
    assert scores["false_alarms"]["value"] == pytest.approx(np.delete(answers["anomaly"], range(30, 34)).mean())


def test_vectors_are_judged_by_the_nearest_of_the_same_data() -> None:
    field = Field("place", "vector")
    vectors = objects(RANDOM.normal(size=(40, 3)).tolist())
    encoder = fitted(field, vectors)
    model = Model(sealed_of(Loud("embedding", "place"), field, encoder, embed.Task("embedding", 3), {}), threads=1)
    near = [[5.0, 0, 0], [0, 5.0, 0], [0, 0, 5.0]]
    data = [{"place": [x + RANDOM.normal(0, 0.1) for x in near[row % 3]], "kind": row % 3} for row in range(60)]
    data[0]["kind"] = 1
    found = score_model(model, data, target="kind")["targets"]["embedding"]["knn_accuracy"]
    assert found["value"] == pytest.approx(59 / 60)
    with pytest.raises(InputError, match="Only one row"):
        score_model(model, data[:1], target="kind")


@pytest.fixture(scope="module")
def recommender() -> Model:
    names = tuple("abcdefghijkl")
    field, task = Field("history", "items"), recommend.Task("recommended", names, 3)
    return Model(sealed_of(Popular(), field, Items(names, 8), task, {}), threads=1)


def test_the_last_item_of_a_history_is_hidden_and_foretold(recommender: Model) -> None:
    """Of 12 items, in the order of the catalogue, those that are in the history are skipped."""
    histories = ["a|b", "a|c", ["b", "l"], "a|unheard", "a|b|a", None, ""]
    found = score_model(recommender, {"history": histories})
    scores = found["targets"]["recommended"]
    # Places: b is the first of the others, c the second, l the eleventh; a comes twice, which nothing recommends.
    assert (found["rows"], found["errors"]) == (7, 3)
    assert scores["recall@10"]["value"] == pytest.approx(2 / 4)
    assert scores["ndcg@10"]["value"] == pytest.approx((1 + 1 / np.log2(3)) / 4)
    assert scores["coverage"]["value"] == pytest.approx(11 / 12)
    assert "1 items that the model does not know" in found["notes"][0]
    beside = {"history": ["a", "a", ["b"], "a"], "next": ["b", "c", "l", "unheard"]}
    assert score_model(recommender, beside, target="next")["targets"] == found["targets"]


def test_what_cannot_be_judged_names_the_fix(detector: Sealed, recommender: Model) -> None:
    model, data = Model(detector, threads=1), rows_of()
    wrong: list[tuple[Model, Any, dict[str, str], str, str]] = [
        (model, {"age": data["age"]}, {}, "no column 'state' of labels", "--target"),
        (model, {"state": data["state"]}, {}, "no column 'age'", "inputs"),
        (model, data, {"normal": "fine"}, "No row is labelled 'fine'", "good"),
        (model, {"age": [1.0], "state": [None]}, {}, "No row has both", "labels beside"),
        (recommender, {"user": ["u"], "item": ["a"]}, {}, "no column 'history'", "31|1029|17"),
        (recommender, {"history": ["a"]}, {"target": "next"}, "no column 'next'", ""),
        (recommender, {"history": ["", None]}, {}, "No history has a next item", "--target"),
        (recommender, {"history": ["a|b"]}, {"normal": "a"}, "detectors", "--normal"),
    ]
    for asked, rows, named, said, fix in wrong:
        with pytest.raises(InputError, match=said) as caught:
            score_model(asked, rows, **named)
        assert fix in caught.value.fix


def test_from_the_command_line(detector: Sealed, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "model.lamina", detector)
    (tmp_path / "new.csv").write_text("age,state\n" + "3,good\n-4,good\n90,bad\n" * 4)
    assert main(["test", str(tmp_path / "model.lamina"), str(tmp_path / "new.csv")]) == 0
    said = capsys.readouterr().out
    assert "anomaly  auc 1 " in said
    assert "4 strange and 8 ordinary rows" in said
    assert main(["test", str(tmp_path / "model.lamina"), "gym:CartPole-v1", "--target", "state"]) == 2
