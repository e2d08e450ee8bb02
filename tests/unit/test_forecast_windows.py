"""Grids, and windows on them: spacing, gaps, repeated moments, what is known in advance; against pandas and by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lamina.errors import InputError
from lamina.modalities._canonical import object_array
from lamina.modalities._covariate import Covariate
from lamina.modalities._grid import Grid, clock_of, grid_of
from lamina.modalities._tracks import CENTER, OBSERVED, SPREAD, STEP, TARGET
from lamina.modalities.window import Encoder

Array = np.ndarray[Any, Any]


def microseconds(moments: Any) -> Array:
    return pd.DatetimeIndex(moments).to_numpy().astype("datetime64[us]").astype(np.int64)


@pytest.mark.parametrize(
    ("frequency", "unit", "words", "periods"),
    [
        ("30min", "microseconds", "30 minutes", (48, 336)),
        ("h", "microseconds", "1 hour", (24, 168, 8766)),
        ("D", "microseconds", "1 day", (7, 365)),
        ("B", "weekdays", "1 weekday", (5, 261)),
        ("W-MON", "microseconds", "1 week", (52,)),
        ("MS", "months", "1 month", (12,)),
        ("ME", "months", "1 month", (12,)),
        ("QS", "months", "3 months", (4,)),
        ("YS", "months", "12 months", ()),
    ],
)
def test_a_grid_is_found_and_goes_on_as_pandas_does(
    frequency: str, unit: str, words: str, periods: tuple[int, ...]
) -> None:
    every = pd.date_range("2023-01-02 00:00", periods=80, freq=frequency)
    moments = microseconds(every)
    shown = np.delete(moments[:60], [3, 10, 11])
    grid = grid_of([shown[:20], shown[15:]], dates=True)
    assert grid is not None
    assert (grid.unit, grid.describe(), grid.periods()) == (unit, words, periods)
    steps, off = grid.steps(moments)
    np.testing.assert_array_equal(steps, np.arange(80) + steps[0])
    np.testing.assert_allclose(off, 0, atol=1e-9)
    np.testing.assert_array_equal(grid.moments(steps), moments)
    assert Grid.restore(grid.state()) == grid


def test_the_grid_goes_through_most_stamps_and_says_how_far_others_are_off() -> None:
    moments = microseconds(pd.date_range("2024-01-01", periods=50, freq="h"))
    moments[0] += 7 * 60 * 10**6
    moments[20] -= 6 * 60 * 10**6
    grid = grid_of([moments], dates=True)
    assert grid is not None
    steps, off = grid.steps(moments)
    np.testing.assert_array_equal(np.diff(steps), 1)
    np.testing.assert_allclose(off[[0, 20]], [7 / 60, 0.1], atol=1e-9)
    assert np.delete(off, [0, 20]).max() == 0


def test_numbers_can_count_time() -> None:
    clock = clock_of(object_array(["10", "12", "14", "16"]))
    moments, problems = clock.read(object_array(["10", "12", "x", None]))
    assert not clock.dates
    assert set(problems) == {2, 3}
    grid = grid_of([moments[:2]], clock.dates)
    assert grid is not None
    assert clock.text(int(grid.moments(np.array([3]))[0]), grid.days) == "16"
    assert grid.parts(1000, clock.dates) == ()


def test_milliseconds_since_1970_count_time_exactly() -> None:
    stamps = [1_700_000_000_001 + 60_000 * step for step in range(20)]
    clock = clock_of(np.array(stamps))
    moments, problems = clock.read(np.array(stamps))
    assert (clock.dates, problems) == (False, {})
    grid = grid_of([moments], clock.dates)
    assert grid is not None
    assert grid.size == 60_000 * 10**6
    steps, off = grid.steps(moments)
    np.testing.assert_array_equal(steps, np.arange(20))
    np.testing.assert_array_equal(off, 0)
    assert clock.text(int(grid.moments(np.array([20]))[0]), grid.days) == str(stamps[-1] + 60_000)
    assert list(clock.read(np.array([3e12]))[1]) == [0]
    far = Grid("microseconds", 10**6, -29 * 10**17)
    assert far.steps(np.array([29 * 10**17]))[0].tolist() == [58 * 10**11]


@pytest.mark.parametrize(("frequency", "form", "words"), [("D", "%Y%m%d", "1 day"), ("MS", "%Y%m", "1 month")])
def test_numbers_that_are_dates_are_no_count(frequency: str, form: str, words: str) -> None:
    every = pd.date_range("2022-11-01", periods=40, freq=frequency)
    numbers = np.array([int(text) for text in every.strftime(form)])
    for stamps in (numbers, object_array([str(number) for number in numbers]), numbers.astype(float)):
        clock = clock_of(stamps)
        moments, problems = clock.read(stamps)
        assert clock.dates
        assert not problems
        np.testing.assert_array_equal(moments, microseconds(every))
        grid = grid_of([moments], clock.dates)
        assert grid is not None
        assert grid.describe(clock.dates) == words
    # A count is a count, also where its first numbers could be dates.
    assert not clock_of(numbers[:1] + np.arange(40)).dates
    assert not clock_of(np.arange(202401, 202413)).dates


def test_stamps_with_a_zone_are_answered_with_one() -> None:
    every = pd.date_range("2024-03-30", periods=72, freq="h", tz="Europe/Berlin")
    for stamps in (every.map(str), every.map(lambda one: one.isoformat()), every.tz_convert("UTC").strftime("%FT%TZ")):
        table = {"t": stamps.tolist(), "y": np.arange(72.0).tolist()}
        encoder = Encoder.fit(lambda table=table: iter([object_array([table])]), {"time": "t", "target": "y"})
        assert encoder.grid.describe() == "1 hour"
        restored = Encoder.restore(encoder.state())
        assert pd.Timestamp(restored.ahead(table)[0]) == every[-1] + pd.Timedelta("1h")
    plain = {"t": ["2024-03-30 10:00", "2024-03-30 11:00"], "y": [1, 2]}
    encoder = Encoder.fit(lambda: iter([object_array([plain])]), {"time": "t", "target": "y"})
    assert encoder.ahead(plain) == ["2024-03-30 12:00:00"]
    # Files from before zones were kept.
    state = encoder.state()
    del state["clock"]["zoned"]
    assert Encoder.restore(state) == encoder


@pytest.mark.parametrize(("frequency", "words"), [("D", "1 day"), ("B", "1 weekday"), ("MS", "1 month")])
def test_days_of_a_zone_are_days_in_summer_as_in_winter(frequency: str, words: str) -> None:
    every = pd.date_range("2024-01-01", periods=300, freq=frequency, tz="Europe/Berlin")
    for stamps in (object_array(every.map(lambda one: one.isoformat()).tolist()), object_array(list(every))):
        clock = clock_of(stamps)
        moments, problems = clock.read(stamps)
        assert not problems
        np.testing.assert_array_equal(moments, microseconds(every.tz_localize(None)))
        grid = grid_of([moments], clock.dates)
        assert grid is not None
        assert grid.describe() == words
        assert grid.steps(moments)[1].max() == 0
        assert clock.text(int(moments[-1]), grid.days) == str(every[-1].date())
        table = {"t": stamps.tolist(), "y": np.arange(300.0).tolist()}
        encoder = Encoder.fit(lambda table=table: iter([object_array([table])]), {"time": "t", "target": "y"})
        assert Encoder.restore(encoder.state()) == encoder
        assert encoder.ahead(table) == [str((every[-1] + every.freq).date())]
    # Days that begin with UTC's are as they were; so are hours, whatever their zone.
    assert clock_of(object_array(["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"])).zoned
    hours = pd.date_range("2024-03-30", periods=72, freq="h", tz="Europe/Berlin")
    assert clock_of(object_array(list(hours))).zoned


def test_a_season_is_told_only_where_there_is_more_than_a_year() -> None:
    daily = Grid("microseconds", 86_400 * 10**6, 0)
    assert daily.parts(300) == ("weekday",)
    assert daily.parts(800) == ("weekday", "season")
    assert Grid("microseconds", 3600 * 10**6, 0).parts(300) == ("clock", "weekday")
    calendar = daily.calendar(np.arange(14), ("weekday",))
    np.testing.assert_allclose(calendar[:7], calendar[7:], atol=1e-6)
    assert len(np.unique(calendar[:7].round(4), axis=0)) == 7


def table(values: list[Any], start: str = "2024-01-01", **more: list[Any]) -> dict[str, list[Any]]:
    days = [str(day.date()) for day in pd.date_range(start, periods=len(values))]
    return {"day": days, "sold": values, **more}


def encoder(length: int = 4, horizon: int = 2, center: str = "mean", **more: Any) -> Encoder:
    full = table([float(number % 5) for number in range(20)], promo=[number % 2 for number in range(20)],
                 rain=["dry", "wet"] * 10)  # fmt: skip
    return Encoder.fit(lambda: [object_array([full])], {"length": length, "horizon": horizon, "center": center, **more})


def test_a_window_holds_the_last_values_normalised_by_themselves() -> None:
    found = encoder().encode(object_array([table([9.0, 1.0, 2.0, 6.0, 3.0])]))
    assert not found.errors
    (window,) = found.array
    last = np.array([1.0, 2.0, 6.0, 3.0])
    np.testing.assert_allclose(window[:4, TARGET], (last - last.mean()) / last.std(), rtol=1e-6)
    np.testing.assert_allclose(window[:, CENTER], last.mean(), rtol=1e-6)
    np.testing.assert_allclose(window[:, SPREAD], last.std(), rtol=1e-6)
    np.testing.assert_array_equal(window[:, OBSERVED], [1, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(window[4:, TARGET], 0)
    np.testing.assert_array_equal(np.diff(window[:, STEP]), 1)
    assert encoder(center="last").encode(object_array([table([9.0, 1.0, 2.0, 6.0, 3.0])])).array[0, 0, CENTER] == 3


def test_gaps_are_filled_with_the_value_before_and_flagged_and_nothing_looks_ahead() -> None:
    gappy = table([5.0, None, 2.0, None, 8.0])
    del gappy["day"][3], gappy["sold"][3]
    window = encoder(length=5).encode(object_array([gappy])).array[0]
    raw = window[:5, TARGET] * window[0, SPREAD] + window[0, CENTER]
    np.testing.assert_allclose(raw, [5, 5, 2, 2, 8], rtol=1e-6)
    np.testing.assert_array_equal(window[:5, OBSERVED], [1, 0, 1, 0, 1])
    np.testing.assert_allclose(window[0, CENTER], 5, rtol=1e-6)


def test_long_gaps_stay_open_and_short_series_are_padded_in_front() -> None:
    values = [4.0, *[None] * 8, 1.0, 2.0]
    window = encoder(length=13).encode(object_array([table(values)])).array[0]
    np.testing.assert_array_equal(window[:13, OBSERVED], [0, 0, 1, *[0] * 8, 1, 1])
    assert (window[:2] == 0).sum() == window[:2].size - 2 * 2, "only center and spread are told of steps before any"
    scaled = window[2:13, TARGET]
    np.testing.assert_allclose(scaled[:4], scaled[0])
    np.testing.assert_array_equal(scaled[4:9], 0)


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_a_window_of_zeros_is_told_in_the_units_of_the_series(size: float) -> None:
    values = [0.0 if step // 6 % 2 else size * (3 + step % 3) for step in range(48)]
    full = {name: object_array(column) for name, column in table(values).items()}
    found = Encoder.fit(lambda: [object_array([full])], {"length": 4, "horizon": 2})
    assert found.unit == pytest.approx(size * np.std(np.array(values) / size))
    zeros = Encoder.restore(found.state()).encode(object_array([table([0.0] * 6)])).array[0]
    np.testing.assert_allclose(zeros[:, SPREAD], found.unit)
    np.testing.assert_array_equal(zeros[:, [TARGET, CENTER]], 0)
    older = {name: value for name, value in found.state().items() if name != "unit"}
    assert Encoder.restore(older).unit == 1


def test_what_came_before_the_window_changes_nothing() -> None:
    values = [None if step % 5 == 2 else float(step**2 % 11) for step in range(30)]
    promo = [None if step % 4 == 1 else step % 3 for step in range(30)]
    full = table(values, promo=promo)
    for first in range(20, 26):
        part = {name: column[first:] for name, column in full.items()}
        whole = encoder(length=30 - first, past=["promo"]).encode(object_array([full])).array[0]
        alone = encoder(length=30 - first, past=["promo"]).encode(object_array([part])).array[0]
        np.testing.assert_array_equal(whole, alone)


def test_repeated_moments_and_stamps_off_the_grid_are_reported() -> None:
    shown = table([1.0, 2.0, 3.0, 4.0])
    shown["day"] += ["2024-01-02", "2024-01-05 03:00", "yesterday"]
    shown["sold"] += [20.0, 5.0, 6.0]
    reading = encoder().read({name: object_array(values) for name, values in shown.items()})
    assert reading.track is not None
    np.testing.assert_array_equal(reading.track.target, [1, 20, 3, 4, 5])
    np.testing.assert_array_equal(reading.again, [1])
    np.testing.assert_array_equal(reading.off, [5])
    assert list(reading.unreadable) == [6]
    assert "yesterday" in reading.unreadable[6]


def test_unsorted_rows_are_the_same_series() -> None:
    shown = table([1.0, 5.0, 2.0, 8.0, 3.0])
    # Of two rows that count for one day the later one counts, wherever it stands.
    shown["day"].append("2024-01-03 05:00")
    shown["sold"].append(7.0)
    order = [5, 3, 0, 4, 2, 1]
    mixed = {name: [values[row] for row in order] for name, values in shown.items()}
    one, other = (encoder().encode(object_array([value])).array for value in (shown, mixed))
    np.testing.assert_array_equal(one, other)


def test_the_future_of_known_columns_is_shown_and_that_of_others_is_not() -> None:
    known = encoder(known=["promo"], past=["rain"])
    rows = table([1.0, 2.0, 3.0, 4.0, None, None], promo=[0, 1, 0, 1, 1, 0], rain=["wet"] * 6)
    window = known.encode(object_array([rows])).array[0]
    place = known.feature.details["past"][-5:]
    promo, rain = place[:2], place[2:]
    assert (window[:, promo[1]] == 1).all()
    assert window[4, promo[0]] > 0 > window[5, promo[0]]
    assert (window[4:, rain] == 0).all()
    assert (window[:4, rain[1:]] == 1).all()
    assert set(promo) <= set(known.feature.details["future"])
    assert not set(rain) & set(known.feature.details["future"])
    assert known.ahead(rows) == ["2024-01-05", "2024-01-06"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (table([1.0, 2.0, 3.0], promo=[0, 1, 0]), "promo"),
        ({"day": ["2024-01-01"], "promo": [1]}, "sold"),
        (table([None, None], promo=[0, 1]), "no value of 'sold'"),
        ({"day": ["2024-01-01"] * 2, "sold": [5.0, None], "promo": [0, 1]}, "no value of 'sold'"),
        (table([1.0, "many"], promo=[0, 1]), "many"),
        (table([1.0, 2.0], start="1800-01-01", promo=[0, 1]) | {"day": ["1800-01-01", "2024-01-01"]}, "span"),
        ({"day": ["2024-01-01"], "sold": [1, 2]}, "one length"),
        ([1, 2], "mapping"),
    ],
)
def test_a_table_that_cannot_be_used_is_an_error_that_says_why(value: Any, said: str) -> None:
    found = encoder(known=["promo"]).encode(object_array([value]))
    assert said in found.errors[0]
    assert not found.array.any()


def test_covariates_are_numbers_or_levels_or_nothing() -> None:
    number = Covariate.fit("a", True, object_array(["1", "3", "5", None]))
    assert number is not None
    np.testing.assert_allclose(number.read(object_array(["3", None])), [[0], [np.nan]])
    level = Covariate.fit("a", False, object_array(["x", "y", "x"]))
    assert level is not None
    np.testing.assert_array_equal(level.read(object_array(["y", "new"])), [[0, 1], [0, 0]])
    assert Covariate.fit("a", False, object_array(["x", "x"])) is None
    assert Covariate.fit("a", False, object_array([f"text {number}" for number in range(50)])) is None


def test_windows_in_bulk_are_those_of_single_rows() -> None:
    own = encoder(past=["promo"])
    full = table([float(number**2 % 7) for number in range(15)], promo=[number % 3 for number in range(15)])
    track = own.track_of(full)
    assert not isinstance(track, str)
    tracks = own.tracks([track])
    origins = np.arange(3, 14)
    bulk = tracks.windows(np.zeros(len(origins), np.int64), track.start + origins)
    for place, origin in enumerate(origins.tolist()):
        cut = {name: values[:origin] for name, values in full.items()}
        np.testing.assert_array_equal(own.encode(object_array([cut])).array[0], bulk[place])
    truth = tracks.values(np.zeros(1, np.int64), np.array([track.start + 12]), np.arange(5))
    np.testing.assert_array_equal(truth, [[144 % 7, 169 % 7, 196 % 7, np.nan, np.nan]])


def test_one_wrong_date_does_not_fill_the_memory() -> None:
    far = {"day": object_array(["1700-01-01", "2024-01-01", "2024-01-02"]), "sold": object_array([1.0, 2.0, 3.0])}
    with pytest.raises(InputError, match="span") as caught:
        encoder().read(far)
    assert caught.value.fix


def test_a_series_of_another_century_changes_no_other_and_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    own = table([float(step % 5) for step in range(20)])
    far = table([1.0, 2.0, 3.0], start="1824-02-01")
    found = encoder(length=8)
    alone, other = (found.encode(object_array([one])).array[0] for one in (own, far))
    asked = list[int]()
    calendar = Grid.calendar
    monkeypatch.setattr(
        Grid, "calendar", lambda grid, steps, parts: asked.append(len(steps)) or calendar(grid, steps, parts)
    )
    both = found.encode(object_array([own, far])).array
    assert sum(asked) < 100
    np.testing.assert_array_equal(both, [alone, other])


def test_rows_of_one_step_are_combined_as_pandas_does_and_survive_json() -> None:
    random = np.random.default_rng(0)
    stamps = pd.date_range("2024-01-03 05:00", periods=24 * 60, freq="h")
    frame = pd.DataFrame({"day": stamps, "sold": random.random(len(stamps)), "rain": random.random(len(stamps))})
    frame = frame[random.random(len(frame)) < 0.7]
    table = {name: object_array(frame[name].astype(str).tolist()) for name in frame}
    wanted = {"time": "day", "target": "sold", "past": ["rain"], "horizon": 3, "length": 5}
    for spacing, rule in (("1day", "D"), ("1 week", "W-MON"), ("month", "MS"), ("6 hours", "6h")):
        for combine in ("sum", "mean"):
            fitted = Encoder.fit(lambda: [object_array([table])], {**wanted, "spacing": spacing, "combine": combine})
            found = Encoder.restore(json.loads(json.dumps(fitted.state())))
            track = found.read(table).track
            assert track is not None
            grouped = frame.set_index("day").resample(rule, label="left", closed="left")
            expected = grouped["sold"].agg(combine).where(grouped["sold"].count() > 0)
            np.testing.assert_allclose(track.target, expected.to_numpy())
            covariate = found.covariates[0]
            rain = track.covariates[:, 0] * covariate.spread + covariate.mean
            np.testing.assert_allclose(rain, grouped["rain"].mean().to_numpy(), rtol=1e-4)
            begins = found.grid.moments(np.array([track.start]))[0]
            assert np.datetime64(int(begins), "us") == expected.index[0].to_datetime64()
    with pytest.raises(InputError, match="cannot be read") as caught:
        Encoder.fit(lambda: [object_array([table])], {**wanted, "spacing": "fortnight"})
    assert "month" in caught.value.fix
