"""What users type: durations, run folders, and the plain errors they get."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina import api, run
from lamina.cli._options import command_line
from lamina.errors import InputError
from lamina.steps.request import Request, check, seconds


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("2h", 7200), ("45", 45), ("1.5m", 90), (" 3 m ", 180), (30, 30)],
)
def test_durations(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "soon", "5 minutes", "-5m", "0", "m5", "5x"])
def test_a_wrong_duration_names_the_fix(text: str) -> None:
    with pytest.raises(InputError) as caught:
        seconds(text)
    assert "5m" in caught.value.fix


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("loans.csv", "loans"),
        ("photos/", "photos"),
        ("clips/metadata.csv", "clips"),
        ("x/data.db#people", "x"),
        ("a.tar.gz", "a"),
    ],
)
def test_a_run_is_named_after_its_data(data: str, name: str) -> None:
    assert Request(data).name == name


def test_run_folders_are_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = run.create(None, "loans"), run.create(None, "loans")
    assert (first.folder, second.folder) == (Path("runs/loans"), Path("runs/loans-2"))
    (first.folder / "plan.toml").write_text("")
    with pytest.raises(InputError, match="already"):
        run.create("runs/loans", "x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("precious")
    with pytest.raises(InputError, match="not empty"):
        run.create("full", "x")
    assert (tmp_path / "full" / "thesis.doc").read_text() == "precious"
    with pytest.raises(InputError, match="is a file"):
        run.create("full/thesis.doc", "x")
    with pytest.raises(InputError) as caught:
        run.find("runs/loan")
    assert "'runs/loans'" in caught.value.fix


NOT_UTF_8 = b"caf\xe9.csv".decode(errors="surrogateescape")


@pytest.mark.parametrize(
    "asked",
    [
        Request(NOT_UTF_8),
        Request(Path(NOT_UTF_8)),
        Request("rows.csv", test=NOT_UTF_8),
        Request("rows.csv", weights=(f"photo={NOT_UTF_8}",)),
        Request("rows.csv", targets=("price", NOT_UTF_8)),
    ],
)
def test_names_that_no_plan_can_keep_are_refused_at_once(asked: Request) -> None:
    with pytest.raises(InputError, match=r"caf\\udce9\.csv is not valid UTF-8") as caught:
        check(asked)
    assert "Rename" in caught.value.fix


def test_a_folder_for_the_run_may_be_called_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    check(Request("rows.csv", out=NOT_UTF_8))
    monkeypatch.setattr("sys.argv", ["lamina", "train", "rows.csv", "--out", NOT_UTF_8])
    # The sealed model keeps what the user wrote.
    assert command_line() == r"lamina train rows.csv --out 'caf\udce9.csv'"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"set": "network.depth=6"}, "'set'"),
        ({"set": ["network.depth=6"]}, "'set'"),
        ({"seed": "1"}, "'seed'"),
        ({"seed": 1.5}, "'seed'"),
        ({"horizon": "7"}, "'horizon'"),
        ({"task": 3}, "'task'"),
        ({"budget": timedelta(minutes=5)}, "budget"),
    ],
)
def test_a_wrong_option_from_python_is_one_clear_error(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        api._request("rows.csv", "y", options)
    assert caught.value.fix


def test_none_is_no_option_and_no_target() -> None:
    options = dict.fromkeys(("test", "split", "task", "budget", "seed", "out", "plan", "weights", "set", "horizon"))
    assert api._request("rows.csv", None, options) == api._request("rows.csv", (), {})


def test_values_of_numpy_and_paths_are_settings() -> None:
    given = {
        "network.depth": np.int64(3),
        "optimizer.rate": np.float64(0.1),
        "task.y.labels": ("a", "b"),
        "a": Path("b"),
    }
    target: Any = np.int64(3)
    request = api._request("rows.csv", target, {"set": given, "seed": np.int32(4), "weights": Path("w")})
    assert request.sets == ("network.depth=3", "optimizer.rate=0.1", 'task.y.labels=["a", "b"]', 'a="b"')
    assert (request.targets, request.seed, request.weights) == (("3",), 4, ("w",))


@pytest.mark.parametrize("call", [api.load, api.resume, api.quantize, api.learner, api.network])
def test_what_is_no_path_is_refused(call: Any) -> None:
    with pytest.raises(InputError, match="NoneType is no path") as caught:
        call(None)
    assert caught.value.fix


def test_a_run_without_a_sealed_model_is_to_be_finished(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").touch()
    with pytest.raises(InputError, match="not finished") as caught:
        api.load(tmp_path)
    assert "lamina resume" in caught.value.fix
