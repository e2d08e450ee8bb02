"""The classical baselines on the same rows: fitted at the end of step 2 or beside step 4, scored in step 5.

This module never imports PyTorch: the process beside the training (`steps/beside.py`) begins so much the sooner.
"""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamina import registry
from lamina.baselines import BaselineAnswers, BaselineFeatures, Clock, Rows
from lamina.baselines._features import collect
from lamina.baselines._run import compare, fitting, titles
from lamina.data.examples import IN_MEMORY, blocks, known_targets, room
from lamina.files import cannot_write
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.known import Question, question
from lamina.steps.prepare import Prepared
from lamina.tasks import LaidOut, Rivalled, layout_of

Array = np.ndarray[Any, Any]
SHARE = 0.15
"""Share of the budget that baselines may take."""
SECONDS = 90.0
"""What they may take where there is no budget."""
MOST_PLAIN = 500_000
MOST_MEDIA = 30_000
"""Rows that baselines learn from at most: they hold all of them in memory, which the network does not."""
MOST_RIVALLED = 1_000
"""Training rows that the tools of a task's own learn from."""
FILES = ("baselines.json", "baselines.npz")
WAITING = "still to come"
"""Why a baseline has no answers in a file that a fit has not finished."""
TIME_USED = "the time for baselines was used up"
Answers = Mapping[str, tuple[BaselineAnswers, ...]]
LeftOut = Mapping[str, Mapping[str, str]]
"""Target to baseline to the reason why it was left out."""


def usual_seconds(plan: Plan) -> float:
    """What all baselines together may take."""
    return SHARE * plan.budget if plan.budget else SECONDS


def known_baselines(plan: Plan, run: Run, narrator: Narrator, cores: int) -> Answers | None:
    """What an earlier run fitted on the same rows, now in the run folder; None if none did."""
    if not _asked(plan, cores).take(run, *FILES) or (known := read_baselines(run, plan)) is None:
        return None
    narrator.say("baselines, as an earlier run fitted them on the same rows:")
    tell(known, left_out(run), narrator)
    return known


def fit_baselines(
    plan: Plan, prepared: Prepared, run: Run, narrator: Narrator, *, cores: int, seconds: float = 0.0
) -> Answers:
    """Fit every suited baseline of every target and keep its answers to the test rows in the run folder.

    Args:
        cores: that may be used.
        seconds: for all of them; 0 for the usual ones.
    """
    narrator.say("baselines, fitted on the same rows:")
    found = fit(
        plan, prepared, run, seconds=seconds or usual_seconds(plan), threads=cores,
        told=lambda line: narrator.say(f"  {line}"),
    )  # fmt: skip
    if not seconds:
        keep_baselines(plan, run, cores)
    return found


def keep_baselines(plan: Plan, run: Run, cores: int) -> None:
    """Keep the run's baselines for the next run on the same rows."""
    _asked(plan, cores).keep(run, *FILES)


def tell(found: Answers, missing: LeftOut, narrator: Narrator) -> None:
    """A line for each baseline."""
    for name, items in found.items():
        for item in items:
            narrator.say(f"  {item.name}: {item.seconds:.1f} s{f' ({item.note})' if item.note else ''}")
        for title, reason in missing.get(name, {}).items():
            narrator.say(f"  {title}: left out, {reason}")


def _asked(plan: Plan, cores: int) -> Question:
    return question(plan, budget=plan.budget, cores=cores)


def fit(
    plan: Plan,
    prepared: Prepared,
    run: Run,
    *,
    seconds: float,
    threads: int,
    told: Callable[[str], None] = lambda line: None,
    clock: Clock = time.monotonic,
) -> Answers:
    """Fit the baselines; whenever one is done, the run folder has its answers and says which are still to come.

    Args:
        seconds: for all of them together, as `clock` tells them.
    """
    kinds: set[str] = {encoder.feature.kind for encoder in prepared.encoders.values()}
    parts = prepared.split
    rivals = _rivals(prepared, plan.seed, told)
    found: dict[str, tuple[BaselineAnswers, ...]] = {**dict.fromkeys(prepared.tasks, ()), **rivals}
    tasks = {name: task for name, task in prepared.tasks.items() if name not in rivals and len(parts.validation)}
    if not tasks:
        write_baselines(run, found, {})
        return found
    rows = _affordable(parts.train, kinds, plan.seed, _bytes(prepared))
    if len(rows) < len(parts.train):
        told(f"they learn from {len(rows):,} of the training rows, drawn at random, to save memory")
    train, validation, test = (simple_features(prepared, part) for part in (rows, parts.validation, parts.test))
    wanted = {name: titles(fitting(task, kinds, train)) for name, task in tasks.items()}
    missing = {name: dict.fromkeys(items, WAITING) for name, items in wanted.items()}
    write_baselines(run, found, missing)
    for name, task in tasks.items():
        targets = prepared.examples.arrays[name]
        learned, judged = (
            _answered(features, np.asarray(targets[some]))
            for features, some in ((train, rows), (validation, parts.validation))
        )

        def kept(answers: Sequence[BaselineAnswers], to_come: Sequence[str], name: str = name) -> None:
            found[name], missing[name] = tuple(answers), dict.fromkeys(to_come, WAITING)
            write_baselines(run, found, missing)

        found[name] = compare(
            task,
            kinds,
            learned,
            judged,
            test,
            seed=plan.seed,
            seconds=seconds / len(tasks),
            threads=threads,
            clock=clock,
            told=told,
            kept=kept,
        )
        done = {item.name for item in found[name]}
        missing[name] = {title: TIME_USED for title in wanted[name] if title not in done}
    write_baselines(run, found, missing)
    return found


def _answered(features: BaselineFeatures, targets: Array) -> tuple[BaselineFeatures, Array]:
    """Features and targets of the rows that have the target."""
    known = known_targets(targets)
    return (features, targets) if known.all() else (features.take(np.flatnonzero(known)), targets[known])


def _rivals(prepared: Prepared, seed: int, told: Callable[[str], None]) -> dict[str, tuple[BaselineAnswers, ...]]:
    """The answers of the tools that tasks bring with them, by target."""
    found: dict[str, tuple[BaselineAnswers, ...]] = {}
    fields = list(prepared.encoders)
    for name, task in prepared.tasks.items():
        if not isinstance(task, Rivalled):
            continue
        rows = _some(prepared.split.train, MOST_RIVALLED, seed)
        answers = []
        for rival in task.rivals(
            prepared.examples.take(fields, rows), prepared.examples.take([name], rows)[name], seed
        ):
            begin = time.monotonic()
            test = prepared.split.test
            output = room((len(test), task.width))
            for part in blocks(output):
                output[part] = rival.answer(prepared.examples.take(fields, test[part]))
            seconds = time.monotonic() - begin
            answers.append(BaselineAnswers(rival.name, output, seconds, task.uncalibrated(), rival.note))
            told(f"{rival.name}: {seconds:.1f} s" + (f" ({rival.note})" if rival.note else ""))
        found[name] = tuple(answers)
    return found


def _some(rows: Array, most: int, seed: int) -> Array:
    """All rows, or `most` of them drawn at random, in order."""
    if len(rows) <= most:
        return rows
    return np.asarray(np.sort(np.random.default_rng(seed).choice(rows, most, replace=False)))


def _affordable(rows: Array, kinds: set[str], seed: int, size: int) -> Array:
    """All rows, or as many as a baseline can hold: simple features of media are hundreds of numbers a row.

    Args:
        size: bytes of a row's targets that are no vectors.
    """
    most = MOST_PLAIN if kinds <= {"numbers", "category"} else MOST_MEDIA
    return _some(rows, min(most, max(1, IN_MEMORY // size)) if size else most, seed)


def _bytes(prepared: Prepared) -> int:
    arrays = [prepared.examples.arrays[name] for name, task in prepared.tasks.items() if isinstance(task, LaidOut)]
    return sum(array.nbytes // max(len(array), 1) for array in arrays)


def simple_features(prepared: Prepared, rows: Array) -> BaselineFeatures:
    """Simple features of `rows`, from the encoded arrays; of texts, from the raw words."""
    features = {name: encoder.feature for name, encoder in prepared.encoders.items()}
    if prepared.tasks and all(layout_of(task).kind in ("map", "places") for task in prepared.tasks.values()):
        # Nothing that is known of a whole picture tells where something is in it.
        pictures = [name for name, feature in features.items() if feature.kind == "image"]
        return BaselineFeatures((), len(rows), {name: Rows(prepared.examples.arrays[name], rows) for name in pictures})
    arrays = {name: prepared.examples.arrays[name][rows] for name in features}
    columns = {name: prepared.schema[name].columns[0] for name, feature in features.items() if feature.kind == "tokens"}
    raw = prepared.table.take(rows, list(columns.values())) if columns else {}
    return collect(features, arrays, {name: raw[column] for name, column in columns.items()})


def read_baselines(run: Run, plan: Plan) -> Answers | None:
    """What an earlier process of this run fitted; None where it was stopped before."""
    found = answers_so_far(run, plan)
    return None if found is None or _to_come(run) else found


def answers_so_far(run: Run, plan: Plan) -> Answers | None:
    """The answers of the baselines that are done, whether or not others are still to come; None without any files."""
    try:
        document = _document(run)
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
                    if "left_out" not in item
                )
                for target, items in document.items()
            }
    except (OSError, json.JSONDecodeError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def left_out(run: Run) -> LeftOut:
    """The baselines without answers in the run folder, with the reasons."""
    try:
        document = _document(run)
    except (OSError, json.JSONDecodeError):
        return {}
    return {
        target: {item["name"]: item["left_out"] for item in items if "left_out" in item}
        for target, items in document.items()
    }


def settled(run: Run, plan: Plan, reason: str) -> tuple[Answers, LeftOut]:
    """What there is, and what is missing, if nothing more is to come for this `reason`."""
    found = answers_so_far(run, plan)
    if found is None:
        return dict.fromkeys(plan.task, ()), {name: {"all baselines": reason} for name in plan.task}
    missing = {
        target: {title: reason if why == WAITING else why for title, why in items.items()}
        for target, items in left_out(run).items()
    }
    return found, missing


def write_baselines(run: Run, found: Answers, missing: LeftOut) -> None:
    """Keep answers, and which are missing why, in the run folder."""
    document = {
        target: [
            *(
                {
                    "name": item.name, "seconds": item.seconds, "note": item.note,
                    "task": None if item.task is None else item.task.state(),
                }
                for item in items
            ),
            *({"name": title, "left_out": reason} for title, reason in missing.get(target, {}).items()),
        ]
        for target, items in found.items()
    }  # fmt: skip
    arrays = {f"{target}/{item.name}": item.output for target, items in found.items() for item in items}
    # The arrays first: all that the listing names is then there.
    _write_arrays(run.folder / FILES[1], arrays)
    run.write_json(run.folder / FILES[0], document)


def _write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """An .npz, written beside and renamed."""
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("wb") as file:
            with zipfile.ZipFile(file, "w", compresslevel=1) as archive:
                for name, array in arrays.items():
                    _put(archive, f"{name}.npy", array)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def _put(archive: zipfile.ZipFile, name: str, array: Array) -> None:
    """As `numpy.savez` writes it, but a part at a time; large answers, which lie on disk, in half precision, packed."""
    large = array.nbytes > IN_MEMORY
    kind = np.dtype(np.float16) if large else array.dtype
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED if large else zipfile.ZIP_STORED
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": array.shape}
    with archive.open(entry, "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in blocks(array):
            file.write(np.ascontiguousarray(array[part], kind).tobytes())


def _to_come(run: Run) -> bool:
    return any(why == WAITING for items in left_out(run).values() for why in items.values())


def _document(run: Run) -> dict[str, Any]:
    document = json.loads((run.folder / FILES[0]).read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def _array(archive: zipfile.ZipFile, name: str) -> Array:
    """float32 [row, width] of an .npz, read a part at a time into memory, or onto disk where it is large."""
    with archive.open(name) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(name)
        shape, _, kind = np.lib.format.read_array_header_1_0(file)
        found = room(shape)
        for part in blocks(found):
            size = kind.itemsize * found[part].size
            found[part] = np.frombuffer(file.read(size), kind).reshape(found[part].shape)
    return found


def _task(plan: Plan, target: str, state: Mapping[str, Any]) -> Any:
    return registry.module("tasks", plan.task[target].name).Task.restore(state)
