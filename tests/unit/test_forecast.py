"""Dividing by time, seasons, scores, calibration, simpler forecasts: against hand calculations and other libraries."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from memory_table import MemoryTable
from sklearn.metrics import mean_pinball_loss

from lamina.errors import InputError
from lamina.evaluate.forecasts import (
    COVERED,
    ERRORS,
    MAE,
    MASE,
    PINBALL,
    RMSE,
    by_step,
    clusters,
    judged,
    pinball,
    share_interval,
)
from lamina.evaluate.intervals import wilson
from lamina.evaluate.judged import compared
from lamina.evaluate.verdict import verdict
from lamina.modalities._canonical import object_array
from lamina.modalities.window import Encoder
from lamina.narrate import Silent
from lamina.plan import DataPlan, Plan, TaskPlan
from lamina.steps.forecast import choose, simple, smoothing, trees, understand
from lamina.steps.forecast.learner import rule_of
from lamina.steps.forecast.prepare import Windows, _raw_window, rolling
from lamina.steps.forecast.series import Panel, panel, training_windows
from lamina.steps.forecast.understand import recognise
from lamina.tasks.forecast import QUANTILES, Task, check_options, conformal, levels_of

Array = np.ndarray[Any, Any]
STEPS = 120
MIDDLE = 2


def long(series: int = 2, steps: int = STEPS, seed: int = 0) -> dict[str, list[Any]]:
    """Days and numbers with a season of seven days, for each series at another level."""
    random = np.random.default_rng(seed)
    rows: dict[str, list[Any]] = {"day": [], "shop": [], "sold": [], "town": [], "promo": []}
    days = np.arange("2024-01-01", np.datetime64("2024-01-01") + steps, dtype="datetime64[D]").astype(str)
    for number in range(series):
        season = 5 * np.sin(2 * np.pi * np.arange(steps) / 7)
        rows["day"] += days.tolist()
        rows["shop"] += [f"s{number}"] * steps
        rows["sold"] += (20 + 10 * number + season + random.normal(0, 0.1, steps)).round(3).tolist()
        rows["town"] += ["north" if number % 2 else "south"] * steps
        rows["promo"] += random.integers(0, 2, steps).tolist()
    return rows


def plan_of(columns: dict[str, list[Any]], horizon: int = 5, **more: Any) -> Plan:
    data = more.pop("data", DataPlan())
    options = {"time": "day", "group": "shop", "horizon": horizon, **more}
    _, chosen = recognise(MemoryTable(columns), "sold", options)  # type: ignore[arg-type]
    return Plan(data=data, task={"sold": TaskPlan("forecast", chosen)})


def panel_of(columns: dict[str, list[Any]], boundary: int | None = None, **more: Any) -> Panel:
    return panel(MemoryTable(columns), boundary, plan_of(columns, **more))  # type: ignore[arg-type]


def test_the_latest_part_tests_and_the_part_before_it_validates() -> None:
    found = panel_of(long())
    assert found.end - found.first == STEPS
    assert (found.test - found.first, found.validation - found.first) == (96, 86)
    assert found.counts == (2 * 86, 2 * 10, 2 * 24)
    series, origins = training_windows(found.tracks, found.encoder.length, 5, found.validation)
    assert origins.max() == found.validation - 5
    assert set(series.tolist()) == {0, 1}
    test = rolling(found, found.test, found.end, 5)
    assert sorted(set(test.origins.tolist())) == [found.test + 5 * number for number in range(4)]
    assert len(test) == 8


def test_rows_of_steps_to_come_do_not_move_the_parts() -> None:
    columns = long(1, 100)
    plain = panel_of(columns, horizon=24, group="")
    for row in range(24):
        for name, value in {"day": str(np.datetime64("2024-04-10") + row), "sold": None, "promo": 1}.items():
            columns[name].append(value)
        columns["shop"].append("s0")
        columns["town"].append("south")
    found = panel_of(columns, horizon=24, group="")
    assert (found.validation, found.test, found.end) == (plain.validation, plain.test, plain.end)
    assert found.counts == plain.counts == (52, 24, 24)
    # In the training rows, too, such rows may stand beside the test rows that bring the values.
    later = {name: values + long(1, 124)[name][100:] for name, values in columns.items()}
    given = panel_of(later, boundary=124, horizon=24)
    assert (given.test - given.first, given.end - given.first) == (100, 124)


def test_test_rows_that_were_given_continue_the_series_and_must_come_after() -> None:
    columns = long(1, 60)
    found = panel_of(columns, boundary=50, group="")
    assert found.test - found.first == 50
    swapped = {name: values[10:] + values[:10] for name, values in columns.items()}
    with pytest.raises(InputError, match="not earlier") as caught:
        panel_of(swapped, boundary=50, group="")
    assert "continue" in caught.value.fix
    with pytest.raises(InputError, match="less than the horizon"):
        panel_of(columns, boundary=57, group="")


def test_a_horizon_that_does_not_fit_says_what_would() -> None:
    with pytest.raises(InputError, match="horizon of 50") as caught:
        panel_of(long(), horizon=50)
    assert "at most 39" in caught.value.fix
    assert panel_of(long(), horizon=30).horizon == 30


def test_the_season_is_found_and_noise_has_none() -> None:
    assert panel_of(long()).season == 7
    random = np.random.default_rng(3)
    columns = long() | {"sold": random.normal(size=2 * STEPS).tolist()}
    assert panel_of(columns).season == 1
    waves = {"day": list(range(200)), "sold": np.sin(2 * np.pi * np.arange(200) / 9).tolist()}
    plan = Plan(task={"sold": TaskPlan("forecast", recognise(MemoryTable(waves), "sold", {"horizon": 4})[1])})  # type: ignore[arg-type]
    assert panel(MemoryTable(waves), None, plan).season == 9  # type: ignore[arg-type]
    assert panel_of(long(), season=14).season == 14


def test_of_all_lags_of_a_walk_none_is_a_season() -> None:
    found = []
    for seed in range(40):
        steps = np.random.default_rng(seed).normal(size=40)
        years = {"day": [f"{1980 + year}-01-01" for year in range(40)], "sold": np.cumsum(steps).tolist()}
        found.append(panel_of(years, horizon=3, group="").season)
    assert sum(season > 1 for season in found) <= 4
    waves = {**years, "sold": (np.sin(2 * np.pi * np.arange(40) / 5) + 0.1 * steps).tolist()}
    assert panel_of(waves, horizon=3, group="").season == 5


def test_what_is_odd_is_counted_with_its_places() -> None:
    columns = long()
    for name in columns:
        columns[name].append(columns[name][10])
        del columns[name][40:43]
    columns["sold"][3] = None
    found = {item.kind: item for item in panel_of(columns).findings}
    assert found["repeated moments"].count == 1
    assert "row 10" in found["repeated moments"].rows[0] or "11" in found["repeated moments"].rows[0]
    assert found["gaps"].count == 4
    assert len(found["gaps"].rows) == 2
    late = long() | {"shop": ["s0"] * STEPS + ["s1"] * (STEPS - 30) + ["new"] * 30}
    short = {item.kind: item for item in panel_of(late).findings}["short series"]
    assert short.rows == ("new",)


def test_several_rows_of_a_step_are_counted_and_may_be_combined() -> None:
    columns = long(2, 60)
    twice = {name: [value for value in values for _ in range(2)] for name, values in columns.items()}
    last = panel_of(twice)
    (finding,) = [one for one in last.findings if one.kind == "repeated moments"]
    assert finding.count == 120
    assert "task.combine=sum" in finding.fix
    summed = panel_of(twice, combine="sum")
    np.testing.assert_allclose(summed.tracks.target, 2 * last.tracks.target)
    assert [one.severity for one in summed.findings if one.kind == "repeated moments"] == ["note"]
    # What the sealed model is given is all of the rows, and it reads what was learned from.
    windows = Windows(np.array([0, 1]), np.array([summed.test, summed.test + 1]))
    raw = [_raw_window(summed, *pair) for pair in zip(windows.series.tolist(), windows.origins.tolist(), strict=True)]
    own = summed.encoder.encode(object_array(raw))
    assert not own.errors
    np.testing.assert_array_equal(own.array, summed.tracks.windows(windows.series, windows.origins))
    # Without a column that tells series apart, all of them together are one.
    _, options = recognise(MemoryTable(columns), "sold", {"horizon": 3, "combine": "sum", "group": ""})  # type: ignore[arg-type]
    assert options["group"] == "shop"
    alone = {name: columns[name] for name in ("day", "sold")}
    _, options = recognise(MemoryTable(alone), "sold", {"horizon": 3, "combine": "sum"})  # type: ignore[arg-type]
    assert options["group"] == ""


def test_rows_that_cannot_be_read_stop_the_run_where_they_are_many() -> None:
    columns = long()
    columns["day"][5] = "someday"
    assert [row for row, _ in panel_of(columns).long.dropped] == [5]
    columns["sold"][50:60] = ["much"] * 10
    with pytest.raises(InputError, match="cannot be read"):
        panel(MemoryTable(columns), None, plan_of(long()))  # type: ignore[arg-type]


def test_columns_are_recognised_by_what_they_do() -> None:
    fields, options = recognise(MemoryTable(long(3)), "sold", {"horizon": 3})  # type: ignore[arg-type]
    assert (options["time"], options["group"]) == ("day", "shop")
    assert options["static"] == ["town"]
    assert options["past"] == ["promo"]
    assert {field.name: field.role for field in fields}["sold"] == "target"
    _, told = recognise(MemoryTable(long()), "sold", {"horizon": 3, "known": ["promo"]})  # type: ignore[arg-type]
    assert (told["known"], told["past"]) == (["promo"], [])


def test_numbers_of_every_column_may_have_decimal_commas_and_units() -> None:
    columns = long() | {"price": [f"{1 + row % 7 / 8}" for row in range(2 * STEPS)]}
    written = {
        **columns,
        "sold": [str(value).replace(".", ",") for value in columns["sold"]],
        "price": [f"{value.replace('.', ',')} €" for value in columns["price"]],
    }
    fields, options = recognise(MemoryTable(written), "sold", {"horizon": 5})  # type: ignore[arg-type]
    assert {field.name: field.modality for field in fields}["price"] == "number"
    assert "price" in options["past"]
    one, other = panel_of(columns), panel_of(written)
    np.testing.assert_array_equal(one.tracks.target, other.tracks.target)
    np.testing.assert_array_equal(one.tracks.covariates, other.tracks.covariates)
    state = json.loads(json.dumps(other.encoder.state()))
    assert Encoder.restore(state) == other.encoder
    with pytest.raises(ValueError, match="decimal sign"):
        Encoder.restore({**state, "decimal": ";"})


def test_series_are_told_apart_by_all_rows_however_these_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = long(4)
    order = np.argsort(np.tile(np.arange(STEPS), 4), kind="stable")
    sorted_by_day = {name: [values[row] for row in order] for name, values in columns.items()}
    # Every fourth row is of another day, and mostly of the first shop: town and promotion seem to tell rows apart.
    monkeypatch.setattr(understand, "SAMPLE", STEPS)
    for table in (sorted_by_day, {name: sorted_by_day[name] for name in ("promo", "day", "town", "sold", "shop")}):
        _, options = recognise(MemoryTable(table), "sold", {"horizon": 3})  # type: ignore[arg-type]
        assert options["group"] == "shop"


@pytest.mark.parametrize(
    ("columns", "given", "said"),
    [
        ({"day": ["2024-01-01"], "sold": ["many"]}, {}, "no numbers"),
        ({"kind": ["a", "b"], "sold": [1, 2]}, {}, "--time"),
        ({"day": ["2024-01-01", "2024-01-02"], "kind": ["a", "b"], "sold": [1, 2]}, {"time": "kind"}, "moments"),
        ({"day": ["2024-01-01"] * 4, "sold": [1, 2, 3, 4]}, {}, "--group"),
        (long(), {"time": "dya"}, "day"),
        (long(), {"known": ["promos"]}, "promo"),
        ({**long(), "window": long()["promo"]}, {}, "schema.window.role=ignore"),
        ({**long(3), "window": long(3)["town"]}, {}, "another name"),
        ({**long(), "flat": [1] * 2 * STEPS}, {"past": ["flat"]}, "tells nothing"),
        ({**long(), "flat": [1] * 2 * STEPS}, {"static": ["flat"]}, "all have the same"),
        (long(), {"static": ["promo"]}, "varies within them"),
        (long(1), {"group": "", "static": ["town"]}, "there is only one"),
    ],
)
def test_wrong_columns_are_told_with_the_fix(columns: dict[str, list[Any]], given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        recognise(MemoryTable(columns), "sold", {"horizon": 2, **given})  # type: ignore[arg-type]
    assert said in f"{caught.value.what} {caught.value.where} {caught.value.fix}"


def test_what_is_named_is_read_or_refused_and_never_left_out_in_silence() -> None:
    columns = long()
    names = [f"holiday {number % 40}" for number in range(STEPS)]
    columns["holiday"] = [name if place % 2 else "none" for _ in range(2) for place, name in enumerate(names)]
    found = panel_of(columns, known=["holiday"], past=["promo"], static=["town"])
    holiday = found.encoder.covariates[0]
    assert holiday.columns == 21  # every second of forty, and none
    columns["holiday"] = [*names, *["holiday 7"] * STEPS]
    holiday = panel_of(columns, known=["holiday"]).encoder.covariates[0]
    assert holiday.columns == 32
    assert "holiday 7" in holiday.levels
    read = holiday.read(np.array(["holiday 7", "never seen", None], object))
    assert (read[0].sum(), read[1].sum(), np.isnan(read[2]).all()) == (1, 0, True)
    for values, said in (
        (["no"] * 2 * STEPS, "always the same"),
        ([f"note {row}" for row in range(2 * STEPS)], "no value comes twice"),
        ([None if row % 20 else "fair" for row in range(2 * STEPS)], "missing in 94%"),
        ((["no"] * 90 + ["yes"] * 30) * 2, "in the training part"),
    ):
        columns["holiday"] = list(values)
        with pytest.raises(InputError) as caught:
            panel_of(columns, known=["holiday"])
        assert said in caught.value.what
        assert caught.value.where == "task.known"
    # What was found, not named, is left out where the training part says nothing of it, and that is told.
    kinds = {finding.kind: finding.text for finding in panel_of(columns, past=["holiday"]).findings}
    assert "`holiday`" in kinds["columns left out"]


@pytest.mark.parametrize(
    "options",
    [
        {"horizn": 3}, {"horizon": -1}, {"known": "promo"}, {"rule": "best"}, {"time": 3}, {"spacing": ["day"]},
        {"combine": "median"}, {"coverage": 90}, {"coverage": "much"}, {"coverage": []}, {"coverage": [0.8, 0.8]},
        {"coverage": 1.0},
    ],
)  # fmt: skip
def test_wrong_options_are_told(options: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        check_options(options, "sold")
    assert caught.value.fix


def test_units_are_errors_of_the_seasonal_naive_forecast_in_the_training_part() -> None:
    found = panel_of(long())
    columns = long()
    for series in range(2):
        own = np.array(columns["sold"][series * STEPS :][:86])
        assert found.units[series] == pytest.approx(np.abs(own[7:] - own[:-7]).mean())
    # Flat, or not there yet: what is usual for a series of its size.
    for size in (5.0, 5e6):
        flat = long() | {"sold": [size] * STEPS + long()["sold"][STEPS:]}
        for one in (panel_of(flat), panel_of({name: values[90:] for name, values in flat.items()})):
            own = np.array(columns["sold"][STEPS:][: one.validation - one.first])
            assert one.units[0] == pytest.approx(one.units[1] / own.mean() * size)
    nothing = long() | {"sold": [0.0] * STEPS + long()["sold"][STEPS:]}
    assert panel_of(nothing).units[0] == pytest.approx(found.units[1])
    # The same every week but for rounding: the unit is the change from day to day.
    again = [float(np.sin(2 * np.pi * step / 7)) for step in range(STEPS)]
    units = panel_of(long() | {"sold": again + long()["sold"][STEPS:]}).units
    assert units[0] == pytest.approx(np.abs(np.diff(again[:86])).mean())


def test_scores_are_what_they_are_called() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=(6, 4))
    truth[2, 1] = np.nan
    quantiles = np.sort(random.normal(size=(6, 4, 5)), axis=2)
    units, cluster = np.array([1.0, 1, 2, 2, 4, 4]), np.array([0, 0, 1, 1, 2, 2])
    found = judged("", quantiles, truth, units, cluster, primary=MASE)
    assert next(iter(found.scores)) == MASE
    once = {name: float(score(np.ones((1, 3)))[0]) for name, score in found.scores.items()}
    known = np.isfinite(truth)
    middle = quantiles[:, :, MIDDLE]
    apart = np.abs(middle - truth)
    scale = np.broadcast_to(units[:, None], truth.shape)[known]
    assert once[MAE] == pytest.approx(apart[known].mean())
    assert once[RMSE] == pytest.approx(np.sqrt((apart[known] ** 2).mean()))
    assert once[MASE] == pytest.approx((apart[known] / scale).mean())
    losses = [
        mean_pinball_loss(truth[known] / scale, quantiles[:, :, place][known] / scale, alpha=share)
        for place, share in enumerate(QUANTILES)
    ]
    assert once[PINBALL] == pytest.approx(np.mean(losses))
    inside = (truth >= quantiles[:, :, 0]) & (truth <= quantiles[:, :, -1])
    assert once[COVERED] == pytest.approx(inside[known].mean())
    drawn = float(found.scores[MAE](np.array([[2.0, 0.0, 1.0]]))[0])
    rows = np.array([0, 0, 1, 1, 4, 5])
    assert drawn == pytest.approx(np.nanmean(apart[rows]))
    np.testing.assert_allclose(by_step(quantiles, truth), np.nanmean(apart, axis=0))
    assert np.isnan(pinball(quantiles, truth)[2, 1])


def test_of_two_errors_the_smaller_is_ahead() -> None:
    truth = np.zeros((8, 3))
    quantiles = np.full((8, 3, 5), 1.0)
    units, cluster = np.ones(8), np.arange(8)
    near = judged("", quantiles, truth, units, cluster, primary=MAE)
    far = judged("far", 3 * quantiles, truth, units, cluster, primary=MAE)
    scores, (other,) = compared(near, [far], 8, 0, lower=(MAE, MASE, RMSE, PINBALL))
    assert not scores[MAE].higher_is_better
    assert scores[COVERED].higher_is_better
    assert other.difference is not None
    assert other.difference.value == pytest.approx(2)
    assert other.difference.low > 0


def test_nothing_is_certain_because_all_forecasts_are_of_one_moment() -> None:
    """Nine series from one origin are nine witnesses, one series from one origin is none."""
    one = np.zeros(9, np.int64)
    cluster, drawn = clusters(np.arange(9), one)
    assert (drawn, len(set(cluster.tolist()))) == ("series", 9)
    assert clusters(one, np.arange(9))[1] == "origins"
    assert clusters(np.repeat(np.arange(3), 9), np.tile(np.arange(9), 3))[1] == "origins"
    quantiles = np.random.default_rng(0).normal(size=(9, 3, 5))
    own = judged("", quantiles, np.zeros((9, 3)), np.ones(9), one, primary=MAE)
    far = judged("far", 3 * quantiles, np.zeros((9, 3)), np.ones(9), one, primary=MAE)
    scores, others = compared(own, [far], 1, 0, lower=ERRORS)
    assert all(np.isnan(score.low) and np.isnan(score.high) for score in scores.values())
    assert others[0].difference is not None
    assert np.isnan(others[0].difference.low)
    kind, text = verdict(MAE, scores[MAE], 1.0, others, 1, ("origin", "origins"))
    assert kind == "unknown"
    assert text.startswith("1 origin is too few")


def test_the_share_that_intervals_hold_is_as_sure_as_there_are_independent_witnesses() -> None:
    random = np.random.default_rng(0)
    cluster = np.repeat(np.arange(20), 50)
    alone = (random.random((1000, 4)) < 0.9).astype(float)
    low, high = share_interval(alone, cluster)
    usual = wilson(float(alone.mean()), alone.size)
    assert high - low == pytest.approx(usual[1] - usual[0], rel=0.6)
    # All of a series within, or nothing of it: 18 of 20 series, however many values each has.
    together = np.repeat(np.where(cluster < 18, 1.0, 0.0)[:, None], 4, axis=1)
    together[0, 0] = np.nan
    low, high = share_interval(together, cluster)
    wanted = wilson(0.9, 19)
    np.testing.assert_allclose((low, high), wanted, atol=0.01)
    assert share_interval(np.ones((1000, 4)), cluster) == wilson(1.0, 20)
    assert np.isnan(share_interval(alone, np.zeros(1000, np.int64))).all()


def test_conformal_calibration_holds_what_it_promises_and_moves_with_the_size() -> None:
    random = np.random.default_rng(0)
    task = Task("sold", 2)
    narrow = np.array([-0.3, -0.1, 0.0, 0.1, 0.3])
    scale = random.uniform(1, 1000, 4000)[:, None]
    output = np.tile(scale * narrow, (1, 2)) + 5 * scale
    truth = (5 + random.normal(size=(4000, 2))) * scale
    fitted = task.calibrated(output[:2000], truth[:2000])
    found = fitted.quantiles(output[2000:])
    inside = (truth[2000:] >= found[:, :, 0]) & (truth[2000:] <= found[:, :, -1])
    assert inside.mean() == pytest.approx(0.9, abs=0.02)
    # The 90% of the normal distribution lies within 1.645: the ends at 0.3 must go 4.5 times further.
    np.testing.assert_allclose(fitted.stretch[0], 1.645 / 0.3 - 1, rtol=0.06)
    # Half of it lies within 0.674, for ends at 0.1; each interval holds what it is to hold.
    np.testing.assert_allclose(fitted.stretch[1], 0.674 / 0.1 - 1, rtol=0.1)
    half = (truth[2000:] >= found[:, :, 1]) & (truth[2000:] <= found[:, :, 3])
    assert half.mean() == pytest.approx(0.5, abs=0.03)
    assert (np.diff(found, axis=2) >= 0).all()
    wide = task.calibrated(output[:2000] * 1.0, 5 * scale[:2000] + 0 * truth[:2000])
    assert {step for steps in wide.stretch for step in steps} == {-1.0}
    assert (np.diff(wide.quantiles(output), axis=2) >= 0).all()


def test_the_conformal_score_is_the_order_statistic_of_romano_and_others() -> None:
    scores = np.random.default_rng(1).permutation(np.arange(1.0, 100.0)) / 50 - 1
    # Of 99 scores the place is ceil(0.9 * 100) = 90.
    assert conformal(scores, 0.9) == pytest.approx(90 / 50 - 1)
    assert conformal(np.array([2.0, 3.0]), 0.9) == 3.0
    assert conformal(np.zeros(0), 0.9) == 0.0
    # A hundred scores that are worth ten are as uncertain as ten.
    scores = np.linspace(0, 1, 100)
    assert conformal(scores, 0.8, apart=10) == scores[89] > conformal(scores, 0.8) == scores[80]
    assert conformal(scores, 0.9, apart=5) == scores[-1]


def test_windows_that_overlap_count_as_those_that_do_not() -> None:
    starts = np.arange(0, 40, 5)
    windows = Windows(np.repeat([0, 1], len(starts)), np.tile(starts, 2))
    assert windows.apart(10) == 8
    assert windows.apart(5) == len(windows)


def test_the_task_answers_in_lists_survives_json_and_compares_rows_by_their_own_size() -> None:
    task = Task("sold", 3, ((0.5, 0.0, -0.2), (0.0, 0.1, 0.2)))
    output = np.sort(np.random.default_rng(0).normal(size=(4, 3, 5)), axis=2).reshape(4, 15).astype(np.float32)
    found = task.decode(output)
    assert list(found) == ["", ".low", ".high", ".low50", ".high50"]
    assert all(len(row) == 3 for values in found.values() for row in values)
    np.testing.assert_allclose(np.stack(found[""].tolist()), output.reshape(4, 3, 5)[:, :, 2])
    assert Task.restore(task.state()) == task
    assert dataclasses.replace(task, stretch=()) != task
    assert task.agreement(output, output + np.float32(1e-6)).holds
    small = np.concatenate([output[:1] * 1e-4, output[1:] * 1e4])
    changed = small.copy()
    changed[0, 0] += 1e-4
    assert not task.agreement(small, changed).holds
    assert task.combine(torch.ones(2, 3, 15)).shape == (2, 15)
    with pytest.raises(ValueError, match="stretches"):
        Task.restore({**task.state(), "stretch": [[1.0]]})
    with pytest.raises(ValueError, match="quantiles"):
        Task.restore({**task.state(), "levels": [0.1, 0.5, 0.4, 0.8, 0.9]})


def test_intervals_are_those_that_are_asked_for_and_older_files_answer_as_they_did() -> None:
    assert levels_of({}) == QUANTILES
    levels = levels_of({"coverage": [0.5, 0.95, 0.8]})
    assert levels == (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
    task = Task("sold", 2, (), levels, 3)
    output = np.arange(14, dtype=np.float32)[None]
    found = {name: values[0] for name, values in task.decode(output).items()}
    assert found == {
        "": [3, 10], ".low": [0, 7], ".high": [6, 13], ".low80": [1, 8], ".high80": [5, 12],
        ".low50": [2, 9], ".high50": [4, 11],
    }  # fmt: skip
    assert Task.restore(json.loads(json.dumps(task.state()))) == task
    single = Task("sold", 2, (), levels_of({"coverage": 0.8}), 1)
    assert list(single.decode(output[:, :6])) == ["", ".low", ".high"]
    # As files of before held it: five quantiles, of which three were answered, the outer two calibrated.
    old = Task.restore({"name": "sold", "horizon": 2, "stretch": [1.0, 0.0]})
    found = {name: values[0] for name, values in old.decode(output[:, :10]).items()}
    assert found == {"": [2, 7], ".low": [-2, 5], ".high": [6, 9]}
    assert list(Task.restore({"name": "sold", "horizon": 2, "stretch": []}).decode(output[:, :10])) == [*found]


def test_a_rule_that_looks_further_back_than_the_history_is_refused() -> None:
    for rule, season in (("season", 20), ("level", 19), ("last", 30), ("mean", 30)):
        choose._check_rule(rule, season, 20, "sold")
    for rule, season in (("season", 21), ("level", 20)):
        with pytest.raises(InputError, match="looks back 21 steps") as caught:
            choose._check_rule(rule, season, 20, "sold")
        assert "task.history=21" in caught.value.fix


@pytest.mark.parametrize(("name", "wanted"), [
    ("last", lambda past, step: past[-1]),
    ("season", lambda past, step: past[-7 + step % 7]),
    ("level", lambda past, step: past[-7 + step % 7] + past[-1] - past[-8]),
    ("mean", lambda past, step: past.mean()),
])  # fmt: skip
def test_rules_are_weights_of_the_history(name: str, wanted: Any) -> None:
    past = np.random.default_rng(0).normal(size=20)
    found = rule_of(name, 20, 9, 7).numpy() @ past
    np.testing.assert_allclose(found, [wanted(past, step) for step in range(9)], rtol=1e-5)


def test_naive_forecasts_repeat_the_last_value_and_the_last_season() -> None:
    found = panel_of(long())
    series, origins = np.array([1, 0]), np.array([found.test, found.test + 3])
    before = found.tracks.values(series, origins, np.arange(-7, 0))
    np.testing.assert_array_equal(simple._naive(found, 1)(series, origins), np.repeat(before[:, -1:], 5, axis=1))
    np.testing.assert_array_equal(simple._naive(found, 7)(series, origins), before[:, :5])


def test_a_simple_forecast_that_always_errs_to_one_side_is_scored_as_it_is() -> None:
    columns = long(1)
    columns["sold"] = (2.0 * np.arange(STEPS)).tolist()
    found = panel_of(columns, group="", past=[], static=[])
    windows = training_windows(found.tracks, found.encoder.length, 5, found.validation)
    validation = rolling(found, found.validation, found.test, 1)
    for one in simple.fit(found, windows, (validation.series, validation.origins), Silent(), seed=0, seconds=30):
        series, origins = np.array([0]), np.array([found.test])
        quantiles = one.quantiles(series, origins, found.units)
        np.testing.assert_array_equal(quantiles[:, :, MIDDLE], one.points(series, origins))
        assert (np.diff(quantiles, axis=2) >= 0).all()
        if one.name == simple.NAIVE:
            ahead = 2.0 * np.arange(1, 6)
            np.testing.assert_allclose(quantiles[0, :, -1] - quantiles[0, :, MIDDLE], ahead)
            np.testing.assert_array_equal(quantiles[0, :, 0], quantiles[0, :, MIDDLE])


def holt_winters(
    values: Array, season: int, level: float, trend: float, seasonal: float, damping: float, horizon: int
) -> Array:
    """One series, written down again from Hyndman & Athanasopoulos, "Forecasting: principles and practice", 8.3."""
    (start,), (offsets,) = smoothing.start(values[None, : 3 * season], season)
    base, slope, seasons = start, 0.0, list(offsets)
    for step, value in enumerate(values):
        place, before = step % season, base
        if np.isnan(value):
            base, slope = base + damping * slope, damping * slope
            continue
        base = level * (value - seasons[place]) + (1 - level) * (before + damping * slope)
        rest = seasonal * (1 - level)
        seasons[place] = rest * (value - before - damping * slope) + (1 - rest) * seasons[place]
        slope = trend * (base - before) + (1 - trend) * damping * slope
    ahead = [sum(damping**power for power in range(1, step + 1)) * slope for step in range(1, horizon + 1)]
    return np.array([base + more + seasons[(len(values) + step) % season] for step, more in enumerate(ahead)])


def test_exponential_smoothing_is_that_of_the_textbook() -> None:
    random = np.random.default_rng(0)
    values = 10 + 0.2 * np.arange(60) + 3 * np.sin(np.arange(60) * 2 * np.pi / 6) + random.normal(0, 0.3, 60)
    values[25] = np.nan
    chosen = (0.4, 0.1, 0.3, 0.95)
    parameters = smoothing.Parameters(*(np.array([[value]]) for value in chosen))
    state = smoothing.Smoother(values[None, :18], 6, parameters)
    for value in values:
        state.see(np.array([value]))
    np.testing.assert_allclose(state.forecast(10)[0, 0], holt_winters(values, 6, *chosen, 10), rtol=1e-9)


def test_smoothing_chooses_the_parameters_with_the_least_errors_and_sees_nothing_of_the_future() -> None:
    random = np.random.default_rng(1)
    walk = np.cumsum(random.normal(size=300))
    noise = random.normal(size=300)
    growth = np.exp(0.02 * np.arange(300)) * (1 + 0.4 * np.sin(np.arange(300) * 2 * np.pi / 4))
    values = np.stack([walk, noise, growth])
    fitted = smoothing.fit(values, 4, np.array([200, 200, 200]))
    assert fitted.parameters.level[0, 0] > 0.8
    assert fitted.parameters.level[1, 0] < 0.2
    assert fitted.logs.tolist() == [False, False, True]
    found = dict(fitted.forecasts(values, np.array([250, 280]), 3))
    np.testing.assert_allclose(found[280][2], growth[280:283], rtol=0.05)
    hidden = values.copy()
    hidden[:, 250:] = 1e6
    again = dict(fitted.forecasts(hidden, np.array([250]), 3))
    np.testing.assert_array_equal(found[250], again[250])
    np.testing.assert_array_equal(
        smoothing.fit(hidden, 4, np.array([200] * 3)).parameters.level, fitted.parameters.level
    )


def test_smoothing_of_a_series_shorter_than_three_seasons_sees_nothing_of_the_future() -> None:
    values = 10 + np.random.default_rng(2).normal(size=(2, 60))
    ends = np.array([15, 1])
    hidden = values.copy()
    hidden[:, 20:] = 1e6
    found, again = (dict(smoothing.fit(own, 12, ends).forecasts(own, np.array([20]), 3)) for own in (values, hidden))
    np.testing.assert_array_equal(found[20], again[20])
    assert (np.abs(found[20] - 10) < 5).all()


def test_trees_are_told_what_a_network_is_told_of_other_columns_and_of_the_series() -> None:
    columns = long(1, 400)
    promo = np.array(columns["promo"])
    # What was promoted yesterday is sold today: before the first step it is known, later it is not.
    columns["sold"] = (5 + 10 * np.roll(promo, 1) + np.random.default_rng(0).normal(0, 0.1, 400)).tolist()
    found = panel_of(columns, group="", past=["promo"], static=[])
    windows = training_windows(found.tracks, found.encoder.length, 5, found.validation)
    validation = rolling(found, found.validation, found.test, 1)
    test = rolling(found, found.test, found.end, 5)
    checked = validation.series, validation.origins
    points, _ = trees.fit(found, windows, checked, np.zeros((1, 0)), seed=0, seconds=30)
    truth = found.tracks.values(test.series, test.origins, np.arange(5))
    errors = np.abs(points(test.series, test.origins) - truth).mean(axis=0)
    assert errors[0] < 0.5 * errors[1:].min(), errors
    features = trees._features(found, *windows, np.array([[7.5, 8.5]]))[0]
    assert (features == 7.5).any(axis=2).all()
    assert (features == 8.5).any(axis=2).all()


def test_the_parts_of_the_test_rows_are_never_looked_at(tmp_path: Path) -> None:
    columns, changed = long(), long()
    found = panel_of(columns)
    for row in range(2 * STEPS):
        if row % STEPS >= 96:
            changed["sold"][row] = -1e6
            changed["promo"][row] = 1 - changed["promo"][row]
    other = panel_of(changed)
    assert other.encoder == found.encoder
    assert other.season == found.season
    np.testing.assert_array_equal(other.units, found.units)
    windows = training_windows(found.tracks, found.encoder.length, 5, found.validation)
    validation = rolling(found, found.validation, found.test, 1)
    ways = [
        simple.fit(one, windows, (validation.series, validation.origins), Silent(), seed=0, seconds=30)
        for one in (found, other)
    ]
    assert [way.name for way in ways[0]] == [simple.NAIVE, simple.SEASONAL, simple.SMOOTHING, simple.TREES]
    first = np.array([0, 1]), np.full(2, found.test)
    for one, two in zip(*ways, strict=True):
        np.testing.assert_array_equal(one.errors, two.errors)
        np.testing.assert_array_equal(one.points(*first), two.points(*first))
    truth = found.tracks.values(*first, np.arange(5))
    errors = {way.name: np.abs(way.points(*first) - truth).mean() for way in ways[0]}
    assert errors[simple.SMOOTHING] < 0.5 * errors[simple.NAIVE]
    assert errors[simple.TREES] < 0.5 * errors[simple.NAIVE]
