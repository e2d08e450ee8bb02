"""A column that is audited, from the command line: nothing learns from it, and all is judged by it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures import QUICK, Row, only_trained, run_here, write_csv

import lamina
from lamina.evaluate.fairness import TRADE_OFF


def rows() -> list[Row]:
    """What is answered depends on a, which is larger for m."""
    draw = np.random.default_rng(0)
    found: list[Row] = []
    for number in range(400):
        sex = ("f", "m", "f", "m", "")[number % 5]
        a, b = draw.normal(size=2).round(3).tolist()
        a += 1.5 * (sex == "m")
        found.append({"a": a, "b": b, "sex": sex, "paid": "yes" if a + 0.3 * draw.normal() > 0.7 else "no"})
    return found


def test_an_audited_column_changes_no_weight_and_is_reported(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(tmp_path / "whole.csv", rows())
    write_csv(tmp_path / "without.csv", [{name: row[name] for name in ("a", "b", "paid")} for row in rows()])
    fixed = QUICK | {"training.precision": "fp32", "data.test_share": 0.4}
    sets = [f"{name}={value}" for name, value in fixed.items()]
    words = ("--target", "paid", "--quiet", "--set", *sets)
    only_trained(tmp_path, tmp_path / "without", "train", "without.csv", *words)
    run_here(tmp_path, "train", "whole.csv", *words, "schema.sex.role=audit", "--out", "whole")
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("without", "whole")]
    assert weights[0] == weights[1]

    results = json.loads((tmp_path / "whole" / "results.json").read_text())["targets"][0]
    audit = results["fairness"][0]
    assert {group["value"] for group in audit["groups"]} == {"f", "m", "missing"}
    assert audit["disparities"][0]["highest"] == "m"
    assert any(item["field"] == "sex" for item in results["slices"])
    assert "By sex: the answer" in (tmp_path / "whole" / "report.html").read_text()

    model = lamina.load(tmp_path / "whole")
    assert model.columns == ("a", "b")
    assert model.card["targets"]["paid"]["fairness"][0]["column"] == "sex"
    assert TRADE_OFF in model.card["limits"]
    assert len(list(model.predict({"a": [0.1], "b": [0.2]}))) == 1
    capsys.readouterr()
    run_here(tmp_path, "test", "whole", "whole.csv", "--by", "sex", "--by", "b")
    said = capsys.readouterr().out
    assert "paid  by sex: " in said
    assert "  missing: 80 rows; selection_rate " in said
    assert "paid  by b: " in said
