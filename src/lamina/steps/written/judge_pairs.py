"""Step 5 of "translate": BLEU and chrF of what the sealed model writes, beside what needs no network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lamina.evaluate.intervals import wilson
from lamina.evaluate.judged import compared
from lamina.evaluate.results import Exhibit, Results, TargetResult
from lamina.evaluate.translation import BLEU, judged
from lamina.evaluate.verdict import verdict
from lamina.learn.stream import TEXT
from lamina.model.sentences import translated
from lamina.model.writer import Writer
from lamina.networks.writers import SOURCE
from lamina.steps.finish import Course, versions_of
from lamina.steps.written.judge_texts import while_learning
from lamina.steps.written.learner import TEST, VALIDATION, Learner, network_document
from lamina.steps.written.pairs import Material, data_document, findings, longer_texts
from lamina.steps.written.sealing import KEPT_ROWS, prove, seal, sealed_parts, writer_of
from lamina.steps.written.word_table import MOST_PAIRS, WordTable, commonest
from lamina.tasks._written import BOUNDARY

Array = np.ndarray[Any, Any]

SHOWN, ALIGNED = 10, 4
"""Translations, and tables of what was looked at, that the report shows."""


def test(course: Course, material: Material, learner: Learner) -> Results:
    """Seal and prove the graphs, have them translate, compare, show, report."""
    plan, run, narrator = course.plan, course.run, course.narrator
    narrator.step("Test")
    sealed = sealed_parts(learner)
    writer = writer_of(sealed)
    proof = prove(writer, learner)
    begin = time.monotonic()
    found = translations(writer, material, material.judged)
    pace = len(found) / max(time.monotonic() - begin, 1e-9)
    result = assessed(material, found, course.seconds, plan.seed)
    course.tell(result)
    narrator.say(f"{pace:.1f} texts a second with {material.task.beams} beams")
    data = data_document(plan, material)
    kept = {material.field.name: np.array(material.texts(material.raw.source, material.judged[:KEPT_ROWS]), object)}
    done = seal(course, learner, sealed, result, proof, data, kept)
    course.tell_seal(done, "test texts told and written again")
    return course.finish(
        (result,),
        done,
        data=data,
        network=network_document(learner),
        versions=versions_of(plan, run),
        audit=(*findings(material.raw), *longer_texts(material)),
        exhibits=(samples(material, found), *looks(learner, material), *while_learning(run)),
    )


def translations(writer: Writer, material: Material, rows: Array) -> list[str]:
    """What the sealed model writes for some rows."""
    found, _ = translated(writer, material.encoder, material.texts(material.raw.source, rows))
    return [str(text) for text in found]


def assessed(material: Material, found: Sequence[str], seconds: float, seed: int) -> TargetResult:
    """BLEU and chrF with intervals over texts, beside copying, word by word and the commonest words."""
    raw, rows = material.raw, material.judged
    read, wanted = (material.texts(name, rows) for name in (raw.source, raw.target))
    others = []
    for name, answers, taken, note in simpler(material, read):
        others.append(judged(name, answers, wanted, taken, note))
    scores, baselines = compared(judged("", found, wanted, seconds), others, len(rows), seed)
    kind, text = verdict(BLEU, scores[BLEU], seconds, baselines, len(rows))
    same = sum(one == other for one, other in zip(found, wanted, strict=True)) / len(rows)
    low, high = wilson(same, len(rows))
    text += (
        f" {len(rows):,} of {len(material.rows[TEST]):,} test texts were translated by the sealed model; {same:.1%} "
        f"(95% interval {low:.1%} to {high:.1%}) are the reference word for word. There is one reference for each: "
        "other good translations count as wrong."
    )
    return TargetResult(raw.target, "translate", scores, text, kind, baselines)


def simpler(material: Material, read: Sequence[str]) -> list[tuple[str, list[str], float, str]]:
    """(Name, translations, seconds, note) of what needs no network."""
    raw, train = material.raw, material.rows["train"]
    spread = train[np.unique(np.linspace(0, len(train) - 1, min(MOST_PAIRS, len(train))).astype(np.int64))]
    begin = time.monotonic()
    table = WordTable.fit(material.texts(raw.source, spread), material.texts(raw.target, spread))
    by_words = [table.translate(text) for text in read]
    taken = time.monotonic() - begin
    note = f"IBM Model 1, learned from {len(spread):,} pairs" if len(spread) < len(train) else "IBM Model 1"
    constant = commonest(material.texts(raw.target, spread))
    return [
        ("the source as it is", list(read), 0.0, ""),
        ("word by word", by_words, taken, note),
        ("the commonest words", [constant] * len(read), 0.0, "as many as a text has on average"),
    ]


def samples(material: Material, found: Sequence[str]) -> Exhibit:
    """Some test texts with their reference and what was written, evenly spread."""
    rows = material.judged
    places = np.unique(np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).astype(np.int64))
    lines = []
    for place in places.tolist():
        source, wanted = (material.texts(name, rows[[place]])[0] for name in (material.raw.source, material.raw.target))
        lines.append(f"{source} ▸ {found[place]} (reference: {wanted})")
    return Exhibit(
        "Translations", "After ▸ is what the sealed model wrote. None of them was chosen.", lines=tuple(lines)
    )


def looks(learner: Learner, material: Material) -> tuple[Exhibit, ...]:
    """At what the network looked most when it wrote each token, for some short validation texts."""
    rows = material.rows[VALIDATION]
    lengths = (material.arrays[TEXT][rows] > 0).sum(axis=1)
    chosen = rows[np.argsort(np.abs(lengths - np.quantile(lengths, 0.2)), kind="stable")[:ALIGNED]]
    found = []
    for row in chosen.tolist():
        source, own = (material.trimmed(name, np.array([row])) for name in (SOURCE, TEXT))
        with learner.method.evaluating() as network:
            shares = _attention(network, source, own, learner.engine.device)
        names = [[_spelled(material, token) for token in tokens[0].tolist()] for tokens in (source, own)]
        pairs = [f"{name} ← {names[0][int(share.argmax())]}" for name, share in zip(names[1][1:], shares, strict=False)]
        found.append(f"{material.texts(material.raw.source, np.array([row]))[0]} ▸ {', '.join(pairs)}")
    own_lexicon = getattr(learner.network, "lexicon", None) is not None
    where = "to find it in its lexicon" if own_lexicon else "in the mean of all layers and heads"
    text = (
        "Each token of the reference, and the token of the source that the network looked at most when it had to write "
        f"it, {where}. Words that stand for each other are often seen; it is no proof."
    )
    return (Exhibit("What it looked at", text, lines=tuple(found)),)


def _attention(network: Any, source: Array, own: Array, device: torch.device) -> Array:
    """[step, place] for one pair."""
    inputs = {SOURCE: torch.from_numpy(source).to(device), TEXT: torch.from_numpy(own).to(device)}
    found: Array = network.attention(inputs)[0].float().cpu().numpy()
    return found


def _spelled(material: Material, token: int) -> str:
    return "(start)" if token == BOUNDARY else str(material.task.tokens.decode([token]))
