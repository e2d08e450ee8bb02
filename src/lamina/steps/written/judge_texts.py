"""Step 5 of "write": how many bits a byte of the test text takes, what is written, and how much of it is by heart."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from lamina.evaluate.bits import BITS, PERPLEXITY, bits_per_byte, blocks_of, figure, perplexity
from lamina.evaluate.intervals import percentile
from lamina.evaluate.memorised import LENGTH, share_in
from lamina.evaluate.results import BaselineResult, Exhibit, Interval, Results, TargetResult
from lamina.evaluate.verdict import verdict
from lamina.learn.batch import Batch
from lamina.learn.stream import NEXT
from lamina.model.decoding import drawn
from lamina.model.writer import Writer
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.finish import Course, versions_of
from lamina.steps.written import given_model
from lamina.steps.written.learner import TEST, VALIDATION, Learner, as_given, network_document
from lamina.steps.written.sealing import prove, seal, sealed_parts, writer_of
from lamina.steps.written.simple import Counted
from lamina.steps.written.texts import (
    PROMPT_TOKENS,
    TEMPERATURE,
    TOP_P,
    Material,
    data_document,
    findings,
)
from lamina.tasks.write import UNLABELLED

Array = np.ndarray[Any, Any]

SAMPLES, SAMPLE_TOKENS = 12, 160
STAGES = 6
"""Moments of the training that are shown."""


def test(course: Course, material: Material, learner: Learner) -> Results:
    """Score, compare, seal, prove, write, report."""
    plan, run, narrator = course.plan, course.run, course.narrator
    narrator.step("Test")
    nats = own_nats(learner)
    if material.model is not None:
        material = replace(material, simpler=(*material.simpler, before(plan, material, learner)))
    result = assessed(material, nats, course.seconds, plan.seed)
    sealed = sealed_parts(learner)
    writer = writer_of(sealed)
    proof = prove(writer, learner)
    made = samples(writer, material)
    result, told = with_memorised(result, made, material)
    course.tell(result)
    narrator.say(told)
    data, versions = data_document(plan, material), versions_of(plan, run)
    prompts = {material.field.name: np.array(material.prompts, object)}
    done = seal(course, learner, sealed, result, proof, data, prompts)
    course.tell_seal(done, "test texts told and written again")
    return course.finish(
        (result,),
        done,
        data=data,
        network=network_document(learner),
        versions=versions,
        audit=findings(material.corpus),
        exhibits=(*exhibits(made, told), *while_learning(run)),
    )


def own_nats(learner: Learner) -> Array:
    """float64 [token - 1]: what every token of the test part but the first costs the network."""
    return _asked(learner.nats(TEST), learner.material.task.padding)


def _asked(nats: Iterable[tuple[Batch, Array]], padding: int) -> Array:
    found = [each[batch.targets[NEXT].numpy() != padding] for batch, each in nats]
    return np.concatenate(found).astype(np.float64)


def before(plan: Plan, material: Material, learner: Learner) -> Counted:
    """What the given model says of the test part without having learned on."""
    begin = time.monotonic()
    network = as_given(plan, material, learner.engine.device)
    with torch.inference_mode():
        nats = _asked(learner.nats_of(network, TEST), material.task.padding)
    bits = float(nats.sum()) / math.log(2) / max(material.bytes_in(TEST), 1)
    return Counted(given_model.AS_IT_IS, bits, nats, time.monotonic() - begin, "without any of the training text")


def assessed(material: Material, nats: Array, seconds: float, seed: int) -> TargetResult:
    """Bits per byte with an interval over blocks of the text, beside simpler tools on the same blocks."""
    blocks = blocks_of(material.sizes[material.parts[TEST][1:]])
    weights = blocks.drawn(seed)
    own, draws = bits_per_byte(blocks, nats, weights)
    baselines = []
    for one in material.simpler:
        if one.nats is None:
            score, difference = figure(one.bits), None
        else:
            score, other_draws = bits_per_byte(blocks, one.nats, weights)
            apart = score.value - own.value
            low, high = percentile(apart, other_draws - draws)
            difference = Interval(apart, low, high, True, "bits")
        baselines.append(BaselineResult(one.name, {BITS: score}, one.seconds, difference, one.note))
    scores = {BITS: own}
    scores[PERPLEXITY] = perplexity(blocks, nats, weights)
    kind, text = verdict(BITS, scores[BITS], seconds, baselines, len(nats))
    counted = material.bytes_in(TEST)
    if material.model is not None:
        result = TargetResult(UNLABELLED, "write", scores, text, kind, tuple(baselines))
        text += f" {given_model.gain(result, BITS)}"
    text += f" {counted:,} bytes of test text were told token by token, in {len(blocks)} blocks; "
    text += "xz is there for comparison."
    return TargetResult(UNLABELLED, "write", scores, text, kind, tuple(baselines))


@dataclass(frozen=True)
class Made:
    """What was written on from beginnings of the validation part.

    Attributes:
        prompts, texts: [sample], the beginnings and what was written.
        seconds: that it took, for all of them together.
    """

    prompts: tuple[str, ...]
    texts: tuple[str, ...]
    seconds: float


def samples(writer: Writer, material: Material) -> Made:
    """Texts drawn at random, the same for the same model."""
    held = material.parts[VALIDATION]
    length = min(PROMPT_TOKENS, len(held))
    places = np.linspace(0, len(held) - length, SAMPLES).astype(np.int64)
    prompts = held[places[:, None] + np.arange(length)]
    begin = time.perf_counter()
    pick = drawn(TEMPERATURE, TOP_P, np.random.default_rng(0))
    found = material.task.decode(writer.write(prompts, SAMPLE_TOKENS, pick))[""]
    seconds = time.perf_counter() - begin
    beginnings = material.task.decode(prompts)[""]
    return Made(tuple(beginnings.tolist()), tuple(found.tolist()), seconds)


def with_memorised(result: TargetResult, made: Made, material: Material) -> tuple[TargetResult, str]:
    """(The result with the share of what was written that is by heart, a sentence about it)."""
    known = "".join(material.corpus.train).encode()
    share, strings = share_in([one.encode() for one in made.texts], known)
    held = "".join(material.corpus.test).encode()[: max(strings, 1) + LENGTH]
    usual, _ = share_in([held], known)
    told = (
        f"{share:.1%} of {strings:,} strings of {LENGTH} bytes in what it wrote stand literally in the training text "
        f"(of the test text itself: {usual:.1%})"
        if strings
        else "too little was written to say how much of it is by heart"
    )
    memorised = Interval(share, math.nan, math.nan, False, "")
    return replace(result, scores={**result.scores, "memorised": memorised}), told


def exhibits(made: Made, told: str) -> tuple[Exhibit, ...]:
    """What was written, none of it chosen."""
    pairs = list(zip(made.prompts, made.texts, strict=True))[: SAMPLES // 2]
    lines = tuple(shown(f"{prompt} ▸ {text}") for prompt, text in pairs)
    words = sum(len(text.encode()) for text in made.texts) / max(made.seconds, 1e-9)
    return (
        Exhibit(
            "Written",
            f"After ▸ is what the sealed model wrote (temperature {TEMPERATURE:g}, top-p {TOP_P:g}), "
            f"{words:,.0f} bytes a second; none of it was chosen. {told[:1].upper()}{told[1:]}.",
            lines=lines,
        ),
    )


def while_learning(run: Run) -> tuple[Exhibit, ...]:
    """What was written on from the same beginning, with the same draws, as the training went on."""
    files = sorted((run.folder / "samples").glob("*.txt"))
    if len(files) < 2:
        return ()
    chosen = [files[place] for place in np.unique(np.linspace(0, len(files) - 1, STAGES).astype(int))]
    lines = tuple(shown(f"step {int(file.stem):,}: {file.read_text(encoding='utf-8')}") for file in chosen)
    return (Exhibit("While it learned", "The same beginning, written on after more and more steps.", lines=lines),)


def shown(text: str) -> str:
    """A text on one line."""
    return text.replace("\r", "").replace("\n", " ⏎ ")
