"""Step 5 for new examples: compare with real ones, seal, prove, show, report."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from lamina.data.schema import Chunk, Field, Json
from lamina.evaluate.generated import Moments, frechet, precision_recall
from lamina.evaluate.intervals import percentile, resampled, wilson
from lamina.evaluate.results import BaselineResult, Interval, Results, Seal, TargetResult
from lamina.evaluate.verdict import verdict
from lamina.modalities import Encoder, vector
from lamina.model import card, golden
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps import shown
from lamina.steps.finish import Course, versions_of
from lamina.steps.generate import judging, simple
from lamina.steps.generate.exhibits import exhibits
from lamina.steps.generate.judging import Judge
from lamina.steps.generate.learner import MOST_COMPARED, Learner, Sealing, make, noise_of, outputs, some_of, task_of
from lamina.steps.generate.pictures import CODES
from lamina.steps.prepare import Prepared, read
from lamina.steps.sealing import prove_and_write, sealed_parts
from lamina.steps.unlabelled.learner import asked
from lamina.tasks import generate

Array = np.ndarray[Any, Any]

NEIGHBORED = 2_000
"""Test pictures, and as many made ones, that precision and recall are computed from."""
REPLICATES = 100
PROVEN = 500
"""Noises that the sealed model must make the same pictures from."""


def test(
    course: Course,
    prepared: Prepared,
    learner: Learner,
) -> Results:
    """Compare, seal, prove, show, report."""
    plan, run, narrator = course.plan, course.run, course.narrator
    narrator.step("Test")
    found = compared(plan, prepared, learner, course.seconds)
    course.tell(found)
    data = shown.data_document(plan, prepared, read(run).get("summaries", {}))
    versions = versions_of(plan, run)
    seal = _sealed(plan, learner, found, run, data, versions)
    course.tell_seal(seal, "pictures made again from the same noise")
    seen = exhibits(prepared, learner, run)
    return course.finish(
        (found,),
        seal,
        data=data,
        network=own_document(learner),
        versions=versions,
        audit=prepared.findings,
        exhibits=seen,
    )


@dataclass(frozen=True)
class Compared:
    """Made pictures beside real ones, by the judge's features.

    Attributes:
        features: [row, width].
        distances: of each replicate.
        scores: "frechet", "precision", "recall".
    """

    distances: Array
    scores: dict[str, Interval]


def compared(plan: Plan, prepared: Prepared, learner: Learner, seconds: float) -> TargetResult:
    """How near made pictures come to the test pictures, beside those that a normal distribution of pixels makes.

    Args:
        seconds: what all steps up to here took.
    """
    judge, pictures, device = learner.judge, learner.pictures, learner.engine.device
    assert judge is not None
    parts, images = prepared.split, prepared.examples.arrays[pictures.field]
    rows = some_of(parts.test, MOST_COMPARED)
    real = judge.features(np.asarray(images[rows]), device)
    codes = pictures.codes[rows]
    weights = np.concatenate(list(resampled(len(rows), REPLICATES, plan.seed)))

    def against(made: Array) -> Compared:
        return _against(real, judge.features(made, device), weights)

    own = against(make(learner, codes, seed=3))
    models, took = simple.normals(images, pictures.codes, parts.train, plan.seed)
    other = against(simple.drawn(models, codes, pictures.shape, plan.seed))
    apart = other.scores["frechet"].value - own.scores["frechet"].value
    difference = Interval(apart, *percentile(apart, other.distances - own.distances))
    baseline = BaselineResult("a normal distribution", other.scores, took, difference)
    kind, text = verdict("frechet", own.scores["frechet"], seconds, (baseline,), len(rows))
    scores = dict(own.scores)
    floor = judge.features(np.asarray(images[some_of(parts.train, len(rows))]), device)
    scores["frechet_of_real"] = Interval(frechet(Moments.of(real), Moments.of(floor)), math.nan, math.nan, False)
    how = "the data's own classes" if pictures.label else "pictures from their mirror images"
    text = (
        f"{text} Compared by features of a classifier that learned to tell {how} apart: such figures compare only here."
    )
    named = rows[pictures.answers()[rows] >= 0]
    if pictures.label and not len(named):
        text = f"{text} No test picture has a {pictures.label}: whether classes can be told apart was not asked."
    elif pictures.label:
        told, words = _told_apart(plan, prepared, learner, judge, named)
        scores |= told
        text = f"{text} {words}"
    return TargetResult(asked(plan)[0], "generate", scores, text, kind, (baseline,))


def distances(real: Array, made: Array, weights: Array, made_weights: Array) -> tuple[Interval, Array]:
    """(The Fréchet distance with its interval, that of each replicate).

    Args:
        real, made: features [row, width].
        weights, made_weights: how often each row counts, [replicate, row].
    """
    distance = frechet(Moments.of(real), Moments.of(made))
    pairs = zip(weights, made_weights, strict=True)
    drawn = np.array([frechet(Moments.of(real, one), Moments.of(made, other)) for one, other in pairs])
    # Drawing rows again adds to a distance; the replicates are brought back to where the distance is.
    drawn = drawn - np.median(drawn) + distance
    low, high = percentile(distance, drawn)
    return Interval(distance, max(low, 0.0), high, False), drawn


def _against(real: Array, made: Array, weights: Array) -> Compared:
    """Args: features [row, width]; how often each row counts, [replicate, row]: of both, which share their classes."""
    distance, drawn = distances(real, made, weights, weights)
    chosen = some_of(np.arange(len(real)), NEIGHBORED)
    precision, recall = precision_recall(real[chosen], made[chosen])
    scores = {
        "frechet": distance,
        "precision": Interval(precision, math.nan, math.nan),
        "recall": Interval(recall, math.nan, math.nan),
    }
    return Compared(drawn, scores)


def _told_apart(
    plan: Plan, prepared: Prepared, learner: Learner, judge: Judge, rows: Array
) -> tuple[dict[str, Interval], str]:
    """A classifier that only ever saw made pictures, on real ones (Ravuri & Vinyals 2019, "Classification accuracy
    score for conditional generative models"), beside the one that learned from real pictures for as many steps.

    Args:
        rows: test pictures with a class.
    """
    pictures, device = learner.pictures, learner.engine.device
    answers = pictures.answers()
    chances = np.bincount(answers[learner.judged], minlength=len(pictures.classes)).astype(np.float64)
    chances /= chances.sum()

    def draw(random: np.random.Generator) -> tuple[Array, Array]:
        classes = random.choice(len(chances), judging.BATCH, p=chances)
        return make(learner, classes + CODES, seed=int(random.integers(2**31))), classes

    steps = int(plan.task[asked(plan)[0]].options["judge"])
    pupil = judging.fresh(pictures.feature, len(pictures.classes), plan.seed, device)
    judging.trained(pupil, judging.Drawn(draw, True, plan.seed), steps, learner.engine)
    images = np.asarray(prepared.examples.arrays[pictures.field][rows])
    shares = [float((each.answers(images, device) == answers[rows]).mean()) for each in (pupil, judge)]
    scores = {
        name: Interval(share, *wilson(share, len(rows)))
        for name, share in zip(("accuracy_from_made", "accuracy_from_real"), shares, strict=True)
    }
    words = (
        f"A classifier that learned from made pictures only is right for {shares[0]:.1%} of the real ones; "
        f"from real pictures, in as many steps, {shares[1]:.1%}."
    )
    return scores, words


def own_document(learner: Learner) -> dict[str, Json]:
    """Size and parts of the networks."""
    return network_document(learner.network, learner.method.weights().values())


def network_document(network: nn.Module, sealed: Iterable[Tensor]) -> dict[str, Json]:
    """Size and parts of the networks.

    Args:
        sealed: the weights that are.
    """
    stages = [[name, sum(value.numel() for value in part.parameters())] for name, part in network.named_children()]
    families = ", ".join(type(part).__name__ for part in network.children())
    parameters = sum(value.numel() for value in sealed)
    return {"parameters": parameters, "summary": families, "stages": stages, "notes": []}


def _sealed(
    plan: Plan, learner: Learner, found: TargetResult, run: Run, data: dict[str, Json], versions: dict[str, str]
) -> Seal:
    """Export, seal beside, prove on noise, and only then give the file its name."""
    pictures = learner.pictures
    task = task_of(pictures)
    noise = noise_of(PROVEN, learner.method.noise, seed=4)
    # As a person would write it: what is proven is the whole way from there.
    noise = noise.astype(np.float64).round(6).astype(np.float32)
    first = 2 if pictures.label else 1
    codes = np.arange(PROVEN) % max(pictures.size - 1, 1) + (first - 1)
    fields, encoders, raw = sealed_inputs(learner, noise, codes)
    description = card.build(
        plan, data, [found], versions, created=time.strftime("%Y-%m-%d"), golden=golden.USUAL,
        network=own_document(learner),
    )  # fmt: skip
    kept: Chunk = {name: values[: golden.USUAL] for name, values in raw.items()}
    with learner.method.evaluating() as generator:
        sealed = sealed_parts(
            Sealing(generator, pictures), fields, encoders, {task.name: task}, description, kept, None
        )
    return prove_and_write(run, sealed, _chunks(raw), None, {task.name: outputs(learner, noise, codes)})[1]


def sealed_inputs(learner: Learner, noise: Array, codes: Array) -> tuple[dict[str, Field], dict[str, Encoder], Chunk]:
    """(Fields, encoders, raw values) of what a picture is made from: noise, and its class where there are any."""
    pictures, width = learner.pictures, learner.method.noise
    fields = {generate.NOISE: Field(generate.NOISE, "vector", "input", (generate.NOISE,))}
    encoders: dict[str, Encoder] = {generate.NOISE: vector.Encoder((0.0,) * width, (1.0,) * width, "none")}
    lists = np.empty(len(noise), dtype=object)
    lists[:] = [[float(number) for number in row] for row in noise]
    raw: dict[str, Array] = {generate.NOISE: lists}
    if pictures.encoder is not None:
        fields[pictures.label] = Field(pictures.label, "category", "input", (pictures.label,))
        encoders[pictures.label] = pictures.encoder
        raw[pictures.label] = pictures.encoder.decode(codes)
    return fields, encoders, raw


def _chunks(raw: Chunk, size: int = 128) -> Iterator[Chunk]:
    rows = len(next(iter(raw.values())))
    return ({name: values[start : start + size] for name, values in raw.items()} for start in range(0, rows, size))
