"""One long series as windows: recognised, cut, divided, and put together again; by hand and by brute force."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lamina.data.long_series import WindowTable, Wishes, main_period, windowed
from lamina.data.tables import open_table
from lamina.data.windows import WINDOW, Cover, Cut, covered, of_stretches, streamed
from lamina.errors import InputError
from lamina.evaluate import judge
from lamina.evaluate.judge import stretches
from lamina.evaluate.judged import compared
from lamina.model.rows import RawChunk, Rows
from lamina.model.steps import window_around
from lamina.steps.unlabelled.scored import Steps
from lamina.tasks import anomaly

Array = np.ndarray[Any, Any]


def wave(steps: int, period: int, noise: float = 0.05) -> Array:
    random = np.random.default_rng(0)
    return np.asarray(np.sin(2 * np.pi * np.arange(steps) / period) + random.normal(0, noise, steps))


def as_frame(**columns: Any) -> dict[str, list[Any]]:
    return {name: list(values) for name, values in columns.items()}


def opened(tmp_path: Path, data: Any, wishes: Wishes | None = None, boundary: int | None = None) -> WindowTable:
    found = windowed(open_table(data, tmp_path), boundary, wishes or Wishes(), 0.2)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("stride", [1, 3, 7])
def test_a_step_has_the_mean_of_the_windows_that_cover_it(stride: int) -> None:
    cut = Cut(("x",), 8, stride)
    starts = cut.starts(50)
    values = np.random.default_rng(1).normal(size=len(starts))
    steps, means = covered(starts, 8, values[:, None, None])
    assert steps.tolist() == list(range(50)), "every step is covered"
    for step in steps:
        over = [value for start, value in zip(starts, values, strict=True) if start <= step < start + 8]
        assert means[step, 0] == pytest.approx(np.mean(over))


def test_windows_that_say_nothing_do_not_count_and_gaps_between_stay() -> None:
    steps, means = covered(np.array([0, 1, 10]), 3, np.array([1.0, np.nan, 5.0])[:, None, None])
    assert steps.tolist() == [0, 1, 2, 10, 11, 12]
    assert means[:, 0].tolist() == [1.0] * 3 + [5.0] * 3


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("stretches", [1, 3, 8])
def test_a_step_has_the_mean_of_the_stretches_of_windows_it_lies_in(stride: int, stretches: int) -> None:
    starts = Cut(("x",), 8, stride).starts(30)
    values = np.random.default_rng(1).normal(size=(len(starts), stretches, 2))
    steps, means = covered(starts, 8, values)
    for step in steps:
        over = [
            values[number, (step - start) * stretches // 8]
            for number, start in enumerate(starts)
            if start <= step < start + 8
        ]
        np.testing.assert_allclose(means[step], np.mean(over, axis=0))


def test_the_strangest_step_and_its_column_are_those_of_the_stretches_not_of_the_windows() -> None:
    cut = Cut(("flow", "heat"), 16)
    task = anomaly.Task("anomaly", (("window", (8, 2)),), cut=cut, local=True)
    starts = cut.starts(200)
    outputs = np.zeros((len(starts), task.width))
    odd = np.isin(np.arange(200), range(120, 124))
    for number, start in enumerate(starts):
        stretch = odd[start : start + 16].reshape(8, 2).mean(axis=1)
        # A window that ends in what is strange looks stranger as a whole than one around it.
        outputs[number] = [99.0 if start == 106 else stretch.sum(), *np.stack([-stretch, stretch], axis=1).ravel()]
    means = covered(starts, 16, task.stretched(outputs))[1]
    told = task.told_of_steps(means)
    assert odd[told[".score"].argmax()]
    assert told[".score"][odd].min() > told[".score"][~odd].max()
    assert set(told[".where"][odd]) == {"heat"}
    assert told[".heat"][120] > 0 > told[".flow"][120]
    assert list(told) == list(task.decode(outputs)), "windows as rows have the same columns"
    assert task.decode(outputs)[".where"][115] == "heat"
    alarms = replace(task, limit=0.1).decode(outputs)[""]
    assert alarms.tolist() == [bool(odd[start : start + 16].any()) for start in starts]
    older = anomaly.Task("anomaly", (("window", (8,)),), cut=cut)
    means = covered(starts, 16, older.stretched(outputs[:, :9]))[1]
    assert older.told_of_steps(means)[".score"][107] > 0, "smeared over the window"


@pytest.mark.parametrize(("row", "first"), [(0, 0), (5, 0), (30, 25), (49, 40), (47, 40)])
@pytest.mark.parametrize("size", [3, 50])
def test_the_window_around_a_step_is_in_the_middle_of_it_or_at_the_end(row: int, first: int, size: int) -> None:
    values = [str(number) for number in range(50)]
    model: Any = SimpleNamespace(where="model.lamina")

    def chunks() -> Any:
        for at in range(0, 50, size):
            some = np.array(values[at : at + size], object)
            yield RawChunk({"x": some}, len(some), {2: "torn"} if at == 0 else {})

    start, window = window_around(model, Rows(chunks()), Cut(("x",), 10), row)
    assert (start, window) == (first, list(range(first, first + 10)))
    for wrong, cut, told in ((2, 10, "torn"), (50, 10, "50 rows"), (9, 51, "shorter")):
        with pytest.raises(InputError, match=told):
            window_around(model, Rows(chunks()), Cut(("x",), cut), wrong)


@pytest.mark.parametrize("stride", [1, 4])
def test_what_is_around_a_step_counts_in_as_often_as_windows_cover_it(stride: int) -> None:
    starts = Cut(("x",), 8, stride).starts(30)
    values = np.random.default_rng(1).normal(size=(len(starts), 4, 2))
    steps, means = covered(starts, 8, values, around=3)
    assert steps.tolist() == list(range(30))
    for step in steps:
        near = [
            values[number, (other - start) // 2]
            for number, start in enumerate(starts)
            for other in range(max(step - 3, 0), min(step + 4, 30))
            if start <= other < start + 8
        ]
        np.testing.assert_allclose(means[step], np.mean(near, axis=0))


def test_a_single_window_has_the_same_steps_as_a_series_that_is_no_longer() -> None:
    values = np.random.default_rng(1).normal(size=(3, 4, 2))
    for number in range(3):
        expected = covered(np.array([0]), 10, values[number : number + 1], 2)[1]
        np.testing.assert_allclose(of_stretches(values, 10, 2)[number], expected)


def test_what_lasts_is_found_from_end_to_end_though_errors_within_it_come_and_go() -> None:
    cut, strange = Cut(("x",), 24), np.isin(np.arange(300), range(150, 162))
    values = np.random.default_rng(3).uniform(0, 2, 300) + np.isin(np.arange(300), [150, 153, 158, 161]) * 40.0
    starts = cut.starts(300)
    rows = np.stack([values[start : start + 24] for start in starts])
    outputs = np.concatenate([rows.sum(axis=1, keepdims=True), rows], axis=1)

    def lowest(around: int) -> tuple[float, float]:
        task = anomaly.Task("anomaly", (("window", (24,)),), cut=cut, local=True, around=around)
        scores = task.told_of_steps(covered(starts, 24, task.stretched(outputs), around)[1])[".score"]
        return float(scores[strange].min()), float(scores[~strange].max())

    alone, together = lowest(0), lowest(4)
    assert alone[0] < alone[1] < 3, "between two errors there is nothing to see"
    assert together[0] > 6, "every step of it stands out"


def test_older_files_have_nothing_around_a_step() -> None:
    task = anomaly.Task("anomaly", (("window", (8,)),), cut=Cut(("x",), 16), local=True, around=2)
    assert anomaly.Task.restore(task.state()) == task
    older = {name: value for name, value in task.state().items() if name != "around"}
    assert anomaly.Task.restore(older).around == 0
    for wrong in (-1, 17):
        with pytest.raises(ValueError, match="around"):
            anomaly.Task.restore({**task.state(), "around": wrong})


@pytest.mark.parametrize("around", [0, 2, 30])
@pytest.mark.parametrize("piece", [1, 5, 16, 100])
@pytest.mark.parametrize("stride", [1, 4])
def test_in_pieces_there_are_the_same_windows_and_means(piece: int, stride: int, around: int) -> None:
    cut = Cut(("a", "b"), 9, stride)
    series = np.random.default_rng(2).normal(size=(61, 2))
    cover, found, parts = Cover(9, around=around), [], []
    for starts, windows, seen in streamed((series[at : at + piece] for at in range(0, 61, piece)), cut):
        for start, window in zip(starts, windows, strict=True):
            np.testing.assert_array_equal(window, series[start : start + 9])
        found += starts.tolist()
        cover.add(starts, windows.sum(axis=(1, 2))[:, None, None])
        parts.append(cover.take(min(int(starts[-1]) + 1, seen - 9)))
    parts.append(cover.take(61, ended=True))
    assert found == cut.starts(61).tolist()
    whole = np.array([series[start : start + 9].sum() for start in found])
    np.testing.assert_allclose(np.concatenate(parts), covered(np.array(found), 9, whole[:, None, None], around)[1])
    assert not list(streamed([series[:8]], cut)), "shorter than a window"


def test_the_main_period_is_the_first_of_its_multiples() -> None:
    assert main_period(wave(900, 24)[:, None]) == 24
    two = np.stack([wave(900, 30), np.random.default_rng(3).normal(size=900)], axis=1)
    assert main_period(two) == 30
    assert main_period(np.random.default_rng(4).normal(size=(900, 1))) == 0
    assert main_period(np.arange(900.0)[:, None]) == 0
    gaps = wave(900, 24)
    gaps[100:110] = np.nan
    assert main_period(gaps[:, None]) == 24


def test_a_series_is_recognised_and_its_clock_set_aside(tmp_path: Path) -> None:
    found = windowed(
        open_table(as_frame(when=range(900), x=wave(900, 24), y=wave(900, 48)), tmp_path), None, Wishes(), 0.2
    )
    assert found is not None
    table, why = found
    assert table.cut == Cut(("x", "y"), 48, 1)
    assert "each row is much like the next" in why
    assert "main period" in why
    days = np.datetime64("2024-01-01") + np.arange(600)
    assert opened(tmp_path, as_frame(day=days, x=wave(600, 24))).cut.columns == ("x",)


def test_numbers_with_a_decimal_comma_are_the_same_series(tmp_path: Path) -> None:
    data = {"x": wave(900, 24) * 1000, "y": wave(900, 48)}
    shown = {name: [f"{value:.3f}".replace(".", ",") for value in values.tolist()] for name, values in data.items()}
    point, comma = (opened(tmp_path, as_frame(when=range(900), **columns)) for columns in (data, shown))
    assert comma.cut == replace(point.cut, decimal=",")
    assert Cut.restore(comma.cut.state()) == comma.cut
    assert not comma.unreadable
    windows = [np.array(table.take(np.arange(len(table)))[WINDOW].tolist()) for table in (point, comma)]
    np.testing.assert_allclose(windows[1], windows[0], atol=1e-3)


def test_rows_that_are_no_series_stay_rows(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    tables = [
        as_frame(x=random.normal(size=600), y=wave(600, 24)),
        as_frame(x=wave(600, 24), kind=["a", "b"] * 300),
        as_frame(x=wave(100, 24)),
        as_frame(when=range(600)),
        {f"t{step}": wave(600, 24)[step : step + 500].tolist() for step in range(20)},
    ]
    for data in tables:
        assert windowed(open_table(data, tmp_path), None, Wishes(), 0.2) is None
    assert windowed(open_table(as_frame(x=wave(600, 24)), tmp_path), None, Wishes(window=0), 0.2) is None


def test_windows_lie_within_their_parts_and_know_their_labels(tmp_path: Path) -> None:
    strange = ["odd" if 560 <= step < 563 else "fine" for step in range(600)]
    data = as_frame(x=wave(600, 24), state=strange)
    table = opened(tmp_path, data, Wishes(window=20, labels=("state",)), boundary=400)
    assert (table.columns, table.ordinary) == ((WINDOW, "split", "state"), "fine")
    found = table.take(np.arange(len(table)))
    parts = {name: np.flatnonzero(found["split"] == name) for name in ("train", "validation", "test")}
    ends = {name: (table.starts[rows].min(), table.starts[rows].max() + 20) for name, rows in parts.items()}
    assert ends == {"train": (0, 320), "validation": (320, 400), "test": (400, 600)}
    series = np.array(data["x"])
    for row in (0, 301, len(table) - 1):
        np.testing.assert_allclose(found[WINDOW][row], series[table.starts[row] : table.starts[row] + 20])
    touched = (table.starts + 20 > 560) & (table.starts < 563)
    assert (found["state"] == np.where(touched, "odd", "fine")).all()
    assert table.labels(np.array([559, 560]))[1] == "odd"
    again = opened(tmp_path, data, Wishes(window=21, labels=("state",)), boundary=400)
    assert table.fingerprint != again.fingerprint


def test_what_is_no_number_is_a_gap_and_told(tmp_path: Path) -> None:
    path = tmp_path / "flow.csv"
    lines = [f"{value:.4f}" for value in wave(600, 24)]
    lines[299] = "broken"
    path.write_text("x\n" + "\n".join(lines) + "\n")
    table = opened(tmp_path, path, Wishes(window=20))
    ((place, reason),) = table.unreadable
    assert place == "flow.csv, line 301"
    assert "broken" in reason
    window = table.take([int(np.flatnonzero(table.starts == 290)[0])])[WINDOW][0]
    assert np.isnan(window).tolist() == [step == 9 for step in range(20)]
    assert table.place(0) == "flow.csv, line 2 to line 21"


@pytest.mark.parametrize(
    ("wishes", "where", "fix"),
    [
        (Wishes(window=500), "task.options.window", "Give from 2"),
        (Wishes(window=20, aside=("x",)), "task.options.window", "consecutive rows"),
        (Wishes(columns=("z",)), "task.options.series", "x"),
        (Wishes(labels=("z",)), "--target", "x"),
    ],
)
def test_what_cannot_be_cut_names_the_fix(tmp_path: Path, wishes: Wishes, where: str, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        opened(tmp_path, as_frame(x=wave(600, 24)), wishes)
    assert caught.value.where == where
    assert fix in caught.value.fix


def test_the_task_keeps_how_it_is_cut_and_reads_what_was_sealed_before() -> None:
    task = anomaly.Task("anomaly", (), 0.01, (0.0, 1.0), Cut(("x",), 20, 2))
    state = json.loads(json.dumps(task.state()))
    assert anomaly.Task.restore(state) == task
    assert anomaly.Task.restore({name: part for name, part in state.items() if name != "cut"}).cut is None
    for damage in ({"length": 0}, {"stride": 21}, {"columns": []}, {"length": 10**9}):
        with pytest.raises(ValueError, match="cover"):
            anomaly.Task.restore({**state, "cut": {**state["cut"], **damage}})
    places = {**state, "places": [["window", [4, 2]]], "local": True}
    for damage in ({}, {"places": []}, {"places": [["window", [4]], ["other", []]]}, {"cut": None}):
        with pytest.raises(ValueError, match="places"):
            anomaly.Task.restore({**places, **damage})
    for options in ({"window": -1}, {"stride": 0}, {"series": "x"}, {"window": True}):
        with pytest.raises(InputError):
            anomaly.check_options(options)


def test_stretches_are_found_by_one_alarm_and_the_strangest_step_is_placed(tmp_path: Path) -> None:
    assert stretches(np.zeros(4, bool)) == []
    steps = Steps(opened(tmp_path, as_frame(x=wave(600, 24)), Wishes(window=20)))
    strange = np.isin(np.arange(200), [50, 51, 150])
    scores = np.where(np.arange(200) == 165, 9.0, 0.0)
    figures = steps.figures(np.arange(200) == 51, strange, scores)
    assert figures["stretches_found"].value == 0.5
    assert figures["located"].value == 1, "15 steps away, within a window"
    assert steps.figures(strange, strange, np.where(np.arange(200) == 100, 9.0, 0.0))["located"].value == 0


def test_intervals_of_neighbours_in_time_are_wider() -> None:
    random = np.random.default_rng(6)
    strange = np.repeat(random.random(40) < 0.3, 25)
    score = np.repeat(random.normal(size=40), 25) + strange
    own = judge.detections("", score, strange)
    widths = []
    for block in (1, 25):
        scores, _ = compared(own, [], len(score), 0, block=block)
        widths.append(scores["auc"].high - scores["auc"].low)
    assert widths[1] > 3 * widths[0]
