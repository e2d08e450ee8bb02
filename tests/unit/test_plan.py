"""plan.toml: what is written is read back the same; a mistake is named with its place and fix."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina import plan as plans
from lamina.data.schema import Field
from lamina.errors import InputError
from lamina.plan import NetworkPlan, Plan, TaskPlan


@given(st.text(), st.dictionaries(st.text(), st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(), st.booleans())))
def test_any_name_and_options_survive_the_file(name: str, options: dict[str, object]) -> None:
    plan = Plan(
        name=name,
        schema=(Field(name or "x", "number", options=options),),
        task={name: TaskPlan("classify", options)},
        network={"table": NetworkPlan("mlp", (name,), options)},
        reasons={f"network.{name}": name},
    )
    import tomllib

    assert plans.from_document(tomllib.loads(plans.to_toml(plan))) == plan


def sample() -> Plan:
    return Plan(
        network={"table": NetworkPlan("mlp", ("a",))}, task={"y": TaskPlan("classify")}, schema=(Field("a", "number"),)
    )


def test_set_reaches_every_level() -> None:
    changed = sample().with_set(
        [
            "network.depth=6",
            "network.name=tabm",
            "training.epochs=3",
            "schema.a.modality=category",
            "schema.a.levels=4",
            "task.primary=auc",
        ]
    )
    assert changed.network["table"].options == {"depth": 6}
    assert changed.network["table"].name == "tabm"
    assert changed.training.epochs == 3.0
    assert changed.schema[0].modality == "category"
    assert changed.schema[0].options == {"levels": 4}
    assert changed.task["y"].options == {"primary": "auc"}


@pytest.mark.parametrize(
    ("assignment", "hint"),
    [
        ("training.epoch=3", "'epochs'"),
        ("training.epochs=many", "a number"),
        ("training.batch_size=1.5", "a whole number"),
        ("optimiser.name=sgd", "'optimizer'"),
        ("training.precision=fp8", "fp32, bf16"),
        ("schema.b.modality=text", "Known: a"),
        ("training.epochs", "key=value"),
        ("training.epochs.x=3", "--set epochs=VALUE"),
        ("seed=abc", "a whole number"),
    ],
)
def test_a_wrong_assignment_names_the_fix(assignment: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        sample().with_set([assignment])
    assert hint in str(caught.value)


def test_two_networks_must_be_told_apart() -> None:
    plan = replace(sample(), network={"table": NetworkPlan("mlp"), "photo": NetworkPlan("resnet")})
    with pytest.raises(InputError, match="several"):
        plan.with_set(["network.depth=2"])
    assert plan.with_set(["network.photo.depth=2"]).network["photo"].options == {"depth": 2}


def test_reading_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    with pytest.raises(InputError, match="no plan"):
        plans.read(file)
    file.write_text("seed = = 3")
    with pytest.raises(InputError, match="not valid TOML"):
        plans.read(file)
    file.write_text("version = 99")
    with pytest.raises(InputError, match="version 99"):
        plans.read(file)
    file.write_text(plans.to_toml(sample()))
    assert plans.read(file) == sample()


def test_an_option_may_be_called_as_the_only_target_is() -> None:
    plan = Plan(task={"text": TaskPlan("transcribe")}).with_set(["task.text=lines.txt", "task.text.case=keep"])
    assert plan.task["text"].options == {"text": "lines.txt", "case": "keep"}
