"""Scores of a sealed model that learned without answers, judged by a column of labels: "anomaly" and "embed"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.schema import Values
from lamina.data.tables import ChunkReader, read_chunks
from lamina.data.windows import WINDOW, Cut
from lamina.errors import InputError, nearest
from lamina.evaluate import judge
from lamina.evaluate.judged import Judged, compared
from lamina.evaluate.results import Interval
from lamina.evaluate.scored import Scored, check_columns
from lamina.modalities._canonical import canonical, object_array
from lamina.model import steps
from lamina.model.rows import RawChunk, Rows
from lamina.tasks import anomaly

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]
LABEL = "label"
"""What the names of class folders are called."""


def score_anomaly(model: Model, data: Any, seed: int, target: str = "", normal: str = "") -> Scored:
    """How well the strange is told from the ordinary, and what the threshold makes of them.

    Args:
        data: rows, or the steps of one long series, each with a label; one without counts as an error.
        target: the column of labels; by default the one that judged in training.
        normal: the label of what is ordinary; by default as in training, or the commonest.

    Raises:
        InputError: there is no column of labels, or nothing could be scored.
    """
    (name, task), *_ = model.tasks.items()
    assert isinstance(task, anomaly.Task)
    labelled = _open(model, data, target)
    cut = task.cut if task.cut is not None and WINDOW not in labelled.reader.columns else None
    outputs, errors = (
        _of_rows(model, name, labelled, task.strangeness) if cut is None else _of_steps(model, name, labelled, cut)
    )
    values = labelled.values()
    kept = labelled.kept(values, errors)
    ordinary, why = _ordinary(model, labelled.column, values, normal)
    strange, scores, noun = values[kept] != ordinary, outputs[kept], "row" if cut is None else "step"
    block = 1 if cut is None else cut.length
    figures, _ = compared(judge.detections("", scores, strange), (), len(kept), seed, block=block)
    alarms = scores > task.threshold
    figures |= judge.alarmed(alarms, strange, seed, block)
    if cut is not None:
        found = judge.along(alarms, strange, scores, cut.length)
        figures |= {key: Interval(value, float("nan"), float("nan")) for key, value in found.items()}
    note = (
        f"{int(strange.sum()):,} strange and {int((~strange).sum()):,} ordinary {noun}s by the column "
        f"{labelled.column!r}: ordinary is {ordinary!r}, {why}"
    )
    return Scored(len(values), len(values) - len(kept), {name: figures}, f"{noun}s", f"{noun}s", notes=(note,))


def score_embed(model: Model, data: Any, seed: int, target: str = "", normal: str = "") -> Scored:
    """The share of rows whose nearest other rows of the same data tell their label.

    In training the neighbors are training rows, which a sealed file does not hold.

    Args:
        data: rows with a label; one without counts as an error.
        target: the column of labels; by default the one that judged in training.
        normal: of detectors only.

    Raises:
        InputError: there is no column of labels, fewer than two rows could be embedded, or `normal` was given.
    """
    if normal:
        raise InputError("Which label is ordinary is asked of detectors of anomalies.", fix="Leave --normal out.")
    (name, *_) = model.tasks
    labelled = _open(model, data, target)
    vectors, errors = _of_rows(model, name, labelled, np.asarray)
    values = labelled.values()
    kept = labelled.kept(values, errors, least=2)
    _, codes = np.unique(values[kept].astype(str), return_inverse=True)
    right = judge.neighbors(vectors[kept], codes) == codes
    own = Judged("", {"knn_accuracy": lambda weights: weights @ right / weights.sum(axis=1)})
    scores, _ = compared(own, (), len(kept), seed)
    note = f"each row is told by the {judge.NEIGHBORS} others of the same data that are nearest to it"
    return Scored(len(values), len(values) - len(kept), {name: scores}, notes=(note,))


@dataclass
class _Labelled:
    """Raw rows, whose labels are kept as they go by."""

    reader: ChunkReader
    column: str
    seen: list[Values] = field(default_factory=list)

    def __iter__(self) -> Iterator[RawChunk]:
        for chunk in self.reader:
            self.seen.append(canonical(chunk.values[self.column]))
            yield RawChunk(chunk.values, len(chunk), chunk.errors)

    def values(self) -> Values:
        """object [row], of what went by; None where there is none."""
        return object_array(value for part in self.seen for value in part)

    def kept(self, values: Values, errors: set[int], least: int = 1) -> Array:
        """int64: the rows that have a label and an answer.

        Raises:
            InputError: fewer than `least`.
        """
        kept = np.array([row for row, value in enumerate(values) if value is not None and row not in errors], np.int64)
        if len(kept) < least:
            raise InputError(
                f"{'No row' if not len(kept) else 'Only one row'} has both an answer and a label in {self.column!r}.",
                where=self.reader.name,
                fix="Give rows like those that the model was trained on, with labels beside them.",
            )
        return kept


def _open(model: Model, data: Any, target: str) -> _Labelled:
    reader = read_chunks(data, labelled=True)
    column = target or str(model.card.get("judged_by", {}).get("column", LABEL))
    if column not in reader.columns:
        raise InputError(
            f"The data has no column {column!r} of labels, and nothing else says which answers are right.",
            where=reader.name,
            fix=f"Name it with --target COLUMN. {nearest(column, reader.columns)}",
        )
    cut = steps.cut_of(model)
    columns = model.columns if cut is None or WINDOW in reader.columns else cut.columns
    check_columns(columns, reader.columns, reader.name)
    return _Labelled(reader, column)


def _of_rows(model: Model, name: str, labelled: _Labelled, told: Callable[[Array], Array]) -> tuple[Array, set[int]]:
    """([row] what is `told` of each answer; the rows without one)."""
    found, errors, start = [], set[int](), 0
    for chunk in labelled:
        encoded, wrong = model.encode(chunk.values, labelled.reader.root)
        outputs = model.outputs(encoded)[name]
        found.append(told(outputs))
        errors |= {start + row for row in (*wrong, *chunk.errors)}
        start += len(chunk)
    return np.concatenate(found), errors


def _of_steps(model: Model, name: str, labelled: _Labelled, cut: Cut) -> tuple[Array, set[int]]:
    """([step] the mean score of the windows over each; the steps without one)."""
    found, errors, start = [], set[int](), 0
    for part in steps.answered(model, Rows(labelled), cut):
        found.append(np.asarray(part.columns[f"{name}.score"], np.float64))
        errors |= {start + step for step in part.errors}
        start += len(found[-1])
    return np.concatenate(found), errors


def _ordinary(model: Model, column: str, values: Values, normal: str) -> tuple[str, str]:
    """(The label of what is ordinary, why).

    Raises:
        InputError: `normal` is no label of the data.
    """
    counts = Counter(value for value in values if value is not None)
    if normal:
        wanted = str(canonical(object_array([normal]))[0])
        if wanted not in counts:
            raise InputError(f"No row is labelled {wanted!r}.", where="--normal", fix=nearest(wanted, counts))
        return wanted, "as you said"
    known = model.card.get("judged_by", {})
    # Data of nothing but strange rows has no ordinary label at all.
    if "ordinary" in known and (known.get("column") == column or known["ordinary"] in counts):
        return str(known["ordinary"]), "as in training"
    return max(sorted(counts), key=lambda label: counts[label]), "the commonest (--normal VALUE says another)"
