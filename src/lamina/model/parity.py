"""The proof that a sealed model answers as the trained network did, on the whole test part."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.examples import blocks, room
from lamina.data.schema import Chunk, Values
from lamina.errors import LaminaError
from lamina.tasks import Answering, Comparable

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]

LARGEST_PROBABILITY = 1e-3
LARGEST_NUMBER = 1e-4
TIE = 1e-4
"""So far may rounding in another order move a probability (six units in the last place of a logit of 20 are 3e-6; a
deep network adds up more): an answer that falls the other way by no more is a tie, which is counted and told."""


@dataclass(frozen=True)
class Parity:
    """How nearly two sets of answers agree.

    Attributes:
        rows: rows compared.
        same_answers: share of rows with the same decoded answer.
        ties: rows with another answer though none of their probabilities moved by more than `TIE`.
        largest_difference: of any probability, or of a number in units of the answers' spread.
        rows_per_second: of the sealed model, raw value to decoded answer; 0 where it was not measured.
    """

    rows: int
    same_answers: float
    ties: int
    largest_difference: float
    rows_per_second: float = 0.0


def prove(model: Model, chunks: Iterable[Chunk], root: Path | None, outputs: Mapping[str, Array]) -> Parity:
    """Run raw test rows through the sealed model and compare with the trained network's outputs.

    Args:
        chunks: the test part's raw values by column, streamed in order.
        outputs: the network's outputs by target, members combined, [row, width], in the same order.

    Raises:
        LaminaError: an answer differs, or a row cannot be answered.
    """
    found = {name: room(outputs[name].shape) for name in model.tasks}
    rows, begin = 0, time.perf_counter()
    for chunk in chunks:
        arrays, errors = model.encode(chunk, root)
        if errors:
            row, reason = next(iter(errors.items()))
            raise LaminaError(
                f"The sealed model cannot read test row {rows + row}, which the network was tested on: {reason}.",
                fix="Report this as a fault of Lamina.",
            )
        answers = model.outputs(arrays)
        model.decode(answers)
        number = len(next(iter(arrays.values())))
        for name, output in answers.items():
            if rows + number > len(found[name]):
                raise _failed(name, f"more than {len(found[name])} rows")
            found[name][rows : rows + number] = output
        rows += number
    seconds = max(time.perf_counter() - begin, 1e-9)
    sealed = {name: part[:rows] for name, part in found.items()}
    return compare(outputs, sealed, model.tasks, rows_per_second=rows / seconds)


def compare(
    network: Mapping[str, Array],
    sealed: Mapping[str, Array],
    tasks: Mapping[str, Answering],
    rows_per_second: float = 0.0,
) -> Parity:
    """Compare outputs by target, [row, width] each, as decoded by the tasks.

    Raises:
        LaminaError: a decoded answer differs beyond a tie, a probability by 1e-3 or more, a number by
            more than 1e-4 of the answers' spread, or an output is not finite.
    """
    same, ties, largest, rows = None, 0, 0.0, 0
    for name, task in tasks.items():
        if network[name].shape != sealed[name].shape:
            raise _failed(name, f"{len(sealed[name])} rows instead of {len(network[name])}")
        for part in blocks(sealed[name]):
            finite = np.isfinite(sealed[name][part]).all(axis=1)
            if not finite.all():
                raise _failed(name, f"row {part.start + int(np.argmin(finite))} is not finite")
        rows = len(network[name])
        if not rows:
            continue
        if isinstance(task, Comparable):
            found = task.agreement(network[name], sealed[name])
            if not found.holds:
                raise _failed(name, f"an output of row {found.worst} differs by {found.largest:.3g} of their spread")
            equal, tied, difference = found.same, found.ties, found.largest
            same = equal if same is None else same & equal
            ties, largest = ties + tied, max(largest, difference)
            continue
        one, other = task.decode(network[name]), task.decode(sealed[name])
        if one[""].dtype.kind == "f":
            equal, tied, difference = _numbers(name, one, other)
        else:
            equal, tied, difference = _classes(name, one, other)
        same = equal if same is None else same & equal
        ties, largest = ties + tied, max(largest, difference)
    share = 1.0 if same is None else float(same.mean())
    return Parity(rows, share, ties, largest, rows_per_second)


def _numbers(name: str, one: Mapping[str, Values], other: Mapping[str, Values]) -> tuple[Array, int, float]:
    answer = one[""].astype(np.float64)
    # A spread of zero (every answer alike) leaves the size of the answers as the only measure.
    spread = float(np.std(answer)) or float(np.abs(answer).max()) or 1.0
    difference = np.abs(other[""].astype(np.float64) - answer) / spread
    worst = int(np.argmax(difference))
    if not difference[worst] <= LARGEST_NUMBER:
        raise _failed(name, f"row {worst} is {other[''][worst]!r} instead of {answer[worst]!r}")
    return difference <= LARGEST_NUMBER, 0, float(difference[worst])


def _classes(name: str, one: Mapping[str, Values], other: Mapping[str, Values]) -> tuple[Array, int, float]:
    names = [key for key in one if key.startswith(".p.")]
    before = np.stack([one[key] for key in names], axis=1).astype(np.float64)
    after = np.stack([other[key] for key in names], axis=1).astype(np.float64)
    difference = np.abs(after - before)
    worst = int(np.argmax(difference.max(axis=1)))
    largest = float(difference[worst].max())
    if not largest < LARGEST_PROBABILITY:
        raise _failed(name, f"a probability of row {worst} differs by {largest:.3g}")
    equal = np.array([first == second for first, second in zip(one[""], other[""], strict=True)], dtype=bool)
    tied = 0
    for row in np.flatnonzero(~equal):
        if difference[row].max() > TIE:
            raise _failed(name, f"row {row} is {other[''][row]!r} instead of {one[''][row]!r}")
        tied += 1
    return equal, tied, largest


def _failed(target: str, what: str) -> LaminaError:
    return LaminaError(
        f"The sealed model does not answer {target!r} as the trained network does: {what}.",
        fix="The model was not sealed. Try --set training.precision=fp32, and report this as a fault of Lamina.",
    )
