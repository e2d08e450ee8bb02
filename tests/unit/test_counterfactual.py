"""Changes that bring another answer are found where the network's rule is known, and are as small as they can be."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import objects, seal
from torch import Tensor, nn

import lamina
from lamina.cli import main
from lamina.errors import InputError
from lamina.explain.counterfactual import NOTE, as_text, counterfactuals
from lamina.model import format  # noqa: A004
from lamina.model.format import Sealed
from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]
Inputs = Mapping[str, Array]
COLORS = ("red", "green", "blue")
NUMBERS = ("a", "b", "c")


class FollowsA(nn.Module):
    """Answers "yes", and a large number, by `a`; every input is in the graph."""

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        strength = sum(
            (array[:, 0] if array.dim() > 1 else array.float()) * (name == "a") for name, array in inputs.items()
        )
        return {"answer": torch.stack([-strength, strength], 1)[:, None],
                "price": torch.stack([strength, 0 * strength], 1)[:, None]}  # fmt: skip


class Ruled(Model):
    """A sealed model that answers by a rule in place of its network: none has to be exported for each."""

    rule: Callable[[Inputs], Array]

    def outputs(self, encoded: Inputs, batch: int = 256) -> dict[str, Array]:
        strength = np.asarray(self.rule(encoded), dtype=np.float32)
        both = {"answer": np.stack([-strength, strength], 1), "price": np.stack([strength, 0 * strength], 1)}
        return {name: both[name] for name in self.tasks}


def data(rows: int = 100) -> dict[str, Any]:
    random = np.random.default_rng(0)
    numbers = {name: objects([f"{value:.2f}" for value in random.uniform(0, 10, rows)]) for name in NUMBERS}
    return {
        **numbers,
        "color": objects(random.choice(COLORS, rows, p=[0.5, 0.3, 0.2]).tolist()),
        "when": objects([f"2020-01-{day:02}" for day in random.integers(1, 29, rows)]),
        "answer": objects(["no", "yes"] * (rows // 2)),
        "price": objects([f"{value:.2f}" for value in random.uniform(0, 10, rows)]),
    }


@pytest.fixture(scope="module")
def sealed() -> Sealed:
    inputs = {**dict.fromkeys(NUMBERS, "number"), "color": "category", "when": "time"}
    return seal(data(), inputs, {"answer": "classify", "price": "regress"}, build=lambda encoders: FollowsA())[0]


Ask = Callable[..., Ruled]


@pytest.fixture
def model(sealed: Sealed) -> Ask:
    """The rule sees numbers as about -1 to 1, categories from 2 on in the order red, green, blue."""

    def build(rule: Callable[[Inputs], Array], target: str = "answer") -> Ruled:
        found = Ruled(sealed, threads=1)
        found.tasks, found.rule = {target: found.tasks[target]}, rule
        return found

    return build


def number(inputs: Inputs, name: str) -> Array:
    return inputs[name][:, 0]


ROW = {"a": 2, "b": 2, "c": 2, "color": "red", "when": "2020-01-10"}


def columns(change: Mapping[str, Any]) -> set[str]:
    return {item["field"] for item in change["columns"]}


def test_the_one_column_of_the_rule_changes_as_little_as_it_can(model: Ask) -> None:
    asked = model(lambda inputs: number(inputs, "a"))
    found = counterfactuals(asked, ROW)
    assert found["before"]["answer"] == "no"
    assert found["wish"] == "answer = yes"
    (change,) = found["changes"]
    (item,) = change["columns"]
    assert (item["field"], item["from"], change["answer"]) == ("a", 2, "yes")
    # The training values lie evenly from 0 to 10, and the rule turns at their middle.
    middle = float(np.median(data()["a"].astype(float)))
    assert middle <= item["to"] < middle + 0.6
    assert found["before"]["value"] < 0.5 <= change["value"]
    answer = asked.predict({**ROW, "a": item["to"]})[0]
    assert answer["answer"] == "yes"
    assert answer["answer.p.yes"] == pytest.approx(change["value"], abs=1e-6)
    text = as_text(found)
    assert f"a: 2 -> {item['to']}" in text
    assert NOTE in text


def test_other_ways_are_told_the_smallest_first(model: Ask) -> None:
    asked = model(lambda inputs: np.maximum(number(inputs, "a"), number(inputs, "b") - 0.4))
    found = counterfactuals(asked, ROW)
    assert [columns(change) for change in found["changes"][:2]] == [{"a"}, {"b"}]
    assert found["changes"][0]["distance"] < found["changes"][1]["distance"]
    assert found["changes"][0]["distance"] == pytest.approx(
        abs(np.subtract(*(asked.inputs["a"].encoder.encode(objects([value])).array[0, 0]
                          for value in (2, found["changes"][0]["columns"][0]["to"])))), abs=1e-5
    )  # fmt: skip


def test_kept_columns_never_change(model: Ask) -> None:
    asked = model(lambda inputs: np.maximum(number(inputs, "a"), number(inputs, "b")))
    found = counterfactuals(asked, ROW, keep=["a"])
    assert found["changes"]
    assert all("a" not in columns(change) for change in found["changes"])
    assert "kept as they are: a" in as_text(found)
    nothing = counterfactuals(asked, ROW, keep=["a", "b"])
    assert nothing["changes"] == []


def test_two_columns_that_only_together_bring_it(model: Ask) -> None:
    """Neither alone comes any nearer, as in an exclusive or."""

    def rule(inputs: Inputs) -> Array:
        return np.minimum(number(inputs, "b"), (inputs["color"] == 4).astype(float) - 0.5)

    found = counterfactuals(model(rule), ROW)
    assert columns(found["changes"][0]) == {"b", "color"}
    assert {"field": "color", "from": "red", "to": "blue"} in found["changes"][0]["columns"]
    (changed,) = (item["to"] for item in found["changes"][0]["columns"] if item["field"] == "b")
    assert changed < 6
    assert all("a" not in columns(change) for change in found["changes"])


def test_what_is_not_needed_is_left_out_again(model: Ask) -> None:
    """Three numbers are needed; the color alone comes nearest at first, and does nothing in the end."""

    def rule(inputs: Inputs) -> Array:
        least = np.minimum(np.minimum(number(inputs, "a"), number(inputs, "b")), number(inputs, "c"))
        total = sum(number(inputs, name) for name in NUMBERS)
        return np.where(least > 0, 1.0, -3 + 0.3 * np.clip(total, -3, 3) + (inputs["color"] == 4).astype(float))

    found = counterfactuals(model(rule), ROW)
    assert found["changes"]
    assert [columns(change) for change in found["changes"]] == [set(NUMBERS)]
    for item in found["changes"][0]["columns"]:
        assert item["to"] < 7


def test_what_cannot_be_is_said_with_what_was_tried(model: Ask) -> None:
    asked = model(lambda inputs: -2 + 0.1 * np.clip(number(inputs, "a"), -1, 1))
    found = counterfactuals(asked, ROW)
    assert found["changes"] == []
    assert found["tried"]["rows"] > 100
    assert columns(found["closest"]) == {"a"}
    assert found["before"]["value"] < found["closest"]["value"] < 0.5
    text = as_text(found)
    assert "no change was found for: answer = yes" in text
    assert "a, b, c, color" in text
    assert "nearest" in text
    flat = counterfactuals(model(lambda inputs: -1 + 0 * number(inputs, "a")), ROW)
    assert flat["closest"] is None
    assert "no change was found" in as_text(flat)


def test_a_number_that_is_at_least_or_at_most_so_much(model: Ask) -> None:
    asked = model(lambda inputs: number(inputs, "a"), "price")
    now = counterfactuals(asked, ROW, to=">= 5")["before"]["value"]
    more = counterfactuals(asked, ROW, to=f">= {now + 0.5}")
    assert more["changes"][0]["value"] >= now + 0.5
    less = counterfactuals(asked, ROW, to=f"<={now - 0.3}")
    assert less["changes"][0]["value"] <= now - 0.3
    assert less["changes"][0]["columns"][0]["to"] < 2
    assert "price <= " in as_text(less)
    for to in (None, "yes", "> 5", ">= many"):
        with pytest.raises(InputError, match="price"):
            counterfactuals(asked, ROW, to=to)
    with pytest.raises(InputError, match="already"):
        counterfactuals(asked, ROW, to=f">= {now - 1}")


def test_values_come_from_the_rows_that_are_named(model: Ask) -> None:
    asked = model(lambda inputs: number(inputs, "a") + number(inputs, "when"))
    among = [
        {**ROW, "a": value, "when": day} for value, day in ((7.31, "2020-01-28"), (9.12, None), (None, "2020-01-03"))
    ]
    found = counterfactuals(asked, ROW, among=among)
    assert found["changes"][0]["columns"] in (
        [{"field": "a", "from": 2, "to": 7.31}],
        [{"field": "when", "from": "2020-01-10", "to": "2020-01-28"}],
    )
    tried = {item["to"] for change in found["changes"] for item in change["columns"]}
    assert tried <= {7.31, 9.12, "2020-01-28", "2020-01-03"}
    assert found["tried"]["columns"] == ["a", "when"]
    with pytest.raises(InputError, match="no column whose value could change"):
        counterfactuals(asked, ROW, among=[ROW])


def test_a_missing_value_may_be_filled_in_and_none_becomes_missing(model: Ask) -> None:
    asked = model(lambda inputs: number(inputs, "a") - 0.2)
    (change,) = counterfactuals(asked, {**ROW, "a": None})["changes"]
    assert change["columns"][0]["from"] is None
    assert change["columns"][0]["to"] is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "maybe"}, "no class 'maybe'"),
        ({"to": "no"}, "already"),
        ({"keep": ["colour"]}, "no column 'colour'"),
        ({"keep": [*NUMBERS, "color", "when"]}, "no column whose value could change"),
        ({"target": "anser"}, "no target 'anser'"),
        ({"row": 1}, "no row 1"),
    ],
)
def test_wrong_wishes_say_what_to_do(model: Ask, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        counterfactuals(model(lambda inputs: number(inputs, "a")), ROW, **options)
    assert raised.value.fix


def test_from_the_command_line_and_from_python(
    sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.lamina"
    file.write_bytes(format.to_bytes(sealed))
    command = ["explain", str(file), json.dumps(ROW), "--change"]
    assert main(command) == 2
    assert "--target answer" in capsys.readouterr().err
    command += ["--target", "answer"]
    assert main([*command, "--to", "yes", "--keep", "b", "c", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["changes"][0]["columns"][0]["field"] == "a"
    assert found["kept"] == ["b", "c"]
    assert lamina.counterfactuals(file, ROW, target="answer", keep=["c", "b"]) == found
    assert main(command) == 0
    assert "a: 2 -> " in capsys.readouterr().out
    for wrong, said in (
        ([*command[:3], "--keep", "a"], "Add --change"),
        ([*command[:3], "--to", "yes"], "Add --change"),
        ([*command, "--out", str(tmp_path / "page.html")], "--out"),
    ):
        assert main(wrong) == 2
        assert said in capsys.readouterr().err
