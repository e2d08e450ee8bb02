"""What a way of learning does not use is refused, and the table of what it uses agrees with what its code reads."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import lamina
from lamina import registry
from lamina.errors import InputError
from lamina.learn.optimizers import BUILDERS, build
from lamina.learn.schedules import CURVES
from lamina.plan import DataPlan, NetworkPlan, OptimizerPlan, Plan, PrivacyPlan, SchedulePlan, TaskPlan, TrainingPlan
from lamina.steps import settings
from lamina.steps.request import Request
from lamina.steps.session import _session
from lamina.steps.settings import ALL, USED, WAYS, check_used, check_wishes

ROOT = Path(lamina.__file__).parent
LOOP = ("steps/train.py", "steps/pace.py", "steps/measure.py")
READERS: dict[str, tuple[str, ...]] = {
    "answered": ("steps/learner.py", *LOOP),
    "unlabelled": ("steps/unlabelled/learner.py", "methods/_unlabelled_learner.py", *LOOP),
    "generate": (
        "steps/generate/learner.py", "steps/restyle/learner.py", "methods/adversarial.py", "methods/cycle.py", *LOOP,
    ),
    "forecast": ("steps/forecast/learner.py", *LOOP),
    "recommend": ("steps/recommend/learner.py", "methods/next_item.py", *LOOP),
    "written": ("steps/written/learner.py", "methods/next_token.py", *LOOP),
    "captioned": ("steps/captioned/learner.py", *LOOP),
    "control": (
        "steps/control/player.py", "steps/control/train.py", "methods/ppo.py", "methods/dqn.py", "methods/sac.py",
    ),
}  # fmt: skip
"""Where the settings that a way uses are read."""


def read_in(file: str) -> set[str]:
    """The settings of training and optimizer that a module's code reads, by their dotted keys."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else owner.id if isinstance(owner, ast.Name) else ""
            found.add(f"{name}.{node.attr}")
    return found


@pytest.mark.parametrize("way", WAYS)
def test_the_table_agrees_with_what_the_code_reads(way: str) -> None:
    found = set().union(*map(read_in, READERS[way]))
    if "training.compile" not in read_in(READERS[way][0]):
        # Measuring tries it where the learner can.
        found.discard("training.compile")
    if "rows_loader" in (ROOT / READERS[way][0]).read_text(encoding="utf-8"):
        # The loader of rows with answers, which reads it.
        found.add("training.shuffle")
    keys = {f"training.{item.name}" for item in dataclasses.fields(TrainingPlan)}
    keys |= {"optimizer.weight_decay", "optimizer.layer_decay"}
    assert found & keys == {key for key in keys if way in USED[key]}


def test_every_setting_of_the_plan_is_in_the_table() -> None:
    tables = {
        "training": TrainingPlan, "network": NetworkPlan, "optimizer": OptimizerPlan, "data": DataPlan,
        "privacy": PrivacyPlan,
    }  # fmt: skip
    known = {f"{name}.{item.name}" for name, kind in tables.items() for item in dataclasses.fields(kind)}
    given = {f"data.{name}" for name in ("train", "test", "also", "fingerprint")}
    found = {"network.fields", "network.fingerprint", "privacy.noise"}
    assert known - given - found == set(USED)


@pytest.mark.parametrize("way", WAYS)
def test_the_ways_are_those_that_data_can_go(way: str) -> None:
    assert way == "answered" or hasattr(_session(way), "train") or hasattr(_session(way), "choose_all")
    modules = (registry.module("tasks", name) for name in registry.names("tasks"))
    assert {getattr(task, "WAY", "") or getattr(task, "LATER", "") for task in modules} - {""} <= set(WAYS)


@pytest.mark.parametrize(
    ("way", "item", "told"),
    [
        ("forecast", "training.compile=true", "forecasts: it is for rows with answers"),
        ("written", "training.mixup=0.2", "texts that are written"),
        (
            "recommend",
            "training.augment.history.drop=0.1",
            "rows without answers and captions of pictures",
        ),
        ("control", "training.batch_size=3", "environments"),
        ("answered", "training.steps=9", "it is for environments"),
        ("unlabelled", "network.photo.rank=4", "'network.photo.rank'"),
        ("forecast", "network.weights=x", "'network.weights'"),
        ("generate", "network.depth=3", "'network.depth'"),
        ("generate", "optimizer.weight_decay=0.1", "pictures that are made"),
        ("recommend", "data.split=random", "'data.split'"),
        ("forecast", "privacy.epsilon=2", "rows with answers"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(way: str, item: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        check_used(way, Request(data="x", sets=("seed=1", item)))
    assert told in str(caught.value)
    assert caught.value.where == item.partition("=")[0]


def test_what_a_way_uses_is_not_refused() -> None:
    for setting, ways in USED.items():
        for way in ways:
            check_used(way, Request(data="x", sets=(f"{setting}=1", "schedule.name=linear", "task.y.rate=2")))


def test_a_plan_that_is_followed_is_looked_at_too() -> None:
    plan = Plan(training=TrainingPlan(compile=True, epochs=3, steps=7, batch_size=1))
    check_used("answered", Request(data="x", plan="plan.toml"), plan)
    with pytest.raises(InputError, match=r"(?s)training\.compile.*plan\.toml"):
        check_used("recommend", Request(data="x", plan="plan.toml"), plan)
    # What every plan of a way says of itself is no wish.
    check_used("control", Request(data="x"), Plan(training=TrainingPlan(epochs=1.0, batch_size=1)))


def plan_of(task: str, **parts: Any) -> Plan:
    return Plan(task={"y": TaskPlan(task)}, **parts)


@pytest.mark.parametrize(
    ("plan", "item", "told"),
    [
        (plan_of("regress", training=TrainingPlan(label_smoothing=0.1)), "", "for the task classify"),
        (plan_of("tag", training=TrainingPlan(balance="weights")), "", "this is tag"),
        (plan_of("segment", training=TrainingPlan(balance="sampling")), "", "for the task classify"),
        (plan_of("regress", optimizer=OptimizerPlan("rmsprop")), "optimizer.momentum=0.5", "'rmsprop' does not use"),
        (plan_of("regress", schedule=SchedulePlan("constant")), "schedule.final=0.5", "'constant' does not use"),
        (plan_of("anomaly", training=TrainingPlan(augment={"a": {"noise": 1}})), "", "it is for contrastive"),
    ],
)
def test_what_the_plans_own_names_do_not_use_is_refused(plan: Plan, item: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        check_wishes(plan, Request(data="x", sets=(item,) if item else ()))
    check_wishes(plan_of("classify", training=TrainingPlan(label_smoothing=0.1, balance="sampling")), Request(data="x"))


def test_the_tables_of_names_agree_with_the_optimizers_schedules_and_losses() -> None:
    def groups(name: str, **changes: Any) -> list[Any]:
        weight = torch.nn.Parameter(torch.zeros(2, 2))
        plan = dataclasses.replace(OptimizerPlan(name), **changes)
        return [
            {key: value for key, value in group.items() if key != "params"}
            for optimizer in build([{"params": [weight]}, {"params": [torch.nn.Parameter(torch.zeros(2))]}], plan)
            for group in optimizer.param_groups
        ]

    assert {name for name in BUILDERS if groups(name) != groups(name, momentum=0.5)} == set(settings.MOMENTUM)
    assert {name for name in BUILDERS if groups(name) != groups(name, beta2=0.5)} == set(settings.BETA2)
    assert {name for name, curve in CURVES.items() if curve(0.7, 0.1, {}) != curve(0.7, 0.5, {})} == set(settings.FINAL)
    losses = {name: (ROOT / "tasks" / f"{name}.py").read_text(encoding="utf-8") for name in registry.names("tasks")}
    smoothed = {name for name, text in losses.items() if '"label_smoothing"' in text or "_map_losses" in text}
    assert smoothed == set(settings.SMOOTHED)


def test_the_page_says_which_settings_are_for_what() -> None:
    page = (ROOT.parents[1] / "docs" / "plan.md").read_text(encoding="utf-8")
    rows = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 2 and all(part.strip() in WAYS.values() for part in cells[1].split(",")):
            rows.update(dict.fromkeys(re.findall(r"`([a-z_.]+)`", cells[0]), cells[1]))
    wanted = {key: ", ".join(told for way, told in WAYS.items() if way in ways) for key, ways in USED.items()}
    assert rows == {key: told for key, told in wanted.items() if USED[key] != ALL}
