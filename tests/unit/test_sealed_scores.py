"""Scores of sealed models that write and that forecast: against figures by hand, and what wrong data is told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import forecasting_model, table_model, writing_model

from lamina.errors import InputError
from lamina.evaluate import sealed_texts
from lamina.evaluate.sealed import score_model
from lamina.evaluate.translation import bleu, bleu_sums, chrf, chrf_sums
from lamina.learn.stream import NEXT, scored
from lamina.methods import next_token
from lamina.model.runtime import Model
from lamina.tasks._streams import bytes_of_tokens, stream

Rows = list[dict[str, Any]]
DAY = np.datetime64("2024-01-01")


@pytest.fixture(scope="module")
def translator() -> Model:
    # Untrained, it would end at once if long texts were not preferred.
    return Model(writing_model(True, penalty=5.0)[0], threads=1)


def test_translations_are_those_of_the_search_beside_the_references(translator: Model) -> None:
    read = ["the cat sat", "the dog ran to the mat", "mat and cat"]
    answers = [row["answer"] for row in translator.predict([{"prompt": text} for text in read])]
    wanted = [f" {answers[0]} ", answers[1], "the cat sat on the mat"]
    rows: Rows = [{"prompt": text, "answer": other} for text, other in zip(read, wanted, strict=True)]
    lacking: Rows = [{"prompt": "the cat", "answer": None}, {"prompt": " ", "answer": "the cat"}]
    found = score_model(translator, [lacking[0], *rows, lacking[1]])
    assert (found["rows"], found["errors"]) == (5, 2)
    assert found["counted"] == {"rows": "texts", "errors": "texts"}
    scores, wanted[0] = found["targets"]["answer"], answers[0]
    assert scores["bleu"]["value"] == pytest.approx(float(bleu(bleu_sums(answers, wanted).sum(axis=0))))
    assert scores["chrf"]["value"] == pytest.approx(float(chrf(chrf_sums(answers, wanted).sum(axis=0))))
    assert scores["chrf"]["low"] <= scores["chrf"]["value"] <= scores["chrf"]["high"]
    own, other = (score_model(translator, some)["targets"]["answer"]["chrf"] for some in (rows[:2], rows[2:]))
    assert (own["value"], own["low"], other["value"]) == (pytest.approx(100), pytest.approx(100), 0)


@pytest.mark.parametrize(
    ("data", "said", "fix"),
    [
        ([{"prompt": "the cat"}], "no column 'answer'", "targets"),
        ([{"answer": "the cat"}], "no column 'prompt'", "inputs"),
        ([{"prompt": "the cat", "answer": ""}], "No row has both", "Fill 'answer'"),
    ],
)
def test_what_cannot_be_compared_with_a_reference_is_told(data: Rows, said: str, fix: str, translator: Model) -> None:
    with pytest.raises(InputError, match=said) as caught:
        score_model(translator, data)
    assert fix in caught.value.fix


LINES = ["the cat sat on the mat\n" * 3, "the dog ran to the cat, and the mat sat\n" * 4, "\n ", "and ran"]


@pytest.fixture(scope="module")
def writer() -> tuple[Model, torch.nn.Module]:
    sealed, network = writing_model(False)
    return Model(sealed, threads=1), network


def vocabulary_of(model: Model) -> Any:
    assert model.writer is not None
    return model.writer.task.tokens


def folder_of(folder: Path, texts: list[str]) -> Path:
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text)
    return folder


def test_a_text_is_told_in_the_bits_that_the_network_itself_takes(
    writer: tuple[Model, torch.nn.Module], tmp_path: Path
) -> None:
    model, network = writer
    found = score_model(model, folder_of(tmp_path, LINES))
    tokens = stream(vocabulary_of(model), [LINES[0], LINES[1], LINES[3]])
    size = sum(len(text.encode()) for text in (LINES[0], LINES[1], LINES[3]))
    nats = 0.0
    with torch.inference_mode():
        for batch in scored(tokens, 12, 7):
            nats += float(next_token.losses(network(batch.inputs), batch.targets[NEXT]).sum())
    figure = found["targets"]["answer"]["bits_per_byte"]
    assert figure["value"] == pytest.approx(nats / math.log(2) / size, rel=1e-5)
    assert figure["low"] < figure["value"] < figure["high"]
    perplexity = found["targets"]["answer"]["perplexity"]
    assert perplexity["value"] == pytest.approx(math.exp(nats / (len(tokens) - 1)), rel=1e-5)
    assert perplexity["low"] < perplexity["value"] < perplexity["high"]
    assert (found["rows"], found["errors"]) == (size, 1)
    assert found["counted"] == {"rows": "bytes", "errors": "texts"}
    assert "given" not in found


def test_where_every_token_is_as_likely_bits_are_counted_by_hand(tmp_path: Path) -> None:
    model = Model(writing_model(False, even=True)[0], threads=1)
    vocabulary = vocabulary_of(model)
    (tmp_path / "one.txt").write_text(LINES[1])
    told = len(stream(vocabulary, [LINES[1]])) - 1
    bits = told * math.log2(vocabulary.get_vocab_size()) / len(LINES[1])
    one = score_model(model, tmp_path / "one.txt")["targets"]["answer"]["bits_per_byte"]
    assert one["value"] == pytest.approx(bits)
    assert (one["unit"], one["higher_is_better"]) == ("bits", False)
    # A table's column is called as the model calls it; where that reads files, the only column of texts will do.
    rows = [{"prompt": LINES[1], "number": 3}, {"prompt": None, "number": 4}]
    found = score_model(model, rows)
    assert found["errors"] == 1
    assert found["targets"]["answer"]["bits_per_byte"] == one
    lines = [f"the {first} ran to the {second} {number}" for number, (first, second) in enumerate([("cat", "mat")] * 9)]
    named = score_model(model, {"letter": lines, "number": list(range(9))})
    assert named["rows"] == sum(map(len, lines))


def test_of_a_very_long_text_the_beginning_is_told(
    writer: tuple[Model, torch.nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = writer
    vocabulary = vocabulary_of(model)
    (tmp_path / "long.txt").write_text("".join(LINES))
    monkeypatch.setattr(sealed_texts, "MOST_TOLD", 30)
    found = score_model(model, tmp_path / "long.txt")
    ids = stream(vocabulary, ["".join(LINES)])
    assert found["rows"] == bytes_of_tokens(vocabulary)[ids[:30]].sum()
    assert found["given"] == len("".join(LINES))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.txt": "\n \n"}, "no text to score"),
        ({"a.csv": "number,color\n1,red\n2,blue\n"}, "no column 'prompt' of texts"),
        ({"a.png": "picture"}, "no column 'prompt' of texts"),
        ({}, "no"),
    ],
)
def test_a_folder_without_texts_is_told(
    files: dict[str, str], said: str, writer: tuple[Model, torch.nn.Module], tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said) as caught:
        score_model(writer[0], tmp_path)
    assert caught.value.fix


def series(name: str, sold: list[float | None], promo: list[float] | None = None, begin: int = 0) -> Rows:
    """A row for each day; rain falls every day."""
    return [
        {"day": str(DAY + begin + step), "shop": name, "sold": value, "promo": promo[step] if promo else 0, "rain": 5}
        for step, value in enumerate(sold)
    ]


@pytest.fixture(scope="module")
def forecaster() -> Model:
    return Model(forecasting_model(), threads=1)


def test_forecasts_begin_a_horizon_apart_and_see_only_what_is_known_in_advance(forecaster: Model) -> None:
    """Windows of 4 steps, 2 ahead, of 11: origins at 9, 7 and 5, where the last values are 8, 6 and 4 (plus one)."""
    steps = np.arange(11.0)
    promo = [0.0] * 9 + [1.0, 2.0]
    found = score_model(forecaster, series("a", (steps + promo).tolist(), promo))
    assert (found["rows"], found["errors"]) == (3, 0)
    assert found["counted"] == {"rows": "windows", "errors": "series"}
    scores = found["targets"]["sold"]
    assert list(scores) == ["mae", "rmse", "coverage", "coverage.50"]
    # The next values are one and two above the last one; promotions are known, rain is not.
    assert scores["mae"]["value"] == pytest.approx(1.5)
    assert scores["rmse"]["value"] == pytest.approx(math.sqrt(2.5))
    assert scores["coverage"]["value"] == pytest.approx(1)
    assert scores["mae"]["higher_is_better"] is False
    # What is known of days to come is no value, and moves nothing.
    later = [{**row, "sold": None} for row in series("a", [0.0] * 3, begin=11)]
    assert score_model(forecaster, [*series("a", (steps + promo).tolist(), promo), *later]) == found


def test_intervals_are_over_origins_and_hold_what_they_hold(forecaster: Model) -> None:
    """From the last origin values jump by 4, beyond the interval of 2; from the one before by 1."""
    sold = [0.0, 0, 0, 0, 0, 0, 1, 1, 5, 5]
    found = score_model(forecaster, series("a", list(sold)))
    assert found["rows"] == 3
    scores = found["targets"]["sold"]
    assert scores["mae"]["value"] == pytest.approx((0 + 1 + 4) / 3)
    assert scores["coverage"]["value"] == pytest.approx(2 / 3)
    assert (scores["mae"]["low"], scores["mae"]["high"]) == (0, 4)


def test_short_series_are_forecast_once_and_others_are_errors(forecaster: Model) -> None:
    level = [1.0] * 10
    rows = [
        *series("long", level),
        *series("short", [3.0, 3, 4, 4], begin=6),
        *series("tiny", [3.0, 3.0], begin=8),
        *series("empty", [None] * 10),
        *[{**row, "sold": "much"} for row in series("wrong", level[:1])],
        *series("early", [2.0] * 5),
    ]
    found = score_model(forecaster, rows)
    # Origins are at 8, 6 and 4: three for the first, for the second the last one, for the last 4 with a value to come.
    assert found["rows"] == 5
    assert found["errors"] == 3
    assert found["targets"]["sold"]["mae"]["value"] == pytest.approx(2 * 1 / (4 * 2 + 1))
    gap = series("a", [1.0, 1, 1, 1, None, 7, 7, 7, 7, 7, 7])
    # Of the origins 9, 7 and 5 the last stands after a gap.
    assert score_model(forecaster, gap)["rows"] == 2


def test_errors_are_scaled_by_what_training_knew_of_each_series() -> None:
    """Of the series "a" errors are told in halves, of "b" in fours; nobody knew "c", whose errors have no unit."""
    sealed = forecasting_model()
    sealed.tasks["sold"]["state"]["units"] = {"a": 0.5, "b": 4.0}
    model = Model(sealed)
    rows = [row for name in "abc" for row in series(name, [0.0] * 8 + [1.0, 1.0])]
    scores = score_model(model, rows)["targets"]["sold"]
    assert list(scores)[:2] == ["mase", "mae"]
    # Four of six steps are right, the last two wrong by one: of the known series in their units.
    assert scores["mae"]["value"] == pytest.approx(1 / 3)
    assert scores["mase"]["value"] == pytest.approx((2 + 0.25) / 2 / 3)
    assert "pinball" in scores
    alone = score_model(model, series("c", [0.0] * 8 + [1.0, 1.0]))["targets"]["sold"]
    assert "mase" not in alone


def test_ten_series_are_drawn_as_such(forecaster: Model) -> None:
    rows = [row for number in range(10) for row in series(f"s{number}", [0.0] * 8 + [number, number])]
    scores = score_model(forecaster, rows)["targets"]["sold"]
    # Four steps of a series are right, the last two wrong by its number.
    assert scores["mae"]["value"] == pytest.approx(np.arange(10).mean() / 3)
    # Origins, of which one is wrong, would be drawn from 0 to 4.5.
    assert 0 < scores["mae"]["low"] < scores["mae"]["value"] < scores["mae"]["high"] < 3


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([{name: value for name, value in row.items() if name != "sold"} for row in series("a", [1.0])], "'sold'"),
        ([{name: value for name, value in row.items() if name != "promo"} for row in series("a", [1.0])], "'promo'"),
        (series("a", [None] * 9), "there is no value of 'sold'"),
        (series("a", [1.0, 2.0]), "the longest has 2 steps"),
        ([{**row, "day": "someday"} for row in series("a", [1.0] * 9)], "day"),
        ([{"window": {"day": ["2024-01-01"], "sold": [1], "promo": [0], "rain": [0]}}], "Windows do not tell"),
    ],
)
def test_what_cannot_be_forecast_and_compared_is_told(data: Rows, said: str, forecaster: Model) -> None:
    with pytest.raises(InputError, match=said) as caught:
        score_model(forecaster, data)
    assert caught.value.fix


def test_rows_are_counted_as_ever() -> None:
    data = {"age": ["30", "50"], "color": ["red", "blue"], "bought": ["no", "perhaps"], "price": ["90", "150"]}
    found = score_model(Model(table_model()[0], threads=1), data)
    assert (found["rows"], found["errors"]) == (2, 1)
    assert found["counted"] == {"rows": "rows", "errors": "rows"}
