"""Splitting: shares, strata, groups, time, given tests, equal rows, and the errors of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_table import MemoryTable

from lamina.data import draw
from lamina.data.content import equal_rows, numbered
from lamina.data.schema import Field, Schema
from lamina.data.split import Split, split
from lamina.data.tables import open_table
from lamina.errors import InputError
from lamina.plan import DataPlan

INPUT = Field("x", "number")
CLASS = Field("y", "category", "target")
NUMBER = Field("y", "number", "target")


def check_whole(found: Split, rows: int) -> None:
    parts = [found.train, found.validation, found.test]
    for part in parts:
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
    together = np.concatenate([*parts, np.array([row for row, _ in found.dropped], np.int64)])
    assert sorted(together.tolist()) == list(range(rows))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(20, 400),
    classes=st.integers(2, 6),
    test_share=st.sampled_from([0.1, 0.2, 0.4]),
    seed=st.integers(0, 2**33),
)
def test_stratified_parts_are_whole_and_every_class_gives_its_share(
    rows: int, classes: int, test_share: float, seed: int
) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, rows)
    labels[:2] = [0, 1]
    table = MemoryTable({"x": np.arange(rows) * 1.5, "y": [f"class {label}" for label in labels]})
    data = DataPlan(split="stratified", test_share=test_share)
    found = split(table, Schema((INPUT, CLASS)), data, seed)
    check_whole(found, rows)
    if found.how == "stratified":
        for label in range(classes):
            members = np.flatnonzero(labels == label)
            tested = np.isin(members, found.test).sum()
            if len(members) < draw.RARE:
                assert np.isin(members, found.train).all()
            else:
                assert abs(tested - test_share * len(members)) <= 1
                assert tested >= 1
                assert np.isin(members, found.validation).any()
                assert np.isin(members, found.train).any()


def test_a_kept_split_is_the_same() -> None:
    values = [1.0 + row // 2 for row in range(200)]
    table = MemoryTable({"x": values, "y": [None, *("ab" * 99), "a"]})
    found = split(table, Schema((INPUT, CLASS)), DataPlan(), 1)
    assert found.dropped
    assert found.equal is not None
    again = Split.from_bytes(found.to_bytes())
    assert (again.how, again.reason, again.dropped) == (found.how, found.reason, found.dropped)
    for name in ("train", "validation", "test", "equal"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
        assert getattr(again, name).dtype == np.int64
    assert Split.from_bytes(replace(found, equal=None).to_bytes()).equal is None


def test_same_seed_same_parts_and_another_seed_others() -> None:
    table = MemoryTable({"x": np.arange(200.0), "y": ["a", "b"] * 100})
    schema = Schema((INPUT, CLASS))
    first, again, other = (split(table, schema, DataPlan(), seed) for seed in (5, 5, 6))
    assert np.array_equal(first.test, again.test)
    assert np.array_equal(first.validation, again.validation)
    assert not np.array_equal(first.test, other.test)


def test_rows_with_equal_inputs_stay_together() -> None:
    x = np.concatenate([np.arange(150.0), np.arange(60.0)])
    table = MemoryTable({"x": x, "y": ["a", "b", "c"] * 70})
    for way in ("random", "stratified"):
        found = split(table, Schema((INPUT, CLASS)), DataPlan(split=way, test_share=0.3), 1)
        check_whole(found, 210)
        side = np.empty(210, int)
        for number, part in enumerate((found.train, found.validation, found.test)):
            side[part] = number
        assert np.array_equal(side[:60], side[150:])
        assert "equal rows stay on one side" in found.reason


def test_copies_of_a_file_under_other_names_stay_together(tmp_path: object) -> None:
    root = tmp_path
    for number in range(40):
        (root / f"a{number}.png").write_bytes(bytes([number]) * 50)
        (root / f"b{number}.png").write_bytes(bytes([number]) * 50)
    names = [f"{letter}{number}.png" for letter in "ab" for number in range(40)]
    table = MemoryTable({"path": names, "y": ["a", "b"] * 40}, root=root)
    found = split(table, Schema((Field("path", "image"), CLASS)), DataPlan(), 0)
    side = np.isin(np.arange(80), found.test)
    assert np.array_equal(side[:40], side[40:])
    assert 12 <= side.sum() <= 20


def test_inputs_of_few_values_are_not_copies() -> None:
    table = MemoryTable({"x": np.tile([1.0, 2.0], 100), "y": np.tile(["a", "b", "b", "a"], 50)})
    found = split(table, Schema((INPUT, CLASS)), DataPlan(), 0)
    assert abs(len(found.test) - 40) <= 2
    assert "few values" in found.reason
    assert set(table.data["x"][found.test]) == {1.0, 2.0}


def test_missing_targets_are_dropped_with_the_reason() -> None:
    y = ["1.5", None, "2", "", "n/a", *[str(value) for value in range(30)]]
    found = split(MemoryTable({"x": np.arange(35.0), "y": y}), Schema((INPUT, NUMBER)), DataPlan(split="random"), 0)
    check_whole(found, 35)
    assert found.dropped == tuple((row, "the target y is missing") for row in (1, 3, 4))


def test_unreadable_numbers_are_left_to_the_encoder() -> None:
    y = ["abc", *[str(value) for value in range(30)]]
    found = split(MemoryTable({"x": np.arange(31.0), "y": y}), Schema((INPUT, NUMBER)), DataPlan(split="random"), 0)
    assert found.dropped == ()


def test_given_test_rows_are_the_test() -> None:
    table = MemoryTable({"x": np.arange(120.0), "y": ["a", "b", "c"] * 40})
    found = split(table, Schema((INPUT, CLASS)), DataPlan(split="given"), 0, test_from=90)
    check_whole(found, 120)
    assert found.how == "given"
    assert np.array_equal(found.test, np.arange(90, 120))
    assert sorted(table.data["y"][found.validation].tolist()) == ["a"] * 3 + ["b"] * 3 + ["c"] * 3


def test_a_split_column_gives_all_three_parts() -> None:
    marks = ["train"] * 50 + ["val"] * 10 + ["Testing"] * 20 + [None]
    table = MemoryTable({"x": np.arange(81.0), "y": ["a", "b", "c"] * 27, "split": marks})
    schema = Schema((INPUT, CLASS, Field("split", "category", "split")))
    found = split(table, schema, DataPlan(split="column", column="split"), 0)
    assert np.array_equal(found.train, np.arange(50))
    assert np.array_equal(found.validation, np.arange(50, 60))
    assert np.array_equal(found.test, np.arange(60, 80))
    assert found.dropped == ((80, "split does not say which part it belongs to"),)


def test_a_yes_or_no_column_marks_the_test() -> None:
    table = MemoryTable({"x": np.arange(60.0), "y": ["a", "b"] * 30, "is_test": np.arange(60) % 4 == 0})
    schema = Schema((INPUT, CLASS, Field("is_test", "category", "split")))
    found = split(table, schema, DataPlan(split="column", column="is_test"), 0)
    assert np.array_equal(found.test, np.arange(0, 60, 4))
    assert len(found.validation) in (4, 5)


def test_the_latest_rows_are_the_test_and_a_moment_is_not_divided() -> None:
    days = np.arange("2020-01-01", "2020-02-20", dtype="datetime64[D]").astype("datetime64[us]")
    when = np.random.default_rng(0).permutation(np.repeat(days, 4))
    table = MemoryTable({"x": np.arange(200.0), "y": np.arange(200.0), "when": when})
    schema = Schema((INPUT, NUMBER, Field("when", "time", "time")))
    found = split(table, schema, DataPlan(split="time"), 0)
    check_whole(found, 200)
    assert len(found.test) == 40
    assert len(found.validation) == 16
    assert when[found.train].max() < when[found.validation].min()
    assert when[found.validation].max() < when[found.test].min()


def test_rows_without_a_time_are_dropped() -> None:
    when = [f"2020-01-{day:02d}" for day in range(1, 31)] + [None]
    table = MemoryTable({"x": np.arange(31.0), "y": np.arange(31.0), "when": when})
    schema = Schema((INPUT, NUMBER, Field("when", "time", "time")))
    found = split(table, schema, DataPlan(split="time"), 0)
    assert found.dropped == ((30, "when has no time"),)
    assert np.array_equal(found.test, np.arange(24, 30))


@settings(max_examples=30, deadline=None)
@given(groups=st.integers(4, 40), seed=st.integers(0, 1000))
def test_no_group_is_in_two_parts(groups: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    who = np.concatenate([np.arange(groups), generator.integers(0, groups, 200)])
    labels = generator.integers(0, 2, len(who))
    labels[:2] = [0, 1]
    table = MemoryTable(
        {"x": np.arange(len(who)) * 1.0, "y": [f"c{label}" for label in labels], "who": [f"p{one}" for one in who]}
    )
    schema = Schema((INPUT, CLASS, Field("who", "category", "group")))
    found = split(table, schema, DataPlan(split="group"), seed)
    check_whole(found, len(who))
    parts = [set(who[part]) for part in (found.train, found.validation, found.test)]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert abs(len(found.test) / len(who) - 0.2) < 0.5 / groups + 0.15


def test_given_test_data_still_validates_by_group() -> None:
    who = [f"p{number % 12}" for number in range(120)]
    table = MemoryTable({"x": np.arange(120.0), "y": ["a", "b", "b"] * 40, "who": who})
    schema = Schema((INPUT, CLASS, Field("who", "category", "group")))
    found = split(table, schema, DataPlan(split="given"), 0, test_from=96)
    assert not {who[row] for row in found.train} & {who[row] for row in found.validation}


@pytest.mark.parametrize("later", [True, False])
def test_later_test_data_validate_by_the_latest_training_rows(later: bool) -> None:
    days = np.arange("2020-01-01", "2020-07-19", dtype="datetime64[D]")
    assert len(days) == 200
    if not later:
        days = np.random.default_rng(0).permutation(days)
    table = MemoryTable({"x": np.arange(200.0), "y": ["a", "b"] * 100, "day": days.astype(object)})
    schema = Schema((INPUT, CLASS, Field("day", "time", "input")))
    found = split(table, schema, DataPlan(split="given"), 0, test_from=150)
    assert (days[found.train].max() < days[found.validation].min()) == later
    assert ("the latest training rows by day" in found.reason) == later


def test_validation_is_capped() -> None:
    rows = 150_000
    table = MemoryTable({"x": np.arange(rows) * 1.0, "y": np.arange(rows) % 7 * 1.0})
    table.chunks = lambda rows=None, columns=None, size=50_000: MemoryTable.chunks(table, rows, columns, 50_000)  # type: ignore[method-assign]
    found = split(table, Schema((INPUT, NUMBER)), DataPlan(split="random"), 0)
    assert len(found.validation) == 10_000
    assert len(found.test) == 30_000


def test_rare_sets_of_labels_are_drawn_together() -> None:
    sets = ["a", "b"] * 20 + [f"a|rare {number}" for number in range(40)]
    table = MemoryTable({"x": np.arange(80.0), "y": sets})
    found = split(table, Schema((INPUT, Field("y", "set", "target"))), DataPlan(), 0)
    assert found.how == "stratified"
    assert 6 <= (found.test >= 40).sum() <= 10


@pytest.mark.parametrize(
    ("columns", "fields", "data", "says"),
    [
        ({"x": np.arange(5.0), "y": list("ababa")}, (), DataPlan(), "Only 5 rows"),
        ({"x": np.arange(20.0), "y": ["a"] * 20}, (), DataPlan(), "is a in every row"),
        ({"x": np.arange(20.0), "y": [None] * 20}, (), DataPlan(), "no value in any row"),
        ({"x": np.arange(20.0), "y": ["a", "b"] * 10}, (), DataPlan(test_share=0.0), "test_share is 0.0"),
        ({"x": np.arange(20.0), "y": ["a", "b"] * 10}, (), DataPlan(validation_share=1.5), "validation_share"),
        ({"x": np.arange(20.0), "y": ["a", "b"] * 10}, (), DataPlan(split="radnom"), "no way to split called 'radnom'"),
        ({"x": np.arange(20.0), "y": ["a", "b"] * 10}, (), DataPlan(split="group"), "not said which column"),
        ({"x": np.arange(20.0), "y": ["a", "b"] * 10}, (), DataPlan(split="given"), "not said which column"),
        (
            {"x": np.arange(20.0), "y": ["a", "b"] * 10, "s": ["train"] * 19 + ["tset"]},
            (Field("s", "category", "split"),),
            DataPlan(split="column"),
            "it has the value 'tset'",
        ),
        (
            {"x": np.arange(20.0), "y": ["a", "b"] * 10, "s": ["train"] * 20},
            (Field("s", "category", "split"),),
            DataPlan(split="column"),
            "no test rows",
        ),
        (
            {"x": np.arange(20.0), "y": ["a", "b"] * 10, "s": ["test"] * 20},
            (Field("s", "category", "split"),),
            DataPlan(split="column"),
            "no training rows",
        ),
        (
            {"x": np.arange(20.0), "y": ["a"] * 10 + ["b"] * 10, "s": ["train"] * 10 + ["test"] * 10},
            (Field("s", "category", "split"),),
            DataPlan(split="column"),
            "one value only",
        ),
        (
            {"x": np.arange(20.0), "y": ["a", "b"] * 10, "g": ["one"] * 20},
            (Field("g", "category", "group"),),
            DataPlan(split="group"),
            "one group only",
        ),
        (
            {"x": np.arange(20.0), "y": ["a", "b"] * 10, "t": ["2020-01-01"] * 20},
            (Field("t", "time", "time"),),
            DataPlan(split="time"),
            "same time",
        ),
    ],
)
def test_errors_name_what_is_wrong(columns: dict, fields: tuple, data: DataPlan, says: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=says) as caught:
        split(MemoryTable(columns), Schema((INPUT, CLASS, *fields)), data, 0)
    assert caught.value.fix


def test_test_rows_without_answers_are_an_error() -> None:
    table = MemoryTable({"x": np.arange(40.0), "y": ["a", "b"] * 15 + [None] * 10})
    with pytest.raises(InputError, match="no test rows"):
        split(table, Schema((INPUT, CLASS)), DataPlan(split="given"), 0, test_from=30)


def test_marks_inside_the_training_data_are_not_lost_silently() -> None:
    marks = ["train"] * 24 + ["valid"] * 4 + ["test"] * 2 + [None] * 10
    table = MemoryTable({"x": np.arange(40.0), "y": ["a", "b"] * 20, "split": marks})
    schema = Schema((INPUT, CLASS, Field("split", "category", "split")))
    found = split(table, schema, DataPlan(split="given"), 0, test_from=30)
    assert np.array_equal(found.validation, np.arange(24, 28))
    assert [row for row, _ in found.dropped] == [28, 29]


@given(st.lists(st.one_of(st.none(), st.text(max_size=3), st.floats(allow_nan=True)), min_size=1, max_size=40))
def test_equal_rows_agree_with_comparing_values(items: list) -> None:  # type: ignore[type-arg]
    values = np.empty(len(items), dtype=object)
    values[:] = items
    found = equal_rows(MemoryTable({"x": values}), (Field("x", "text"),))
    for first, second in zip(range(len(items)), range(1, len(items)), strict=False):
        if type(items[first]) is type(items[second]) is str:
            assert (found[first] == found[second]) == (items[first] == items[second])
    assert found[0] == 0
    assert (found <= np.maximum.accumulate(np.concatenate([[-1], found[:-1]])) + 1).all()


def test_equal_rows_looks_at_every_column_in_order() -> None:
    table = MemoryTable({"a": [1, 2, 1, 2, 1], "b": [2, 1, 2, 2, 2]})
    found = equal_rows(table, (Field("a", "number"), Field("b", "number")))
    assert found.tolist() == [0, 1, 0, 2, 0]
    assert numbered(np.array([7, 3, 7])).tolist() == [0, 1, 0]


def test_data_without_a_target_is_drawn_at_random() -> None:
    found = split(MemoryTable({"x": np.arange(50.0)}), Schema((INPUT,)), DataPlan(), 0)
    check_whole(found, 50)
    assert (found.how, len(found.test)) == ("random", 10)


def test_split_can_be_changed_like_any_value() -> None:
    found = split(MemoryTable({"x": np.arange(30.0), "y": ["a", "b"] * 15}), Schema((INPUT, CLASS)), DataPlan(), 0)
    assert replace(found, reason="other").test is found.test


def test_equal_numbers_are_equal_rows_whatever_their_chunks_hold(tmp_path: Path) -> None:
    values: list[int | None] = [*range(5000), *range(5000)]
    values[7000] = None
    large = [None if value is None else value + 2**60 for value in values]
    truths = [None if value is None else value % 2 == 0 for value in values]
    pq.write_table(pa.table({"n": values, "large": large, "true": truths}), tmp_path / "a.parquet")
    table = open_table(tmp_path / "a.parquet", tmp_path / "cache")
    for column, different in (("n", 5001), ("large", 5001), ("true", 3)):
        found = equal_rows(table, [Field(column, "number")])
        assert found.max() + 1 == different
        assert (np.delete(found[:5000], 2000) == np.delete(found[5000:], 2000)).all()


def test_time_is_read_as_the_options_of_its_column_say() -> None:
    rows = 40
    labels = ["a", "b"] * (rows // 2)
    ambiguous = [f"{1 + row % 12}/{1 + row // 12}/2020" for row in range(rows)]
    for options, stamps, order in (
        ({"day_first": True}, ambiguous, np.argsort([(row // 12) * 100 + row % 12 for row in range(rows)])),
        ({"day_first": False}, ambiguous, np.argsort([(row % 12) * 100 + row // 12 for row in range(rows)])),
        ({"unit": "s"}, [str(1_600_000_000 + row) for row in range(rows)], np.arange(rows)),
    ):
        when = Field("t", "time", "time", options=options)
        table = MemoryTable({"x": np.arange(rows) * 1.5, "t": stamps, "y": labels})
        found = split(table, Schema((INPUT, when, CLASS)), DataPlan(split="time"), 0)
        assert not found.dropped
        assert set(found.test.tolist()) == set(order[-len(found.test) :].tolist())


def test_moments_that_are_numbers_may_have_decimal_commas() -> None:
    table = MemoryTable({"x": np.arange(40) * 1.5, "t": [f"{row},5" for row in range(40)], "y": ["a", "b"] * 20})
    found = split(table, Schema((INPUT, Field("t", "number", "time"), CLASS)), DataPlan(split="time"), 0)
    assert not found.dropped
    assert found.test.min() > found.train.max()


def test_the_decimal_sign_of_a_target_may_be_left_to_the_column() -> None:
    target = Field("y", "number", "target", options={"decimal": "auto"})
    table = MemoryTable({"x": np.arange(40) * 1.5, "y": [f"{row},5 €" for row in range(40)]})
    assert not split(table, Schema((INPUT, target)), DataPlan(split="random"), 0).dropped
