"""Smaller variants of a run's sealed model, each sealed with what it was measured to lose."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import numpy as np

from lamina.data.examples import at, blocks, known_targets, room
from lamina.errors import InputError, nearest
from lamina.evaluate.agreeing import MEASURED, agrees, neighbors_kept
from lamina.evaluate.intervals import bootstrap_scores
from lamina.evaluate.results import Interval, to_json
from lamina.evaluate.scores import POINTS, amount, better_by, title
from lamina.model import golden
from lamina.model import quantize as graphs
from lamina.model.fastest import digest_of
from lamina.model.format import write
from lamina.model.runtime import Model, load
from lamina.narrate import Narrator
from lamina.run import Run
from lamina.steps.prepare import Prepared
from lamina.steps.test import example_rows
from lamina.tasks import Answering, LaidOut, Task, embed, right_rows

Array = np.ndarray[Any, Any]

KINDS = ("int8", "fp16")
MOST_LOSS = 0.01
"""Of the first score on the validation rows: a point of a share, a hundredth of any other score."""
MOST_NEIGHBORS = 0.05
"""Of the nearest others: those that are nearly as near change places by any rounding."""
CALIBRATION_ROWS, CALIBRATION_BATCH = 512, 64
TIMED_ROWS, TIMED_ROUNDS = 1024, 5
CHUNK = 1024
ALIKE = 1e-4
"""A change of a score by less than this share of it is none."""
LEAST_GAIN = 0.95
"""A file that keeps more of the size is no variant worth having."""


@dataclass(frozen=True)
class Compared:
    """One target's first score before and after, on the same rows.

    Attributes:
        gain: how much better it became, with its paired interval; negative is worse.
    """

    score: str
    before: float
    after: float
    gain: Interval


@dataclass(frozen=True)
class Variant:
    """A smaller model, or why there is none.

    Attributes:
        kind: "int8" or "fp16".
        path: of the sealed file; "" if it was refused.
        bytes: of the sealed file.
        size: its size as a share of the full model's.
        pace: rows a second in multiples of the full model's, encoded rows to outputs, on this machine.
        same_answers: share of test rows with the same decoded answers; of vectors, with the same nearest other row.
        scores: by target, on the test rows.
        allowed: how much worse the first score might be on the validation rows.
        of: digest of the full model's network.
        refused: the reason.
    """

    kind: str
    path: str = ""
    bytes: int = 0
    size: float = 1.0
    pace: float = 1.0
    same_answers: float = 1.0
    scores: Mapping[str, Compared] = field(default_factory=dict)
    refused: str = ""
    allowed: float = MOST_LOSS
    of: str = ""


def quantize(
    run: Run, prepared: Prepared, narrator: Narrator, kinds: Sequence[str] = KINDS, most_loss: float | None = None
) -> list[Variant]:
    """Make the variants, refuse those that lose too much on the validation rows, measure and seal the others.

    Args:
        most_loss: by default `MOST_LOSS`, of vectors `MOST_NEIGHBORS`.

    Returns:
        One entry a kind, in the order asked for.

    Raises:
        InputError: an unknown kind, the run has no sealed model, or what it answers cannot be compared.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"There is no kind {kind!r}.", where="--kind", fix=nearest(kind, KINDS))
    if not run.model.exists():
        raise InputError(
            f"The run in {run.folder} has no sealed model: it is not finished.",
            where=str(run.folder),
            fix=f"`lamina resume {run.folder}` finishes it.",
        )
    full, size = load(run.model), run.model.stat().st_size
    absent = [name for name in full.inputs if name not in prepared.encoders]
    if absent:
        raise InputError(
            f"The model reads {', '.join(absent)}, which no row of the data holds: there is nothing to measure it on.",
            where=str(run.folder),
            fix="Train a smaller one, e.g. --set method.width=8",
        )
    for task in full.tasks.values():
        if not (_has_scores(task) or isinstance(task, MEASURED)):
            raise InputError(
                f"What a smaller model of the task {task.task!r} would lose cannot be measured.",
                where=str(run.folder),
                fix="Use the model as it is (lamina predict), or train a smaller one, e.g. --set method.width=8",
            )
    before = {part: _outputs(full, prepared, rows) for part, rows in _judged(prepared).items()}
    found = []
    for kind in kinds:
        variant = _variant(run, prepared, full, size, before, kind, most_loss)
        narrator.say(told(variant))
        found.append(variant)
    return found


def _variant(
    run: Run,
    prepared: Prepared,
    full: Model,
    size: int,
    before: Mapping[str, Mapping[str, Array]],
    kind: str,
    most_loss: float | None,
) -> Variant:
    network = full.sealed.network
    small = graphs.to_int8(network, _calibration(full, prepared)) if kind == "int8" else graphs.to_half(network)
    if len(small) > LEAST_GAIN * len(network):
        return Variant(kind, refused="it would not be smaller: this network keeps its weights elsewhere")
    sealed = replace(full.sealed, network=small)
    model = Model(sealed)
    after = {part: _outputs(model, prepared, rows) for part, rows in _judged(prepared).items()}
    judged = _compared(prepared, full.tasks, "validation", before, after)
    allowed = [_allowed(task, most_loss) for task in full.tasks.values()]
    for name, most in zip(full.tasks, allowed, strict=True):
        if lost := _lost(judged.get(name), most):
            return Variant(kind, refused=f"{name}: {lost}")
    scores = _compared(prepared, full.tasks, "test", before, after)
    path = run.model.with_name(f"{run.model.stem}-{kind}{run.model.suffix}")
    variant = Variant(
        kind,
        str(path),
        size=len(small) / len(network),
        pace=_pace(full, model, prepared),
        same_answers=_same(full.tasks, before["test"], after["test"]),
        scores=scores,
        allowed=max(allowed),
        of=digest_of(network),
    )
    limits = [*full.card.get("limits", []), *(_limit(kind, name, item) for name, item in scores.items())]
    card = {**full.card, "variant": {**to_json(variant), "path": path.name}, "limits": limits}
    described = Model(replace(sealed, card=card), threads=1)
    written = write(path, golden.sealed_with(described, *example_rows(prepared)))
    return replace(variant, bytes=written, size=written / size)


def _allowed(task: Answering, most_loss: float | None) -> float:
    if most_loss is not None:
        return most_loss
    return MOST_NEIGHBORS if isinstance(task, embed.Task) else MOST_LOSS


def _lost(compared: Compared | None, most_loss: float) -> str:
    """Why a target's score on the validation rows speaks against a variant; "" if it does not."""
    if compared is None:
        return "too few validation rows have its answer, so what would be lost cannot be measured"
    score, gain = title(compared.score), compared.gain
    if not math.isfinite(compared.before):
        return f"{score} is not defined on the validation rows, so what would be lost cannot be measured"
    if not math.isfinite(compared.after):
        return f"{score} on the validation rows would no longer be defined"
    if -gain.value > (most_loss if compared.score in POINTS else most_loss * abs(compared.before)):
        return f"{score} on the validation rows would be worse by {amount(compared.score, -gain.value, gain.unit)}"
    return ""


def _judged(prepared: Prepared) -> dict[str, Array]:
    return {"validation": prepared.split.validation, "test": prepared.split.test}


def _outputs(model: Model, prepared: Prepared, rows: Array) -> dict[str, Array]:
    """The network's outputs by target, [row, width], from the encoded rows."""
    found = {name: room((len(rows), task.width)) for name, task in model.tasks.items()}
    together = model.fitting(CHUNK)
    for start in range(0, len(rows), together):
        part = slice(start, start + together)
        for name, output in model.outputs(prepared.examples.take(list(model.inputs), rows[part])).items():
            found[name][part] = output
    return found


def _calibration(model: Model, prepared: Prepared) -> list[dict[str, Array]]:
    """Training examples spread over the data, by the graph's input names."""
    rows = prepared.split.train
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(CALIBRATION_ROWS, len(rows))).astype(np.int64))]
    batches = []
    for start in range(0, len(rows), CALIBRATION_BATCH):
        arrays = prepared.examples.take(list(model.inputs), rows[start : start + CALIBRATION_BATCH])
        batches.append({model.sealed.inputs[name]: array for name, array in arrays.items()})
    return batches


def _compared(
    prepared: Prepared,
    tasks: Mapping[str, Answering],
    part: str,
    before: Mapping[str, Mapping[str, Array]],
    after: Mapping[str, Mapping[str, Array]],
) -> dict[str, Compared]:
    """Each target's first score before and after, on the rows of a part whose target is known; where none has one,
    what the full model says is what is to stay."""
    found = {}
    for name, task in tasks.items():
        if not _has_scores(task):
            if (agreed := agrees(task, before[part][name], after[part][name])) is not None:
                score, stays = agreed
                gain = Interval(stays.value - 1, stays.low - 1, stays.high - 1)
                found[name] = Compared(score, 1.0, stays.value, gain)
            continue
        target = np.asarray(prepared.examples.arrays[name][_judged(prepared)[part]])
        known = np.flatnonzero(known_targets(target))
        if not len(known):
            continue
        target, outputs = at(target, known), [at(side[part][name], known) for side in (before, after)]
        scores = [task.scores(output, target) for output in outputs]
        first = next(iter(scores[0]))
        one, other = (each[first] for each in scores)
        scorers = {
            word: task.scorer(output, target, first) for word, output in zip(("before", "after"), outputs, strict=True)
        }
        drawn = bootstrap_scores(scorers, len(target))
        right = right_rows((task, outputs[1]), (task, outputs[0]), target)
        gain = better_by(first, other, one, drawn["after"][first], drawn["before"][first], right)
        found[name] = Compared(first, one.value, other.value, gain)
    return found


def _has_scores(task: Answering) -> TypeGuard[Task]:
    """Are there right answers to what the task answers?"""
    return hasattr(task, "scores")


def _same(tasks: Mapping[str, Answering], before: Mapping[str, Array], after: Mapping[str, Array]) -> float:
    """The share of rows whose answers are all the same; numbers to a hundredth of their spread; of maps, of pixels."""
    same: Array | None = None
    for name, task in tasks.items():
        if isinstance(task, LaidOut):
            equal = _shared(task, before[name], after[name])
            same = equal if same is None else same * equal
            continue
        if isinstance(task, embed.Task):
            equal = (
                neighbors_kept(before[name], after[name], 1) if len(before[name]) > 1 else np.ones(len(before[name]))
            )
            same = equal if same is None else same * equal
            continue
        one, other = (task.decode(outputs[name])[""] for outputs in (before, after))
        if one.dtype.kind == "f":
            equal = np.abs(other - one) <= 0.01 * (float(np.std(one)) or 1.0)
        else:
            equal = np.array([first == second for first, second in zip(one, other, strict=True)], dtype=bool)
        same = equal if same is None else same * equal
    return 1.0 if same is None or not len(same) else float(np.mean(same))


def _shared(task: Answering, before: Array, after: Array) -> Array:
    """[row] how much of each answer that has many parts is the same."""
    found = [np.zeros(0)]
    for part in blocks(before):
        one, other = (task.decode(outputs[part])[""] for outputs in (before, after))
        pairs = zip(one, other, strict=True)
        found.append(np.array([float(np.mean(np.asarray(first == second))) for first, second in pairs]))
    return np.concatenate(found)


def _pace(full: Model, small: Model, prepared: Prepared) -> float:
    """How many times as fast the smaller model is, timed in turn."""
    rows = prepared.split.test[: full.fitting(TIMED_ROWS)]
    if not len(rows):
        return 1.0
    arrays = prepared.examples.take(list(full.inputs), rows)
    times: dict[str, list[float]] = {"full": [], "small": []}
    for number in range(TIMED_ROUNDS + 1):
        for name, model in (("full", full), ("small", small)):
            begin = time.perf_counter()
            model.outputs(arrays)
            if number:
                times[name].append(time.perf_counter() - begin)
    return statistics.median(times["full"]) / statistics.median(times["small"])


def _limit(kind: str, name: str, item: Compared) -> str:
    bits = {"int8": "in 8 bits", "fp16": "kept in 16 bits"}[kind]
    return f"{name}: {_change(item)} with the weights {bits}."


def _change(item: Compared) -> str:
    """ "accuracy 0.2 points worse on the test rows (95% interval -0.5 to 0.1 points)"."""
    gain, score = item.gain, item.score
    if not math.isfinite(gain.value):
        return f"{title(score)} is not defined on the test rows"
    size = amount(score, abs(gain.value), gain.unit)
    way = f"{size} {'worse' if gain.value < 0 else 'better'}"
    if abs(gain.value) <= ALIKE * abs(item.before):
        way = "the same"
    low, high = (amount(score, value, gain.unit) for value in (gain.low, gain.high))
    return f"{title(score)} {way} on the test rows (95% interval of the gain {low} to {high})"


def told(variant: Variant) -> str:
    """The variant in one line."""
    if variant.refused:
        return f"{variant.kind}: not sealed: {variant.refused}"
    changes = "; ".join(f"{name}: {_change(item)}" for name, item in variant.scores.items())
    return (
        f"{variant.kind}: {variant.path}, {variant.bytes / 1e6:.1f} MB ({variant.size:.0%} of the full model), "
        f"{variant.pace:.2f} times its pace here, {variant.same_answers:.1%} of the answers the same; {changes}"
    )
