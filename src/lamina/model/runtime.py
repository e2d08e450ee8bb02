"""A sealed model at work: raw value in, decoded answer out, with NumPy and ONNX Runtime alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from lamina import cores, registry
from lamina.data.schema import Chunk, Field, Json, Values
from lamina.errors import InputError, LaminaError, nearest
from lamina.modalities import Encoder
from lamina.model import golden, graph, lengths, sentences, steps, stitch
from lamina.model.answers import Answers, Part
from lamina.model.format import Sealed, read
from lamina.model.rows import Rows
from lamina.model.writer import Writer
from lamina.tasks import MOST_OUTPUTS, Answering, LaidOut, Mapped, Placed, Task, Writing

Array = np.ndarray[Any, Any]

BATCH = 256
LARGEST_ROW = 256 << 20
"""Bytes of one encoded row: a sealed file cannot ask for more."""
LARGEST_BATCH = 256 << 20
"""Bytes of one encoded batch: rows that are large run in smaller batches."""
TOKEN_NUMBERS = 512
"""Numbers that a network holds at once for each token, about: several vectors of some hundred."""

OUTPUT_NUMBERS = 16
"""Numbers that a network holds at once for each number of an answer that is no vector, about."""

INSTEAD = {
    "control": "See how it does in fresh episodes: lamina test MODEL gym:NAME",
    "cluster": "See which cluster each row is put in (lamina predict), and compare with your own groups.",
    "generate": "Its report says how near its pictures are to real ones; make some yourself: lamina generate MODEL",
    "restyle": "Its report says how near its pictures are to real ones; look at some: lamina predict MODEL DATA",
    "anomaly": "See how well it tells the strange: lamina test MODEL DATA --target COLUMN",
    "embed": "See how well neighbors tell a label: lamina test MODEL DATA --target COLUMN",
    "recommend": "See what it foretells: lamina test MODEL DATA",
}
"""What to do with a model whose answers no column holds, by task."""

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
    "tensor(int64)": "int64",
}


@dataclass(frozen=True)
class Input:
    """One input of a sealed model: the field, and the fitted encoder that reads it."""

    field: Field
    encoder: Encoder


def load(source: str | os.PathLike[str] | bytes, threads: int = 0) -> Model:
    """A sealed model from its file or its bytes.

    Args:
        threads: for the network; 0 takes every core that this process may use.

    Raises:
        InputError: the file is missing, damaged, newer than this Lamina, or no sealed model.
        MissingDependencyError: an input needs a library that is not installed.
    """
    where = "the bytes given" if isinstance(source, bytes) else str(source)
    return Model(read(source), threads=threads, where=where)


class Model:
    """A sealed model, ready to answer.

    Attributes:
        inputs: field name to its field and encoder.
        tasks: target name to its task.
        card: what a person should know before using the model.
        sealed: the file's parts.
        writer: writes the answers of a model that answers with texts; else None.
        chosen: where it is the fastest of several (`lamina.model.fastest`), what was measured and why it was taken.
    """

    def __init__(self, sealed: Sealed, *, threads: int = 0, where: str = "the model") -> None:
        self.sealed, self.where, self.chosen = sealed, where, tuple[str, ...]()
        self.card: Mapping[str, Json] = sealed.card
        self.inputs = {name: _input(name, part, where) for name, part in sealed.encoders.items()}
        self.tasks: Mapping[str, Answering] = {name: _task(name, part, where) for name, part in sealed.tasks.items()}
        self._session = _session(sealed.network, threads, where)
        self._errors = _runtime_errors()
        self.writer = self._as_writer(threads)
        if self.writer is None:
            self._check_graph()
        axes = {item.name: item.shape[1:] for item in self._session.get_inputs()}
        self._free = {
            name: int(item.encoder.feature.details.get("padding", 0))
            for name, item in self.inputs.items()
            if self.writer is None and _is_free(item.encoder, axes[sealed.inputs[name]])
        }

    def __repr__(self) -> str:
        return f"Model(inputs={list(self.inputs)}, targets={list(self.targets)})"

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of what it answers."""
        return tuple(self.tasks)

    @property
    def labelled(self) -> dict[str, Task]:
        """The tasks by target, where data can hold the true answers.

        Raises:
            InputError: there are no true answers to what this model answers.
        """
        for name, task in self.tasks.items():
            if not hasattr(task, "scores"):
                raise InputError(
                    f"This model answers with {name!r}, of which no column holds the right ones.",
                    where=self.where,
                    fix=INSTEAD.get(task.task, "Its report says how it did on its own test rows."),
                )
        return {name: cast(Task, task) for name, task in self.tasks.items()}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return tuple(dict.fromkeys(column for item in self.inputs.values() for column in item.field.columns))

    def predict(self, data: Any, batch: int = BATCH, root: str | os.PathLike[str] | None = None) -> Answers:
        """Answer every row, in input order; a row that cannot be read gets an `error` instead of answers.

        A model of windows answers every step of a long series (`lamina.model.steps`).

        Args:
            data: one row as a dict, a list of such rows, a dict of columns, a data frame, or the path of a
                table, a folder, or one picture or sound. As in files, names are text,
                and those of nested values dotted.
            batch: rows that run through the network at a time; large rows run in fewer.
            root: the folder that relative paths in `data` start from; by default that of the file.

        Raises:
            InputError: the data cannot be read, or lacks a column that the model needs.
        """
        rows = steps.opened(data, self, batch, None if root is None else Path(root))
        columns = self.answer_columns if rows.lines is None else tuple(rows.lines.kinds)
        return Answers(columns, list(self.stream(rows)), named_by_path=rows.named_by_path)

    def stream(self, rows: Rows) -> Iterator[Part]:
        """Answer chunk after chunk; while the network runs on one, the next is being encoded."""
        if isinstance(rows, steps.Steps) and rows.cut is not None:
            yield from steps.answered(self, rows, rows.cut)
            return
        if self.writer is not None and self.writer.task.reads == "text":
            yield from sentences.answered(self, rows)
            return
        for chunk, arrays, errors in _one_ahead(rows, lambda chunk: self._encoded(chunk.values, chunk.errors, rows)):
            outputs = self.outputs(arrays, batch=max(len(chunk), 1))
            if any(isinstance(task, Mapped) for task in self.tasks.values()):
                answered = stitch.answers(self, outputs, chunk.values, errors, rows.root)
            else:
                answered = self.decode(outputs)
            answered |= self._placed(outputs, chunk.values, rows.root)
            part = Part(len(chunk), answered, errors, chunk.values.get("path"))
            yield part if rows.lines is None else rows.lines.of(chunk, part)

    def _placed(self, outputs: Mapping[str, Array], chunk: Chunk, root: Path | None) -> dict[str, Values]:
        """The answers by column that lie on what was put in, in its own size."""
        found: dict[str, Values] = {}
        for target, task in self.tasks.items():
            if isinstance(task, Placed):
                raw = {name: item.field.values(chunk) for name, item in self.inputs.items()}
                placed = task.placed(outputs[target], raw, root)
                found |= {f"{target}{suffix}": values for suffix, values in placed.items()}
        return found

    @property
    def answer_columns(self) -> tuple[str, ...]:
        """The columns of the answers: for each target T its answer T, then T.p, T.p.CLASS or T.low, T.high."""
        nothing = {name: np.zeros((0, task.width), dtype=np.float32) for name, task in self.tasks.items()}
        return tuple(self.decode(nothing))

    def encode(self, chunk: Chunk, root: Path | None = None) -> tuple[dict[str, Array], dict[int, str]]:
        """Raw values by column to encoded arrays by field, and the reason for each row that has none."""
        arrays, reasons = {}, dict[int, list[str]]()
        for name, item in self.inputs.items():
            encoded = item.encoder.encode(item.field.values(chunk), root)
            arrays[name] = encoded.array
            for row, reason in encoded.errors.items():
                reasons.setdefault(row, []).append(f"{name}: {reason}")
        return arrays, {row: "; ".join(reasons[row]) for row in sorted(reasons)}

    def outputs(self, encoded: Mapping[str, Array], batch: int = BATCH) -> dict[str, Array]:
        """The network's outputs by target, float32 [row, width], from encoded arrays by field."""
        rows = len(next(iter(encoded.values())))
        if self.writer is not None:
            (name,), (array,) = self.tasks, encoded.values()
            return {name: self.writer.outputs(array)}
        found = {name: np.zeros((rows, task.width), dtype=np.float32) for name, task in self.tasks.items()}
        for numbers, arrays in lengths.batches(encoded, self._free, self.fitting(batch)):
            for name, values in self._run(arrays).items():
                found[name][numbers] = values
        return found

    def decode(self, outputs: Mapping[str, Array]) -> dict[str, Values]:
        """Answers by column, from outputs by target."""
        return {
            f"{target}{suffix}": values
            for target, task in self.tasks.items()
            for suffix, values in task.decode(outputs[target]).items()
        }

    def fitting(self, batch: int) -> int:
        """At most `batch` rows, fewer where their encoded arrays would not fit in memory."""
        return max(1, min(batch, LARGEST_BATCH // max(self.row_bytes, 1)))

    @property
    def row_bytes(self) -> int:
        """Bytes that one encoded row takes on its way through the network's first layer, and a large answer's head."""
        wide = sum(task.width for task in self.tasks.values() if isinstance(task, LaidOut))
        return sum(_bytes(item.encoder) for item in self.inputs.values()) + 4 * OUTPUT_NUMBERS * wide

    def check_golden(self) -> dict[str, Json]:
        """Answer the golden examples that were sealed with the model: {"rows", "agree", "sound", "differences"}."""
        return golden.check(self)

    def golden_answer(self) -> dict[str, Json]:
        """One golden example and the model's answer to it: {"input": ..., "answer": ...}."""
        return golden.first_answer(self)

    def _encoded(
        self, values: Chunk, unreadable: Mapping[int, str], rows: Rows
    ) -> tuple[dict[str, Array], dict[int, str]]:
        arrays, errors = self.encode(values, rows.root)
        # A row that could not even be read has only missing values: the reader's reason is the true one.
        return arrays, dict(sorted({**errors, **unreadable}.items()))

    def _run(self, encoded: Mapping[str, Array]) -> dict[str, Array]:
        feed = {self.sealed.inputs[name]: np.ascontiguousarray(array) for name, array in encoded.items()}
        try:
            found = self._session.run([self.sealed.outputs[name] for name in self.tasks], feed)
        except self._errors as error:
            raise LaminaError(
                f"The sealed network failed: {str(error)[:300]}", where=self.where, fix="Check it with lamina doctor."
            ) from None
        return dict(zip(self.tasks, found, strict=True))

    def _as_writer(self, threads: int) -> Writer | None:
        """What writes, where the model's task is to write."""
        writing = [task for task in self.tasks.values() if isinstance(task, Writing)]
        encoders = [item.encoder for item in self.inputs.values()]
        wanted = (writing[0].reads or "text") if writing else ""
        if len(self.tasks) != 1 or [encoder.modality for encoder in encoders] != [wanted]:
            if writing or self.sealed.decoder:
                what = f"it does not write from one {wanted}"
                raise graph.damaged(f"The model does not fit together: {what}.", self.where)
            return None
        if _bytes(encoders[0]) > LARGEST_ROW:
            raise graph.damaged(f"One row of its input would take {_bytes(encoders[0]):,} bytes.", self.where)
        decoder = _session(self.sealed.decoder, threads, self.where) if self.sealed.decoder else None
        source = self.sealed.inputs.get(next(iter(self.inputs)), "")
        picture = encoders[0].feature.shape if wanted == "image" else ()
        return Writer(self._session, decoder, writing[0], source, picture, self._errors, self.where)

    def _check_graph(self) -> None:
        """The graph reads what the encoders give and gives what the tasks read."""

        def refuse(what: str) -> InputError:
            return graph.damaged(f"The model does not fit together: {what}.", self.where)

        inputs = {item.name: item for item in self._session.get_inputs()}
        outputs = {item.name: item for item in self._session.get_outputs()}
        if not self.tasks or not self.inputs:
            raise refuse("it has no inputs or no targets")
        if set(self.sealed.inputs) != set(self.inputs) or set(self.sealed.inputs.values()) != set(inputs):
            raise refuse("the network's inputs are not those of the encoders")
        if set(self.sealed.outputs) != set(self.tasks) or not set(self.sealed.outputs.values()) <= set(outputs):
            raise refuse("the network's outputs are not those of the tasks")
        if len(set(self.sealed.inputs.values())) != len(self.inputs):
            raise refuse("two fields share one input")
        for name, item in self.inputs.items():
            found, feature = inputs[self.sealed.inputs[name]], item.encoder.feature
            fits = list(found.shape[1:]) == list(feature.shape) or _is_free(item.encoder, found.shape[1:])
            if _DTYPES.get(found.type) != feature.dtype or not fits:
                raise refuse(f"the network reads {name!r} as {found.type}{found.shape}, its encoder gives {feature}")
            if _bytes(item.encoder) > LARGEST_ROW:
                raise refuse(f"one row of {name!r} would take {_bytes(item.encoder):,} bytes")
        for name, task in self.tasks.items():
            found = outputs[self.sealed.outputs[name]]
            if found.type != "tensor(float)" or len(found.shape) != 2 or found.shape[1] != task.width:
                raise refuse(f"the network answers {name!r} as {found.type}{found.shape}, not [row, {task.width}]")


def _one_ahead(rows: Rows, encode: Any) -> Iterator[tuple[Any, dict[str, Array], dict[int, str]]]:
    """Each chunk with what `encode` makes of it, one chunk in advance of the one that is handed out."""
    chunks = iter(rows)
    first = next(chunks, None)
    if first is None:
        return
    second = next(chunks, None)
    if second is None:
        # A single chunk, often a single row: a thread would only add to its latency.
        yield first, *encode(first)
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting, job = first, pool.submit(encode, first)
        for chunk in _chain(second, chunks):
            following = pool.submit(encode, chunk)
            yield waiting, *job.result()
            waiting, job = chunk, following
        yield waiting, *job.result()


def _chain(first: Any, rest: Iterable[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _is_free(encoder: Encoder, axes: Sequence[int | str]) -> bool:
    """Does the graph take tokens of any length?"""
    return encoder.feature.kind == "tokens" and len(axes) == 1 and not isinstance(axes[0], int)


def _bytes(encoder: Encoder) -> int:
    """What one encoded row takes, or for a text, which is small itself, the vectors that a network makes of it."""
    size = np.dtype(encoder.feature.dtype).itemsize * (TOKEN_NUMBERS if encoder.feature.kind == "tokens" else 1)
    for axis in encoder.feature.shape:
        size *= int(axis)
    return size


_RESTORING = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, MemoryError, RecursionError)
"""What a state that no `state()` wrote can raise on its way back into an encoder or task."""


def _input(name: str, part: Json, where: str) -> Input:
    try:
        options = {**part["field"], "columns": tuple(part["field"]["columns"])}
        field = Field(**options)
        encoder = _registered("modalities", part["modality"], where).Encoder.restore(part["state"])
        if field.name != name or encoder.feature.dtype not in _DTYPES.values():
            raise ValueError(name)
        return Input(field, encoder)
    except _RESTORING as error:
        raise graph.damaged(f"The encoder of {name!r} is damaged: {_reason(error)}.", where) from None


def _task(name: str, part: Json, where: str) -> Answering:
    try:
        task: Answering = _registered("tasks", part["task"], where).Task.restore(part["state"])
        if task.name != name or not 1 <= task.width <= MOST_OUTPUTS:
            raise ValueError(name)
        # The first decoding looks at every part of the state.
        task.decode(np.zeros((1, task.width), dtype=np.float32))
        return task
    except _RESTORING as error:
        raise graph.damaged(f"The task of {name!r} is damaged: {_reason(error)}.", where) from None


def _registered(folder: str, name: Json, where: str) -> Any:
    known = registry.names(folder)
    if not isinstance(name, str) or name not in known:
        raise InputError(
            f"The model uses {str(name)[:100]!r}, which this Lamina does not have among its {folder}.",
            where=where,
            fix=f"Update Lamina. {nearest(str(name)[:100], known)}",
        )
    return registry.module(folder, name)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__} {str(error)[:200]}".strip()


def _session(network: bytes, threads: int, where: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Left to itself it takes every core of the machine, also those that a container or the user has kept from us.
    options.intra_op_num_threads = threads if threads > 0 else cores.limited()
    options.inter_op_num_threads = 1
    try:
        # Folding constants would run operators at load, and a few bytes of graph can fold into gigabytes;
        # export has already folded what there is.
        return onnxruntime.InferenceSession(
            network, options, providers=["CPUExecutionProvider"], disabled_optimizers=["ConstantFolding"]
        )
    except _runtime_errors() as error:
        first = str(error).strip().splitlines()[0][:300]
        raise graph.damaged(f"The network inside cannot be loaded: {first}", where) from None


def _runtime_errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime's exceptions, which have no ancestor of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = [item for item in vars(state).values() if isinstance(item, type) and issubclass(item, Exception)]
    return (*found, ValueError, RuntimeError)
