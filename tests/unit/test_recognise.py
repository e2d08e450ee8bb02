"""Recognising columns: modality, role, reasons, groups of columns, overrides, and the errors."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_table import MemoryTable

from lamina.data.column_groups import column_groups
from lamina.data.recognise import recognise
from lamina.errors import InputError

ROWS = 300
RANDOM = np.random.default_rng(0)


def people(**more: Any) -> MemoryTable:
    generator = np.random.default_rng(1)
    columns = {
        "age": [str(age) for age in generator.integers(18, 80, ROWS)],
        "city": generator.choice(["Rome", "Oslo", "Lima"], ROWS).tolist(),
        "income": [f"{value:.2f}" for value in generator.normal(3000, 500, ROWS)],
        "good": generator.choice(["yes", "no"], ROWS).tolist(),
    }
    return MemoryTable({**columns, **more})


def texts(values: Any) -> list[str]:
    return [str(value) for value in values]


def test_modalities_and_roles_with_reasons() -> None:
    schema = recognise(people(), ["good"])
    assert [(field.name, field.modality, field.role) for field in schema] == [
        ("age", "number", "input"),
        ("city", "category", "input"),
        ("income", "number", "input"),
        ("good", "category", "target"),
    ]
    assert all(field.reason for field in schema)


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("id", texts(RANDOM.permutation(ROWS) * 7), "the name says so"),
        ("PassengerId", texts(range(1, ROWS + 1)), "the name says so"),
        ("customer_id", [f"customer {number}".replace(" ", "") for number in range(ROWS)], "the name says so"),
        ("number", texts(range(1, ROWS + 1)), "count the rows"),
        ("key", [str(uuid.UUID(int=int(value))) for value in RANDOM.integers(0, 2**62, ROWS)], "UUIDs"),
        ("content", [hashlib.sha1(str(number).encode()).hexdigest() for number in range(ROWS)], "hashes"),
        ("code", [f"A-{number:05d}" for number in range(ROWS)], "all are like 'A-00000'"),
        ("constant", ["x"] * ROWS, "the same value in every row (x)"),
        ("one", np.ones(ROWS), "the same value in every row (1)"),
        ("empty", [None] * ROWS, "no value in any row"),
        ("gaps", np.full(ROWS, np.nan), "no value in any row"),
        ("fold", texts(np.arange(ROWS) % 5), "cross-validation"),
    ],
)
def test_columns_that_say_nothing_are_left_out(name: str, values: Any, why: str) -> None:
    field = recognise(people(**{name: values}), ["good"])[name]
    assert field.role == "ignore"
    assert why in field.reason


@pytest.mark.parametrize(
    ("name", "values", "modality"),
    [
        ("year", texts(range(1700, 1700 + ROWS)), "number"),
        ("price", texts(RANDOM.permutation(ROWS * 3)[:ROWS]), "number"),
        ("amount", [f"{value:.6f}" for value in RANDOM.normal(size=ROWS)], "number"),
        ("paid", texts(RANDOM.integers(0, 100, ROWS)), "number"),
        ("when", [f"2021-{1 + day % 12:02d}-{1 + day // 12:02d}" for day in range(ROWS)], "time"),
        ("shop_id", texts(RANDOM.integers(0, 60, ROWS)), "category"),
        ("flag", RANDOM.integers(0, 2, ROWS) == 1, "category"),
    ],
)
def test_columns_that_only_look_like_identifiers_are_kept(name: str, values: Any, modality: str) -> None:
    field = recognise(people(**{name: values}), ["good"])[name]
    assert (field.role, field.modality) == ("input", modality)


def test_a_flag_that_is_rare_beyond_the_sample_is_no_constant() -> None:
    rare = np.zeros(20_000, dtype=np.int64)
    rare[17_000:17_003] = 1
    table = MemoryTable({"rare": rare, "x": RANDOM.normal(size=20_000), "y": ["a", "b"] * 10_000})
    field = recognise(table, ["y"])["rare"]
    assert field.role == "input"


def test_long_texts_are_text_and_a_text_target_of_few_values_a_category() -> None:
    words = ["fox", "jumps", "over", "lazy", "dog", "then", "sleeps", "for", "many", "long", "hours", "in", "sun"]
    generator = np.random.default_rng(2)
    mails = [" ".join(generator.choice(words, 30)) for _ in range(ROWS)]
    answers = ["please " + " ".join(words), "thank you " + " ".join(words[2:])]
    table = people(mail=mails, answer=[answers[number % 2] for number in range(ROWS)])
    schema = recognise(table, ["answer"])
    assert (schema["mail"].modality, schema["mail"].role) == ("text", "input")
    assert (schema["answer"].modality, schema["answer"].role) == ("category", "target")


def test_decimal_commas_change_no_role() -> None:
    numbers = {"price": RANDOM.normal(100, 20, ROWS), "sample_weight": RANDOM.random(ROWS)}
    texts = {name: [f"{number:.5f}".replace(".", ",") for number in part] for name, part in numbers.items()}
    typed, written = recognise(people(**numbers), ["good"]), recognise(people(**texts), ["good"])
    for name, role in (("price", "input"), ("sample_weight", "weight")):
        assert (typed[name].modality, typed[name].role) == ("number", role)
        assert (written[name].modality, written[name].role) == ("number", role)


def test_weights_of_rows_have_that_role() -> None:
    schema = recognise(people(sample_weight=RANDOM.random(ROWS), weight=RANDOM.normal(70, 9, ROWS)), ["good"])
    assert schema["sample_weight"].role == "weight"
    assert schema["weight"].role == "input"


def test_a_split_column_is_one_and_its_test_rows_are_not_looked_at() -> None:
    marks = ["train"] * 200 + ["test"] * 100
    late = ["7"] * 200 + texts(range(100))
    schema = recognise(people(split=marks, late=late), ["good"])
    assert schema["split"].role == "split"
    assert schema["split"].reason == "says which part a row belongs to (train, test)"
    assert schema["late"].reason == "the same value in every row (7)"


def test_a_split_column_may_have_any_name() -> None:
    schema = recognise(people(part=["train", "test", "train"] * 100), ["good"], {"part": {"role": "split"}})
    assert schema["part"].role == "split"


def test_only_the_rows_that_may_be_seen_are_looked_at() -> None:
    table = people(x=["1.5"] * 150 + ["text"] * 150)
    assert recognise(table, ["good"], rows=np.arange(150))["x"].reason == "the same value in every row (1.5)"


def series_table(prefix: str = "s", steps: int = 20, alike: bool = True) -> MemoryTable:
    generator = np.random.default_rng(3)
    values = generator.normal(size=(80, steps))
    values = values.cumsum(axis=1) if alike else values
    columns = {f"{prefix}{step}": [f"{value:.5f}" for value in values[:, step]] for step in range(steps)}
    return MemoryTable({"label": ["a", "b"] * 40, **columns, "other": [f"{x:.3f}" for x in values[:, 0]]})


def test_numbered_columns_that_are_alike_are_one_series() -> None:
    schema = recognise(series_table(), ["label"])
    assert [field.name for field in schema] == ["label", "s", "other"]
    field = schema["s"]
    assert field.modality == "series"
    assert field.columns == tuple(f"s{step}" for step in range(20))
    assert "20 numbered columns" in field.reason


def test_numbered_columns_with_decimal_commas_are_alike_as_those_with_points() -> None:
    table = series_table()
    sample = {name: np.char.replace(table.take([*range(80)], [name])[name].astype(str), ".", ",").astype(object)
              for name in table.columns[1:-1]}  # fmt: skip
    assert [group.series for group in column_groups(sample)] == [True]


def test_numbered_columns_that_are_not_alike_or_too_few_are_numbers() -> None:
    for table in (series_table("v", alike=False), series_table(steps=15)):
        schema = recognise(table, ["label"])
        assert all(len(field.columns) == 1 for field in schema)
    assert recognise(series_table("t", alike=False), ["label"])["t"].modality == "series"


def test_numbered_columns_follow_what_was_asked() -> None:
    assert recognise(series_table("v", alike=False), ["label"], {"v": {"modality": "series"}})["v"].columns[-1] == "v19"
    apart = recognise(series_table(), ["label"], {"s": {"modality": "number"}})
    assert apart["s7"].modality == "number"
    ignored = recognise(series_table(), ["label"], {"s": {"role": "ignore"}})
    assert ignored["s"].role == "ignore"
    without_first = recognise(series_table(), ["label"], {"s0": {"role": "ignore"}})
    assert without_first["s"].columns[0] == "s1"
    assert without_first["s0"].role == "ignore"


@settings(max_examples=25, deadline=None)
@given(first=st.integers(0, 50), steps=st.integers(16, 40), gap=st.booleans(), seed=st.integers(0, 99))
def test_groups_have_every_number_once_in_order(first: int, steps: int, gap: bool, seed: int) -> None:
    numbers = list(range(first, first + steps)) + ([first + steps + 1] if gap else [])
    shuffled = np.random.default_rng(seed).permutation(numbers)
    sample = {f"x_{number}": np.arange(5.0) for number in shuffled} | {"x": np.arange(5.0)}
    (group,) = column_groups(sample)
    assert group.columns == tuple(f"x_{number}" for number in range(first, first + steps))
    assert group.name == "x_series"


def test_overrides_win_and_say_so() -> None:
    schema = recognise(
        people(id=texts(range(ROWS))),
        ["good"],
        {
            "age": {"modality": "category"},
            "id": {"role": "input"},
            "city": {"role": "group"},
            "income": {"options": {"transform": "log"}},
        },
    )
    assert schema["age"].modality == "category"
    assert "as you asked" in schema["age"].reason
    assert schema["id"].role == "input"
    assert schema["city"].role == "group"
    assert dict(schema["income"].options) == {"transform": "log"}


def test_a_target_may_be_named_by_its_role() -> None:
    assert [field.name for field in recognise(people(), [], {"good": {"role": "target"}}).targets] == ["good"]


def test_few_whole_numbers_are_classes_as_a_target_and_numbers_as_an_input() -> None:
    grades = texts(RANDOM.integers(1, 8, ROWS))
    asked = recognise(people(grade=grades), ["grade"])["grade"]
    assert asked.modality == "category"
    assert "--set schema.grade.modality=number" in asked.reason
    assert recognise(people(grade=grades), ["good"])["grade"].modality == "number"
    assert recognise(people(), ["age"])["age"].modality == "number"


def test_several_targets() -> None:
    assert [field.name for field in recognise(people(), ["good", "income", "good"]).targets] == ["income", "good"]


def picture_folder(root: Path, table: dict[str, Any]) -> MemoryTable:
    from PIL import Image

    for name in table["path"]:
        (root / name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(root / name)
    return MemoryTable(table, root=root)


def test_a_folder_of_classes_needs_no_target(tmp_path: Path) -> None:
    names = [f"{label}/{number}.png" for label in ("cat", "dog") for number in range(15)]
    table = picture_folder(tmp_path, {"path": names, "label": [name.split("/")[0] for name in names]})
    schema = recognise(table)
    assert (schema["path"].modality, schema["path"].role) == ("image", "input")
    assert (schema["label"].modality, schema["label"].role) == ("category", "target")


@pytest.mark.parametrize(
    ("targets", "overrides", "says", "fix"),
    [
        ([], {}, "not said which column", "--target good"),
        (["goood"], {}, "no column 'goood'", "did you mean 'good'"),
        (["good"], {"agee": {"role": "ignore"}}, "no column 'agee'", "did you mean 'age'"),
        (["good"], {"good": {"role": "ignore"}}, "cannot have the role 'ignore'", "choose another"),
        (["good"], {"age": {"role": "ignored"}}, "no role 'ignored'", "did you mean 'ignore'"),
        (["good"], {"age": {"modality": "nubmer"}}, "no modality 'nubmer'", "did you mean 'number'"),
        (["good"], {"age": {"modlity": "number"}}, "no setting 'modlity'", "did you mean 'modality'"),
        (
            ["good"],
            {name: {"role": "ignore"} for name in ("age", "city", "income")},
            "no column left to learn from",
            "schema.age.role=input",
        ),
    ],
)
def test_errors_name_the_nearest(targets: list[str], overrides: dict[str, Any], says: str, fix: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        recognise(people(), targets, overrides)
    assert fix in caught.value.fix


def test_the_names_of_files_kinds_are_classes_however_few_files_there_are() -> None:
    few = MemoryTable({"path": ["cat/1.png", "dog/1.png"], "label": ["cat", "dog"]})
    assert recognise(few)["label"].modality == "category"
    named = MemoryTable({"size": ["1.5", "2.5"], "kind": ["a", "b"]})
    with pytest.raises(InputError, match="No modality recognises"):
        recognise(named, ["kind"])
    said = recognise(named, ["kind"], {"kind": {"modality": "category"}})
    assert said["kind"].modality == "category", "what the error proposes helps"


def test_a_table_without_rows_or_inputs_is_an_error() -> None:
    with pytest.raises(InputError, match="no rows"):
        recognise(MemoryTable({"x": np.empty(0), "y": np.empty(0)}), ["y"])
    with pytest.raises(InputError, match="the only one"):
        recognise(MemoryTable({"y": ["a", "b"] * 20}), ["y"])


def test_same_answer_twice() -> None:
    generator = np.random.default_rng(5)
    table = MemoryTable({"x": generator.normal(size=9_000), "y": generator.choice(["a", "b"], 9_000).tolist()})
    assert recognise(table, ["y"]) == recognise(table, ["y"])
