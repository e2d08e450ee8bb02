"""Explanations find what a network built by hand looks at, and their parts add up."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_models import objects, seal, table
from torch import Tensor, nn

from lamina.data.schema import Field, Schema
from lamina.errors import InputError
from lamina.explain import drawing, occlusion
from lamina.explain.contributions import contributions
from lamina.explain.explain import as_text, evenly, explain, explain_input, page, render
from lamina.explain.permutation import importance
from lamina.explain.question import question
from lamina.model import format, golden  # noqa: A004
from lamina.model.runtime import Model, load
from lamina.steps.explanations import _examples
from lamina.steps.shown import shown_value

KEPT = Path(__file__).parents[1] / "golden" / "formats" / "v1-tiny.lamina"


class Looks(nn.Module):
    """Answers "yes" by how large the part of one input is that `look` returns, [row, ...]."""

    def __init__(self, look: Callable[[Mapping[str, Tensor]], Tensor]) -> None:
        super().__init__()
        self.look = look

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        strength = self.look(inputs).float().flatten(1).mean(1)
        return {"answer": torch.stack([-strength, strength], 1)[:, None]}


def looking(values: list[Any], modality: str, look: Callable[[Mapping[str, Tensor]], Tensor]) -> Model:
    chunk = {"x": objects(values), "answer": objects(["no", "yes"] * (len(values) // 2))}
    sealed, _ = seal(chunk, {"x": modality}, {"answer": "classify"}, build=lambda encoders: Looks(look))
    return load(format.to_bytes(sealed), threads=1)


@pytest.fixture(scope="module")
def model() -> Model:
    return load(KEPT, threads=1)


def test_shuffling_finds_the_field_that_the_target_follows() -> None:
    """A network that reads `age` alone, and a target that follows from `age`."""
    chunk = {**table(300), "answer": table(300)["bought"]}

    def look(inputs: Mapping[str, Tensor]) -> Tensor:
        return inputs["age"][:, :1] + 0 * inputs["color"][:, None]

    inputs, targets = {"color": "category", "age": "number"}, {"answer": "classify"}
    sealed, _ = seal(chunk, inputs, targets, build=lambda encoders: Looks(look))
    found = importance(load(format.to_bytes(sealed), threads=1), chunk, seed=3)["answer"]
    assert list(found) == ["age", "color"]
    assert found["age"].value > 0.3
    assert found["age"].low <= found["age"].value <= found["age"].high
    assert (found["color"].low, found["color"].high) == (0.0, 0.0)
    again = importance(load(format.to_bytes(sealed), threads=1), chunk, seed=3)["answer"]
    assert again == found


def test_shuffling_leaves_out_rows_that_cannot_be_scored(model: Model) -> None:
    chunk = table(30)
    chunk["age"][3] = "?x"
    chunk["bought"][4] = "never seen"
    found = importance(model, chunk, repeats=2)
    assert set(found) == {"bought", "price"}
    assert set(found["price"]) == {"age", "color"}


@settings(max_examples=15, deadline=None)
@given(
    st.floats(0, 90), st.sampled_from(["red", "green", "blue", "unseen", None]), st.integers(1, 20), st.integers(0, 99)
)
def test_contributions_add_up_exactly(age: float, color: str | None, rows: int, seed: int) -> None:
    model = _kept()
    row, _ = model.encode({"age": objects([age]), "color": objects([color])})
    background, _ = model.encode(table(rows, seed))
    for target in model.targets:
        asked = question(model, target, row)
        found = contributions(model, row, background, asked, seed=seed)
        mean = asked.values(model, background).mean()
        assert found.mean == pytest.approx(mean, abs=1e-4)
        assert sum(found.by_field.values()) == pytest.approx(found.value - mean, abs=1e-3)


_KEPT: list[Model] = []


def _kept() -> Model:
    if not _KEPT:
        _KEPT.append(load(KEPT, threads=1))
    return _KEPT[0]


def test_contributions_to_an_additive_answer_are_its_terms(model: Model) -> None:
    """`price` is linear in the encoded fields here: a field's share is what exchanging it alone does."""
    row, _ = model.encode({"age": objects([45]), "color": objects(["red"])})
    background, _ = model.encode(table(16))
    asked = question(model, "price", row)
    found = contributions(model, row, background, asked)
    for field in model.inputs:
        exchanged = {**background, field: np.repeat(row[field], 16, axis=0)}
        alone = (asked.values(model, exchanged) - asked.values(model, background)).mean()
        assert found.by_field[field] == pytest.approx(alone, abs=1e-3)
        assert found.error[field] >= 0


def test_the_word_that_decides_is_found() -> None:
    texts = ["this is a good film indeed, one of many", "this is a bad film, one of the many", "good", "bad"] * 6

    # The ids are known only when the encoder is fitted.
    def build(encoders: Mapping[str, Any]) -> nn.Module:
        good = set(encoders["x"].encode(objects(["a good one"])).array[0].tolist())
        good -= set(encoders["x"].encode(objects(["a bad one"])).array[0].tolist())
        wanted = torch.tensor(sorted(good))
        return Looks(lambda inputs: 5.0 * (inputs["x"][:, :, None] == wanted).any(2))

    chunk = {"x": objects(texts), "answer": objects(["yes", "no"] * 12)}
    sealed, _ = seal(chunk, {"x": "text"}, {"answer": "classify"}, build=build)
    model = load(format.to_bytes(sealed), threads=1)
    text = "this is  a good <film>\nindeed"
    explained = explain(model, {"x": text})
    words = explained["targets"]["answer"]["details"]["x"]["words"]
    assert [text[word["start"] : word["end"]] for word in words] == text.split()
    best = max(words, key=lambda word: word["contribution"])
    assert text[best["start"] : best["end"]] == "good"
    drawn = render(explained)
    assert "&lt;film&gt;" in drawn
    assert "<film>" not in drawn
    assert "good" in as_text(explained)
    assert explain(model, {"x": "   "})["targets"]["answer"]["details"]["x"]["words"] == []


def test_a_long_text_is_covered_some_words_at_a_time() -> None:
    model = looking([f"word{number} again" for number in range(30)], "text", lambda inputs: inputs["x"] * 0.001)
    text = " ".join(str(number) for number in range(1000))
    row, _ = model.encode({"x": objects([text])})
    parts = occlusion.text(model, row, "x", question(model, "answer", row), text)
    assert len(parts) <= occlusion.WORDS
    assert parts[0].start == 0
    assert parts[-1].end == len(text)
    assert all(one.end < other.start for one, other in itertools.pairwise(parts))


def test_the_report_names_the_words_of_a_long_text_to_its_end() -> None:
    text = " ".join(f"word{number}" for number in range(400))
    words = [{"start": part.start(), "end": part.end(), "contribution": 1.0} for part in re.finditer(r"\S+", text)]
    prepared: Any = SimpleNamespace(
        schema=Schema((Field("review", "text", role="input"),)), table=SimpleNamespace(root=None)
    )
    one = {"answer": "good", "details": {"review": {"kind": "tokens", "words": words}}}
    (found,) = _examples(prepared, 7, {"review": text}, one, {})
    assert [word for word, _ in found["contributions"]] == text.split()
    assert len(found["value"]) < len(text)


def test_the_place_in_a_picture_that_decides_is_hot(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = [random.integers(0, 256, (24, 32, 3), dtype=np.uint8) for _ in range(12)]
    model = looking(pixels, "image", lambda inputs: inputs["x"][:, :8, :8].float() / 255)
    bright = np.full((24, 32, 3), 255, dtype=np.uint8)
    row, errors = model.encode({"x": objects([bright])})
    assert not errors
    heat = occlusion.image(model, row, "x", question(model, "answer", row))
    assert heat.shape == row["x"].shape[1:3]
    assert heat[:6, :6].min() > 0.01
    assert np.abs(heat[14:, 14:]).max() < 1e-6
    Image.fromarray(bright).save(tmp_path / "a&b.png")
    explained = explain_input(model, str(tmp_path / "a&b.png"))
    assert explained["targets"] == explain(model, {"x": "a&b.png"}, tmp_path)["targets"]
    json.dumps(explained)
    assert "data:image/png;base64," in render(explained)
    assert "from the left" in as_text(explained)


def test_the_report_lays_the_heat_over_the_picture_as_the_network_saw_it() -> None:
    random = np.random.default_rng(0)
    pixels = [random.integers(0, 256, (24, width, 3), dtype=np.uint8) for width in (16, 24, 40, 24, 24, 60)]
    model = looking(pixels, "image", lambda inputs: inputs["x"].float() / 255)
    explained = explain(model, {"x": np.zeros((24, 96, 3), np.uint8)})
    height, width = np.shape(explained["targets"]["answer"]["details"]["x"]["heat"])
    prepared: Any = SimpleNamespace(
        schema=Schema((Field("x", "image", role="input"),)), table=SimpleNamespace(root=None)
    )
    one = explained["targets"]["answer"]
    (found,) = _examples(prepared, 0, {"x": np.zeros((24, 96, 3), np.uint8)}, one, explained["fields"])
    with Image.open(io.BytesIO(base64.b64decode(found["value"].partition(",")[2]))) as shown:
        assert shown.width * height == shown.height * width


def test_a_text_without_spaces_is_covered_by_its_characters() -> None:
    model = looking(["好电影", "坏电影"] * 6, "text", lambda inputs: inputs["x"] * 0.001)
    text = "这是好film,真的"
    words = explain(model, {"x": text})["targets"]["answer"]["details"]["x"]["words"]
    assert [text[word["start"] : word["end"]] for word in words] == ["这", "是", "好", "film,", "真", "的"]


def test_the_sign_of_a_part_is_seen_without_its_color() -> None:
    words = drawing._words("good bad", [
        {"start": 0, "end": 4, "contribution": 0.5}, {"start": 5, "end": 8, "contribution": -0.5}
    ])  # fmt: skip
    assert words.count("solid") == words.count("dotted") == 1
    assert words.index("solid") < words.index("dotted")


def test_a_long_series_is_drawn_to_its_end_over_its_stretches() -> None:
    drawn = drawing._curve([0.0, 1.0], [{"start": 3000, "end": 4000, "contribution": -1.0}], 4000)
    assert 'points="0.1,152.0 639.9,8.0"' in drawn
    assert 'x="480.0" y="156" height="4" width="160.0"' in drawn
    assert evenly(np.arange(4000), 3).tolist() == [0, 2000, 3999]
    assert evenly(np.arange(3), 5).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ([1.0, 2.0, 3.0], "1 2 3"),
        ("1.5 2 3", "1.5 2 3"),
        ("[[1, 9], [2, 8]]", "1 2"),
        ([[1, 9], [2, 8], [3, 7]], "1 2 3"),
        (np.array(["1", "", "3"], dtype=object), "1 nan 3"),
        (None, ""),
        ("what", "what"),
        (list(range(1, 1001)), None),
    ],
)
def test_the_report_shows_the_first_channel_of_a_series_to_its_end(value: Any, wanted: str | None) -> None:
    shown = shown_value(Field("x", "series"), value, None)["value"]
    assert wanted is None or shown == wanted
    if wanted is None:
        assert (shown.split()[0], shown.split()[-1]) == ("1", "1e+03")
        assert len(shown.split()) == 150


def test_the_moment_and_band_of_a_sound_that_decide_are_found() -> None:
    import soundfile

    def tone(frequency: float) -> bytes:
        time = np.arange(16000) / 16000
        target = io.BytesIO()
        sound = 0.3 * np.sin(2 * np.pi * frequency * time) + 0.01 * np.random.default_rng(0).normal(size=16000)
        soundfile.write(target, sound, 16000, format="WAV")
        return target.getvalue()

    model = looking(
        [tone(200 + 300 * number) for number in range(8)], "audio", lambda inputs: inputs["x"][:, 20:30, :8]
    )
    row, _ = model.encode({"x": objects([tone(150)])})
    asked = question(model, "answer", row)
    times, bands = occlusion.audio(model, row, "x", asked)
    best = max(times, key=lambda part: abs(part.contribution))
    assert 15 <= best.start < 30
    assert sum(abs(part.contribution) > 1e-6 for part in bands) == 1
    assert abs(bands[0].contribution) > 1e-6
    assert times[0].start == 0
    drawn = render(explain(model, {"x": tone(150)}))
    assert "<svg" in drawn
    assert "data:image/png" in drawn


def test_the_stretch_of_a_series_that_decides_is_found() -> None:
    random = np.random.default_rng(0)
    values = [random.normal(size=40).tolist() for _ in range(12)]
    model = looking(values, "series", lambda inputs: inputs["x"][:, 10:12])
    explained = explain(model, {"x": [5.0] * 40})
    parts = explained["targets"]["answer"]["details"]["x"]["times"]
    best = max(parts, key=lambda part: part["contribution"])
    assert (best["start"], best["end"]) == (10, 12)
    assert "<polyline" in render(explained)
    assert "10 to 12" in as_text(explained)


class _Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: Any) -> None: ...

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_drawn_row_is_sound_html_whatever_its_text(model: Model) -> None:
    hostile = '"><script>alert(1)</script>' + "x" * 10_000
    explained = explain(model, {"age": "50", "color": hostile})
    json.dumps(explained)
    drawn = page(explained)
    assert "<script" not in drawn
    assert "http" not in drawn
    parser = _Balanced()
    parser.feed(drawn)
    assert parser.open == []
    assert explained["targets"]["price"]["background"] == 8
    assert {item["field"] for item in explained["targets"]["price"]["contributions"]} == {"age", "color"}


def test_an_input_is_a_row_of_a_table_or_a_json_object(model: Model, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("age,color\n" + "".join(f"{20 + n % 60},red\n" for n in range(600)))
    chosen = explain_input(model, str(tmp_path / "rows.csv"), 515)
    assert chosen["fields"]["age"]["value"] == str(20 + 515 % 60)
    assert explain_input(model, '{"age": 55, "color": "red"}')["targets"] == chosen["targets"]


@pytest.mark.parametrize(
    ("source", "row", "says"),
    [
        ("rows.csv", 2, "no row 2"),
        ("rows.csv", -1, "no row -1"),
        ('{"age": ', 0, "JSON"),
        ('{"age": 3}', 0, "'color'"),
        ('{"age": "abc", "color": "red"}', 0, "abc"),
        ("missing.csv", 0, "missing.csv"),
    ],
)
def test_a_wrong_input_is_one_clear_error(source: str, row: int, says: str, model: Model, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("age,color\n1,red\n2,red\n")
    with pytest.raises(InputError, match=says):
        explain_input(model, str(tmp_path / source) if source.endswith(".csv") else source, row)


def test_an_unknown_target_is_answered_with_its_siblings(model: Model) -> None:
    with pytest.raises(InputError) as caught:
        explain(model, {"age": 1, "color": "red"}, targets=("prize",))
    assert "'price'" in caught.value.fix


def test_without_examples_to_compare_with_only_the_answer_is_told(model: Model) -> None:
    explained = explain(model, {"age": 40, "color": "red"}, background=[])
    assert "contributions" not in explained["targets"]["price"]
    assert as_text(explained).startswith("bought: ")
    given = explain(model, {"age": 40, "color": "red"}, background=[{"age": 30, "color": "red"}])
    shares = {item["field"]: item["contribution"] for item in given["targets"]["price"]["contributions"]}
    assert shares["color"] == pytest.approx(0, abs=1e-4)
    assert abs(shares["age"]) > 0


def test_what_is_missing_is_said_to_be_whatever_it_was_written_as(model: Model) -> None:
    for nothing in (None, float("nan"), ""):
        explained = explain(model, {"age": nothing, "color": nothing})
        assert {field["value"] for field in explained["fields"].values()} == {"(missing)"}


@pytest.mark.parametrize(
    ("quantity", "value", "wanted"),
    [
        ("probability of a", 0.5, "t: a (probability of a: 0.500)"),
        ("how strange the row is", 4e-5, "t: a (how strange the row is: 4e-05)"),
    ],
)
def test_small_figures_are_not_told_as_zero(quantity: str, value: float, wanted: str) -> None:
    one = {"answer": "a", "quantity": quantity, "value": value, "details": {}}
    assert as_text({"targets": {"t": one}, "fields": {}}) == wanted


def test_golden_examples_are_the_background(model: Model) -> None:
    assert len(golden.rows_of(model)) == 8
