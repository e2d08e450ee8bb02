"""Forecasts from the command line: weeks are learned, exact resume, the sealed model on a long table, wrong wishes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures import broken_off_and_resumed, check_same, only_trained, read_csv, run_here, write_csv

import lamina
from lamina import plan
from lamina.cli import main
from lamina.steps.forecast.prepare import rolling
from lamina.steps.forecast.series import panel
from lamina.steps.understand import open_data

HORIZON, DAYS = 4, 150
SETS = (
    "training.threads=1", "training.precision=fp32", "training.keep=last",
    "training.epochs=1", "training.ema=0.9", "training.batch_size=16", "network.name=tide", "network.width=16",
    "task.history=16", 'task.known=["promo"]',
)  # fmt: skip
ASKED = ("--target", "sold", "--time", "day", "--group", "shop", "--horizon", str(HORIZON))
TRAIN = ("train", "shops.csv", *ASKED, "--seed", "1", "--set", *SETS, "training.checkpoint_seconds=0")


def shops(folder: Path, days: int = DAYS) -> Path:
    """Three shops at different levels with the same week, and promotions that sell ten more; some days are missing."""
    random = np.random.default_rng(0)
    dates = np.arange("2024-01-01", np.datetime64("2024-01-01") + days, dtype="datetime64[D]").astype(str)
    rows = []
    for number in range(3):
        for step, day in enumerate(dates.tolist()):
            promo = int(random.random() < 0.3)
            sold = 30 * (number + 1) + 6 * np.sin(2 * np.pi * step / 7) + 10 * promo + random.normal(0, 0.5)
            if random.random() > 0.02 or step == days - 1:
                row = {"day": day, "shop": f"s{number}", "sold": f"{sold:.2f}", "promo": promo}
                rows.append({**row, "town": "AB"[number % 2]})
    return write_csv(folder / "shops.csv", rows)


def test_broken_off_and_resumed_it_is_as_if_nothing_had_happened(tmp_path: Path, cache: Path) -> None:
    shops(tmp_path, 90)
    run_here(tmp_path, *TRAIN, "--out", "whole")
    run, whole = broken_off_and_resumed(tmp_path, *TRAIN, step=5), tmp_path / "whole"
    check_same(run, whole)
    scores = [json.loads((path / "results.json").read_text())["targets"][0]["scores"] for path in (run, whole)]
    assert scores[0] == scores[1]
    only_trained(tmp_path, tmp_path / "again", "train", "shops.csv", "--plan", "whole/plan.toml")
    check_same(tmp_path / "again", whole)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run that has learned weeks and promotions."""
    folder = tmp_path_factory.mktemp("shops")
    more = ("training.epochs=20", "training.keep=best", "network.width=32")
    line = ["train", str(shops(folder)), *ASKED, "--quiet", "--out", str(folder / "run"), "--set", *SETS, *more]
    assert main(line) == 0
    return folder / "run"


def test_it_forecasts_far_better_than_the_last_season(learned: Path) -> None:
    results = json.loads((learned / "results.json").read_text())
    result = results["targets"][0]
    assert list(result["scores"]) == ["mase", "mae", "rmse", "pinball", "coverage", "coverage.50"]
    reached = {item["name"]: item["scores"]["mase"]["value"] for item in result["baselines"]}
    assert set(reached) == {"naive", "seasonal naive", "exponential smoothing", "gradient-boosted trees on lags"}
    # What nobody can know is noise of half a piece; the last week knows nothing of promotions.
    assert result["scores"]["mase"]["value"] < 0.5 * reached["seasonal naive"]
    ahead = next(item["difference"] for item in result["baselines"] if item["name"] == "seasonal naive")
    assert ahead["low"] > 0
    assert 0.75 < result["coverage"]["measured"]["value"] <= 1
    assert results["seal"]["same_answers"] == 1
    assert results["data"]["series"] == 3
    assert results["data"]["season"] == 7
    assert "gaps" in {item["kind"] for item in results["audit"]}
    parts = [results["data"][part] for part in ("train", "validation", "test")]
    assert sum(parts) == results["data"]["rows"]


def test_the_sealed_model_forecasts_the_test_part_as_well_as_was_said(
    learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = learned.parent / "shops.csv"
    found = panel(open_data(str(path), None)[0], None, plan.read(learned / "plan.toml"))
    # The test part's origins count from its beginning, those of `lamina test` from the end: let both be the same.
    stop = found.end - (found.end - found.test) % HORIZON
    kept = set[int]()
    for start, own in zip(found.tracks.starts.tolist(), found.rows, strict=True):
        places = slice(max(found.test - found.encoder.length - start, 0), stop - start)
        kept |= set(own[places].tolist())
    write_csv(tmp_path / "held.csv", [row for number, row in enumerate(read_csv(path)) if number in kept])
    assert main(["test", str(learned), str(tmp_path / "held.csv"), "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    results = json.loads((learned / "results.json").read_text())["targets"][0]
    windows = rolling(found, found.test, found.end, HORIZON)
    assert (scored["rows"], scored["errors"]) == (len(windows), 0)
    assert list(scored["targets"]["sold"]) == list(results["scores"])
    for name, score in scored["targets"]["sold"].items():
        assert score["value"] == pytest.approx(results["scores"][name]["value"], rel=1e-4), name


def test_every_forecast_and_every_series_is_told(learned: Path) -> None:
    results = json.loads((learned / "results.json").read_text())
    scores = results["targets"][0]["scores"]
    lines = read_csv(learned / "forecasts.csv")
    assert list(lines[0])[:5] == ["shop", "day", "ahead", "sold", "sold.forecast"]
    known = [line for line in lines if line["sold"]]
    apart = [abs(float(line["sold"]) - float(line["sold.forecast"])) for line in known]
    assert np.mean(apart) == pytest.approx(scores["mae"]["value"], rel=1e-5)
    inside = [float(line["sold.low"]) <= float(line["sold"]) <= float(line["sold.high"]) for line in known]
    assert np.mean(inside) == pytest.approx(scores["coverage"]["value"], abs=0.01)
    sold = {(row["shop"], row["day"]): float(row["sold"]) for row in read_csv(learned.parent / "shops.csv")}
    assert all(float(line["sold"]) == sold[line["shop"], line["day"]] for line in known)
    series = read_csv(learned / "series.csv")
    assert {row["shop"] for row in series} == {"s0", "s1", "s2"}
    worst = [float(row["mase"]) for row in series]
    assert worst == sorted(worst, reverse=True)
    assert min(worst) <= scores["mase"]["value"] <= max(worst)
    assert series[0]["shop"] in next(item["lines"][0] for item in results["exhibits"] if item["lines"])


def future(learned: Path, folder: Path, shown: tuple[str, ...] = ("s0", "s1", "s2")) -> Path:
    """The history of the shops, and rows without sales for the days to come; last a shop that nobody knows."""
    rows = read_csv(learned.parent / "shops.csv")
    begin = np.datetime64("2024-01-01") + DAYS
    for shop in shown:
        for step in range(HORIZON):
            rows.append({"day": str(begin + step), "shop": shop, "sold": "", "promo": str(step % 2), "town": ""})
    fresh = [{**row, "shop": "new"} for row in rows if row["shop"] == "s1"]
    return write_csv(folder / "history.csv", rows[::-1] + fresh)


def test_a_long_table_is_answered_with_a_line_for_each_series_and_step(learned: Path, tmp_path: Path) -> None:
    out = tmp_path / "forecast.csv"
    assert main(["predict", str(learned), str(future(learned, tmp_path)), "--out", str(out)]) == 0
    lines = read_csv(out)
    assert list(lines[0]) == ["shop", "day", "sold", "sold.low", "sold.high", "sold.low50", "sold.high50", "error"]
    assert len(lines) == 4 * HORIZON
    begin, apart = np.datetime64("2024-01-01") + DAYS, []
    for number in range(3):
        own = [line for line in lines if line["shop"] == f"s{number}"]
        assert [line["day"] for line in own] == [str(begin + step) for step in range(HORIZON)]
        for step, line in enumerate(own):
            expected = 30 * (number + 1) + 6 * np.sin(2 * np.pi * (DAYS + step) / 7) + 10 * (step % 2)
            apart.append(abs(float(line["sold"]) - expected))
            assert float(line["sold.low"]) < float(line["sold"]) < float(line["sold.high"])
            assert not line["error"]
    assert np.mean(apart) < 4, "weeks and promotions move sales by 16"
    model = lamina.load(learned)
    answers = model.predict(tmp_path / "history.csv").to_rows()
    assert [row["sold"] for row in answers] == pytest.approx([float(line["sold"]) for line in lines], rel=1e-5)
    rows = read_csv(tmp_path / "history.csv")
    assert model.predict(rows).to_rows() == answers
    assert model.predict({name: [row[name] for row in rows] for name in rows[0]}).to_rows() == answers
    assert model.check_golden()["sound"]


def test_a_series_that_cannot_be_answered_is_one_line_that_says_why(learned: Path, tmp_path: Path) -> None:
    model = lamina.load(learned)
    future(learned, tmp_path, ("s0", "s1"))
    rows = model.predict(str(tmp_path / "history.csv")).to_rows()
    wrong = [row for row in rows if row["error"]]
    assert len(wrong) == 1
    assert "s2" in wrong[0]["error"]
    assert "promo" in wrong[0]["error"]
    assert {row["shop"] for row in rows if not row["error"]} == {"s0", "s1", "new"}


def test_one_window_is_answered_in_lists(learned: Path) -> None:
    model = lamina.load(learned)
    days = np.arange("2024-03-04", "2024-04-01", dtype="datetime64[D]").astype(str).tolist()
    sold = [60 + 6 * np.sin(2 * np.pi * (63 + step) / 7) for step in range(24)] + [None] * HORIZON
    window = {"day": days, "sold": sold, "promo": [0] * 28}
    (row, text) = model.predict([
        {"window": window, "shop": "s1", "town": "B"}, {"window": json.dumps(window), "shop": "s1", "town": "B"},
    ])  # fmt: skip
    assert row == text
    assert len(row["sold"]) == len(row["sold.low"]) == HORIZON


def test_the_network_and_the_page_are_there(learned: Path) -> None:
    from lamina import api

    assert [name for name, _ in api.network(learned).stages()] == ["about", "network"]
    page = (learned / "report.html").read_text()
    assert "what was and came" in page
    assert "Error by steps ahead" in page
    assert 'class="band"' in page
    assert "exponential smoothing" in page


def test_the_forecasters_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "networks/forecasters", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["lstm", "nhits", "patches", "tide"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--horizon", "0"], "--horizon 24"),
        (["--horizon", "60"], "at most"),
        (["--horizon", "-2"], "whole number"),
        (["--time", "dya"], "day"),
        (["--time", "town"], "day"),
        (["--group", "shp"], "shop"),
        (["--target", "town"], "one of them|one column"),
        (["--split", "town"], "--test"),
        (["--weights", "run"], "from scratch"),
        (["--set", "task.known=promo"], "list of columns"),
        (["--set", 'task.known=["promos"]'], "promo"),
        (["--set", "task.horizonn=3"], "horizon"),
        (["--set", "task.rule=season", "task.season=7", "task.history=5"], "task.history=7"),
        (["--set", "network.name=nhit"], "nhits"),
        (["--set", "network.widht=3"], "width"),
        (["--set", "method.name=masked"], "supervised"),
        (["--task", "regress"], "--horizon"),
    ],
)
def test_wrong_wishes_are_told(
    more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    path = shops(tmp_path, 40)
    line = ["train", str(path), "--task", "forecast", *ASKED, *more, "--out", str(tmp_path / "run")]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert any(part in error for part in said.split("|"))
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("target", "text", "said"),
    [
        ("kind", "day,kind\n2024-01-01,red\n2024-01-02,blue\n", "no numbers"),
        ("sold", "shop,sold\na,1\nb,2\n", "--time COLUMN"),
        ("sold", "day,sold\n2024-01-01,1\n2024-01-02,2\n", "too long"),
        ("sold", "day,sold\n2024-01-01,1\n", "two moments"),
    ],
)
def test_wrong_tables_are_told(
    target: str, text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    (tmp_path / "data.csv").write_text(text)
    line = ["train", str(tmp_path / "data.csv"), "--target", target, "--horizon", "3", "--out", str(tmp_path / "run")]
    assert main(line) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_options_of_forecasts_are_refused_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shops(tmp_path, 20)
    assert main(["train", str(path), "--target", "sold", "--time", "day"]) == 2
    assert "--task forecast" in capsys.readouterr().err
