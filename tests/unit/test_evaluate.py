"""Evaluation: intervals hold what they promise, verdicts say what the figures say, results survive JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.baselines import BaselineAnswers
from lamina.cli import _options
from lamina.cli.test import _said as told
from lamina.data.findings import AuditFinding
from lamina.data.schema import Field, Values
from lamina.errors import InputError
from lamina.evaluate import calibration, cost, intervals, scores, slices, verdict
from lamina.evaluate.assess import assess, curves
from lamina.evaluate.results import (
    BaselineResult,
    Cost,
    Explanation,
    Interval,
    Results,
    Seal,
    TargetResult,
    from_json,
    to_json,
)
from lamina.tasks import classify, regress, tag


def two_classes(rows: int = 100) -> classify.Task:
    values = np.array(["no", "yes"], dtype=object)[np.arange(rows) % 2]
    return classify.Task.fit(Field("answer", "category", role="target"), lambda: [values], {})


def a_number() -> regress.Task:
    values = np.linspace(0, 100, 50)
    return regress.Task.fit(Field("price", "number", role="target"), lambda: [values], {"unit": "USD"})


def labelled(rows: int, quality: float, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Logits that know the answer more the higher `quality` is."""
    generator = np.random.default_rng(seed)
    target = generator.integers(0, 2, rows)
    logit = generator.normal(0, 1, rows) + quality * (2 * target - 1)
    return np.stack([-logit / 2, logit / 2], axis=1).astype(np.float32), target


def test_bootstrap_interval_of_a_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    found = intervals.bootstrap(lambda sample: float(sample.mean()), values, n=1000, seed=1)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)
    assert found == intervals.bootstrap(lambda sample: float(sample.mean()), values, n=1000, seed=1)


def test_pairing_removes_what_two_models_share() -> None:
    generator = np.random.default_rng(0)
    hard = generator.normal(0, 5, 300)
    first, second = hard + 0.2 + generator.normal(0, 0.1, 300), hard

    def mean(sample: np.ndarray[Any, Any]) -> float:
        return float(sample.mean())

    found = intervals.paired_bootstrap(mean, (first,), (second,), n=300)
    assert found.value == pytest.approx(0.2, abs=0.02)
    assert 0 < found.low < found.high < 0.25


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(100):
        output, target = labelled(150, 0.5, seed)
        task = two_classes()
        drawn = intervals.bootstrap_scores({"": task.scorer(output, target)}, 150, seed, 300)[""]["accuracy"]
        low, high = intervals.percentile(task.scores(output, target)["accuracy"].value, drawn)
        held += low <= 0.6915 <= high
    assert 88 <= held <= 99


def test_replicates_are_saved_on_large_data_and_weights_count_all_rows() -> None:
    assert intervals.replicates(1000) == 1000
    assert intervals.replicates(40_000) == 250
    assert intervals.replicates(10_000_000) == intervals.FEWEST
    blocks = list(intervals.resampled(50, 120, 3))
    weight = np.concatenate(blocks)
    assert weight.shape == (120, 50)
    assert (weight.sum(axis=1) == 50).all()


def test_wilson_is_honest_where_everything_is_right() -> None:
    low, high = intervals.wilson(1.0, 100)
    assert (low, high) == (pytest.approx(0.963, abs=0.001), 1.0)
    assert intervals.wilson(0.5, 10_000) == pytest.approx((0.4902, 0.5098), abs=1e-4)
    output, target = labelled(60, 50, 0)
    result = assess(two_classes(), output, target)
    assert result.scores["accuracy"].low < 0.95 < result.scores["accuracy"].high == 1.0


@pytest.mark.parametrize("rows", [6, 20, 200])
def test_tangos_interval_where_it_has_a_closed_form(rows: int) -> None:
    square = intervals.normal_quantile(0.975) ** 2
    half = square / (rows + square)
    assert intervals.tango(0, 0, rows) == pytest.approx((-half, half))
    assert intervals.tango(rows, 0, rows) == pytest.approx((1 - 2 * half, 1))
    assert intervals.tango(0, rows, rows) == pytest.approx((-1, 2 * half - 1))


def test_tangos_interval_excludes_zero_where_mcnemars_test_does() -> None:
    for first in range(13):
        for second in range(13 - first):
            low, high = intervals.tango(first, second, 40)
            assert low <= (first - second) / 40 <= high
            apart = (first - second) ** 2 > intervals.normal_quantile(0.975) ** 2 * (first + second)
            assert (low > 0 or high < 0) == apart


@pytest.mark.parametrize("rows", [20, 50, 200])
@pytest.mark.parametrize(("first", "second"), [(1.0, 1.0), (2.0, 2.0), (4.0, 0.5), (4.0, 0.0), (6.0, 0.5)])
def test_tools_that_differ_in_few_rows_are_told_apart_as_often_as_is_said(
    rows: int, first: float, second: float
) -> None:
    """Exact, over all that can be drawn: `first` and `second` rows are expected that only one tool has right."""
    truth, most = (first - second) / rows, 20
    held = 0.0
    for only_first in range(most + 1):
        for only_second in range(most + 1 - only_first):
            counts = [only_first, only_second, rows - only_first - only_second]
            low, high = intervals.tango(only_first, only_second, rows)
            held += multinomial(counts, [first / rows, second / rows, 1 - (first + second) / rows]) * (
                low <= truth <= high
            )
    assert 0.93 <= held <= 0.995


def multinomial(counts: list[int], chances: list[float]) -> float:
    ways = math.factorial(sum(counts)) / math.prod(math.factorial(count) for count in counts)
    return ways * math.prod(chance**count for chance, count in zip(chances, counts, strict=True))


def test_the_bootstrap_calls_few_rows_certain_and_the_verdict_does_not() -> None:
    """Of 200 rows the tools differ in three, all for the network: the sign test says one case in four."""
    rows = 200
    target = np.arange(rows) % 2
    output = np.where(np.eye(2)[target] > 0, 1.0, -1.0).astype(np.float32)
    other = output.copy()
    other[:3] *= -1
    drawn = intervals.bootstrap_scores(
        {"": two_classes().scorer(output, target), "other": two_classes().scorer(other, target)}, rows
    )
    low, _ = intervals.percentile(0.015, drawn[""]["accuracy"] - drawn["other"]["accuracy"])
    result = assess(two_classes(), output, target, [BaselineAnswers("a linear model", other, 1.0)], seconds=9)
    difference = result.baselines[0].difference
    assert difference is not None
    assert difference.low < 0 <= low
    assert result.verdict_kind == "even"


def test_rows_of_one_picture_are_drawn_together() -> None:
    """Ten copies of each row tell no more than one: the interval must stay as wide as it was."""
    rows = 60
    target = np.arange(rows) % 2
    output = np.where(np.eye(2)[target] > 0, 1.0, -1.0).astype(np.float32)
    output[::4] *= -1
    few = intervals.bootstrap_scores({"": two_classes().scorer(output, target)}, rows)[""]["accuracy"]
    tenfold = {"": two_classes().scorer(np.repeat(output, 10, axis=0), np.repeat(target, 10))}
    many = intervals.bootstrap_scores(tenfold, 10 * rows, units=np.repeat(np.arange(rows), 10))[""]["accuracy"]
    assert np.allclose(many, few)
    assert intervals.bootstrap_scores(tenfold, 10 * rows)[""]["accuracy"].std() < 0.5 * few.std()


def test_reliability_bins_and_their_error() -> None:
    confidence = np.array([0.95] * 10 + [0.55] * 10)
    right = np.array([True] * 9 + [False] + [True] * 3 + [False] * 7)
    bins = calibration.reliability(confidence, right, bins=10)
    assert [item["count"] for item in bins] == [10, 10]
    assert bins[0]["accuracy"] == pytest.approx(0.3)
    assert calibration.calibration_error(bins) == pytest.approx((0.05 + 0.25) / 2)
    assert calibration.calibration_error([]) == 0


@pytest.mark.parametrize(("rows", "honest"), [(100, True), (100, False), (2000, True)])
def test_the_error_of_right_probabilities_is_within_what_chance_brings(rows: int, honest: bool) -> None:
    within = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        logit = generator.normal(0, 1.5, rows)
        target = (generator.random(rows) < 1 / (1 + np.exp(-logit if honest else logit))).astype(np.int64)
        found = calibration.class_calibration(two_classes(), np.stack([-logit / 2, logit / 2], axis=1), target)
        within.append(found["after"] <= found["chance"])
        if honest and rows == 100:
            assert found["after"] > 0.03
    assert sum(within) >= 17 if honest else not any(within)


def write_counters(folder: Path, now: dict[str, int]) -> None:
    for name, joules in now.items():
        place = folder / f"intel-rapl:{name}"
        place.mkdir(exist_ok=True)
        (place / "energy_uj").write_text(str(joules * 10**6))
        (place / "max_energy_range_uj").write_text(str(262_143 * 10**6))


def test_an_energy_counter_that_goes_round_is_counted_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "COUNTERS", tmp_path)
    write_counters(tmp_path, {"0": 262_000, "1": 1000})
    meter = cost.EnergyMeter()
    write_counters(tmp_path, {"0": 857, "1": 1800})
    spent, how = meter.watt_hours()
    assert spent == pytest.approx((1000 + 800) / 3600)
    assert how.startswith("measured")
    # After an hour nobody knows how often.
    meter._begin -= 3600
    assert meter.watt_hours()[1].startswith("estimated")


def test_a_processor_is_not_counted_twice_where_its_board_is_counted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "COUNTERS", tmp_path)
    write_counters(tmp_path, {"0": 100, "1": 500})
    (tmp_path / "intel-rapl:0" / "name").write_text("package-0\n")
    (tmp_path / "intel-rapl:1" / "name").write_text("psys\n")
    meter = cost.EnergyMeter()
    write_counters(tmp_path, {"0": 3700, "1": 9500})
    assert meter.watt_hours()[0] == pytest.approx(1)


def test_memory_costs_energy_by_the_hour_whatever_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "COUNTERS", tmp_path)
    monkeypatch.setattr(cost, "peak_memory_mb", lambda: 100.0 * 1024)
    meter = cost.EnergyMeter("only since the run was resumed")
    used = meter._cpu + 16 * 3600
    monkeypatch.setattr(cost, "_cpu_seconds", lambda: used)
    meter._begin -= 3600
    spent, how = meter.watt_hours()
    assert spent == pytest.approx(16 * 10 + 37.5, rel=1e-3)
    assert how.endswith("only since the run was resumed")


def test_holm_rejects_step_by_step() -> None:
    assert slices.holm([0.01, 0.04, 0.03, math.nan]) == [True, False, False, False]
    assert slices.holm([0.001, 0.02, 0.03]) == [True, True, True]


def test_a_subgroup_that_fares_worse_is_found_and_equal_ones_are_not() -> None:
    rows = 3000
    generator = np.random.default_rng(0)
    output, target = labelled(rows, 2.0, 0)
    place = np.array(["north", "south", "west"], dtype=object)[generator.integers(0, 3, rows)]
    output[place == "west"] = generator.normal(0, 1, ((place == "west").sum(), 2))
    age = generator.uniform(20, 60, rows)
    asked: list[int] = []

    def inputs(chosen: np.ndarray[Any, Any]) -> dict[str, tuple[Field, Values]]:
        asked.append(len(chosen))
        return {"place": (Field("place", "category"), place[chosen]), "age": (Field("age", "number"), age[chosen])}

    found = slices.slices(two_classes(), output, target, inputs, 0)
    assert asked == [rows]
    assert (found[0].field, found[0].value, found[0].notable) == ("place", "west", True)
    assert found[0].gap == pytest.approx(0.5 - 0.977, abs=0.05)
    assert found[0].score.low < found[0].score.value < found[0].score.high
    assert not any(item.notable for item in found if item.field == "age")
    assert sum(item.rows for item in found if item.field == "age") == rows


def test_subgroups_of_times_texts_and_gaps() -> None:
    times = np.arange("2020-01-01", "2020-04-10", dtype="datetime64[D]").astype("datetime64[us]")
    periods = dict(slices.subgroups(Field("x", "time"), times))
    assert "2020-01-01 to 2020-01-25" in periods
    assert sum(int(member.sum()) for member in periods.values()) == len(times)
    texts = np.array(["a" * length for length in range(1, 91)], dtype=object)
    assert [int(member.sum()) for _, member in slices.subgroups(Field("x", "text"), texts)] == [30, 30, 30]
    gaps = dict(slices.subgroups(Field("x", "number"), np.array([1.0, np.nan, 3.0, np.nan])))
    assert gaps["missing"].tolist() == [False, True, False, True]
    assert list(slices.subgroups(Field("x", "image"), np.zeros(3))) == []


def test_a_level_that_is_called_missing_is_no_missing_value() -> None:
    values = np.array(["missing", None, "north", "missing"], dtype=object)
    found = {name: member.tolist() for name, member in slices.subgroups(Field("x", "category"), values)}
    assert found["missing"] == [True, False, False, True]
    assert found["(missing)"] == [False, True, False, False]
    plain = [name for name, _ in slices.subgroups(Field("x", "category"), values[1:3])]
    assert plain == ["north", "missing"]


def test_subgroups_of_numbers_with_decimal_commas() -> None:
    values = np.array([f"{number},{number % 10}" for number in range(200)], dtype=object)
    found = dict(slices.subgroups(Field("x", "number"), values))
    assert not found.pop("missing").any()
    assert [int(member.sum()) for member in found.values()] == [50, 50, 50, 50]


def test_subgroups_are_read_as_the_fields_options_say() -> None:
    """1,234 is a little more than one or a thousand, 3/4/2020 in March or in April: only the user knows."""
    values = np.array([f"1,{number:03d}" for number in range(200)], dtype=object)
    commas = [name for name, _ in slices.subgroups(Field("x", "number", options={"decimal": ","}), values)]
    points = [name for name, _ in slices.subgroups(Field("x", "number"), values)]
    assert "1.1" in " ".join(commas)
    assert "1.1" not in " ".join(points)
    days = np.array([f"3/{1 + number % 12}/2020" for number in range(200)], dtype=object)
    for day_first, last in ((True, "2020-12-03"), (False, "2020-03-12")):
        field = Field("x", "time", options={"day_first": day_first})
        assert any(name.endswith(last) for name, _ in slices.subgroups(field, days))


def baseline(low: float, value: float, high: float, seconds: float = 1.0, name: str = "a linear model") -> Any:
    return BaselineResult(name, {}, seconds, Interval(value, low, high))


def test_the_verdict_says_who_is_ahead() -> None:
    figure = Interval(0.9, 0.88, 0.92)

    def said(*baselines: BaselineResult, rows: int = 1000) -> tuple[str, str]:
        return verdict.verdict("accuracy", figure, 40.0, baselines, rows)

    kind, text = said(baseline(0.2, 0.3, 0.4, name="always the same answer"), baseline(0.012, 0.021, 0.03))
    assert kind == "network"
    assert "a linear model" in text
    assert "by 2.1 points of accuracy (95% interval 1.2 to 3.0)" in text
    kind, text = said(baseline(-0.004, 0.002, 0.008, name="gradient-boosted trees"))
    assert kind == "even"
    assert "Gradient-boosted trees are as good (difference 0.2 points of accuracy" in text
    assert "40 times cheaper: use that." in text
    kind, text = said(baseline(-0.03, -0.02, -0.01), rows=90)
    assert kind == "baseline"
    assert "better by 2.0 points of accuracy (95% interval 1.0 to 3.0)" in text
    assert "90 test rows only" in text
    assert said()[0] == "even"


@pytest.mark.parametrize("rows", [1, 5])
def test_a_handful_of_rows_tells_nobody_which_tool_is_better(rows: int) -> None:
    target = np.arange(rows) % 2
    output = np.eye(2, dtype=np.float32)[target]
    result = assess(two_classes(), output, target, [BaselineAnswers("a linear model", -output, 1.0)], seconds=9)
    assert result.verdict_kind == "unknown"
    assert "too few to tell which tool is better" in result.verdict
    assert ("1 test row is" in result.verdict) == (rows == 1)


def test_a_score_that_the_test_rows_do_not_define_is_not_called_a_missing_baseline() -> None:
    values = np.array(["no"] * 80 + ["yes"] * 20, dtype=object)
    task = classify.Task.fit(Field("answer", "category", role="target"), lambda: [values], {})
    output = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    result = assess(task, output, np.zeros(300, np.int64), [BaselineAnswers("a linear model", output, 1.0)], seconds=9)
    assert task.primary == "auc"
    assert result.verdict_kind == "unknown"
    assert "the difference in AUC is not defined on the test rows" in result.verdict


def test_a_slower_baseline_is_not_called_cheaper() -> None:
    _, text = verdict.verdict("auc", Interval(0.9, 0.8, 1), 1.0, [baseline(-0.1, 0, 0.1, seconds=5)], 1000)
    assert "cheaper" not in text
    _, text = verdict.verdict("auc", Interval(0.9, 0.8, 1), 0.0, [baseline(-0.1, 0, 0.1, seconds=0)], 1000)
    assert "cheaper" not in text


@pytest.mark.parametrize(
    ("name", "value", "unit", "expected"),
    [
        ("accuracy", 0.0213, "", "2.1 points"),
        ("accuracy", -0.0002, "", "-0.02 points"),
        ("rmse", 12.345, "USD", "12.3 USD"),
        ("rmse", 54321.9, "", "54,322"),
        ("log_loss", 0.01234, "", "0.0123"),
        ("mcc", math.nan, "", "unknown"),
    ],
)
def test_amounts_read_well(name: str, value: float, unit: str, expected: str) -> None:
    assert scores.amount(name, value, unit) == expected


def test_assess_puts_a_class_target_together() -> None:
    task = two_classes()
    output, target = labelled(800, 1.5, 0)
    weak, _ = labelled(800, 0.0, 1)
    task = task.calibrated(*labelled(500, 1.5, 2))
    wrong = np.flatnonzero(output.argmax(axis=1) != target)
    result = assess(
        task,
        output,
        target,
        [BaselineAnswers("a coin", weak, 0.1, note="quick")],
        seconds=10,
        slices=lambda chosen: {"age": (Field("age", "number"), np.arange(800.0)[chosen])},
        mistake=lambda row: (f"data.csv, line {row + 2}", {"age": {"modality": "number", "value": str(row)}}),
        rows=np.arange(800) + 5000,
        suspects=frozenset(wrong[:1].tolist()),
        worst=10_000,
    )
    assert result.verdict_kind == "network"
    assert next(iter(result.scores)) == "accuracy"
    truth = (output.argmax(axis=1) == target).mean()
    assert result.scores["accuracy"].value == pytest.approx(truth)
    assert result.baselines[0].note == "quick"
    difference = result.baselines[0].difference
    assert difference is not None
    assert difference.value == pytest.approx(truth - (weak.argmax(axis=1) == target).mean())
    assert difference.low < difference.value < difference.high
    assert result.confusion is not None
    assert np.trace(result.confusion["counts"]) == pytest.approx(truth * 800)
    assert np.sum(result.confusion["counts"]) == 800
    assert result.coverage is not None
    assert 0.85 < result.coverage["measured"]["value"] <= 1
    assert [item.row - 5000 for item in sorted(result.mistakes, key=lambda item: item.row)] == wrong.tolist()
    assert [item.loss for item in result.mistakes] == sorted((item.loss for item in result.mistakes), reverse=True)
    assert sum(item.suspect_label for item in result.mistakes) == 1
    first = result.mistakes[0]
    assert first.expected != first.answered
    assert first.place == f"data.csv, line {first.row - 5000 + 2}"
    json.dumps(to_json(result), allow_nan=False)


def test_a_lower_error_counts_as_ahead() -> None:
    task, generator = a_number(), np.random.default_rng(0)
    target = generator.normal(0, 1, 500).astype(np.float32)

    def answered(noise: float) -> np.ndarray[Any, Any]:
        return np.stack([target + generator.normal(0, noise, 500), np.zeros(500)], axis=1)

    result = assess(task, answered(0.1), target, [BaselineAnswers("a rule", answered(0.5), 1.0)], seconds=2)
    assert result.verdict_kind == "network"
    assert "USD in root mean squared error" in result.verdict
    difference = result.baselines[0].difference
    assert difference is not None
    assert difference.value > 0
    assert difference.higher_is_better
    assert result.scatter is not None
    assert len(result.scatter["expected"]) == 500
    assert result.calibration is not None
    assert [point["level"] for point in result.calibration["points"]] == list(regress.LEVELS)
    assert result.scores["rmse"].unit == "USD"
    json.dumps(to_json(result), allow_nan=False)


def test_a_baseline_is_scored_with_its_own_calibration() -> None:
    output, target = labelled(400, 1.0, 0)
    task = replace(two_classes(), scale=50.0)
    result = assess(task, output, target, [BaselineAnswers("the same, not calibrated", output, 1.0)])
    own = task.uncalibrated().scores(output, target)["log_loss"].value
    assert result.baselines[0].scores["log_loss"].value == pytest.approx(own)
    assert result.scores["log_loss"].value > own


def test_assess_serves_sets_of_labels_and_single_rows() -> None:
    values = np.array(["a|b", "b", "c|a", "c"], dtype=object)
    task = tag.Task.fit(Field("topics", "set", role="target"), lambda: [values], {})
    target = task.encode(np.tile(values, 20)).array
    output = np.random.default_rng(0).normal(0, 1, target.shape) + 2 * target
    result = assess(task, output, target)
    assert result.task == "tag"
    assert result.mistakes
    json.dumps(to_json(result), allow_nan=False)
    one, truth = labelled(1, 1.0, 0)
    single = assess(two_classes(), one, truth)
    assert math.isnan(single.scores["auc"].value)
    json.dumps(to_json(single), allow_nan=False)


def test_curves_run_from_corner_to_corner() -> None:
    output, target = labelled(3000, 1.0, 0)
    found = curves(two_classes(), output, target)
    assert found["roc"][0] == [0.0, 0.0]
    assert found["roc"][-1] == [1.0, 1.0]
    assert len(found["roc"]) <= 200
    area = np.trapezoid([y for _, y in found["roc"]], [x for x, _ in found["roc"]])
    assert area == pytest.approx(two_classes().scores(output, target)["auc"].value, abs=0.003)
    assert curves(two_classes(), output[:1], target[:1]) == {"roc": [], "pr": []}


def results() -> Results:
    output, target = labelled(300, 1.0, 0)
    target_result: TargetResult = assess(
        two_classes(),
        output,
        target,
        [BaselineAnswers("a coin", labelled(300, 0.0, 1)[0], 0.1)],
        slices=lambda chosen: {"age": (Field("age", "number"), np.arange(300.0)[chosen])},
    )
    return Results(
        "loans",
        "2030-01-01",
        {"rows": 300, "dropped": [{"row": 1, "place": "x", "reason": "y"}]},
        (target_result,),
        (AuditFinding("leak", "error", "text", 1, ("row 3",), "fix"),),
        (Explanation("answer", {"age": Interval(0.1, 0.0, 0.2)}, ({"row": 1},)),),
        Seal("model.lamina", 10, 300, 1.0, 1e-6, 100.0),
        Cost({"train": 1.5}, 0.1, "estimated", 100.0),
        {"train": []},
        {"parameters": 3},
        {"python": "3"},
    )


def test_results_survive_json() -> None:
    original = results()
    again = from_json(json.loads(json.dumps(to_json(original), allow_nan=False)))
    assert to_json(again) == to_json(original)
    assert again.targets[0].baselines[0].difference == original.targets[0].baselines[0].difference
    assert again.audit == original.audit
    assert isinstance(again.targets[0].slices, tuple)


def test_the_command_line_tells_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    _options.print_json({"auc": {"value": math.nan, "low": -math.inf}, "where": Path("run")})
    assert json.loads(capsys.readouterr().out) == {"auc": {"value": None, "low": None}, "where": "run"}
    undefined = {"value": math.nan, "low": math.nan, "high": math.nan, "unit": ""}
    assert told(undefined) == "is not defined on these rows"
    assert told({"value": 2.0, "low": 1.0, "high": 3.0, "unit": "USD"}) == "2 USD  (95% interval 1 to 3)"


def test_figures_that_are_not_finite_become_null_and_nan_again() -> None:
    original = replace(results(), seal=None, cost=Cost({}, math.nan, "", 1.0))
    document = json.loads(json.dumps(to_json(original), allow_nan=False))
    assert document["cost"]["energy_wh"] is None
    again = from_json(document)
    assert math.isnan(again.cost.energy_wh)
    assert again.seal is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d.pop("name"), "no 'name'"),
        (lambda d: d.update(extra=1), "'extra', which is unknown"),
        (lambda d: d.update(cost=3), "results.cost is 3"),
        (lambda d: d["cost"].update(peak_memory_mb="much"), "results.cost.peak_memory_mb is 'much'"),
        (lambda d: d["targets"][0]["scores"].update(accuracy=1), "targets\\[0\\].scores.accuracy is 1"),
    ],
)
def test_damaged_results_are_named(change: Any, named: str) -> None:
    document = to_json(results())
    change(document)
    with pytest.raises(InputError, match=named):
        from_json(document)
