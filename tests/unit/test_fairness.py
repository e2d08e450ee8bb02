"""Fairness by groups: made-up answers whose gaps are known, what is notable, and a column that nothing else reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from memory_table import MemoryTable
from small_models import table_model
from test_report import classes, page, results

from lamina.data.recognise import recognise
from lamina.data.schema import Field
from lamina.errors import InputError
from lamina.evaluate.fairness import fairness, groups, ratio
from lamina.evaluate.results import Fairness, Interval, from_json, to_json
from lamina.evaluate.sealed import score_model
from lamina.model.runtime import Model
from lamina.report import overview
from lamina.tasks import classify, regress

Array = np.ndarray[Any, Any]


def lending(yes: int = 40) -> classify.Task:
    values = np.array(["no"] * (100 - yes) + ["yes"] * yes, dtype=object)
    return classify.Task.fit(Field("paid", "category", role="target"), lambda: [values], {})


def logits(said: Array) -> Array:
    return np.stack([np.where(said, 0, 3), np.where(said, 3, 0)], axis=1).astype(np.float32)


def answers(counts: dict[str, tuple[int, int, int, int]]) -> tuple[Array, Array, Array]:
    """Logits, truth and group from each group's true positives, false negatives, false positives, true negatives."""
    said, true, group = [], [], []
    for name, (tp, fn, fp, tn) in counts.items():
        said += [True] * tp + [False] * fn + [True] * fp + [False] * tn
        true += [1] * (tp + fn) + [0] * (fp + tn)
        group += [name] * (tp + fn + fp + tn)
    return logits(np.array(said)), np.array(true), np.array(group, dtype=object)


def audited(counts: dict[str, tuple[int, int, int, int]]) -> Fairness:
    output, target, group = answers(counts)
    return fairness(lending(), output, target, {"sex": (Field("sex", "category", "audit"), group)})[0]


def test_figures_and_gaps_of_made_up_answers_are_those_counted_by_hand() -> None:
    found = audited({"f": (60, 40, 20, 80), "m": (90, 10, 60, 40), "x": (2, 1, 1, 1)})
    figures = {group.value: {name: item.value for name, item in group.figures.items()} for group in found.groups}
    assert figures["x"] == {}
    assert figures["f"] == pytest.approx(
        {"selection_rate": 0.4, "true_positive_rate": 0.6, "false_positive_rate": 0.2,
         "positive_predictive_value": 0.75,
         "accuracy": 0.7, "calibration_error": (0.4 * 0.952574 + 0.6 * 0.047426) - 0.5}, abs=1e-5
    )  # fmt: skip
    assert figures["m"]["positive_predictive_value"] == pytest.approx(0.6)
    apart = {item.measure: item for item in found.disparities}
    rate = apart["selection_rate"]
    assert (rate.lowest, rate.highest) == ("f", "m")
    assert rate.gap.value == pytest.approx(0.35)
    assert rate.gap.low < 0.35 < rate.gap.high
    assert rate.notable
    assert rate.ratio is not None
    assert rate.ratio.value == pytest.approx(0.4 / 0.75)
    assert rate.ratio.low < rate.ratio.value < rate.ratio.high < 0.8
    assert apart["true_positive_rate"].gap.value == pytest.approx(0.3)
    assert apart["false_positive_rate"].gap.value == pytest.approx(0.4)
    assert not apart["accuracy"].notable
    assert "'yes' is answered for 40.0% of the rows where sex is f and 75.0% where it is m" in found.text
    assert "a ratio of 0.53, below the rule of four fifths" in found.text
    assert "equal" not in found.text


def test_groups_that_are_alike_are_seldom_called_different() -> None:
    generator, called = np.random.default_rng(0), 0
    for _ in range(25):
        group = np.array(list("abcde"), dtype=object)[generator.integers(0, 5, 600)]
        output, target = logits(generator.random(600) < 0.3), generator.integers(0, 2, 600)
        found = fairness(lending(), output, target, {"g": (Field("g", "category", "audit"), group)})[0]
        called += any(item.notable for item in found.disparities)
    assert called <= 4


def test_rates_of_nothing_and_ratios_of_none_are_not_told() -> None:
    found = audited({"a": (0, 0, 0, 50), "b": (0, 5, 0, 45)})
    assert all("true_positive_rate" not in group.figures for group in found.groups)
    rate = found.disparities[0]
    assert (rate.gap.value, rate.ratio, rate.notable) == (0, None, False)
    zero = ratio(Interval(0.0, 0.0, 0.07), Interval(0.5, 0.4, 0.6))
    assert zero is not None
    assert (zero.value, zero.low) == (0, 0)
    assert 0.1 < zero.high < 0.2
    assert "nothing can be compared" in audited({"a": (9, 9, 9, 9), "b": (1, 1, 1, 1)}).text


def test_errors_of_numbers_are_told_by_group_with_their_sign() -> None:
    task = regress.Task.fit(Field("price", "number", role="target"), lambda: [np.linspace(0, 100, 50)], {"unit": "USD"})
    generator = np.random.default_rng(0)
    target = task.encode(generator.uniform(20, 80, 400)).array
    output = np.stack([target, np.ones(400)], axis=1)[:, : task.width].astype(np.float64)
    old = np.arange(400) % 2 == 0
    step = float(task.original(np.array(1.0)) - task.original(np.array(0.0)))
    output[old, 0] += 10 / step
    output[:, 0] += generator.normal(0, 1 / step, 400)
    age = np.where(old, 70.0, 30.0)
    age[:40] = np.nan
    found = fairness(task, output, target, {"age": (Field("age", "number", "audit"), age)})[0]
    assert {group.value: group.rows for group in found.groups} == {"30": 180, "70": 180, "missing": 40}
    signed = {group.value: group.figures["signed_error"].value for group in found.groups}
    assert signed["70"] == pytest.approx(10, abs=0.3)
    assert signed["30"] == pytest.approx(0, abs=0.3)
    assert all(item.notable for item in found.disparities)
    assert "(USD)" in found.text


def test_many_numbers_are_cut_at_quartiles_and_few_are_groups() -> None:
    ages = np.arange(100.0)
    assert [int(member.sum()) for _, member in groups(Field("age", "number"), ages)] == [25] * 4
    assert [name for name, _ in groups(Field("sex", "number"), np.array([0, 1] * 20))] == ["0", "1"]
    names = np.array([f"p{n % 30:02}" for n in range(90)], dtype=object)
    found = dict(groups(Field("name", "category"), names))
    assert len(found) == 21
    assert int(found["all other values"].sum()) == 30


def test_several_classes_are_looked_at_one_by_one() -> None:
    values = np.array(list("aaabbc") * 20, dtype=object)
    task = classify.Task.fit(Field("kind", "category", role="target"), lambda: [values], {})
    target = task.encode(values).array
    group = np.array(["x", "y"] * 60, dtype=object)
    found = fairness(task, 4 * np.eye(3)[target], target, {"g": (Field("g", "category"), group)})
    assert [item.answer for item in found] == ["a", "b", "c"]


def test_the_role_is_only_given_and_needs_groups() -> None:
    data = {
        "a": [n * 7 % 11 + 0.5 for n in range(40)],
        "note": [f"a long text {n} of its own, in words" for n in range(40)],
        "sex": ["f", "m"] * 20, "y": ["no", "yes", "no", "no"] * 10,
    }  # fmt: skip
    table: Any = MemoryTable(data)
    assert recognise(table, ["y"])["sex"].role == "input"
    schema = recognise(table, ["y"], {"sex": {"role": "audit"}, "note": {"role": "audit"}})
    assert [field.name for field in schema.inputs] == ["a"]
    assert schema["note"].modality == "category"
    with pytest.raises(InputError, match="gives no groups"):
        recognise(table, ["y"], {"note": {"role": "audit", "modality": "text"}})
    with pytest.raises(InputError, match="cannot have the role 'audit'"):
        recognise(table, ["y"], {"y": {"role": "audit"}})
    with pytest.raises(InputError, match="nothing is answered"):
        recognise(table, [], {"sex": {"role": "audit"}}, judged=True)


def test_the_report_has_a_table_and_a_sentence_and_results_come_back() -> None:
    found = audited({"f<b>": (60, 40, 20, 80), "m": (90, 10, 60, 40), "x": (2, 1, 1, 1)})
    told = results(targets=(replace(classes(), fairness=(found,)),))
    assert "Fairness" in {item["kind"] for item in overview.standing_out(told)}
    assert from_json(to_json(told)).targets[0].fairness[0].groups == found.groups
    seen = page(told).words
    for wanted in ("Fairness", "By sex: the answer yes", "rule of four fifths", "Too few rows to be judged: x (5)"):
        assert wanted in seen, wanted
    assert "cannot hold together" in seen
    assert "Fairness" not in page(results()).words


def test_a_sealed_model_is_audited_by_a_column_it_does_not_know() -> None:
    model = Model(table_model()[0], threads=1)
    rows = 80
    data = {
        "age": ["30", "50"] * 40, "color": ["red", "blue", "blue", "red"] * 20, "bought": ["no", "yes"] * 40,
        "price": ["90", "150"] * 40, "sex": ["f"] * 35 + ["m"] * 35 + [""] * 10,
    }  # fmt: skip
    found = score_model(model, data, by=["sex"])
    audits = found["fairness"]["bought"]
    assert {group["value"]: group["rows"] for group in audits[0]["groups"]} == {"f": 35, "m": 35, "missing": 10}
    assert found["fairness"]["price"][0]["groups"][0]["figures"]["mean_error"]["value"] > 0
    assert "fairness" not in score_model(model, data)
    assert found["rows"] == rows
    with pytest.raises(InputError, match="no column 'gender'"):
        score_model(model, data, by=["gender"])
