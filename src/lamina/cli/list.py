"""`lamina list`: runs here, or the networks, methods, tasks and modalities there are."""

from __future__ import annotations

import argparse
import ast
import json
from pathlib import Path
from typing import Any

from lamina import registry
from lamina import run as runs
from lamina.cli import _options
from lamina.errors import InputError, nearest

ABOUT = "list the runs here, or the networks, tasks, methods and modalities there are"
FOLDERS = (
    "networks", "networks/recommenders", "networks/forecasters", "networks/writers", "tasks", "methods", "modalities",
    "baselines",
)  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="?",
        default="runs",
        help=f"runs, {', '.join(FOLDERS)}, or a folder of runs",
    )


def run_document(found: runs.Run) -> dict[str, Any]:
    """One run in a line."""
    status = found.status()
    entry: dict[str, Any] = {"run": str(found.folder), "state": status["state"], "scores": {}}
    try:
        results = json.loads(found.results.read_text(encoding="utf-8"))
        for target in results["targets"]:
            name, interval = next(iter(target["scores"].items()))
            entry["scores"][f"{target['target']} {name}"] = float(interval["value"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
        # A run without results, or with damaged ones, is listed without scores; `lamina report` says what is wrong.
        entry["scores"] = {}
    return entry


def about(folder: str, name: str) -> str:
    """The first line of a module's docstring, without importing it."""
    text = (registry.ROOT / folder / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]


def run(arguments: argparse.Namespace) -> int:
    what = arguments.what
    if what in FOLDERS:
        found = {name: about(what, name) for name in registry.names(what)}
        if arguments.json:
            _options.print_json(found)
        for name, line in () if arguments.json else found.items():
            print(f"{name:16} {line}")
        return 0
    folder = Path("runs") if what == "runs" else Path(what)
    if what != "runs" and not folder.is_dir():
        raise InputError(f"There is no folder {what!r}.", fix=nearest(what, ("runs", *FOLDERS)))
    found_runs = [run_document(item) for item in runs.all_runs(folder)]
    if arguments.json:
        _options.print_json(found_runs)
        return 0
    for entry in found_runs:
        scores = ", ".join(f"{name} {value:.4g}" for name, value in entry["scores"].items())
        print(f"{entry['run']:30} {entry['state']:12} {scores}")
    if not found_runs:
        print(f"no runs in {folder}")
    return 0
