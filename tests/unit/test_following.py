"""What is asked is done or refused: plans that are followed, and options that do not go together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from lamina.cli import main
from lamina.data.schema import Field
from lamina.errors import InputError
from lamina.narrate import Silent
from lamina.plan import DataPlan, Plan, TaskPlan, to_toml
from lamina.steps import session
from lamina.steps.control import understand as control
from lamina.steps.request import Request, check, followed
from lamina.steps.session import READIED, following
from lamina.steps.understand import understand, way_of

ROWS = "age,price,part\n" + "".join(f"{20 + row % 40},{row % 7}.5,{'ab'[row % 2]}\n" for row in range(60))
FIELDS = (Field("age", "number"), Field("price", "number", "target"), Field("part", "category"))


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rows.csv").write_text(ROWS, encoding="utf-8")
    return str(tmp_path / "rows.csv")


def test_every_way_that_changes_how_data_is_read_is_asked_to() -> None:
    modules = Path(session.__file__).parent.glob("*/session.py")
    assert sorted(READIED) == sorted(file.parent.name for file in modules if "def readied(" in file.read_text())
    assert "def readied(" not in (Path(session.__file__).parent / "answered.py").read_text()


def test_shares_way_of_dividing_and_task_are_those_of_the_plan_that_is_followed(rows: str) -> None:
    data = DataPlan(split="random", test_share=0.3, validation_share=0.15, bad_rows=0.2)
    given = Plan(seed=5, budget=60.0, data=data, schema=FIELDS, task={"price": TaskPlan("classify")})
    plan = understand(following(Request(rows), given), Silent()).plan
    assert (plan.data.split, plan.data.test_share) == ("random", 0.3)
    assert (plan.data.validation_share, plan.data.bad_rows) == (0.15, 0.2)
    assert plan.task["price"].name == "classify", "not what suits a number"
    assert (plan.seed, plan.budget) == (5, 60.0)
    asked = Request(rows, seed=0, task="regress", sets=("data.test_share=0.4", "schema.part.role=group"))
    plan = understand(following(asked, given), Silent()).plan
    assert (plan.seed, plan.data.test_share, plan.task["price"].name) == (0, 0.4, "regress")
    assert (plan.data.split, plan.data.column) == ("group", "part"), "what is asked comes before the plan"


def test_tasks_of_several_targets_are_those_of_the_plan_that_is_followed(rows: str) -> None:
    fields = (FIELDS[0], FIELDS[1], replace(FIELDS[2], role="target"))
    given = Plan(schema=fields, task={"price": TaskPlan("regress"), "part": TaskPlan("classify", {"threshold": 0.3})})
    plan = understand(following(Request(rows), given), Silent()).plan
    assert {name: part.name for name, part in plan.task.items()} == {"price": "regress", "part": "classify"}
    assert plan.task["part"].options == {"threshold": 0.3}


def test_a_task_that_has_to_be_asked_for_is_asked_for_by_a_plan() -> None:
    given = Plan(
        schema=(Field("clip", "audio"), Field("said", "text", "target")), task={"said": TaskPlan("transcribe")}
    )
    asked = following(Request("clips.csv"), given)
    assert (asked.task, asked.targets) == ("transcribe", ("said",))


def test_weights_beside_a_plan_are_refused() -> None:
    with pytest.raises(InputError, match="weights") as caught:
        following(Request("rows.csv", weights=("old/",)), Plan())
    assert "--plan" in caught.value.fix


def test_an_environment_takes_history_seed_and_budget_from_a_plan_and_no_option_of_forecasts() -> None:
    given = Plan(seed=3, budget=60.0, task={"action": TaskPlan("control", {"history": 4})})
    plan = control.understand(followed(Request("gym:CartPole-v1"), given), Silent()).plan
    assert plan.task["action"].options["history"] == 4
    assert (plan.seed, plan.budget) == (3, 60.0)
    asked = Request("gym:CartPole-v1", horizon=4)
    assert way_of(asked) == "control"
    with pytest.raises(InputError, match="takes no --horizon"):
        control.understand(asked, Silent())


def test_two_ways_to_say_which_rows_test_are_refused() -> None:
    with pytest.raises(InputError, match="--split"):
        check(Request("rows.csv", test="more.csv", split="part"))


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--task", "recommend", "--set", "schema.price.modality=category"], "task.rating"),
        (["--target", "price", "--horizon", "3", "--set", "schema.age.role=time"], "--time"),
        (["--task", "write", "--set", "schema.part.role=input"], "task.column"),
        (["--target", "part", "--task", "translate", "--set", "schema.age.modality=text"], "role input or ignore"),
    ],
)
def test_settings_of_columns_that_a_task_does_not_read_are_refused(
    rows: str, words: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", rows, *words]) == 2
    said = capsys.readouterr().err
    assert "has no setting schema." in said
    assert shown in said


def test_what_is_looked_at_is_what_training_would_see(rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    series = "day,sold\n" + "".join(f"2024-01-{day:02d},{day}\n" for day in range(1, 29))
    Path(rows).write_text(series, encoding="utf-8")
    assert main(["inspect", rows, "--target", "sold", "--horizon", "3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {field["name"]: field["role"] for field in document["fields"]} == {"day": "time", "sold": "target"}
    assert (document["rows"], document["split"], document["audit"]) == (28, {}, [])
    assert main(["inspect", "gym:CartPole-v1"]) == 0
    assert "one of 2 actions" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--seed", "-1"], ["--set", "traning.epochs=3"], ["--set", "budget=5"]])
def test_a_wrong_request_is_refused_before_the_data_is_looked_at(rows: str, words: list[str]) -> None:
    assert main(["inspect", rows, "--target", "price", *words]) == 2


def test_what_is_to_be_restored_can_be_said_in_python_too(rows: str) -> None:
    import lamina

    with pytest.raises(InputError, match="no column of pictures"):
        lamina.inspect(rows, restore="denoise")
    with pytest.raises(InputError, match="a task of its own"):
        lamina.inspect(rows, restore="denoise", task="embed")


def test_a_tuple_of_settings_is_a_list(rows: str) -> None:
    import lamina

    with pytest.raises(InputError, match="'nothing'"):
        lamina.inspect(rows, "price", horizon=2, time="age", set={"task.known": ("nothing",)})


def test_what_learns_is_given_of_rows_with_answers_only(tmp_path: Path) -> None:
    from lamina.api import learner

    (tmp_path / "plan.toml").write_text(to_toml(Plan(task={"embedding": TaskPlan("embed")})), encoding="utf-8")
    with pytest.raises(InputError, match="'embed'") as caught:
        learner(tmp_path)
    assert "network" in caught.value.fix


def test_a_run_that_is_not_finished_says_so_to_python_too(tmp_path: Path, rows: str) -> None:
    import lamina

    (tmp_path / "plan.toml").write_text("version = 1\n", encoding="utf-8")
    for ask in (lambda: lamina.load(tmp_path), lambda: lamina.few_shot(tmp_path, rows)):
        with pytest.raises(InputError, match="not finished") as caught:
            ask()
        assert "lamina resume" in caught.value.fix


def test_odd_targets_and_seeds_from_python(rows: str) -> None:
    import lamina

    for seed in ("x", 1.5, -1):
        with pytest.raises(InputError, match="seed"):
            lamina.inspect(rows, "price", seed=seed)
    assert lamina.inspect(rows, None, task="embed", seed=np.int64(3)).document()["rows"] == 60


@pytest.mark.parametrize("task", ["generate", "restyle"])
def test_generators_take_no_weights(task: str) -> None:
    from lamina.steps.generate.choose import check as check_generator

    plan = Plan(task={"picture": TaskPlan(task)})
    with pytest.raises(InputError, match="takes no --weights"):
        check_generator(Request("photos/", weights=("old/",)), cast(Any, None), plan)
