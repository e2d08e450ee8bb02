"""The sealed file and its runtime: what goes in comes out, every row is answered or explained, in order."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import forecasting_model, objects, seal, table, table_model

from lamina.errors import InputError
from lamina.evaluate.results import Interval, TargetResult
from lamina.model import card, format, golden, inner  # noqa: A004
from lamina.model.format import Sealed
from lamina.model.predict import predict_to_file, text_of
from lamina.model.rows import open_rows
from lamina.model.runtime import Model, load
from lamina.plan import Plan

KEPT = Path(__file__).parents[1] / "golden" / "formats"
COLUMNS = ("bought", "bought.p", "bought.p.no", "bought.p.yes", "price", "price.low", "price.high")


@pytest.fixture(scope="module")
def model() -> Model:
    return load(KEPT / "v1-tiny.lamina", threads=1)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    chunk = table(700, seed=5)
    return [{"age": a, "color": c} for a, c in zip(chunk["age"], chunk["color"], strict=True)]


@pytest.mark.parametrize("file", sorted(KEPT.glob("*.lamina")), ids=lambda file: file.name)
def test_every_kept_version_still_gives_its_golden_answers(file: Path) -> None:
    checked = load(file).check_golden()
    assert checked["rows"] >= 5
    assert checked["agree"] == checked["rows"]


def test_what_is_written_is_what_is_read_and_the_bytes_depend_on_nothing_else(tmp_path: Path) -> None:
    sealed = format.read(KEPT / "v1-tiny.lamina")
    format.write(tmp_path / "one.lamina", sealed)
    size = format.write(tmp_path / "two.lamina", sealed)
    assert format.read(tmp_path / "one.lamina") == sealed
    assert (tmp_path / "one.lamina").read_bytes() == (tmp_path / "two.lamina").read_bytes()
    assert (tmp_path / "one.lamina").stat().st_size == size
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one.lamina", "two.lamina"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), json_values, max_size=5), st.integers(0, 200_000))
def test_any_parts_survive_sealing_even_those_that_shrink_like_a_bomb(card_: dict[str, Any], blank: int) -> None:
    network = format.read(KEPT / "v1-tiny.lamina").network
    sealed = Sealed(network, {"a": "b"}, {"c": "d"}, {"blank": "A" * blank}, {}, card_)
    assert format.read(format.to_bytes(sealed)) == sealed


def test_exported_bytes_are_deterministic_and_name_no_place() -> None:
    one, _ = table_model()
    other, _ = table_model()
    assert one.network == other.network
    for place in (os.getcwd(), sys.prefix, os.path.expanduser("~"), "site-packages", __file__):
        assert place.encode() not in one.network


def test_answers_do_not_depend_on_the_batch(model: Model, rows: list[dict[str, Any]]) -> None:
    whole = model.predict(rows, batch=1000).to_columns()
    for batch in (1, 7, 256):
        parts = model.predict(rows[:300], batch=batch).to_columns()
        for name in COLUMNS:
            if whole[name].dtype == object:
                assert list(parts[name]) == list(whole[name][:300])
            else:
                np.testing.assert_allclose(parts[name], whole[name][:300], rtol=1e-5)


def test_every_form_of_the_same_rows_gives_the_same_answers(
    model: Model, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    import pandas
    import polars

    rows = rows[:40]
    expected = model.predict(rows).to_rows()
    columns = {name: [row[name] for row in rows] for name in ("age", "color")}
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["color", "age", "more"])
        writer.writeheader()
        writer.writerows({**row, "more": 1} for row in rows)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    typed = {"age": np.array([float(value) for value in columns["age"]]), "color": columns["color"]}
    for data in (
        columns,
        typed,
        pandas.DataFrame(typed),
        polars.DataFrame(columns),
        tmp_path / "rows.csv",
        str(tmp_path / "rows.jsonl"),
        tuple(rows),
    ):
        assert model.predict(data).to_rows() == expected
    assert model.predict(rows[3]).to_rows() == model.predict([rows[3]]).to_rows()


def reading(model: Model, **columns: str) -> Model:
    """The same model, whose fields are read from other columns."""
    encoders = json.loads(json.dumps(model.sealed.encoders))
    for field, column in columns.items():
        encoders[field]["field"]["columns"] = [column]
    return load(format.to_bytes(replace(model.sealed, encoders=encoders)), threads=1)


def test_columns_with_numbers_for_names_are_read_in_every_form(model: Model, rows: list[dict[str, Any]]) -> None:
    import pandas

    numbered = reading(model, age="0", color="1")
    frame = pandas.DataFrame({0: [row["age"] for row in rows[:5]], 1: [row["color"] for row in rows[:5]]})
    expected = model.predict(rows[:5]).to_rows()
    for data in (frame, frame.to_dict("records"), frame.to_dict("list"), frame.to_dict("series")):
        assert numbered.predict(data).to_rows() == expected
    assert numbered.predict({0: rows[0]["age"], 1: rows[0]["color"]})[0] == expected[0]


def test_nested_rows_are_read_as_nested_files_are(model: Model, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    nested = reading(model, age="who.age")
    data = [{"who": {"age": row["age"], "name": "A."}, "color": row["color"]} for row in rows[:3]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
    expected = model.predict(rows[:3]).to_rows()
    assert nested.predict(tmp_path / "rows.jsonl").to_rows() == expected
    assert nested.predict(data).to_rows() == expected
    assert nested.predict(json.dumps(data[0])).to_rows() == nested.predict(data[0]).to_rows() == expected[:1]
    with pytest.raises(InputError, match=r"who\.age"):
        nested.predict([{"who": {"years": 3}, "color": "red"}])
    with pytest.raises(InputError, match="nested"):
        nested.predict('{"who":' * 100_000)


def test_columns_of_different_lengths_are_no_row(model: Model) -> None:
    with pytest.raises(InputError, match="age: 2, color: 3"):
        model.predict({"age": [1, 2], "color": ["red", "green", "blue"]})


def test_the_samples_of_one_sound_are_one_row() -> None:
    from types import SimpleNamespace

    from lamina.data.schema import Field

    heard: Any = SimpleNamespace(
        inputs={"said": SimpleNamespace(field=Field("said", "audio"))},
        columns=("said",),
        targets=("word",),
        fitting=lambda batch: batch,
    )
    samples = np.zeros(800, np.float32)
    (chunk,) = open_rows({"said": samples}, heard, 1000)
    assert len(chunk) == 1
    assert chunk.values["said"][0] is samples
    assert [len(chunk) for chunk in open_rows({"said": ["a.wav", "b.wav"]}, heard, 1000)] == [2]


def test_a_bad_row_gives_one_error_entry_and_changes_no_other(model: Model, rows: list[dict[str, Any]]) -> None:
    bad = [*rows[:3], {"age": "thirty", "color": "red"}, *rows[3:6]]
    answers = model.predict(bad, batch=2)
    assert list(answers.errors) == [3]
    assert "thirty" in answers[3]["error"]
    assert "age" in answers[3]["error"]
    assert {answers[3][name] for name in COLUMNS} == {None}
    good = [*answers[:3], *answers[4:]]
    for answer, expected in zip(good, model.predict(rows[:6]), strict=True):
        assert answer["bought"] == expected["bought"]
        assert answer["error"] is None
        assert answer["price"] == pytest.approx(expected["price"], rel=1e-5)
    columns = answers.to_columns()
    assert np.isnan(columns["price"][3])
    assert columns["bought"][3] is None
    assert columns["error"].tolist().count(None) == 6


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fixed_dictionaries({"age": json_values, "color": json_values}), min_size=1, max_size=6))
def test_no_value_whatever_stops_a_batch(rows: list[dict[str, Any]]) -> None:
    answers = _kept().predict(rows)
    assert len(answers) == len(rows)
    for answer in answers:
        assert (answer["error"] is None) == (answer["bought"] in ("yes", "no"))


_KEPT: list[Model] = []


def _kept() -> Model:
    if not _KEPT:
        _KEPT.append(load(KEPT / "v1-tiny.lamina", threads=1))
    return _KEPT[0]


def test_a_missing_column_is_named_with_those_that_are_there(model: Model) -> None:
    with pytest.raises(InputError, match="'color'") as caught:
        model.predict([{"age": 3, "colour": "red"}])
    assert "colour" in caught.value.fix
    with pytest.raises(InputError, match="'age', 'color'"):
        model.predict({"x": [1, 2]})


def test_a_value_that_only_some_rows_lack_is_a_missing_value(model: Model) -> None:
    answers = model.predict([{"age": "40", "color": "red"}, {"age": "40"}])
    assert answers[0]["error"] is None
    assert answers[1] == model.predict({"age": "40", "color": None})[0]


def test_no_rows_give_no_answers(model: Model) -> None:
    answers = model.predict([])
    assert len(answers) == 0
    assert answers.to_rows() == []
    assert tuple(answers.to_columns()) == (*COLUMNS, "error")


def test_answers_read_like_a_list(model: Model, rows: list[dict[str, Any]]) -> None:
    answers = model.predict(rows[:5], batch=2)
    assert answers[-1] == answers[4] == answers.to_rows()[4]
    assert answers[1:3] == answers.to_rows()[1:3]
    with pytest.raises(IndexError):
        answers[5]
    assert list(answers.to_pandas()["bought"]) == list(answers.to_polars()["bought"])


@pytest.mark.parametrize("extension", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_files_of_answers_keep_order_and_errors(extension: str, model: Model, tmp_path: Path) -> None:
    source, out = tmp_path / "rows.csv", tmp_path / f"answers.{extension}"
    source.write_text("age,color\n" + "".join(f"{'x' if n == 300 else n % 80},red\n" for n in range(700)))
    counts = predict_to_file(model, source, out)
    assert counts == {"rows": 700, "errors": 1}
    found = read_answers(out)
    expected = model.predict(source).to_rows()
    assert list(found[0]) == [*COLUMNS, "error"]
    for row, (got, wanted) in enumerate(zip(found, expected, strict=True)):
        if row == 300:
            assert "'x'" in got["error"]
            assert got["bought"] in ("", None)
            assert got["price"] in ("", None)
        else:
            assert got["error"] in ("", None)
            assert got["bought"] == wanted["bought"]
            assert np.float32(got["price"]) == np.float32(wanted["price"])
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(["rows.csv", out.name])


def read_answers(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_text().splitlines()]
    if file.suffix == ".json":
        found: list[dict[str, Any]] = json.loads(file.read_text())
        return found
    if file.suffix == ".parquet":
        import polars

        return polars.read_parquet(file).to_dicts()
    with file.open(newline="") as content:
        return list(csv.DictReader(content, delimiter="\t" if file.suffix == ".tsv" else ","))


def test_answers_on_the_screen_are_csv(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    predict_to_file(model, [{"age": 30, "color": "red"}], "-")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == ",".join([*COLUMNS, "error"])
    assert len(lines) == 2


def test_vectors_in_parquet_are_numbers(model: Model, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"age": 30, "color": "red"}, {"age": "thirty", "color": "red"}]
    embedding = inner.encoder(model)
    predict_to_file(embedding, rows, tmp_path / "vectors.parquet")
    column = pyarrow.parquet.read_table(tmp_path / "vectors.parquet")["embedding"]
    assert column.type == pyarrow.list_(pyarrow.float64())
    assert column.to_pylist() == [embedding.predict(rows)[0]["embedding"], None]


def test_a_closed_screen_is_one_clear_error(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match="closed") as caught:
        predict_to_file(model, [{"age": 30, "color": "red"}], "-")
    assert "--out" in caught.value.fix


def test_one_row_as_json_is_answered(model: Model, tmp_path: Path) -> None:
    row = {"age": 30, "color": "red", "note": "x" * 5000}
    out = tmp_path / "answers.jsonl"
    # The second time the file is there already, and the row is no path to compare it with.
    for _ in range(2):
        predict_to_file(model, json.dumps(row), out)
    (found,) = read_answers(out)
    assert found["bought"] == model.predict(row)[0]["bought"]
    with pytest.raises(InputError, match="not valid JSON"):
        model.predict('{"age": 30, "color"')


@pytest.mark.parametrize(
    ("out", "says"),
    [("answers.xls", "extension"), ("answers", "extension"), ("no/such/answers.csv", "folder"), ("rows.csv", "itself")],
)
def test_a_wrong_out_is_refused_before_any_work(out: str, says: str, model: Model, tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("age,color\n1,red\n")
    with pytest.raises(InputError, match=says):
        predict_to_file(model, str(source), tmp_path / out)
    assert source.read_text() == "age,color\n1,red\n"


def test_a_failed_prediction_leaves_the_old_file(model: Model, tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text("old")
    (tmp_path / "rows.csv").write_text("size\n3\n")
    with pytest.raises(InputError, match="column"):
        predict_to_file(model, tmp_path / "rows.csv", tmp_path / "answers.csv")
    assert (tmp_path / "answers.csv").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


@given(st.floats(width=32, allow_nan=False))
def test_numbers_are_written_short_and_lose_nothing(value: float) -> None:
    assert np.float32(text_of(value)) == np.float32(value)


def test_cells_of_every_kind() -> None:
    assert [text_of(value) for value in (None, "=1+1", 0.1, float(np.float32(0.1)), ["a", "é"], 3)] == [
        "", "=1+1", "0.1", "0.1", '["a", "é"]', "3",
    ]  # fmt: skip


def test_pictures_from_a_folder_are_named_by_path(tmp_path: Path) -> None:
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(12):
        pixels = random.integers(0, 256, (8, 8), dtype=np.uint8) // (2 if number % 2 else 1)
        Image.fromarray(pixels).save(tmp_path / f"{number:02}.png")
    paths = objects([str(tmp_path / f"{number:02}.png") for number in range(12)])
    chunk = {"photo": paths, "kind": objects(["dark", "light"] * 6), "tags": objects([["a"], ["a", "b"]] * 6)}
    sealed, _ = seal(chunk, {"photo": "image"}, {"kind": "classify", "tags": "tag"})
    sealed = golden.sealed_with(Model(sealed, threads=1), {"photo": paths[:3]})
    model = load(format.to_bytes(sealed), threads=1)
    (tmp_path / "05.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    answers = model.predict(tmp_path)
    assert [row["path"] for row in answers] == [f"{number:02}.png" for number in range(12)]
    assert list(answers.errors) == [5]
    assert answers[5]["kind"] is None
    assert isinstance(answers[0]["tags"], list)
    assert model.predict(tmp_path / "03.png").to_rows()[0]["kind"] == answers[3]["kind"]
    assert model.predict([{"photo": (tmp_path / "03.png").read_bytes()}])[0]["kind"] == answers[3]["kind"]
    for file in tmp_path.glob("*.png"):
        file.unlink()
    assert model.check_golden()["agree"] == 3
    for extension in ("csv", "parquet"):
        predict_to_file(model, [{"photo": None}], tmp_path / f"out.{extension}")
        assert read_answers(tmp_path / f"out.{extension}")[0]["error"]


def test_a_changed_network_is_seen_by_its_golden_answers() -> None:
    sealed = format.read(KEPT / "v1-tiny.lamina")
    answers = [dict(row) for row in sealed.golden["answers"]]
    answers[2]["price"] += 1.0
    changed = Sealed(**{**vars(sealed), "golden": {**sealed.golden, "answers": answers}})
    checked = load(format.to_bytes(changed)).check_golden()
    assert (checked["sound"], checked["agree"], checked["differences"][0]["column"]) == (False, 7, "price")


def with_answers(sealed: Sealed, change: Any) -> Model:
    """The same model with all golden numbers changed."""
    answers = [
        {name: change(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in sealed.golden["answers"]
    ]
    return load(format.to_bytes(replace(sealed, golden={**sealed.golden, "answers": answers})), threads=1)


@pytest.mark.parametrize(
    ("values", "transform", "wrong"),
    [
        (lambda age: 1e-6 * age, "none", lambda value: value + 1e-6),
        (lambda age: 300 + 1e-3 * age, "none", lambda value: value + 1e-3),
        (lambda age: np.exp(0.1 * age) * 1e-9, "log", lambda value: value * 1.01),
    ],
    ids=["tiny", "far from zero", "logarithm"],
)
def test_golden_numbers_are_compared_in_units_of_their_spread(values: Any, transform: str, wrong: Any) -> None:
    chunk = table()
    age = np.array(chunk["age"], np.float64)
    chunk["price"] = objects([f"{value!r}" for value in values(age).tolist()])
    sealed, _ = seal(chunk, {"age": "number"}, {"price": "regress"})
    assert sealed.tasks["price"]["state"]["transform"] == transform
    sealed = golden.sealed_with(Model(sealed, threads=1), {"age": chunk["age"][:8]})
    spread = sealed.tasks["price"]["state"]["spread"]
    rounding = {"none": lambda value: value + 1e-4 * spread, "log": lambda value: value * (1 + 1e-4 * spread)}
    assert with_answers(sealed, rounding[transform]).check_golden()["agree"] == 8
    assert with_answers(sealed, wrong).check_golden()["agree"] == 0


def test_golden_forecasts_are_compared_in_units_of_their_spread() -> None:
    sealed = forecasting_model()
    days = [f"2024-01-{day:02}" for day in range(1, 9)]
    row = {
        "day": days,
        "sold": [*(1e6 + day for day in range(6)), None, None],
        "shop": ["a"] * 8,
        "promo": [0] * 8,
        "rain": [0] * 8,
    }
    sealed = golden.sealed_with(Model(sealed, threads=1), {"window": objects([json.dumps(row)])})
    (answer,) = sealed.golden["answers"]
    assert load(format.to_bytes(sealed), threads=1).check_golden()["agree"] == 1
    answer["sold"][0] += 100
    assert load(format.to_bytes(sealed), threads=1).check_golden()["agree"] == 0


def test_golden_examples_never_outgrow_what_a_file_may_hold(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "LARGEST", 20_000)
    words = ["x" * 9_000, "red", "y" * 15_000, "z" * 9_000, "blue"]
    sealed = golden.sealed_with(model, {"age": objects(["40"] * 5), "color": objects(words)})
    assert [row["color"] for row in sealed.golden["rows"]] == [words[0], "red", words[3], "blue"]
    assert len(sealed.golden["answers"]) == 4
    assert load(format.to_bytes(sealed), threads=1).check_golden()["sound"]


def test_golden_boxes_may_differ_by_their_rounding() -> None:
    box = {"label": "cat", "x": 4.0, "y": 312.57, "width": 20.0, "height": 9.5, "score": 0.9}
    wanted = {"width": 640.0, "height": 480.0, "boxes": [box]}
    near = {**wanted, "boxes": [{**box, "x": 4.01, "y": 312.58, "score": 0.8999}]}
    assert golden._agree(near, wanted)
    for wrong in ({"x": 4.2}, {"label": "dog"}, {"score": 0.7}):
        assert not golden._agree({**wanted, "boxes": [{**box, **wrong}]}, wanted)
    assert not golden._agree({**wanted, "boxes": []}, wanted)
    assert not golden._agree({"width": 640.0, "height": 480.0}, wanted)


def test_the_card_says_what_matters_first_hand() -> None:
    interval = Interval(0.8, 0.7, 0.9)
    result = TargetResult("bought", "classify", {"accuracy": interval}, "Trees are better: use them.", "baseline")
    made = card.build(Plan(name="shop"), {"rows": 100, "test": 20, "dropped_count": 3}, [result], {}, golden=8)
    json.dumps(made)
    assert made["targets"]["bought"]["scores"]["accuracy"]["low"] == 0.7
    assert "Trees are better: use them." in made["limits"][0]
    for says in ("Only 20 test rows", "3 rows", "8 raw example rows"):
        assert any(says in limit for limit in made["limits"])


def test_predicting_needs_no_training_library(tmp_path: Path) -> None:
    """CSV in, CSV and JSON lines out, with every library of training made unimportable."""
    (tmp_path / "rows.csv").write_text("age,color\n31,red\nx,blue\n")
    code = (
        "import sys\n"
        "for name in ('torch','polars','pyarrow','sklearn','lightgbm','pandas','onnx','scipy','transformers','PIL',\n"
        "             'soundfile','tokenizers','jinja2','rich','fsspec','safetensors'):\n"
        "    sys.modules[name] = None\n"
        "from lamina.model.predict import predict_to_file\n"
        "from lamina.model.runtime import load\n"
        "from lamina.explain.explain import as_text, explain_input, page\n"
        "model = load(sys.argv[1])\n"
        "predict_to_file(model, sys.argv[2], sys.argv[2] + '.jsonl')\n"
        "explained = explain_input(model, sys.argv[2])\n"
        "assert 'color' in as_text(explained) and '<svg' in page(explained)\n"
    )
    arguments = [str(KEPT / "v1-tiny.lamina"), str(tmp_path / "rows.csv")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = read_answers(tmp_path / "rows.csv.jsonl")
    assert found[0]["bought"] in ("yes", "no")
    assert "'x'" in found[1]["error"]
