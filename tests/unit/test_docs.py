"""Whatever can be said to Lamina stands in the docs where a reader would look for it."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import re
import sys
import tomllib
from pathlib import Path

import pytest

import lamina
from lamina import registry
from lamina.cli import verbs
from lamina.cli.doctor import PACKAGES
from lamina.learn.augment import STRENGTHS
from lamina.learn.optimizers import BUILDERS
from lamina.learn.schedules import CURVES, OPTIONS
from lamina.plan import DataPlan, NetworkPlan, OptimizerPlan, Plan, SchedulePlan, TrainingPlan

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
COMMANDS, PLAN = ((DOCS / name).read_text(encoding="utf-8") for name in ("commands.md", "plan.md"))
FOLDERS = ("networks", "networks/recommenders", "networks/forecasters", "networks/writers", "methods")
AS_GIVEN = ("gpt2", "llama")
"""Networks with the sizes of a given model."""
NOT_SET = {"data": {"train", "test", "also", "fingerprint", "column"}, "network": {"fields", "options", "fingerprint"}}
OTHERS = {"--data-binary", "--nproc-per-node"}
"""Options of curl and torchrun in examples."""
SHOWN = re.compile(r"`([a-z_]+)=([^`]*)`")


def section(verb: str) -> str:
    parts = re.split(r"^##? ", COMMANDS, flags=re.MULTILINE)
    return next(part for part in parts if verb in part.split("\n")[0].split(", "))


@pytest.mark.parametrize("verb", verbs())
def test_every_option_of_a_command_is_on_the_page(verb: str) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    registry.module("cli", verbs()[verb]).arguments(parser)
    known = {option for action in parser._actions for option in action.option_strings}
    shown = set(re.findall(r"--[a-z][a-z-]+", section(verb))) - OTHERS
    assert known <= shown
    assert verb in ("search", "verify", "list", "demo", "doctor") or shown <= {*known, "--json", "--help", "--plan"}


def test_every_key_of_the_plan_is_on_the_page() -> None:
    parts = {"data": DataPlan, "network": NetworkPlan, "optimizer": OptimizerPlan, "schedule": SchedulePlan}
    for name, kind in {**parts, "training": TrainingPlan}.items():
        for item in dataclasses.fields(kind):
            place = f"network.NAME.{item.name}" if name == "network" else f"{name}.{item.name}"
            assert item.name in NOT_SET.get(name, ()) or item.name == "options" or f"`{place}" in PLAN, place
    Plan().with_set(re.findall(r"`((?:optimizer|schedule)\.[a-z_]+=[\d.]+)`", PLAN))
    for word in (*BUILDERS, *CURVES, *(f"schedule.{option}=" for options in OPTIONS.values() for option in options)):
        assert f"`{word}" in PLAN, word
    for names in STRENGTHS.values():
        for name, (most, _) in names.items():
            assert f"`{name}` ({most:g})" in PLAN, name


@pytest.mark.parametrize("folder", FOLDERS)
def test_options_of_networks_and_methods_are_on_the_page_with_their_defaults(folder: str) -> None:
    for name in registry.names(folder):
        if name in AS_GIVEN:
            continue
        text = re.split(r"\n- |\n\n", PLAN.split(f"- **`{name}`**:")[1])[0]
        shown = dict(SHOWN.findall(text.replace("\n  ", " ")))
        options = getattr(registry.module(folder, name), "Options", None)
        fields = dataclasses.fields(options) if options else ()
        assert set(shown) == {item.name for item in fields}, name
        for item in fields:
            assert Plan().with_set([f"method.{item.name}={shown[item.name]}"]).method.options[item.name] == (
                item.default
            ), (name, item.name)


@pytest.mark.parametrize("task", registry.names("tasks"))
def test_every_task_has_a_page_with_all_its_options(task: str) -> None:
    page = (DOCS / "tasks" / f"{task}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {task}: ")
    blocks = re.findall(r"^```\n.*?^```", page, re.MULTILINE | re.DOTALL)
    said = " ".join([*blocks, *re.findall(r"`([^`\n]+)`", page)])
    module = registry.module("tasks", task)
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "check_names":
            local = {"of_set": ("delimiter", "max_labels", "min_count")}
            for option in eval(compile(ast.Expression(node.args[1]), task, "eval"), vars(module), local):
                assert re.search(rf"\b{option}\b", said), option


def test_what_python_offers_is_on_the_page() -> None:
    for name in lamina.__all__:
        assert f"lamina.{name}" in COMMANDS, name


def test_links_and_pages_that_are_named_are_there() -> None:
    for page in (ROOT / "README.md", *DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
        for named in re.findall(r"`((?:docs|tests|bench|src)/[\w./-]+)`", text):
            assert (ROOT / named).exists(), f"{page.name}: {named}"
        for named in re.findall(r"`((?:steps|model|tasks|networks|learn|methods|data|evaluate)/[\w/]+\.py)`", text):
            assert (ROOT / "src" / "lamina" / named).exists(), f"{page.name}: {named}"


BROUGHT = {"scipy", "threadpoolctl", "markupsafe"}
"""Come with scikit-learn and jinja2."""
AT_HAND = {"pandas", "polars"}
"""Used where the user has them: frames that are given or asked for."""


def test_the_project_asks_for_what_it_imports_and_for_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: wanted for name, wanted in project["optional-dependencies"].items() if name != "dev"}
    named = [library for wanted in (project["dependencies"], *extras.values()) for library in wanted]
    asked = {re.split("[>=]", library)[0] for library in named if not library.startswith("lamina[")}
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "src" / "lamina").rglob("*.py")]
    nodes = [node for text in sources for node in ast.walk(ast.parse(text))]
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    # `require("fastexcel", ...)` imports too.
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    loaded = [node.args[0] for node in calls if ast.unparse(node.func) in ("require", "importlib.import_module")]
    imported |= {str(name.value) for name in loaded if isinstance(name, ast.Constant)}
    used = {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names) - {"lamina"}
    # Gymnasium opens its worlds and draws them, and PyTorch exports, with these.
    used |= {"box2d", "pygame", "onnxscript"}
    assert {PACKAGES.get(name, name) for name in used} - BROUGHT - AT_HAND == asked
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower()
    dependencies = (DOCS / "dependencies.md").read_text(encoding="utf-8")
    for library in asked | BROUGHT | AT_HAND:
        assert f"\n{library}==" in pinned, library
        assert library in dependencies, library
