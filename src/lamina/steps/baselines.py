"""The classical baselines on the same rows: fitted at the end of step 2, scored in step 5."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina import registry
from lamina.baselines import BaselineAnswers, BaselineFeatures
from lamina.baselines._features import collect
from lamina.baselines._run import compare
from lamina.choose import hardware
from lamina.files import write_bytes
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.known import question
from lamina.steps.prepare import Prepared

Array = np.ndarray[Any, Any]
SHARE = 0.15
"""Share of the budget that baselines may take."""
SECONDS = 90.0
"""What they may take where there is no budget."""
MOST_PLAIN = 500_000
MOST_MEDIA = 30_000
"""Rows that baselines learn from at most: they hold all of them in memory, which the network does not."""
FILES = ("baselines.json", "baselines.npz")
Answers = Mapping[str, tuple[BaselineAnswers, ...]]


def fit_baselines(plan: Plan, prepared: Prepared, run: Run, narrator: Narrator) -> Answers:
    """Fit every suited baseline of every target and keep its answers to the test rows in the run folder."""
    asked = question(plan, budget=plan.budget, cores=hardware.detect().cores)
    if asked.take(run, *FILES) and (known := read_baselines(run, plan)) is not None:
        narrator.say("baselines, as an earlier run fitted them on the same rows:")
        for items in known.values():
            for item in items:
                narrator.say(f"  {item.name}: {item.seconds:.1f} s{f' ({item.note})' if item.note else ''}")
        return known
    features = {name: encoder.feature for name, encoder in prepared.encoders.items()}
    kinds: set[str] = {feature.kind for feature in features.values()}
    seconds = (SHARE * plan.budget if plan.budget else SECONDS) / len(prepared.tasks)
    parts = prepared.split
    rows = _affordable(parts.train, kinds, plan.seed)
    if len(rows) < len(parts.train):
        narrator.say(f"baselines learn from {len(rows):,} of the training rows, drawn at random, to save memory")
    train, validation, test = (simple_features(prepared, part) for part in (rows, parts.validation, parts.test))
    found: dict[str, tuple[BaselineAnswers, ...]] = {}
    narrator.say("baselines, fitted on the same rows:")
    for name, task in prepared.tasks.items():
        if not len(parts.validation):
            found[name] = ()
            continue
        targets = prepared.examples.arrays[name]
        found[name] = compare(
            task,
            kinds,
            (train, np.asarray(targets[rows])),
            (validation, np.asarray(targets[parts.validation])),
            test,
            seed=plan.seed,
            seconds=seconds,
            threads=hardware.detect().cores,
            told=lambda line: narrator.say(f"  {line}"),
        )
    _write(run, found)
    asked.keep(run, *FILES)
    return found


def _affordable(rows: Array, kinds: set[str], seed: int) -> Array:
    """All rows, or as many as a baseline can hold: simple features of media are hundreds of numbers a row."""
    most = MOST_PLAIN if kinds <= {"numbers", "category"} else MOST_MEDIA
    if len(rows) <= most:
        return rows
    return np.asarray(np.sort(np.random.default_rng(seed).choice(rows, most, replace=False)))


def simple_features(prepared: Prepared, rows: Array) -> BaselineFeatures:
    """Simple features of `rows`, from the encoded arrays; of texts, from the raw words."""
    features = {name: encoder.feature for name, encoder in prepared.encoders.items()}
    arrays = {name: prepared.examples.arrays[name][rows] for name in features}
    columns = {name: prepared.schema[name].columns[0] for name, feature in features.items() if feature.kind == "tokens"}
    raw = prepared.table.take(rows, list(columns.values())) if columns else {}
    return collect(features, arrays, {name: raw[column] for name, column in columns.items()})


def _write(run: Run, found: Answers) -> None:
    document = {
        target: [
            {
                "name": item.name, "seconds": item.seconds, "note": item.note,
                "task": None if item.task is None else item.task.state(),
            }
            for item in items
        ]
        for target, items in found.items()
    }  # fmt: skip
    arrays = {f"{target}/{item.name}": item.output for target, items in found.items() for item in items}
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    write_bytes(run.folder / FILES[1], content.getvalue())
    run.write_json(run.folder / FILES[0], document)


def read_baselines(run: Run, plan: Plan) -> Answers | None:
    """What an earlier process of this run fitted; None where it was stopped before."""
    try:
        document = json.loads((run.folder / FILES[0]).read_text(encoding="utf-8"))
        with np.load(run.folder / FILES[1], allow_pickle=False) as arrays:
            return {
                target: tuple(
                    BaselineAnswers(
                        item["name"],
                        arrays[f"{target}/{item['name']}"],
                        item["seconds"],
                        None if item["task"] is None else _task(plan, target, item["task"]),
                        item["note"],
                    )
                    for item in items
                )
                for target, items in document.items()
            }
    except (OSError, json.JSONDecodeError, KeyError):
        return None


def _task(plan: Plan, target: str, state: Mapping[str, Any]) -> Any:
    return registry.module("tasks", plan.task[target].name).Task.restore(state)
