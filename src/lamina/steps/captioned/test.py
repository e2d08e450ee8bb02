"""Step 5 for captions: what the sealed model writes of the test pictures, beside what needs no network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lamina.evaluate.captions import CIDER, judged
from lamina.evaluate.intervals import wilson
from lamina.evaluate.judged import compared
from lamina.evaluate.results import Exhibit, Results, TargetResult
from lamina.evaluate.verdict import verdict
from lamina.learn.captioned import SOURCE
from lamina.learn.stream import TEXT
from lamina.model.writer import Writer
from lamina.steps import shown
from lamina.steps.captioned.learner import Material, same_picture
from lamina.steps.captioned.simple import nearest
from lamina.steps.finish import Course, versions_of
from lamina.steps.generate.sheets import as_uri, sheet
from lamina.steps.prepare import read
from lamina.steps.test import example_rows
from lamina.steps.written.judge_texts import while_learning
from lamina.steps.written.learner import TEST, Learner, network_document
from lamina.steps.written.sealing import prove, seal, sealed_parts, writer_of
from lamina.steps.written.word_table import commonest
from lamina.tasks._written import BOUNDARY

Array = np.ndarray[Any, Any]

SHOWN, LOOKED_AT, TOKENS = 12, 3, 7
"""Captions, and pictures with what was looked at for so many tokens, that the report shows."""
LEARNED = 20_000
"""Training captions that the commonest words are counted in."""
DARK = 0.25
"""How bright a place is drawn that was not looked at."""


def test(course: Course, material: Material, learner: Learner) -> Results:
    """Seal and prove the graphs, have them write captions, compare, show, report."""
    plan, run, narrator = course.plan, course.run, course.narrator
    narrator.step("Test")
    sealed = sealed_parts(learner)
    writer = writer_of(sealed)
    proof = prove(writer, learner)
    begin = time.monotonic()
    found = captions(writer, material, material.judged)
    pace = len(found) / max(time.monotonic() - begin, 1e-9)
    result = assessed(material, found, course.seconds, plan.seed)
    course.tell(result)
    narrator.say(f"{pace:.1f} captions a second with {material.task.beams} beams")
    prepared = material.prepared
    data = {
        **shown.data_document(plan, prepared, read(run).get("summaries", {})),
        "judged": len(material.judged),
    }
    done = seal(course, learner, sealed, result, proof, data, *example_rows(prepared, material.judged))
    course.tell_seal(done, "test captions told and written again")
    return course.finish(
        (result,),
        done,
        data=data,
        network=network_document(learner),
        versions=versions_of(plan, run),
        audit=prepared.findings,
        exhibits=(samples(material, found), *looks(learner, material, found), *while_learning(run)),
    )


def captions(writer: Writer, material: Material, rows: Array) -> list[str]:
    """What the sealed model writes of some rows' pictures."""
    found: list[str] = []
    for start in range(0, len(rows), 256):
        tokens = writer.outputs(material.pictures(rows[start : start + 256]))
        found += [str(text) for text in material.task.decode(tokens)[""]]
    return found


def references(material: Material) -> list[list[str]]:
    """All test captions of each picture that is judged."""
    prepared, rows = material.prepared, material.rows[TEST]
    by_picture: dict[Any, list[str]] = {}
    keys = same_picture(prepared, material.field, rows)
    for key, text in zip(keys, material.captions(rows), strict=True):
        by_picture.setdefault(key, []).append(text)
    places = dict(zip(rows.tolist(), keys, strict=True))
    return [by_picture[places[row]] for row in material.judged.tolist()]


def assessed(material: Material, found: Sequence[str], seconds: float, seed: int) -> TargetResult:
    """The scores with intervals over pictures, beside the nearest picture's caption and the commonest words."""
    wanted, train, judged_rows = references(material), material.rows["train"], material.judged
    answers, taken, note = nearest(material, seed)
    some = train[np.unique(np.linspace(0, len(train) - 1, min(LEARNED, len(train))).astype(np.int64))]
    constant = commonest(material.captions(some))
    others = [
        judged("nearest neighbors", answers, wanted, taken, note),
        judged(
            "the commonest words", [constant] * len(judged_rows), wanted, 0.0, "as many as a caption has on average"
        ),
    ]
    scores, baselines = compared(judged("", found, wanted, seconds), others, len(judged_rows), seed)
    kind, text = verdict(CIDER, scores[CIDER], seconds, baselines, len(judged_rows), ("test picture", "test pictures"))
    same = sum(one in several for one, several in zip(found, wanted, strict=True)) / len(judged_rows)
    low, high = wilson(same, len(judged_rows))
    text += (
        f" The sealed model wrote the captions of {len(judged_rows):,} test pictures; {same:.1%} (95% interval "
        f"{low:.1%} to {high:.1%}) are word for word what a person wrote. People would describe a picture otherwise, "
        "too: good captions may count as wrong."
    )
    return TargetResult(material.target, "caption", scores, text, kind, baselines)


def samples(material: Material, found: Sequence[str]) -> Exhibit:
    """Some test pictures, what was written of them and what a person wrote, evenly spread."""
    rows, wanted = material.judged, references(material)
    places = np.unique(np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).astype(np.int64))
    pictures = material.pictures(rows[places])
    lines = tuple(f"{found[place]} (reference: {wanted[place][0]})" for place in places.tolist())
    return Exhibit(
        "Captions",
        "Test pictures in order, as the network sees them, and what the sealed model wrote. None of them was chosen.",
        tuple(as_uri(sheet(picture[None], 1)) for picture in pictures),
        lines=lines,
        across=6,
    )


def looks(learner: Learner, material: Material, found: Sequence[str]) -> tuple[Exhibit, ...]:
    """Where the network looked when it wrote each token, for the first pictures of the samples."""
    rows = material.judged
    places = np.unique(np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).astype(np.int64))[:LOOKED_AT]
    drawn, lines = list[Array](), list[str]()
    for place in places.tolist():
        tokens = material.task.tokens.encode(found[place], add_special_tokens=False).ids[:TOKENS]
        if not tokens:
            continue
        picture = material.pictures(rows[[place]])
        text = np.array([[BOUNDARY, *tokens[:-1]]], np.int32)
        device = learner.engine.device
        with learner.method.evaluating() as network:
            given: Any = network
            inputs = {SOURCE: torch.from_numpy(picture).to(device), TEXT: torch.from_numpy(text).to(device)}
            shares = given.attention(inputs)[0].float().cpu().numpy()
        row = [picture[0], *(_lit(picture[0], share) for share in shares)]
        drawn += [*row, *[np.full_like(picture[0], 255)] * (TOKENS + 1 - len(row))]
        words = [material.task.tokens.decode([token]).strip() or "▁" for token in tokens]
        lines.append(" · ".join(words))
    if not drawn:
        return ()
    said = (
        "The picture, and beside it, for each token that was written, where the network looked: bright places. It is "
        "the mean of all layers and heads; that a place was looked at is no proof that the word came from there."
    )
    uri = as_uri(sheet(np.stack(drawn), TOKENS + 1))
    return (Exhibit("Where it looked", said, (uri,), lines=tuple(lines), across=1),)


def _lit(picture: Array, shares: Array) -> Array:
    """A picture that is bright where the shares [row, column] are large."""
    from PIL import Image

    light = (shares / max(float(shares.max()), 1e-9)).astype(np.float32)
    size = (picture.shape[1], picture.shape[0])
    wide = np.asarray(Image.fromarray(light).resize(size, Image.Resampling.BILINEAR))
    return np.rint(picture * (DARK + (1 - DARK) * wide[:, :, None])).astype(np.uint8)
