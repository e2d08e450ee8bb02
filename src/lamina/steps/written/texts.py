"""Steps 1 and 2 of "write": texts to tokens, in three parts, with what counting tells of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from lamina.data.added import told
from lamina.data.audit_rows import repeated_texts, unreadable_rows
from lamina.data.findings import AuditFinding
from lamina.data.schema import Field, Json
from lamina.errors import InputError
from lamina.evaluate.bits import MOST_TOLD
from lamina.learn.batch import Batch
from lamina.learn.stream import Stream, scored
from lamina.modalities.text import Encoder
from lamina.model.decoding import drawn, written
from lamina.narrate import Narrator
from lamina.networks.transfer import causal
from lamina.networks.transfer.causal import Given
from lamina.plan import DataPlan, Plan, TaskPlan
from lamina.run import Run
from lamina.steps.request import Request, Sources
from lamina.steps.understand import check_roles, overrides, place_of
from lamina.steps.written import given_model
from lamina.steps.written.corpus import COPY, MARKED, Corpus, read
from lamina.steps.written.learner import TEST, VALIDATION, WRITER, Extent, Learner, TorchSteps, same_model
from lamina.steps.written.simple import Counted, count
from lamina.tasks import _tokenizer
from lamina.tasks._streams import bytes_of_tokens, stream
from lamina.tasks.write import PROMPT, UNLABELLED, Task, check_options

Array = np.ndarray[Any, Any]

VERSION = 1
HELD_OUT = DataPlan(test_share=0.1, validation_share=0.05)
"""Shares of a text that are enough to judge by: unlike rows, its bytes are many."""
CONTEXT, LEAST_CONTEXT, SHORT = 256, 16, 60
"""Tokens that the network sees: usually, at least, and as a share of a short text, one part in so many."""
PROMPT_TOKENS, SAMPLE_TOKENS = 8, 120
TEMPERATURE, TOP_P = 0.8, 0.95
ENOUGH = {VALIDATION: 32_768, TEST: MOST_TOLD}
"""Tokens of a held-out part that are scored, at most: the first ones."""


@dataclass(frozen=True)
class Material:
    """Prepared texts (`lamina.steps.written.learner.Material`).

    Attributes:
        parts: int32 [token] of each part, by name.
        sizes: int64 [token], bytes of each.
        simpler: what counting says of the test part.
        model: that was given to be learned on from.
    """

    task: Task
    encoder: Encoder
    field: Field
    corpus: Corpus
    parts: Mapping[str, Array]
    sizes: Array
    simpler: tuple[Counted, ...] = ()
    model: Given | None = None

    def batches(self, batch_size: int, seed: int) -> Stream:
        """Windows of the training part."""
        return Stream(self.parts["train"], self.task.context, batch_size, seed)

    def held_out(self, part: str, batch_size: int) -> Iterator[Batch]:
        """Every token of a part but the first, once."""
        return scored(self.parts[part], self.task.context, batch_size, self.task.padding)

    def bytes_in(self, part: str) -> int:
        """Bytes of a part's text."""
        return int(self.sizes[self.parts[part]].sum())

    @cached_property
    def extent(self) -> Extent:
        """How much there is to learn."""
        tokens, context = len(self.parts["train"]), self.task.context
        # Besides scoring the test part, the fifth step writes samples and proves what is sealed; and has a given model
        # as it is score it too.
        again = 0.0 if self.model is None else self.bytes_in(TEST) / max(self.bytes_in(VALIDATION), 1)
        return Extent(tokens, 0.0, context, tokens // context, 4, 0.0, 1.0 + again)

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """Beginnings from the validation part, the same in every run with the same data."""
        held = self.parts[VALIDATION]
        places = np.linspace(0, max(0, len(held) - PROMPT_TOKENS - 1), 3).astype(np.int64)
        return tuple(self.task.tokens.decode(held[place : place + PROMPT_TOKENS].tolist()) for place in places)

    def fill(self, network: Any) -> None:
        """The given model's weights, where one is given."""
        if self.model is not None:
            causal.fill(network, self.model)

    def sample(self, learner: Learner) -> str:
        """What the network writes on from the first prompt, with a draw of its own that nothing else depends on."""
        prompt = self.encoder.encode(np.array([self.prompts[0]], object)).array
        prompt = prompt[:, : max(1, int((prompt != self.task.padding).sum()))]
        pick = drawn(TEMPERATURE, TOP_P, np.random.default_rng(0))
        with learner.method.evaluating() as network:
            step = TorchSteps(network, 1, learner.engine.device)
            task = self.task
            found, _ = written(step, prompt, SAMPLE_TOKENS, task.context, task.end, pick, task.padding)
        return self.prompts[0] + str(self.task.decode(found)[""][0])


def understand(request: Request, narrator: Narrator) -> tuple[Plan, Corpus]:
    """Read the texts; the plan has data, schema and task decided.

    Raises:
        InputError: the wishes make no sense for texts, or there is no text.
    """
    narrator.step("Understand")
    _check(request)
    sets = [item for item in request.sets if item.split(".")[0] in ("data", "task", "seed")]
    plan = Plan(
        name=request.name, seed=request.seed or 0, budget=request.budget, data=HELD_OUT,
        task={UNLABELLED: TaskPlan("write")}, reasons={f"task.{UNLABELLED}": "write: you asked for it"},
    ).with_set(sets)  # fmt: skip
    options = plan.task[UNLABELLED].options
    check_options(options)
    model = given_model.asked(request)
    if model is not None:
        given_model.check_options(options)
        narrator.say(f"learning on from {model.architecture} in {model.folder.name}: {model.numbers:,} weights")
    given = Sources(request.data, request.test, request.also)
    corpus = read(given, plan.data, str(options.get("column", "")), request.split)
    corpus = replace(corpus, model=model)
    data = replace(
        plan.data, train=place_of(request.data), test="" if request.test is None else place_of(request.test),
        split="given" if request.test is not None else "column" if request.split else "time",
        also=tuple(map(place_of, request.also)), column=request.split, fingerprint=corpus.fingerprint,
    )  # fmt: skip
    name = corpus.column or PROMPT
    field = Field(name, "text", "input", reason=f"{corpus.places:,} {'rows' if corpus.column else 'files'} of text")
    narrator.say(f"{request.name}: {corpus.places:,} {'texts' if corpus.places > 1 else 'text'}; {corpus.how}")
    if corpus.speakers:
        person, answering = corpus.speakers
        narrator.say(f"conversations: {person} begins, {answering} answers (lamina chat)")
    options = {**options, **({"column": corpus.column} if corpus.column else {})}
    return replace(plan, data=data, schema=(field,), task={UNLABELLED: TaskPlan("write", options)}), corpus


def again(plan: Plan, given: Sources) -> Corpus:
    """The texts of a run that is gone on with."""
    options = plan.task[UNLABELLED].options
    corpus = read(given, plan.data, str(options.get("column", "")), plan.data.column)
    part = plan.network[WRITER]
    return replace(corpus, model=same_model(part)) if part.weights else corpus


def _check(request: Request) -> None:
    if request.targets:
        raise InputError(
            "The task 'write' takes no --target.",
            where="--target",
            fix="Leave it out: what comes next in a text is in the text.",
        )
    check_roles(
        overrides(replace(request, split="")), (), "write", "Name the column of texts: --set task.column=COLUMN"
    )


def prepare(plan: Plan, corpus: Corpus, run: Run, narrator: Narrator, *, tokenizer: str = "") -> Material:
    """Train a tokenizer on the training part, turn all parts into tokens, count n-grams.

    Args:
        tokenizer: of a run that is gone on with.
    """
    narrator.step("Prepare")
    options = plan.task[UNLABELLED].options
    if corpus.added:
        narrator.say(told(_sources(plan, corpus), "texts"))
        if corpus.copies:
            narrator.say(f"left out of the texts that only training would use: {corpus.copies:,} ({COPY})")
    model = corpus.model
    task = _task(tokenizer, corpus, options)
    vocabulary, enough = task.tokens, ENOUGH if model is None else given_model.enough(model, plan.budget, ENOUGH)
    texts = {"train": corpus.train, VALIDATION: corpus.validation, TEST: corpus.test}
    parts = {part: stream(vocabulary, some, task.start, task.end)[: enough.get(part)] for part, some in texts.items()}
    context = int(options.get("context", max(LEAST_CONTEXT, min(CONTEXT, len(parts["train"]) // SHORT))))
    if model is not None and (fitting := given_model.context_of(model, context)) < context:
        narrator.say(f"a context of {fitting:,} tokens: the given model has no room for more")
        context = fitting
    _check_lengths(parts, context)
    task = replace(task, context=context)
    name = corpus.column or PROMPT
    # A prompt of a collection of texts begins one; that of a single text stands somewhere in it.
    encoder = Encoder(
        "exact" if model is None else "given", context, task.tokenizer, task.padding, task.start,
        start=corpus.places > 1, cut="start",
    )  # fmt: skip
    sizes = bytes_of_tokens(vocabulary)
    kind = "of a byte-level BPE, trained on the training part" if model is None else "of the given model"
    narrator.say(
        f"{len(sizes):,} tokens {kind}: {len(parts['train']):,} to train, "
        f"{len(parts[VALIDATION]):,} to validate, {len(parts[TEST]):,} to test; "
        f"{sizes[parts['train']].sum() / max(len(parts['train']), 1):.1f} bytes each"
    )
    counted = count(parts["train"], parts[TEST], sizes, corpus)
    for one in counted:
        narrator.say(f"{one.name}: {one.bits:.3f} bits per byte of the test part")
    run.write_json(run.prepared, {
        "version": VERSION,
        "encoders": {name: encoder.state()},
        "tasks": {UNLABELLED: task.state()},
        "findings": [],
    })  # fmt: skip
    return Material(task, encoder, Field(name, "text"), corpus, parts, sizes, counted, model)


def _task(tokenizer: str, corpus: Corpus, options: Mapping[str, Json]) -> Task:
    """The task with its tokens: of a given model, of a run that is gone on with, or trained on the training part."""
    width, model, talking = int(options.get("tokens", 64)), corpus.model, tuple(corpus.speakers or ())
    if model is not None:
        start, end = model.bounds
        text = tokenizer or given_model.tokenizer_of(model)
        size = model.described.vocabulary
        return Task(UNLABELLED, text, width=width, start=start, end=end, size=size, speakers=talking)
    usual = _tokenizer.usual_vocabulary(sum(len(one.encode()) for one in corpus.train))
    text = tokenizer or _tokenizer.trained(corpus.train, int(options.get("vocabulary", usual)))
    return Task(UNLABELLED, text, width=width, speakers=talking)


def _check_lengths(parts: Mapping[str, Array], context: int) -> None:
    for name, tokens in parts.items():
        least = 2 * context if name == "train" else 2
        if len(tokens) < least:
            raise InputError(
                f"The {name} part has {len(tokens):,} tokens, too few for a context of {context}.",
                where="task.options.context",
                fix="Give more text, or a smaller context: --set task.context=16",
            )


def findings(corpus: Corpus) -> tuple[AuditFinding, ...]:
    """What the user should know of the texts."""
    found = [*unreadable_rows(corpus.unreadable), *repeated_texts(corpus.repeated, len(corpus.test), "texts")]
    empty = [f"row {row}: {reason}" for row, reason in corpus.dropped if not reason.endswith((COPY, MARKED))]
    if empty:
        text = f"{len(empty):,} rows have no text, and are left out."
        found.append(AuditFinding("rows without a text", "note", text, len(empty), tuple(empty[:20]), ""))
    return tuple(found)


def data_document(plan: Plan, material: Material) -> dict[str, Json]:
    """The `data` part of the results; its rows are tokens."""
    corpus, parts = material.corpus, material.parts
    return {
        "rows": sum(map(len, parts.values())),
        "train": len(parts["train"]), "validation": len(parts[VALIDATION]), "test": len(parts[TEST]),
        "texts": corpus.places, "counted in": "tokens",
        "bytes": {name: material.bytes_in(name) for name in parts},
        "split": corpus.how,
        "dropped": [{"row": row, "place": f"row {row}", "reason": reason} for row, reason in corpus.dropped[:200]],
        "dropped_count": len(corpus.dropped),
        "unreadable": [{"place": place, "reason": reason} for place, reason in corpus.unreadable[:200]],
        "fields": [
            {"name": field.name, "modality": field.modality, "role": field.role, "reason": field.reason, "summary": {}}
            for field in plan.schema
        ],
        "fingerprint": plan.data.fingerprint,
        "source": plan.data.train,
        **({"sources": _sources(plan, corpus)} if corpus.added else {}),
    }  # fmt: skip


def _sources(plan: Plan, corpus: Corpus) -> list[dict[str, Json]]:
    """As `also.sources`, of texts."""
    own = len(corpus.train) - sum(learned for _, learned in corpus.added)
    counted = [(corpus.places, own), *corpus.added]
    return [
        {"source": name, "rows": rows, "learned": learned}
        for name, (rows, learned) in zip((plan.data.train, *plan.data.also), counted, strict=True)
    ]
