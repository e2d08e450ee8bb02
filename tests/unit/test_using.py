"""What `import lamina` offers for models at work, and that one process of several does not train."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import objects, table, table_model

import lamina
from lamina.cli import main
from lamina.errors import InputError
from lamina.model.format import write
from lamina.model.runtime import Model


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("using") / "model.lamina"
    write(path, table_model()[0])
    return path


def test_everything_offered_is_there_and_nothing_is_imported_before() -> None:
    assert set(lamina.__all__) <= set(dir(lamina))
    for name in lamina.__all__:
        assert getattr(lamina, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        _ = lamina.predict
    code = "import lamina, sys; dir(lamina); print(sorted(name for name in sys.modules if name.startswith('lamina')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.strip() == "['lamina']"


def test_a_model_is_tested_and_searched_from_its_file_or_as_it_is(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path))
    model, rows = lamina.load(file), table()
    found = lamina.score(file, rows)
    assert found == lamina.score(model, rows)
    assert set(found["targets"]) == {"bought", "price"}
    ((first, second),) = lamina.search(file, rows, {"age": rows["age"][3], "color": rows["color"][3]}, top=2)
    assert (first.row, first.likeness) == (3, pytest.approx(1, abs=1e-6))
    assert second.likeness <= first.likeness
    assert lamina.search(model, rows, rows, top=1)[7][0].likeness == pytest.approx(1, abs=1e-6)
    one, other = '{"age": 30, "color": "red"}', '{"age": 60, "color": "blue"}'
    assert lamina.compare(file, one, one) == pytest.approx(1, abs=1e-6)
    assert lamina.compare(file, one, other) < 1
    with pytest.raises(InputError, match="rows to find is 0"):
        lamina.search(file, rows, rows, top=0)


def test_a_model_verifies_and_gives_its_curve(file: Path) -> None:
    rows: dict[str, Any] = {**table(), "who": objects([row % 8 for row in range(40)])}
    found = lamina.verify(lamina.load(file), rows, target="who", pairs=60, seed=1)
    assert found.judged is not None
    curve = found.roc
    assert (curve.false_accepts[0], curve.same_accepts[-1]) == (0, 1)
    area = np.trapezoid(curve.same_accepts, curve.false_accepts)
    assert area == pytest.approx(found.judged.auc.value)
    assert lamina.verify(file, rows, target="who", pairs=60, threshold=0.5).threshold is not None


def test_what_a_model_does_not_do_is_told(file: Path) -> None:
    with pytest.raises(InputError, match="makes no pictures"):
        lamina.generate(file, 2)
    with pytest.raises(InputError, match="does not act"):
        lamina.Policy(lamina.load(file))
    with pytest.raises(InputError, match="does not act"):
        lamina.score(Model(table_model()[0]), "gym:CartPole-v1")


def test_one_of_several_processes_has_to_know_where_they_meet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    assert main(["train", str(tmp_path / "rows.csv"), "--target", "b", "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "one of 4 processes" in told
    assert "RANK, MASTER_ADDR, MASTER_PORT is not set" in told
    assert main(["resume", str(tmp_path / "run")]) == 2
    assert "torchrun" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("RANK", "4")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    assert main(["resume", str(tmp_path / "run")]) == 2
    assert "RANK is 4 of 4 processes" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert main(["train", str(tmp_path / "nothing.csv"), "--target", "b"]) == 2
    assert "nothing.csv" in capsys.readouterr().err
