"""New classes for a sealed encoder, from a few labelled examples: a sealed file of its own, without training a network.

NumPy and ONNX Runtime only; a model that is no encoder is made one by `model.inner`, which needs onnx.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.schema import Chunk, Json
from lamina.errors import InputError, nearest
from lamina.evaluate.intervals import wilson
from lamina.evaluate.results import Interval
from lamina.modalities._canonical import canonical_value, object_array
from lamina.model import golden
from lamina.model.format import Sealed, write
from lamina.model.rows import open_rows
from lamina.model.runtime import Model
from lamina.model.search import embedded
from lamina.tasks import few_shot
from lamina.tasks._few_examples import WAYS
from lamina.tasks.classify import in_order

if TYPE_CHECKING:
    from lamina.model.search import Embedded

Array = np.ndarray[Any, Any]

BATCH = 256
LABEL = "label"
"""What class folders call the column of their names."""
KEPT_EACH = 4
"""Rows of each class from which the golden examples are taken."""


@dataclass(frozen=True)
class Examples:
    """Labelled rows by their vectors.

    Attributes:
        target: the column of the labels.
        source: where they come from, for a person.
        vectors: float32 [row, size].
        codes: int64 [row], places in `labels`.
        labels: canonical text of each class, numbers in numeric order, others by text.
        rows: a few raw rows, for the golden examples.
        root: the folder that relative paths in them start from.
        unlabelled: rows that were left out because they have no label.
        errors: place in the data to the reason why a row could not be read.
    """

    target: str
    source: str
    vectors: Array
    codes: Array
    labels: tuple[str, ...]
    rows: Chunk
    root: Path | None
    unlabelled: int
    errors: Mapping[int, str]

    @property
    def counts(self) -> Array:
        """int64 [class]: examples of each."""
        return np.bincount(self.codes, minlength=len(self.labels))


@dataclass(frozen=True)
class Adapted:
    """A new sealed model, and what it answers to its own examples, each left out in turn.

    Attributes:
        accuracy: with Wilson's interval; None where no class has two examples.
    """

    sealed: Sealed
    way: str
    accuracy: Interval | None

    def write(self, path: str | Path) -> int:
        """Seal it as an ordinary .lamina file; returns its size in bytes."""
        return write(Path(path), self.sealed)


def examples(model: Model, data: Any, target: str = "") -> Examples:
    """Labelled rows by what an encoder makes of them.

    Args:
        model: what `encoder` gave.
        data: a table or folder, as for `Model.predict`, with the labels.
        target: the column of the labels; by default `label`, as class folders have it.

    Raises:
        InputError: no such column, no labelled row that can be read, one class only, or far too many; or the encoder
            itself reads the column.
    """
    name = target or LABEL
    if name in model.columns:
        raise InputError(
            f"The encoder reads the column {name!r} itself, so there is nothing left to answer.",
            where=model.where,
            fix=f"Train one that does not see it: lamina train DATA --task embed --target {name}",
        )
    (answer,) = model.tasks
    rows = open_rows(data, model, BATCH, labels=name)
    vectors, labels, errors, unlabelled = list[Array](), list[str](), dict[int, str](), 0
    golden_rows, seen = list[dict[str, Any]](), Counter[str]()
    for part in embedded(model, answer, rows):
        errors.update({part.start + row: reason for row, reason in sorted(part.errors.items())})
        known = _labels(part, name)
        unlabelled += known.count(None)
        vectors.append(part.vectors[[label is not None for label in known]])
        for row, label in zip(part.kept, known, strict=True):
            if label is None:
                continue
            labels.append(label)
            seen[label] += 1
            if seen[label] <= KEPT_EACH:
                golden_rows.append({column: part.chunk.values[column][row] for column in model.columns})
    _check_classes(name, seen, unlabelled, errors)
    classes = in_order(seen)
    numbers = {label: code for code, label in enumerate(classes)}
    return Examples(
        name,
        str(data) if isinstance(data, str | Path) else f"in memory: {type(data).__name__}",
        np.concatenate(vectors),
        np.array([numbers[label] for label in labels], np.int64),
        classes,
        _spread(golden_rows, model.columns),
        rows.root,
        unlabelled,
        errors,
    )


def adapt(model: Model, given: Examples, way: str = WAYS[0]) -> Adapted:
    """The encoder with a new question on top: which class is most like the examples?

    Args:
        model: what `encoder` gave.
        way: "prototypes", "neighbors" or "probe".

    Returns:
        The same network and encoders sealed with another task, a card that says so, and golden examples of its own.

    Raises:
        InputError: an unknown way, or more examples than a file may keep.
    """
    size = given.vectors.shape[1]
    if way not in WAYS:
        raise InputError(f"There is no way {way!r}.", where="--way", fix=nearest(way, WAYS))
    if not few_shot.fits(way, len(given.codes), len(given.labels), size):
        raise InputError(
            f"{len(given.codes):,} examples of {size} numbers each are more than a sealed file keeps.",
            where="--way",
            fix="Give fewer, or take --way probe, which keeps one vector for each class.",
        )
    task, right = few_shot.Task.from_examples(given.target, way, given.vectors, given.codes, given.labels)
    share = float(right.mean()) if len(right) else 0.0
    accuracy = Interval(share, *wilson(share, len(right))) if len(right) else None
    (output,) = model.sealed.outputs.values()
    sealed = replace(
        model.sealed,
        outputs={given.target: output},
        tasks={given.target: {"task": task.task, "state": task.state()}},
        card=_card(model, given, way, accuracy),
        golden={},
    )
    sealed = golden.sealed_with(Model(sealed, threads=1), given.rows, given.root)
    kept = len(sealed.golden["rows"])
    limit = f"The file holds {kept} raw example rows: whoever has the model can read them."
    return Adapted(replace(sealed, card={**sealed.card, "limits": [*sealed.card["limits"], limit]}), way, accuracy)


def _labels(part: Embedded, name: str) -> list[str | None]:
    return [canonical_value(part.chunk.values[name][row]) for row in part.kept]


def _check_classes(name: str, seen: Mapping[str, int], unlabelled: int, errors: Mapping[int, str]) -> None:
    if not seen:
        reason = next(iter(errors.values()), f"{unlabelled:,} have no label in {name!r}" if unlabelled else "")
        raise InputError(
            f"No row can be read as a labelled example: {reason or 'there are none'}.",
            fix="Give labelled data like that which the encoder was trained on.",
        )
    if len(seen) == 1:
        raise InputError(
            f"All examples are of one class: {next(iter(seen))!r}.",
            where=f"column {name}",
            fix="Give examples of at least two classes, or name another column with --target.",
        )
    if len(seen) > few_shot.MOST_CLASSES:
        raise InputError(
            f"The column {name!r} has {len(seen):,} values; at most {few_shot.MOST_CLASSES:,} can be classes.",
            fix="Name a column of classes with --target.",
        )


def _spread(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Chunk:
    """As many rows as a sealed file usually keeps, evenly taken from those given, by column."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), golden.USUAL)).astype(np.int64))
    return {column: object_array([rows[place][column] for place in places]) for column in columns}


def _card(model: Model, given: Examples, way: str, accuracy: Interval | None) -> dict[str, Json]:
    """The encoder's card with another question: what is known of the new answers, and where the network comes from."""
    before = model.card
    counts = dict(zip(given.labels, given.counts.tolist(), strict=True))
    verdict = (
        "No class has two examples, so nothing says how good the answers are."
        if accuracy is None
        else f"Of the examples, each left out in turn, {accuracy.value:.1%} are answered rightly "
        f"(95% interval {accuracy.low:.1%} to {accuracy.high:.1%})."
    )
    limits = [
        f"The network was trained for another question; only {len(given.codes):,} examples taught it {given.target!r}.",
        "If the encoder was trained on these examples too, they flatter it: test it on others.",
        "It answers with one of its classes whatever it is shown.",
    ]
    few = [label for label, count in counts.items() if count == 1]
    if few:
        limits.append(f"One example only of: {', '.join(few[:20])}{', ...' if len(few) > 20 else ''}.")
    return {
        **{name: before[name] for name in ("licence", "inputs", "network", "plan", "versions") if name in before},
        "name": f"{before.get('name', 'encoder')}, adapted to {given.target}",
        "created": "",
        "targets": {
            given.target: {
                "task": "few_shot",
                "scores": {} if accuracy is None else {"accuracy": asdict(accuracy)},
                "verdict": verdict,
                "baselines": {},
            }
        },
        "adapted": {
            "from": before.get("name", ""),
            "network": hashlib.sha256(model.sealed.network).hexdigest(),
            "way": way,
            "examples": counts,
        },
        "data": {"source": given.source, "rows": len(given.codes), "encoder": before.get("data", {})},
        "limits": limits,
    }
