"""Export, prove and seal a network that writes: the graphs, their log-odds and their texts beside the network's own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.schema import Chunk, Json
from lamina.errors import LaminaError
from lamina.evaluate.results import Seal, TargetResult
from lamina.learn.batch import Batch
from lamina.learn.stream import TEXT
from lamina.model import card, golden
from lamina.model.decoding import written
from lamina.model.export_writer import export_writer
from lamina.model.format import Sealed, write
from lamina.model.runtime import Model
from lamina.model.writer import LOGITS, MEMORY, SOURCE, TOKENS, Writer
from lamina.steps.finish import Course, versions_of
from lamina.steps.written.learner import TEST, Learner, TorchSteps, network_document
from lamina.tasks._agreement import LARGEST

Array = np.ndarray[Any, Any]

PROVEN = 32
"""Test texts that the sealed model must tell and write as the network does."""
ALONE = 16
"""Tokens that are told one by one, with the cache; the others come together."""
WRITTEN = 32
"""Tokens that are written by both."""
KEPT_ROWS = 6
"""Raw rows that are kept in the file."""


@dataclass(frozen=True)
class Proof:
    """How nearly two networks write alike.

    Attributes:
        rows: texts compared.
        ties: texts that differ from a token on whose two likeliest choices lay within rounding.
        largest: difference of any log-odds, in units of their spread.
        rows_per_second: of the sealed model, writing.
    """

    rows: int
    ties: int
    largest: float
    rows_per_second: float


def sealed_parts(learner: Learner) -> Sealed:
    """What the file will hold, but for card and golden examples."""
    material, task = learner.material, learner.material.task
    with learner.method.evaluating() as network:
        picture = material.encoder.feature.shape if task.reads == "image" else ()
        first, decoder = export_writer(network, task.reads, picture)
    name = material.field.name
    return Sealed(
        network=first,
        inputs={name: SOURCE if task.reads else TOKENS},
        outputs={task.name: MEMORY if task.reads else LOGITS},
        encoders={
            name: {
                "field": asdict(material.field),
                "modality": material.field.modality,
                "state": material.encoder.state(),
            },
        },
        tasks={task.name: {"task": task.task, "state": task.state()}},
        decoder=decoder,
    )


def writer_of(sealed: Sealed) -> Writer:
    """The sealed graphs at work."""
    found = Model(sealed).writer
    assert found is not None
    return found


def prove(writer: Writer, learner: Learner) -> Proof:
    """Have network and sealed graphs tell the same test texts and write on from the same beginnings.

    Raises:
        LaminaError: log-odds differ by more than rounding, or another token is written that was no tie.
    """
    batch = next(learner.material.held_out(TEST, PROVEN))
    largest = _told_alike(writer, learner, batch)
    most, context = min(WRITTEN, writer.task.width), writer.task.context
    begin = time.perf_counter()
    read = writer.read(batch.inputs[SOURCE].numpy()) if SOURCE in batch.inputs else {}
    prompt = _prompt(batch, reads=bool(read))
    step = writer.steps(len(prompt), read)
    end, padding = writer.task.end, writer.task.padding
    own = written(step, prompt, most, context, end, padding=padding)
    seconds = max(time.perf_counter() - begin, 1e-9)
    with learner.method.evaluating() as network:
        bound = learner.bound(network, batch.inputs[SOURCE].numpy()) if read else ()
        theirs = written(
            TorchSteps(network, len(prompt), learner.engine.device, bound), prompt, most, context, end, padding=padding
        )
    ties = compared(theirs, own)
    return Proof(len(prompt), ties, largest, len(prompt) / seconds)


def compared(network: tuple[Array, Array], sealed: tuple[Array, Array]) -> int:
    """How many texts differ, all of them from a tie on.

    Args:
        network, sealed: (tokens [row, step], margins [row, step]), as of `lamina.model.decoding.written`.

    Raises:
        LaminaError: one differs where the network was sure.
    """
    differ = network[0] != sealed[0]
    rows = np.flatnonzero(differ.any(axis=1))
    for row in rows.tolist():
        place = int(differ[row].argmax())
        if network[1][row, place] > LARGEST:
            raise LaminaError(
                f"The sealed model writes another token than the trained network in text {row}, at place {place}.",
                fix="The model was not sealed; report this as a fault of Lamina.",
            )
    return len(rows)


def _told_alike(writer: Writer, learner: Learner, batch: Batch) -> float:
    """The largest difference of log-odds, in units of their spread: all at once by the network, with the cache by
    the sealed graphs.

    Raises:
        LaminaError: it is more than rounding.
    """
    with learner.method.evaluating() as network:
        whole = network(batch.to(learner.engine.device).inputs).float().cpu().numpy()
    text = batch.inputs[TEXT].numpy()
    step = writer.steps(len(text), writer.read(batch.inputs[SOURCE].numpy()) if SOURCE in batch.inputs else {})
    half = text.shape[1] // 2
    edges = [0, *([half] if half else []), *range(half + 1, min(half + ALONE, text.shape[1])), text.shape[1]]
    cache, parts = step.fresh(), []
    for start, stop in pairwise(edges):
        logits, cache = step.every(text[:, start:stop], cache)
        parts.append(logits)
    asked = text != writer.task.padding
    one, other = whole[asked], np.concatenate(parts, axis=1)[asked]
    largest = float(np.abs(one - other).max() / max(float(one.std()), 1e-9))
    if not largest <= LARGEST:
        raise LaminaError(
            f"The sealed model does not tell texts as the trained network does: log-odds differ by {largest:.3g} of "
            "their spread.",
            fix="The model was not sealed. Try --set training.precision=fp32, and report this as a fault of Lamina.",
        )
    return largest


def _prompt(batch: Batch, *, reads: bool) -> Array:
    """Beginnings to write on from, int32 [row, step]."""
    text = batch.inputs[TEXT].numpy()
    return text[:, :1] if reads else text[:, : max(1, text.shape[1] // 2)]


def seal(
    course: Course, learner: Learner, sealed: Sealed, result: TargetResult, proof: Proof, data: Mapping[str, Json],
    examples: Chunk, root: Path | None = None,
) -> Seal:  # fmt: skip
    """Card, golden examples, and only then the file's name.

    Args:
        examples: raw rows, some of which are kept in the file.
        root: the folder that relative paths in them start from.
    """
    plan, run = course.plan, course.run
    inputs = tuple(item for item in plan.schema if item.role == "input")
    description = card.build(
        replace(plan, schema=inputs), data, [result], versions_of(plan, run), created=time.strftime("%Y-%m-%d"),
        golden=KEPT_ROWS, network=network_document(learner),
    )  # fmt: skip
    kept = {name: values[:KEPT_ROWS] for name, values in examples.items()}
    whole = golden.sealed_with(Model(replace(sealed, card=description), threads=1), kept, root)
    bytes_written = write(run.model, whole)
    same = 1.0 - proof.ties / max(proof.rows, 1)
    return Seal(run.model.name, bytes_written, proof.rows, same, proof.largest, proof.rows_per_second)
