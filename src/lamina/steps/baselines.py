"""The classical baselines on the same rows: fitted at the end of step 2, scored in step 5."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina import registry
from lamina.baselines import BaselineAnswers, BaselineFeatures, Rows
from lamina.baselines._features import collect
from lamina.baselines._run import compare
from lamina.choose import hardware
from lamina.data.examples import IN_MEMORY, blocks, room
from lamina.files import cannot_write
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.known import question
from lamina.steps.prepare import Prepared
from lamina.tasks import LaidOut

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
    rows = _affordable(parts.train, kinds, plan.seed, _bytes(prepared))
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


def _affordable(rows: Array, kinds: set[str], seed: int, size: int) -> Array:
    """All rows, or as many as a baseline can hold: simple features of media are hundreds of numbers a row.

    Args:
        size: bytes of a row's targets that are no vectors.
    """
    most = MOST_PLAIN if kinds <= {"numbers", "category"} else MOST_MEDIA
    most = min(most, max(1, IN_MEMORY // size)) if size else most
    if len(rows) <= most:
        return rows
    return np.asarray(np.sort(np.random.default_rng(seed).choice(rows, most, replace=False)))


def _bytes(prepared: Prepared) -> int:
    arrays = [prepared.examples.arrays[name] for name, task in prepared.tasks.items() if isinstance(task, LaidOut)]
    return sum(array.nbytes // max(len(array), 1) for array in arrays)


def simple_features(prepared: Prepared, rows: Array) -> BaselineFeatures:
    """Simple features of `rows`, from the encoded arrays; of texts, from the raw words."""
    features = {name: encoder.feature for name, encoder in prepared.encoders.items()}
    if all(isinstance(task, LaidOut) for task in prepared.tasks.values()):
        # Nothing that is known of a whole picture tells where something is in it.
        pictures = [name for name, feature in features.items() if feature.kind == "image"]
        return BaselineFeatures((), len(rows), {name: Rows(prepared.examples.arrays[name], rows) for name in pictures})
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
    beside = run.folder / f".{FILES[1]}.part"
    try:
        with beside.open("wb") as file:
            with zipfile.ZipFile(file, "w", compresslevel=1) as archive:
                for name, array in arrays.items():
                    _put(archive, f"{name}.npy", array)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(run.folder / FILES[1])
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise cannot_write(run.folder / FILES[1], error) from error
    run.write_json(run.folder / FILES[0], document)


def _put(archive: zipfile.ZipFile, name: str, array: Array) -> None:
    """As `numpy.savez` writes it, but a part at a time; large answers, which lie on disk, in half precision, packed."""
    large = array.nbytes > IN_MEMORY
    kind = np.dtype(np.float16) if large else array.dtype
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED if large else zipfile.ZIP_STORED
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": array.shape}
    with archive.open(entry, "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]
        for part in blocks(array):
            file.write(np.ascontiguousarray(array[part], kind).tobytes())


def read_baselines(run: Run, plan: Plan) -> Answers | None:
    """What an earlier process of this run fitted; None where it was stopped before."""
    try:
        document = json.loads((run.folder / FILES[0]).read_text(encoding="utf-8"))
        with zipfile.ZipFile(run.folder / FILES[1]) as arrays:
            return {
                target: tuple(
                    BaselineAnswers(
                        item["name"],
                        _array(arrays, f"{target}/{item['name']}.npy"),
                        item["seconds"],
                        None if item["task"] is None else _task(plan, target, item["task"]),
                        item["note"],
                    )
                    for item in items
                )
                for target, items in document.items()
            }
    except (OSError, json.JSONDecodeError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def _array(archive: zipfile.ZipFile, name: str) -> Array:
    """float32 [row, width] of an .npz, read a part at a time into memory, or onto disk where it is large."""
    with archive.open(name) as file:
        if np.lib.format.read_magic(file) != (1, 0):  # type: ignore[arg-type]
            raise ValueError(name)
        shape, _, kind = np.lib.format.read_array_header_1_0(file)  # type: ignore[arg-type]
        found = room(shape)
        for part in blocks(found):
            size = kind.itemsize * found[part].size
            found[part] = np.frombuffer(file.read(size), kind).reshape(found[part].shape)
    return found


def _task(plan: Plan, target: str, state: Mapping[str, Any]) -> Any:
    return registry.module("tasks", plan.task[target].name).Task.restore(state)
