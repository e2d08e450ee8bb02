"""Steps 1 and 2 of "translate": pairs of texts to tokens that both languages share, in three parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from lamina.data.added import told
from lamina.data.audit_rows import repeated_texts, unreadable_rows
from lamina.data.column_roles import split_reason
from lamina.data.examples import Examples
from lamina.data.findings import SHOWN, AuditFinding, places
from lamina.data.schema import Field, Json, Schema
from lamina.data.split import Split, split
from lamina.data.tables import Table
from lamina.data.texts import SAMPLE, of_value
from lamina.errors import InputError
from lamina.learn.batch import Batch
from lamina.learn.loader import Loader
from lamina.learn.stream import NEXT, TEXT, batch_of
from lamina.modalities import _tokens, text, token_lengths
from lamina.modalities._files import Unreadable
from lamina.modalities.text import Encoder
from lamina.model.decoding import written
from lamina.model.sentences import pieces
from lamina.narrate import Narrator
from lamina.networks.writers import SOURCE
from lamina.plan import Plan, TaskPlan
from lamina.run import Run
from lamina.steps import also
from lamina.steps.request import Request, Sources
from lamina.steps.understand import check_columns, check_roles, open_data, overrides, place_of
from lamina.steps.written.alignment import Chances, learned
from lamina.steps.written.corpus import text_columns
from lamina.steps.written.judged import SMOOTHING, judged, searching, share_of, spread, validated
from lamina.steps.written.learner import TEST, VALIDATION, Extent, Learner, TorchSteps
from lamina.tasks import _tokenizer
from lamina.tasks._streams import bytes_of_tokens
from lamina.tasks._written import BOUNDARY
from lamina.tasks.translate import Task, check_options

Array = np.ndarray[Any, Any]

VERSION = 1
LONGEST = 128
"""Tokens of a text that are kept, unless asked for more: nearly all, or the time for long ones would be for few."""
BEAMS, PENALTY = 4, 1.0
CELLS, FEWEST_CELLS = 30_000_000, 1_000_000
"""Pairs of a token that is read and one that is written, at most, that the lexicon is learned from, which took 22
seconds of a busy core; fewer where the budget has fewer seconds than for translating test texts."""
TENSION = 4.0
"""How much tokens come from about their own place (Dyer et al. 2013)."""


@dataclass(frozen=True)
class Raw:
    """The table, its columns and its parts.

    Attributes:
        source, target: columns.
        texts: by column, every row's text; "" where there is none.
    """

    table: Table
    source: str
    target: str
    texts: Mapping[str, tuple[str, ...]]
    parts: Split
    dropped: tuple[tuple[int, str], ...]

    @property
    def fingerprint(self) -> str:
        return self.table.fingerprint

    @property
    def places(self) -> int:
        """How many rows."""
        return len(self.table)

    @property
    def left_out(self) -> tuple[tuple[int, str], ...]:
        """(Row, reason) of what lacks a text, and of what only training might use and may not."""
        added = {row: reason for row, reason in self.parts.dropped if row >= self.table.own}
        return tuple(sorted({**added, **dict(self.dropped)}.items()))


@dataclass(frozen=True)
class Material:
    """Prepared pairs (`lamina.steps.written.learner.Material`).

    Attributes:
        arrays: int32 [row, place] by name: "source"; "text", which begins with the boundary; and "next", what comes
            after each token of it, and the boundary at the end.
        counts: int64 [row], tokens of each text, by column.
        rows: int64 rows of each part, by name.
        judged: test rows that are translated.
        sizes: int64 [token], bytes of each.
        cells: pairs of a token that is read and one that is written, at most, that the lexicon is learned from.
    """

    task: Task
    encoder: Encoder
    field: Field
    raw: Raw
    arrays: Mapping[str, Array]
    counts: Mapping[str, Array]
    rows: Mapping[str, Array]
    judged: Array
    sizes: Array
    cells: int

    @property
    def model(self) -> None:
        """No model can be given."""
        return

    def batches(self, batch_size: int, seed: int) -> Loader:
        """Pairs of the training part, those of similar length together."""
        lengths = np.maximum(*(token_lengths(self.arrays[name]) for name in (SOURCE, TEXT)))
        return Loader(
            Examples(self.arrays, len(self.arrays[TEXT])), self.rows["train"], (SOURCE, TEXT), (NEXT,), batch_size,
            seed, lengths=lengths, padded=frozenset((SOURCE, TEXT)),
        )  # fmt: skip

    def held_out(self, part: str, batch_size: int) -> Iterator[Batch]:
        """All pairs of a part once, in order."""
        rows = self.rows[part]
        for start in range(0, len(rows), batch_size):
            some = rows[start : start + batch_size]
            source, own, following = (self.trimmed(name, some) for name in (SOURCE, TEXT, NEXT))
            yield batch_of(some, own, following, **{SOURCE: source})

    def trimmed(self, name: str, rows: Array) -> Array:
        """Tokens of some rows, without the padding that all share."""
        array = self.arrays[name][rows]
        return np.asarray(array[:, : max(1, int((array > 0).sum(axis=1).max(initial=1)))])

    @cached_property
    def extent(self) -> Extent:
        """How much there is to learn."""
        rows = self.rows["train"]
        own, read = (int((self.arrays[name][rows] > 0).sum()) for name in (TEXT, SOURCE))
        answers = searching(self.judged, self.rows[VALIDATION])
        return Extent(own, read / max(own, 1), max(1, own // len(rows)), len(rows), 16, SMOOTHING, answers)

    def bytes_in(self, part: str) -> int:
        """Bytes of what is written in a part, as far as it is kept."""
        return int(self.sizes[self.arrays[NEXT][self.rows[part]]].sum())

    def longer(self, rows: Array) -> tuple[Array, Array]:
        """Those of some rows with more tokens than are read, and than are written."""
        read, own = (self.counts[name][rows] for name in (self.raw.source, self.raw.target))
        return rows[read > self.encoder.length], rows[own >= self.task.width]

    def fill(self, network: Any) -> None:
        """The network's lexicon, where it has one, from the training pairs."""
        if network.lexicon is not None:
            tokens, chances = self._chances.likeliest(*network.lexicon.tokens.shape)
            network.lexicon.tokens.copy_(torch.from_numpy(tokens))
            network.lexicon.chances.copy_(torch.from_numpy(chances))

    @cached_property
    def _chances(self) -> Chances:
        """How likely tokens become others, from the training pairs; from some of them where there are very many."""
        rows = self.rows["train"]
        read, own = (self.arrays[name][rows] for name in (SOURCE, TEXT))
        cells = ((read > 0).sum(axis=1) + 1) * (own > 0).sum(axis=1)
        some = spread(np.arange(len(rows)), max(1, int(len(rows) * self.cells / max(int(cells.sum()), 1))))
        # Without the boundary that each text begins with.
        source, target = ([line[line > 0].tolist() for line in side[some]] for side in (read, own[:, 1:]))
        return learned(source, target, tension=TENSION)

    def texts(self, column: str, rows: Array) -> list[str]:
        """Raw texts."""
        return [self.raw.texts[column][row] for row in rows.tolist()]

    def sample(self, learner: Learner) -> str:
        """What the network makes of the first validation text now, without a search."""
        source = self.trimmed(SOURCE, self.rows[VALIDATION][:1])
        with learner.method.evaluating() as network:
            given: Any = network
            bound = learner.bound(given, source)
            step = TorchSteps(given, 1, learner.engine.device, bound)
            start = np.full((1, 1), BOUNDARY, np.int32)
            found, _ = written(step, start, self.task.width, self.task.context + 1, BOUNDARY)
        return str(self.task.decode(found)[""][0])


def understand(request: Request, narrator: Narrator) -> tuple[Plan, Raw]:
    """Read the pairs and find their columns; the plan has data, schema and task decided.

    Raises:
        InputError: there is not one target and one other column of texts, or an option is wrong.
    """
    narrator.step("Understand")
    target = _target(request)
    task = {target: TaskPlan("translate")}
    reasons = {f"task.{target}": "translate: you asked for it"}
    plan = Plan(name=request.name, seed=request.seed or 0, budget=request.budget, task=task, reasons=reasons)
    plan = plan.with_set(item for item in request.sets if item.split(".")[0] in ("data", "task", "seed"))
    check_options(plan.task[target].options, target)
    table, boundary = open_data(request.data, request.test)
    narrator.say(f"{table.name}: {len(table):,} rows, {len(table.columns)} columns")
    settings = overrides(request)
    check_columns([target], table.columns, "--target")
    check_columns([*settings, *([request.split] if request.split else [])], table.columns, "--split or --set schema")
    check_roles(
        settings, ("ignore", "input", "split"), "translate", "A column can have the role input or ignore: nothing else."
    )
    sample = table.take(np.arange(min(len(table), SAMPLE)))
    marks = request.split or next((name for name in table.columns if split_reason(name, sample[name])), "")
    if text.recognise(sample[target], target) is None:
        raise InputError(
            f"The column {target!r} holds no texts.",
            where="--target",
            fix=f"Name the column of translations. There are: {', '.join(table.columns)}",
        )
    ignored = [name for name, changes in settings.items() if changes.get("role") == "ignore"]
    asked = [name for name, changes in settings.items() if changes.get("role") == "input"]
    rest = [name for name in table.columns if name not in (target, marks, *ignored)]
    source = asked[0] if len(asked) == 1 else _source(table, sample, rest, (target, marks, *ignored))
    fields = [_field(name, source, target, marks) for name in table.columns]
    how = "given" if boundary is not None else "column" if marks else "random"
    column = marks if how == "column" else ""
    data = replace(
        plan.data, train=place_of(request.data), test="" if request.test is None else place_of(request.test),
        split=how, column=column, fingerprint=table.fingerprint,
    )  # fmt: skip
    plan = replace(plan, data=data, schema=tuple(fields))
    if request.also:
        table = also.appended(table, also.opened(request.also), plan)
        plan = also.planned(plan, table, [place_of(one) for one in request.also])
    narrator.say(f"from {source} to {target}")
    return plan, _raw(plan, table, boundary)


def again(plan: Plan, given: Sources) -> Raw:
    """The pairs of a run that is gone on with."""
    table, boundary = open_data(given.data, given.test)
    return _raw(plan, also.appended(table, also.opened(given.also), plan), boundary)


def _target(request: Request) -> str:
    if request.weights:
        raise InputError(
            "The task 'translate' takes no --weights.", where="--weights", fix="Leave it out: it starts from scratch."
        )
    if len(request.targets) != 1:
        raise InputError(
            f"A translation has one target, not {len(request.targets)}.",
            where="--target",
            fix="Name the column that is to be written: --target COLUMN",
        )
    return request.targets[0]


def _source(table: Table, sample: dict[str, Any], rest: list[str], without: tuple[str, ...]) -> str:
    """The column that is read: the only one there is, or the only one that surely holds texts."""
    texts = [name for name in rest if text.recognise(sample[name], name) is not None]
    if len(texts) == 1:
        return texts[0]
    try:
        return text_columns(table, sample, "schema.COLUMN.role=input or --set task", without)
    except InputError as error:
        shown = ", ".join(texts or rest) or "none"
        fix = f"Say which is read: --set schema.COLUMN.role=input. There are: {shown}"
        raise InputError(error.what, where=error.where, fix=fix) from None


def _field(name: str, source: str, target: str, marks: str) -> Field:
    if name == source:
        return Field(name, "text", "input", reason="is read")
    if name == target:
        return Field(name, "text", "target", reason="is written")
    if name == marks:
        return Field(name, "category", "split", reason="says which part a row belongs to")
    return Field(name, "category", "ignore", reason="no text to be translated")


def _raw(plan: Plan, table: Table, boundary: int | None) -> Raw:
    schema = Schema(plan.schema)
    (source,), (target,) = schema.inputs, schema.targets
    texts: dict[str, list[str]] = {source.name: [], target.name: []}
    dropped: dict[int, str] = {}
    for rows, values in table.chunks(columns=list(texts)):
        for name, kept in texts.items():
            for row, value in zip(rows.tolist(), values[name], strict=True):
                found, reason = of_value(value)
                kept.append(found.strip())
                if reason:
                    dropped.setdefault(row, f"{name}: {reason}")
    # Only columns that a split asks about; rows with equal sources stay in one part.
    used = Schema(tuple(field for field in plan.schema if field.role != "ignore"))
    parts = split(table, used, plan.data, plan.seed, test_from=boundary)
    missing = np.array(sorted(dropped), np.int64)
    train, validation, held = (np.setdiff1d(rows, missing) for rows in (parts.train, parts.validation, parts.test))
    parts = replace(parts, train=train, validation=validation, test=held)
    if min(len(train), len(validation), len(held)) < 1:
        raise InputError(
            f"{len(dropped):,} of {len(table):,} rows lack one of the two texts: a part is empty.",
            where=table.name, fix="Give pairs of texts.",
        )  # fmt: skip
    whole = {name: tuple(kept) for name, kept in texts.items()}
    return Raw(table, source.name, target.name, whole, parts, tuple(sorted(dropped.items())))


def prepare(plan: Plan, raw: Raw, run: Run, narrator: Narrator, *, tokenizer: str = "") -> Material:
    """Train one tokenizer on both columns of the training part, turn all pairs into tokens.

    Args:
        tokenizer: of a run that is gone on with.
    """
    narrator.step("Prepare")
    options = plan.task[raw.target].options
    train = raw.parts.train
    learned = [raw.texts[name][row] for name in (raw.source, raw.target) for row in train.tolist()]
    if found := also.sources(plan, raw.table, train):
        for sentence in (told(found, "pairs"), *also.left_out(raw.table, raw.parts)):
            narrator.say(sentence)
    size = sum(len(one.encode()) for one in learned)
    usual = _tokenizer.usual_vocabulary(size)
    json = tokenizer or _tokenizer.trained(learned, int(options.get("vocabulary", usual)))
    vocabulary = _tokens.load(json)
    ids = {name: _encoded(vocabulary, texts) for name, texts in raw.texts.items()}
    lengths = {name: int(options.get("length", _usual_length(ids[name], train))) for name in ids}
    encoder = Encoder("exact", lengths[raw.source], json, unknown=BOUNDARY, cut="nothing")
    width = lengths[raw.target] + 1
    task = Task(raw.target, json, width, int(options.get("beams", BEAMS)), float(options.get("penalty", PENALTY)))
    sizes = bytes_of_tokens(vocabulary)
    arrays = {
        SOURCE: _padded(ids[raw.source], encoder.length),
        TEXT: _padded([[BOUNDARY, *row] for row in ids[raw.target]], width),
        NEXT: _padded([[*row, BOUNDARY] for row in ids[raw.target]], width),
    }
    rows = {"train": train, VALIDATION: validated(raw.parts.validation), TEST: raw.parts.test}
    narrator.say(
        f"{len(train):,} pairs to train, {len(raw.parts.validation):,} to validate, {len(raw.parts.test):,} to test; "
        f"{len(sizes):,} tokens that both columns share; texts of up to {encoder.length} tokens are read, "
        f"of up to {lengths[raw.target]} written"
    )
    run.write_json(run.prepared, {
        "version": VERSION,
        "encoders": {raw.source: encoder.state()},
        "tasks": {raw.target: task.state()},
        "findings": [],
    })  # fmt: skip
    material = Material(
        task,
        encoder,
        Field(raw.source, "text"),
        raw,
        arrays,
        {name: np.array([len(some) for some in found], np.int64) for name, found in ids.items()},
        rows,
        judged(raw.parts.test, plan.budget),
        sizes,
        max(FEWEST_CELLS, round(CELLS * share_of(plan.budget))),
    )
    for finding in longer_texts(material):
        narrator.say(finding.text)
    return material


def _encoded(vocabulary: Any, texts: tuple[str, ...]) -> list[list[int]]:
    return [encoding.ids for encoding in vocabulary.encode_batch_fast(list(texts), add_special_tokens=False)]


def _usual_length(ids: list[list[int]], rows: Array) -> int:
    return _tokenizer.usual_length([len(ids[row]) for row in rows.tolist()], LONGEST)


def _padded(ids: list[list[int]], length: int) -> Array:
    """int32 [row, length]: the first tokens of each, padded with 0."""
    found = np.zeros((len(ids), length), np.int32)
    for row, some in enumerate(ids):
        kept = some[:length]
        found[row, : len(kept)] = kept
    return found


def findings(raw: Raw) -> tuple[AuditFinding, ...]:
    """What the user should know of the pairs."""
    read, parts = raw.texts[raw.source], raw.parts
    known = {read[row] for part in (parts.train, parts.validation) for row in part.tolist()}
    copies = [row for row in parts.test.tolist() if read[row] in known]
    places = tuple(raw.table.place(row) for row in copies[:SHOWN])
    found = [
        *unreadable_rows(raw.table.unreadable),
        *repeated_texts(len(copies), len(parts.test), "texts that are read", places),
    ]
    if raw.dropped:
        found.append(AuditFinding(
            "rows without a pair", "note", f"{len(raw.dropped):,} rows lack one of the two texts, and are left out.",
            len(raw.dropped), tuple(raw.table.place(row) for row, _ in raw.dropped[:SHOWN]), "",
        ))  # fmt: skip
    return tuple(found)


def longer_texts(material: Material) -> tuple[AuditFinding, ...]:
    """How many texts are longer than what is read or written, and what became of them."""
    raw, found = material.raw, list[AuditFinding]()
    fix = "--set task.length=N reads and writes N tokens, up to 1024, in more time."
    learned = np.concatenate([raw.parts.train, raw.parts.validation])
    rows = np.unique(np.concatenate(material.longer(learned)))
    if len(rows):
        text = (
            f"{len(rows):,} of {len(learned):,} pairs to train and validate have a text of more tokens than are read "
            f"({material.encoder.length}) or written ({material.task.width - 1}): only its beginning is learned from."
        )
        found.append(_long("cut texts", text, raw, rows, fix))
    (read, _), judged = material.longer(material.judged), len(material.judged)
    if len(read):
        refused = 0
        for row in read.tolist():
            try:
                pieces(raw.texts[raw.source][row], material.encoder)
            except Unreadable:
                refused += 1
        text = (
            f"{len(read):,} of {judged:,} test texts that are translated have more than {material.encoder.length} "
            f"tokens: they are read in parts that end with sentences; {refused:,} of them hold a sentence that is too "
            "long, and are answered with an error and scored as an empty text."
        )
        found.append(_long("long texts", text, raw, read, fix))
    return tuple(found)


def _long(kind: str, text: str, raw: Raw, rows: Array, fix: str) -> AuditFinding:
    return AuditFinding(kind, "note", text, len(rows), places(raw.table, rows.tolist()), fix)


def data_document(plan: Plan, material: Material) -> dict[str, Json]:
    """The `data` part of the results."""
    raw = material.raw
    dropped, sources = raw.left_out, also.sources(plan, raw.table, material.rows["train"])
    places = [{"row": row, "place": raw.table.place(row), "reason": reason} for row, reason in dropped[:200]]
    parts = {name: len(rows) for name, rows in material.rows.items()}
    return {
        "rows": len(raw.table), **parts, VALIDATION: len(raw.parts.validation), "judged": len(material.judged),
        "split": raw.parts.reason, "dropped": places, "dropped_count": len(dropped),
        "unreadable": [{"place": place, "reason": reason} for place, reason in raw.table.unreadable[:200]],
        "fields": [
            {"name": field.name, "modality": field.modality, "role": field.role, "reason": field.reason, "summary": {}}
            for field in plan.schema
        ],
        "fingerprint": plan.data.fingerprint, "source": plan.data.train,
        **({"sources": sources} if sources else {}),
    }  # fmt: skip
