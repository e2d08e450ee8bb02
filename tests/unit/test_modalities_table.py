"""Encoders of table columns: round trips, unseen and missing values, typed and text alike, recognition."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from lamina.errors import InputError
from lamina.modalities import category, items, number, series, time
from lamina.modalities import set as sets
from lamina.modalities._canonical import canonical, object_array
from lamina.modalities._number_text import (
    _BODY,
    _CODES,
    _DRESSED,
    _SIGNS,
    _SPACES,
    _undressed,
    decimal_of,
    read_numbers,
)
from lamina.modalities._sample import stream
from lamina.modalities._scale import Scale

settings.register_profile("no_time_limit", deadline=None)
settings.load_profile("no_time_limit")

MODULES = {"number": number, "category": category, "set": sets, "time": time, "series": series}

numbers = st.floats(-1e9, 1e9, allow_nan=False)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=10)
    | st.dates()
    | st.datetimes()
)
anything = scalars | st.lists(scalars, max_size=4)
words = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=8)


def fit(module: Any, values: Any, **options: Any) -> Any:
    column = values if isinstance(values, np.ndarray) else object_array(values)
    return module.Encoder.fit(lambda: [column], options)


def encode(encoder: Any, *values: Any) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = encoder.encode(object_array(values)).array
    return array


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((3, 3.0, "3", " 3 ", "3.0", np.int8(3), np.float32(3), b"3", "3e0"), "3"),
        ((0.1, "0.1", "0.10", ".1", np.float32(0.1), "1e-1"), "0.1"),
        ((True, "True", "TRUE", " true", np.bool_(True)), "true"),
        ((None, float("nan"), "", "  ", "NA", "n/a", "NaN", "null", "?", np.datetime64("NaT")), None),
        ((date(2020, 1, 31), "2020-01-31", "2020-01-31 00:00:00", np.datetime64("2020-01-31", "ns")), "2020-01-31"),
        ((datetime(2020, 1, 31, 9, 5), "2020-01-31 09:05", "2020-01-31T09:05:00.000"), "2020-01-31T09:05:00"),
        (("007",), "007"),
        (("none",), "none"),
        (("-",), "-"),
        (("Cafe\u0301", "Caf\u00e9"), "Caf\u00e9"),
        ((12345678901234567890, "12345678901234567890"), "12345678901234567890"),
    ],
)
def test_canonical_text(values: tuple[Any, ...], text: str | None) -> None:
    assert canonical(object_array(values)).tolist() == [text] * len(values)
    assert [canonical(object_array([value]))[0] for value in values] == [text] * len(values)


def test_single_precision_is_read_as_it_is_written() -> None:
    column = np.array([0.1, 2.5, np.nan], dtype=np.float32)
    assert canonical(column).tolist() == ["0.1", "2.5", None]
    assert number.parse(column)[:2].tolist() == [0.1, 2.5]


def test_booleans_and_integers_stay_apart_in_one_column() -> None:
    assert canonical(object_array([True, 1, False, 0, 1.0])).tolist() == ["true", "1", "false", "0", "1"]


@given(st.lists(anything, max_size=6))
def test_canonical_text_is_its_own(values: list[Any]) -> None:
    once = canonical(object_array(values))
    assert canonical(once).tolist() == once.tolist()


@given(st.lists(st.floats(allow_nan=False) | st.integers(-(10**18), 10**18)))
def test_canonical_text_of_typed_and_written_numbers(values: list[float]) -> None:
    assume(not any(math.isinf(value) for value in values))
    written = canonical(object_array(map(repr, values)))
    assert canonical(object_array(values)).tolist() == written.tolist()
    floats = np.array([value for value in values if isinstance(value, float)])
    assert canonical(floats).tolist() == canonical(object_array(floats.tolist())).tolist()


@pytest.mark.parametrize("name", MODULES)
@settings(max_examples=60)
@given(data=st.data())
def test_no_value_makes_an_encoder_raise(name: str, data: st.DataObject) -> None:
    samples: dict[str, list[Any]] = {
        "number": [1.5, "2,000", None],
        "category": ["a", "b", None],
        "set": ["a|b", "b"],
        "time": ["2020-01-01", "2021-02-03 10:00", None],
        "series": [[1.0, 2.0, 3.0], [2.0, 3.0]],
    }
    encoder = fit(MODULES[name], samples[name])
    values = object_array(data.draw(st.lists(anything, max_size=8)))
    encoded = encoder.encode(values)
    assert encoded.array.shape == (len(values), *encoder.feature.shape)
    assert np.isfinite(encoded.array).all()
    restored = type(encoder).restore(json.loads(json.dumps(encoder.state(), allow_nan=False)))
    assert restored.encode(values).array.tobytes() == encoded.array.tobytes()
    MODULES[name].recognise(values, "column")
    json.dumps(MODULES[name].describe(values), allow_nan=False)


@pytest.mark.parametrize("name", MODULES)
@settings(max_examples=60)
@given(data=st.data())
def test_fitting_on_anything_works_or_is_the_users_error(name: str, data: st.DataObject) -> None:
    values = object_array(data.draw(st.lists(anything | numbers, max_size=8)))
    try:
        encoder = fit(MODULES[name], values)
    except InputError:
        return
    assert np.isfinite(encoder.encode(values).array).all()
    json.dumps(encoder.state(), allow_nan=False)
    assert len(encoder.decode(encoder.encode(values).array)) == len(values)


@pytest.mark.parametrize(
    ("name", "options", "culprit"),
    [
        ("number", {"transform": "quantiles"}, "'quantiles'"),
        ("number", {"clip": -1}, "-1"),
        ("number", {"clip": "3"}, "'3'"),
        ("number", {"decimal": ";"}, "';'"),
        ("category", {"max_levels": 0}, "0"),
        ("category", {"max_levels": 2.5}, "2.5"),
        ("category", {"max_level": 5}, "'max_level'"),
        ("set", {"max_labels": True}, "True"),
        ("set", {"delimiter": 3}, "3"),
        ("time", {"unit": "h"}, "'h'"),
        ("time", {"day_first": "yes"}, "'yes'"),
        ("series", {"length": -4}, "-4"),
        ("series", {"decimal": ";"}, "';'"),
        ("items", {"length": 200_000}, "200000"),
    ],
)
def test_a_wrong_option_is_named(name: str, options: dict[str, Any], culprit: str) -> None:
    with pytest.raises(InputError) as caught:
        fit({**MODULES, "items": items}[name], ["1", "2"], **options)
    assert culprit in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        (" -3.5 ", -3.5),
        ("1,234", 1234),
        ("1,234,567.25", 1234567.25),
        ("$1,200", 1200),
        ("-$5", -5),
        ("€ 5", 5),
        ("5 EUR", 5),
        ("12%", 12),
        ("(1,200)", -1200),
        ("1e3", 1000),
        ("1 234 567", 1234567),
        ("1'234.5", 1234.5),
        ("\u22125", -5),
        ("true", 1),
        ("+7", 7),
    ],
)
def test_reads_numbers_as_people_write_them(text: str, value: float) -> None:
    assert number.parse(object_array([text])).tolist() == [value]
    assert number.parse(object_array([text, "NA"]))[0] == value


@pytest.mark.parametrize("text", ["abc", "1,23", "1_000", "12:30", "1.2.3", "--5", "0,123", "5 km", "2020-01-31", "%"])
def test_does_not_guess_numbers(text: str) -> None:
    found, errors = read_numbers(object_array([text, "1"]))
    assert np.isnan(found[0])
    assert text in errors[0]


@pytest.mark.parametrize("value", [None, "", "NA", "n/a", "None", "-", "?", " nan ", "NULL", float("nan")])
def test_missing_numbers_are_no_error(value: Any) -> None:
    encoder = fit(number, ["1", "5", None])
    encoded = encoder.encode(object_array([value]))
    assert encoded.array.tolist() == [[0, 1]]
    assert not encoded.errors


def test_infinity_and_text_are_missing_with_an_error() -> None:
    encoded = fit(number, ["1", "5", None]).encode(object_array(["abc", "inf", -math.inf, 10**400, 2]))
    assert encoded.array[:4].tolist() == [[0, 1]] * 4
    assert sorted(encoded.errors) == [0, 1, 2, 3]
    assert encoded.errors[0] == "cannot read 'abc' as a number"


def test_no_flag_where_training_had_no_gaps() -> None:
    encoder = fit(number, [1, 2, 3])
    assert encoder.feature.shape == (1,)
    assert encode(encoder, None, 2).tolist() == [[0], [0]]


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["12,50 EUR", "3,20 EUR"], [12.5, 3.2]),
        (["12,50\xa0€", "1.234,50\xa0€"], [12.5, 1234.5]),
        (["(1,5)", "2"], [-1.5, 2]),
        (["\u22121,5", "2,75"], [-1.5, 2.75]),
        (["1,5e3", "2e3"], [1500, 2000]),
        (["1,5", ".", "2,5"], [1.5, math.nan, 2.5]),
    ],
)
def test_decimal_commas_are_found_behind_whatever_stands_around_a_number(
    texts: list[str], numbers: list[float]
) -> None:
    values = object_array(texts)
    found, errors = read_numbers(values, decimal_of([values]))
    np.testing.assert_array_equal(found, numbers)
    assert not errors


def test_decimal_comma_needs_evidence_and_the_whole_column() -> None:
    assert decimal_of([object_array(["1,5", "2"])]) == ","
    assert decimal_of([object_array(["1,234", "2"])]) == "."
    assert decimal_of([object_array(["1.234,5"])]) == ","
    assert decimal_of([object_array(["1,5"]), object_array(["1.5"])]) == "."
    chunks = [object_array(["1,000", "2,500"]), object_array(["3,75", "4"])]
    encoder = number.Encoder.fit(lambda: chunks, {})
    assert encoder.high == 4
    assert number.Encoder.restore(encoder.state()).encode(object_array(["2,5"])).array == encode(encoder, 2.5)


@given(
    st.text(f"0123456789.,{_SPACES}{_SIGNS}()+-\u2212eExy \t{''.join(_CODES).lower()}{''.join(_CODES)}", max_size=12)
)
@settings(max_examples=500)
def test_no_text_that_could_be_a_number_is_passed_over(text: str) -> None:
    body = _undressed(text.strip())[1]
    written = any(letter.isdigit() for letter in body) and any(_BODY[sign].fullmatch(body) for sign in _BODY)
    assert _DRESSED.fullmatch(text) or not written


@given(st.lists(numbers, min_size=2, max_size=50), st.sampled_from(["standard", "log", "quantile", "auto"]))
def test_numbers_come_back_in_order(values: list[float], transform: str) -> None:
    encoder = fit(number, values, transform=transform)
    ordered = np.sort(np.array(values))
    encoded = encoder.encode(ordered).array
    assert (np.diff(encoded[:, 0]) >= 0).all()
    assert (np.diff(encoder.decode(encoded)) >= 0).all()


@given(st.lists(numbers, min_size=4, max_size=60))
def test_numbers_near_the_middle_come_back(values: list[float]) -> None:
    encoder = fit(number, values, transform="standard")
    column = np.array(values)
    near = column[np.abs(column - encoder.scale.center) <= 10 * encoder.scale.scale]
    back = encoder.decode(encoder.encode(near).array)
    tolerance = 1e-4 * encoder.scale.scale + 1e-9 * np.abs(near).max(initial=0) + (0.5 if encoder.whole else 0)
    assert np.abs(back - near).max(initial=0) <= tolerance


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=60))
def test_few_whole_numbers_come_back_exactly(values: list[int]) -> None:
    encoder = fit(number, values, transform="quantile")
    assert encoder.decode(encode(encoder, *values)).tolist() == values


@given(st.lists(st.floats(-1e6, 1e6) | st.none() | st.integers(-1000, 1000), min_size=1, max_size=30))
@example([0.0, -0.0])
def test_typed_and_written_numbers_encode_alike(values: list[float | None]) -> None:
    assume(any(value is not None for value in values))
    written = ["" if value is None else repr(value) for value in values]
    typed = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    encoders = [fit(number, column) for column in (values, written, typed)]
    assert encoders[0] == encoders[1] == encoders[2]
    arrays = [
        encoders[0].encode(column).array.tobytes() for column in (object_array(values), object_array(written), typed)
    ]
    assert arrays[0] == arrays[1] == arrays[2]


def test_smooth_clipping_is_the_papers() -> None:
    sample = np.sort(np.random.default_rng(0).normal(5, 2, 1000))
    scale = Scale.fit(sample, "standard", 3.0)
    low, center, high = np.quantile(sample, [0.25, 0.5, 0.75])
    scaled = (sample - center) / (high - low)
    np.testing.assert_allclose(scale.forward(sample), scaled / np.sqrt(1 + (scaled / 3) ** 2))


def test_quantile_transform_gives_a_normal_distribution() -> None:
    sample = np.sort(np.exp(np.random.default_rng(0).normal(0, 2, 20_000)))
    encoder = fit(number, sample)
    assert encoder.scale.kind == "quantile"
    encoded = encoder.encode(sample).array[:, 0]
    wanted = [NormalDist().inv_cdf(share) for share in (0.05, 0.25, 0.5, 0.75, 0.95)]
    np.testing.assert_allclose(np.quantile(encoded, [0.05, 0.25, 0.5, 0.75, 0.95]), wanted, atol=0.02)
    assert encode(encoder, -1e9) == encoded.min()
    assert encode(encoder, 1e9) == encoded.max()


def test_bins_are_increasing_edges_of_encoded_values() -> None:
    values = np.random.default_rng(1).exponential(size=5000)
    encoder = fit(number, values)
    bins = np.array(encoder.feature.details["bins"])
    encoded = encoder.encode(values).array[:, 0]
    assert len(bins) == 48
    assert (np.diff(bins) > 0).all()
    assert (bins[0], bins[-1]) == (encoded.min(), encoded.max())
    shares = np.histogram(encoded, bins)[0] / len(values)
    assert shares.max() < 3 / 48
    binary = fit(number, [0, 1, 1, 0, 1])
    assert binary.feature.details["bins"] == sorted(encode(binary, 0, 1)[:, 0])
    assert binary.feature.details["flag"] is False
    assert "bins" not in fit(number, [7, 7, 7]).feature.details


def test_sampling_is_fair_and_does_not_see_chunks() -> None:
    values = np.arange(50_000, dtype=np.float64)
    whole = stream([values], size=1000)
    parts = stream(np.array_split(values, 37), size=1000)
    assert whole.sample.tolist() == parts.sample.tolist()
    assert (whole.count, whole.low, whole.high, whole.mean) == (50_000, 0, 49_999, 24_999.5)
    assert len(whole.sample) == 1000
    assert abs(whole.sample.mean() - 25_000) < 2_000


def test_an_error_says_what_was_there_instead_of_numbers() -> None:
    with pytest.raises(InputError, match="cannot read 'abc' as a number"):
        fit(number, ["abc", "def"])


def test_levels_by_frequency_then_name() -> None:
    encoder = fit(category, ["b", "c", "a", "b", None, "c", "d"])
    assert encoder.levels == ("b", "c", "a", "d")
    assert encoder.feature.size == 6
    assert encode(encoder, "b", "d", "new", None, "", " b ").tolist() == [2, 5, 0, 1, 1, 2]
    assert encoder.decode(np.array([2, 5, 0, 1, 99])).tolist() == ["b", "d", "(unknown)", None, "(unknown)"]


def test_rare_and_surplus_levels_are_unknown() -> None:
    values = ["a"] * 5 + ["b"] * 3 + ["c"] * 2 + ["d"]
    assert fit(category, values, min_count=2).levels == ("a", "b", "c")
    encoder = fit(category, values, max_levels=2)
    assert encoder.levels == ("a", "b")
    assert encoder.unknown == 3
    assert fit(category, [*values * 100, "once"]).levels == ("a", "b", "c", "d")
    with pytest.raises(InputError, match="No category occurs 2 times"):
        fit(category, ["a", "b"], min_count=2)


@given(st.lists(words, min_size=1, max_size=40))
def test_known_categories_come_back(values: list[str]) -> None:
    texts = canonical(object_array(values))
    assume(any(text is not None for text in texts))
    encoder = fit(category, values)
    assert encoder.decode(encode(encoder, *values)).tolist() == texts.tolist()


@pytest.mark.parametrize(
    "columns",
    [
        ([1, 2, 2], ["1", "2", "2"], np.array([1, 2, 2]), np.array([1.0, 2.0, 2.0]), [" 1", "2.0", "2"]),
        ([True, False, True], ["True", "false", "TRUE"], np.array([True, False, True])),
        (["a", None, "b"], ["a", "", "b"], ["a ", "NA", " b"]),
    ],
)
def test_typed_and_written_categories_encode_alike(columns: tuple[Any, ...]) -> None:
    encoder = fit(category, columns[0])
    for column in columns[1:]:
        assert fit(category, column) == encoder
        values = column if isinstance(column, np.ndarray) else object_array(column)
        assert encoder.encode(values).array.tolist() == encode(encoder, *columns[0]).tolist()


@pytest.mark.parametrize("delimiter", ["|", ";", ",", ", "])
def test_sets_by_their_delimiter(delimiter: str) -> None:
    rows = [["a", "b"], ["b"], ["c", "a"], ["b", "c"]]
    encoder = fit(sets, [delimiter.join(row) for row in rows])
    assert encoder.delimiter == delimiter.strip()
    assert encoder.labels == ("b", "a", "c")
    assert encoder.encode(object_array(rows)).array.tolist() == [[1, 1, 0], [1, 0, 0], [0, 1, 1], [1, 0, 1]]
    assert encode(encoder, None, "", "new", "b" + delimiter + "new", '["c", "a"]').tolist() == [
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
        [1, 0, 0],
        [0, 1, 1],
    ]


@given(st.lists(st.lists(words, max_size=4), min_size=1, max_size=20))
def test_sets_come_back_sorted(rows: list[list[str]]) -> None:
    known = [sorted({text for text in canonical(object_array(row)) if text is not None}) for row in rows]
    assume(any(known))
    encoder = fit(sets, rows)
    assert encoder.decode(encoder.encode(object_array(rows)).array).tolist() == known
    written = object_array(json.dumps(row) for row in rows)
    assert encoder.encode(written).array.tobytes() == encoder.encode(object_array(rows)).array.tobytes()


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2020-01-31", "2020-01-31"),
        ("2020-01-31T10:00", "2020-01-31T10:00"),
        ("2020-01-31 10:00:05.25", "2020-01-31T10:00:05.25"),
        ("2020-01-31T10:00:00Z", "2020-01-31T10:00"),
        ("2020-01-31T10:00:00+02:00", "2020-01-31T08:00"),
        ("2020/1/31", "2020-01-31"),
        ("31/01/2020", "2020-01-31"),
        ("01/31/2020", "2020-01-31"),
        ("31.1.20 22:30", "2020-01-31T22:30"),
        ("31 Jan 2020", "2020-01-31"),
        ("31-Jan-20", "2020-01-31"),
        ("January 31, 2020 10:30 PM", "2020-01-31T22:30"),
        ("Fri, 31 Jan 2020 10:00:00 +0000", "2020-01-31T10:00"),
        ("31/Jan/2020:13:55:36 -0700", "2020-01-31T20:55:36"),
        ("20200131", "2020-01-31"),
        ("20200131T101112Z", "2020-01-31T10:11:12"),
        ("2020-01", "2020-01-01"),
        ("2016-12-31T23:59:60", "2017-01-01"),
    ],
)
def test_reads_dates(text: str, iso: str) -> None:
    assert time.parse(object_array([text]))[0] == np.datetime64(iso, "us")


@pytest.mark.parametrize(
    "text", ["abc", "2020-02-30", "31/31/2020", "12:30", "2020-13-01", "1.5", "today", "now", "3/4"]
)
def test_does_not_guess_dates(text: str) -> None:
    assert np.isnat(time.parse(object_array([text]))[0])


def test_a_year_of_zero_is_none_whatever_stands_beside_it() -> None:
    alone, mixed = object_array(["0000-01-01", "2020-01-01"]), object_array(["0000-01-01", "1 Jan 2020"])
    for column in (alone, mixed):
        encoded = fit(time, ["2019-01-01", "2021-01-01"]).encode(column)
        assert list(encoded.errors) == [0]
    assert fit(time, alone).start == time.parse(alone)[1].astype(np.int64)


def test_the_column_decides_the_order_of_day_and_month() -> None:
    european = fit(time, ["3/4/2020", "25/12/2020"])
    assert european.day_first
    assert "day first, as 1 values show" in european.order
    american = fit(time, ["3/4/2020", "12/25/2020"])
    assert not american.day_first
    assert american.decode(encode(american, "3/4/2020")).tolist() == ["2020-03-04"]
    encoded = american.encode(object_array(["25/12/2020"]))
    assert "month/day" in encoded.errors[0]
    assert "assumed" in fit(time, ["3/4/2020"]).order
    assert fit(time, ["3/4/2020"], day_first=True).decode(np.zeros((1, 1))).tolist() == ["2020-04-03"]


@given(st.lists(st.dates(date(1950, 1, 1), date(2050, 1, 1)), min_size=1, max_size=40))
def test_dates_come_back(days: list[date]) -> None:
    encoder = fit(time, days)
    moments = np.array(days, dtype="datetime64[us]")
    written = [day.isoformat() for day in days]
    assert fit(time, moments) == fit(time, written) == encoder
    for column in (moments, object_array(written), object_array(days)):
        assert encoder.encode(column).array.tobytes() == encode(encoder, *days).tobytes()
    assert encoder.decode(encode(encoder, *days)).tolist() == written


@given(st.lists(st.datetimes(datetime(2019, 1, 1), datetime(2019, 3, 1)), min_size=1, max_size=40))
def test_moments_come_back_to_a_part_in_ten_million(moments: list[datetime]) -> None:
    encoder = fit(time, moments)
    back = time.parse(encoder.decode(encode(encoder, *moments)))
    spread = (np.array(moments, dtype="datetime64[us]").max() - np.array(moments, dtype="datetime64[us]").min()).astype(
        int
    )
    gaps = np.abs(back - np.array(moments, dtype="datetime64[us]")).astype(int)
    assert gaps.max() <= 3e-7 * max(spread, encoder.spread * 3e13) + 1


def test_only_parts_that_vary_are_encoded() -> None:
    days = np.arange("2020-01-01", "2020-01-20", dtype="datetime64[D]")
    assert fit(time, days).parts == ("day", "weekday")
    long = np.arange("2020-01-01", "2021-03-01", dtype="datetime64[D]")
    assert fit(time, long).parts == ("year", "season", "day", "weekday")  # only now the season has come twice
    assert fit(time, ["2020-01-01 08:00", "2020-01-01 09:00"]).parts == ("clock",)
    years = fit(time, ["2019-01-01", "2020-01-01", None])
    assert years.feature.details["columns"] == ["time", "year", "weekday_sine", "weekday_cosine", "missing"]
    assert encode(years, None).tolist() == [[0, 0, 0, 0, 1]]
    assert encode(years, "2019-01-01", "2020-01-01")[:, :2].tolist() == [[-1, -1], [1, 1]]


def test_moments_outside_the_training_range_are_read_as_its_ends() -> None:
    days = np.arange("2019-06-01", "2020-12-01", dtype="datetime64[D]")
    encoder = fit(time, days)
    assert encoder.feature.details["columns"][:2] == ["time", "year"]
    inside, later = encode(encoder, "2020-11-30"), encode(encoder, "2023-11-30")
    assert later[0, :2].tolist() == inside[0, :2].tolist()
    assert later[0, 2:].tolist() != inside[0, 2:].tolist()  # the weekday is another
    assert encode(encoder, "1990-01-01")[0, :2].tolist() == encode(encoder, "2019-06-01")[0, :2].tolist()


def test_weekday_and_clock_are_where_they_belong() -> None:
    hours = np.arange("2020-01-06", "2020-01-13", dtype="datetime64[h]")
    encoder = fit(time, hours)
    names = encoder.feature.details["columns"]
    row = dict(zip(names, encode(encoder, "2020-01-06 06:00")[0], strict=True))  # a Monday, a quarter into the day
    assert (row["weekday_sine"], row["weekday_cosine"]) == (0, 1)
    assert row["clock_sine"] == pytest.approx(1)


def test_epochs_need_the_unit() -> None:
    with pytest.raises(InputError, match="cannot read"):
        fit(time, [1580000000, 1590000000])
    for unit, factor in (("s", 1), ("ms", 1000), ("us", 10**6), ("ns", 10**9)):
        column = [1580000000 * factor, str(1590000000 * factor)]
        encoder = fit(time, column, unit=unit)
        assert encoder.start == int(datetime(2020, 1, 26, 0, 53, 20, tzinfo=UTC).timestamp() * 1e6)


def test_sentinel_dates_are_kept_and_bounded() -> None:
    encoder = fit(time, ["2020-01-01", "2020-06-01", "2020-12-31"])
    encoded = encoder.encode(object_array(["9999-12-31", "0001-01-01"]))
    assert not encoded.errors
    ends = encode(encoder, "2020-12-31", "2020-01-01")
    assert encoded.array[:, 0].tolist() == ends[:, 0].tolist()


@given(st.lists(st.lists(numbers, min_size=5, max_size=5), min_size=1, max_size=10))
@example([[0.0, 0.0, 0.0, 0.0, -0.0]])
def test_series_come_back(rows: list[list[float]]) -> None:
    column = np.array(rows)
    encoder = fit(series, column)
    for values in (column, object_array(rows), object_array(map(json.dumps, rows)), column.astype(str).astype(object)):
        assert encoder.encode(values).array.tobytes() == encoder.encode(column).array.tobytes()
    back = np.array(encoder.decode(encoder.encode(column).array).tolist())
    assert np.abs(back - column).max() <= 1e-5 * (np.abs(column).max() + encoder.spreads[0])


def test_series_are_standardised_by_channel() -> None:
    random = np.random.default_rng(0)
    rows = object_array((random.normal(size=(20, 2)) * [1, 100] + [0, 50]).tolist() for _ in range(30))
    encoder = fit(series, rows)
    array = encoder.encode(rows).array
    assert encoder.feature.shape == (20, 2)
    np.testing.assert_allclose(array.mean((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(array.std((0, 1)), 1, atol=1e-5)
    errors = encoder.encode(object_array([[1.0, 2.0, 3.0], [[1, 2], [3]], "abc", None])).errors
    assert errors[0] == "the series has 1 channels, the training part has 2"
    assert "different numbers of channels: 1, 2" in errors[1]
    assert "'abc'" in errors[2]
    assert errors[3] == "the series is missing"


def test_a_channel_that_never_varied_in_training_is_not_blown_up() -> None:
    encoder = fit(series, object_array([[float(step), 0.1] for step in range(7)] for _ in range(20)))
    assert encoder.spreads[1] == 1.0
    later = encode(encoder, [[float(step), 0.2] for step in range(7)])
    np.testing.assert_allclose(later[0, :, 1], 0.1, atol=1e-6)


def test_series_over_columns_are_read_with_decimal_commas() -> None:
    typed = np.cumsum(np.random.default_rng(0).normal(size=(30, 5)), axis=1).round(3)
    texts = np.char.replace(np.char.mod("%.3f", typed), ".", ",").astype(object)
    encoder = fit(series, texts)
    restored = series.Encoder.restore(json.loads(json.dumps(encoder.state())))
    assert not restored.encode(texts).errors
    assert restored.encode(texts[:1]).array.tobytes() == fit(series, typed).encode(typed[:1]).array.tobytes()
    assert restored.encode(typed).array.tobytes() == encoder.encode(texts).array.tobytes()
    assert series.describe(texts)["max"] == typed.max()
    assert fit(series, texts, decimal=",").decimal == ","


def test_series_of_other_lengths_are_resampled_not_cut() -> None:
    encoder = fit(series, [[0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 4.0]])
    assert encoder.length == 5
    short = encoder.decode(encode(encoder, [0.0, 2.0, 4.0]))[0]
    np.testing.assert_allclose(short, [0, 1, 2, 3, 4], atol=1e-6)
    two = fit(series, [[0.0, 1.0, 2.0]], length=2)
    np.testing.assert_allclose(two.decode(encode(two, [0.0, 1.0, 2.0]))[0], [0, 2], atol=1e-6)
    assert fit(series, [list(range(3000))]).length == 2048


def test_gaps_in_a_series_are_filled_in_line() -> None:
    encoder = fit(series, [[0.0, 1.0, 2.0, 3.0]])
    column = np.array([[np.nan, 1, np.nan, 3], [np.nan] * 4])
    encoded = encoder.encode(column)
    np.testing.assert_allclose(encoder.decode(encoded.array)[0], [1, 1, 2, 3], atol=1e-6)
    assert encoded.errors == {1: "the series is missing"}
    assert not encoded.array[1].any()
    assert encoder.encode(object_array([[None, 1, None, 3]])).array.tobytes() == encoded.array[:1].tobytes()


def drawn(*choices: Any) -> Callable[[], list[Any]]:
    return lambda: [choices[place] for place in np.random.default_rng(0).integers(0, len(choices), 300)]


@pytest.mark.parametrize(
    ("values", "name", "winner"),
    [
        (drawn("1.5", "2.25", "3", "NA", "17", "29.1"), "amount", "number"),
        (lambda: [str(n) for n in range(18, 80)] * 5, "age", "number"),
        (drawn(*range(1, 6)), "rating", "number"),
        (drawn(0, 1), "smoker", "category"),
        (drawn(True, False), "smoker", "category"),
        (drawn("yes", "no"), "smoker", "category"),
        (drawn(*range(1, 7)), "label", "category"),
        (drawn(*range(1, 20)), "type_id", "category"),
        (drawn("00123", "02134", "90210", "10001"), "zip", "category"),
        (drawn("$1,200", "$900", "$15,000", "$75"), "price", "number"),
        (lambda: [f"1,{n:03d}" for n in range(300)], "views", "number"),
        (drawn("a|b", "b|c", "a", "a|b|c"), "genres", "set"),
        (drawn("Drama, Comedy", "Drama", "Action, Drama", "Comedy, Action"), "genres", "set"),
        (drawn(["x", "y"], ["y"], ["z", "x"]), "tags", "set"),
        (drawn("Paris, France", "Lyon, France", "Rome, Italy", "Milan, Italy"), "place", "category"),
        (lambda: [f"2020-{m:02d}-{d:02d}" for m in range(1, 13) for d in range(1, 29)], "when", "time"),
        (drawn("2020-01-01", "2020-02-01"), "when", "time"),
        (lambda: [f"{d}/{m}/2020" for m in range(1, 13) for d in range(1, 29)], "when", "time"),
        (drawn("20200131", "20200201", "20190101"), "start_date", "time"),
        (drawn(*range(1990, 2020)), "year", "number"),
        (lambda: [[float(n), 2.0, 3.0, 4.0, 1.5, 2.5, 3.5, 9.0] for n in range(50)], "signal", "series"),
        (lambda: [json.dumps(list(range(n, n + 20))) for n in range(50)], "signal", "series"),
    ],
)
def test_the_right_modality_is_the_surest(values: Callable[[], list[Any]], name: str, winner: str) -> None:
    column = object_array(values())
    found = {kind: module.recognise(column, name) for kind, module in MODULES.items()}
    sure = {kind: result.confidence for kind, result in found.items() if result is not None}
    assert max(sure, key=lambda kind: sure[kind]) == winner, sure


@pytest.mark.parametrize("levels", [(1.0, 1.5, 2.0), (1.0, 2.0, 3.0), (0.5, 1.5)])
def test_few_numbers_with_decimal_commas_are_judged_as_those_with_points(levels: tuple[float, ...]) -> None:
    points = [f"{level:.1f}" for level in levels] * 30
    commas = [text.replace(".", ",") for text in points]
    for module in (category, number):
        found = [module.recognise(object_array(texts), "x") for texts in (points, commas)]
        assert len({recognition and recognition.confidence for recognition in found}) == 1


def test_free_text_and_identifiers_are_none_of_these() -> None:
    sentences = [f"I like number {n}, and you, my friend {n % 7}, like something else" for n in range(200)]
    names = [f"Person{n} Surname{n}" for n in range(200)]
    for column in (object_array(sentences), object_array(names)):
        assert [kind for kind, module in MODULES.items() if module.recognise(column, "column")] == []


def test_descriptions_say_what_a_person_wants_to_know() -> None:
    amounts = number.describe(object_array(["1", "2", "2", "", "abc"]))
    assert amounts["missing"] == pytest.approx(0.2)
    assert (amounts["unreadable"], amounts["distinct"], amounts["whole"]) == (1, 2, True)
    assert (amounts["min"], amounts["median"], amounts["max"]) == (1, 2, 2)
    assert category.describe(object_array(["b", "a", "b", None]))["top"] == [["b", 2], ["a", 1]]
    assert sets.describe(object_array(["a|b", "a"]))["top"] == [["a", 2], ["b", 1]]
    days = time.describe(object_array(["2020-01-01", "2020-01-03", "2020-01-05"]))
    assert (days["min"], days["max"], days["step_days"], days["precision"]) == ("2020-01-01", "2020-01-05", 2, "day")
    assert series.describe(object_array([[1, 2], [1, 2, 3, 4]]))["length_max"] == 4
