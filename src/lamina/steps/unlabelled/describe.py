"""Task "embed" after training: what the vectors are good for, and which rows they find alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina.choose import hardware
from lamina.data.schema import Json
from lamina.data.split import Split
from lamina.evaluate import judge
from lamina.evaluate.judged import compared
from lamina.evaluate.results import Exhibit, Interval, TargetResult
from lamina.evaluate.verdict import verdict
from lamina.modalities import Feature
from lamina.steps.prepare import Prepared
from lamina.steps.unlabelled import collapse, simple
from lamina.steps.unlabelled.labels import Labels
from lamina.steps.unlabelled.learner import untrained, width_of
from lamina.steps.unlabelled.looks import SHOWN, looks
from lamina.steps.unlabelled.trained import NO_LABELS, Effort, Tested, Trained, plain_figure
from lamina.tasks import embed

Array = np.ndarray[Any, Any]

RICH = {"image", "spectrogram", "series", "tokens"}
LIKE = 6
"""How many of the most alike rows are shown beside each."""


def check(options: Mapping[str, Json], rows: int) -> None:
    """Raises InputError for an option that does not exist; rows: to learn from."""
    embed.check_options(options)


def method(features: Mapping[str, Feature]) -> str:
    """Views where there are many of a row, else hidden fields."""
    return "contrastive" if {feature.kind for feature in features.values()} & RICH else "masked"


def effort(options: Mapping[str, Json], parts: Split, judged: bool) -> Effort:
    """Probes learn from the training part's vectors, also from those of the same network untrained."""
    return Effort(2 * len(parts.train) + len(parts.test) if judged else 0)


def tested(trained: Trained) -> Tested:
    """Vectors of the test rows; labels are guessed from them, beside the same network untrained and plain vectors."""
    task = embed.Task(trained.name, width_of(trained.learner))
    vectors = trained.outputs(task, trained.prepared.split.test)
    facts = {} if trained.labels is None else {"judged_by": {"column": trained.labels.name}}
    result, found = _judged(trained, task, vectors), collapse.findings(collapsed(vectors))
    return Tested(task, vectors, result, alike(trained.prepared, vectors), facts, findings=found)


def collapsed(vectors: Array) -> str:
    """A sentence where vectors [row, size] say that training has collapsed, else ""."""
    return collapse.fallen(collapse.spread_of(vectors), collapse.effective_rank(vectors), vectors.shape[1])


def filled(vectors: Array) -> dict[str, Interval]:
    """ "spread" and "effective_rank" of vectors [row, size]."""
    return {
        "spread": plain_figure(collapse.spread_of(vectors)),
        "effective_rank": plain_figure(collapse.effective_rank(vectors)),
    }


def _judged(trained: Trained, task: embed.Task, vectors: Array) -> TargetResult:
    figures, sentence = filled(vectors), collapsed(vectors)
    spread, after = figures["spread"].value, f" {sentence}" if sentence else ""
    if trained.labels is None:
        text = f"{NO_LABELS}; the vectors fill {spread:.0%} of their space.{after}"
        return TargetResult(task.name, "embed", figures, text, "even")
    parts = trained.prepared.split
    for rows, part in ((parts.train, "training"), (parts.test, "test")):
        if (trained.labels.codes(rows)[0] < 0).all():
            text = f"The labels cannot judge: no {part} row has one. The vectors fill {spread:.0%} of their space."
            return TargetResult(task.name, "embed", figures, f"{text}{after}", "even")
    scores, baselines, labelled = _probed(trained, task, trained.labels, vectors)
    primary = next(iter(scores))
    kind, text = verdict(primary, scores[primary], trained.seconds, baselines, labelled)
    text = f"Judged by {trained.labels.name}, which nothing was learned from. {text}{after}"
    return TargetResult(task.name, "embed", {**scores, **figures}, text, kind, baselines)


def _probed(trained: Trained, task: embed.Task, labels: Labels, vectors: Array) -> tuple[Any, Any, int]:
    """(Scores, the others compared, test rows with a label)."""
    parts, seed = trained.prepared.split, trained.plan.seed
    codes, _ = labels.codes(np.concatenate([parts.train, parts.test]))
    known, truth = codes[: len(parts.train)], codes[len(parts.train) :]
    kept = np.flatnonzero(truth >= 0)
    own = trained.outputs(task, parts.train)
    judged = judge.probes("", own, known, vectors[kept], truth[kept], seed, trained.seconds)
    fresh = untrained(trained.plan, trained.prepared, hardware.detect().device, trained.base)
    blank = [trained.outputs(task, rows, fresh) for rows in (parts.train, parts.test)]
    others = [judge.probes(judge.UNTRAINED, blank[0], known, blank[1][kept], truth[kept], seed)]
    # Of the rows that can teach a probe: a sample of all would hold few of them, where few are labelled.
    plain, tested_on, rows = simple.vectors(trained.prepared, parts.train[known >= 0], parts.test, seed)
    places = np.searchsorted(parts.train, rows)
    others.append(judge.probes(judge.PLAIN, plain, known[places], tested_on[kept], truth[kept], seed))
    return *compared(judged, others, len(kept), seed), len(kept)


def alike(prepared: Prepared, vectors: Array) -> tuple[Exhibit, ...]:
    """Some test rows, each with the test rows that are most like it."""
    rows = prepared.split.test
    if len(rows) < 2:
        return ()
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(SHOWN // 2, len(rows))).astype(np.int64))
    found = []
    for number, place in enumerate(chosen, 1):
        likeness = vectors @ vectors[place]
        likeness[place] = np.inf
        nearest = np.argsort(-likeness, kind="stable")[: LIKE + 1]
        notes = ["asked for" if other == place else f"likeness {likeness[other]:.2f}" for other in nearest]
        pictures, lines = looks(prepared, rows[nearest], notes)
        found.append(Exhibit(f"Most alike, {number}", "The first is the one asked for.", pictures, (), lines))
    return tuple(found)
