"""Task "cluster" after training: how many clusters, what each is like, and whether labels know them too."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina.choose import hardware
from lamina.data.schema import Json
from lamina.data.split import Split
from lamina.errors import InputError
from lamina.evaluate import judge
from lamina.evaluate.judged import compared
from lamina.evaluate.results import Exhibit, Interval, TargetResult
from lamina.evaluate.verdict import verdict
from lamina.steps.unlabelled import differences, grouping, simple
from lamina.steps.unlabelled.collapse import findings
from lamina.steps.unlabelled.describe import collapsed, filled, method
from lamina.steps.unlabelled.grouping import Grouping
from lamina.steps.unlabelled.kmeans import nearest
from lamina.steps.unlabelled.learner import untrained, width_of
from lamina.steps.unlabelled.looks import SHOWN, looks
from lamina.steps.unlabelled.trained import NO_LABELS, Effort, Tested, Trained, plain_figure
from lamina.tasks import cluster

__all__ = ["check", "effort", "method", "tested"]

Array = np.ndarray[Any, Any]

MOST_ROWS = 20_000
"""Training rows that centroids are learned from."""
MOST_COMPARED = 2000
"""Test rows that the silhouette compares with each other."""


def check(options: Mapping[str, Json], rows: int) -> None:
    """Raises InputError for an option that does not exist, or more clusters than rows could fill.

    Args:
        rows: to learn from.
    """
    cluster.check_options(options)
    wanted = int(options.get("clusters", 0))
    if wanted > rows // 2:
        raise InputError(
            f"{wanted:,} clusters are more than {rows:,} training rows can fill.",
            where="task.options.clusters",
            fix=f"Give at most {rows // 2:,}, or leave it out: the number is then chosen by stability.",
        )


def effort(options: Mapping[str, Json], parts: Split, judged: bool) -> Effort:
    """Centroids are learned from training rows, also from those of the same network untrained."""
    rows = min(len(parts.train), MOST_ROWS)
    others = min(len(parts.train), simple.MOST) + len(parts.test) if judged else 0
    most = int(options.get("clusters", options.get("most", cluster.MOST_TRIED)))
    seconds = grouping.seconds(rows, most, asked="clusters" in options)
    return Effort(rows + others, seconds)


def tested(trained: Trained) -> Tested:
    """Clusters of training rows, their number chosen by stability; the test rows' clusters, described and judged."""
    parts, seed = trained.prepared.split, trained.plan.seed
    rows = _some(parts.train, MOST_ROWS, seed)
    start = cluster.Task(trained.name, width_of(trained.learner))
    vectors = trained.outputs(start, rows)
    wanted = trained.options.get("clusters")
    found = grouping.grouped(
        vectors,
        clusters=None if wanted is None else int(wanted),
        most=int(trained.options.get("most", cluster.MOST_TRIED)),
        seed=seed,
    )
    task = start.fitted(vectors, found.members)
    answered = trained.outputs(task, parts.test)
    members = task.decode(vectors)[""] - 1
    apart = _apart(trained, rows, members)
    facts = _facts(task, answered, apart)
    said = (found.reason, *(_line(fact) for fact in facts["clusters"]))
    exhibits = (*_curve(found), *_clusters(trained, task, answered, facts["clusters"]))
    result, collapse = _judged(trained, task, answered, found), findings(collapsed(answered))
    return Tested(task, answered, result, exhibits, facts, said, collapse)


def _some(rows: Array, most: int, seed: int) -> Array:
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _apart(trained: Trained, rows: Array, members: Array) -> list[tuple[str, ...]]:
    """For each cluster what sets it apart, from the raw values of some training rows."""
    chosen = _some(np.arange(len(rows)), differences.MOST_ROWS, trained.plan.seed)
    found = differences.traits(trained.prepared, rows[chosen])
    inside = members[chosen]
    return [differences.sets_apart(found, inside == number) for number in range(int(members.max()) + 1)]


def _facts(task: cluster.Task, answered: Array, apart: list[tuple[str, ...]]) -> dict[str, Json]:
    """For the model card: each cluster's size in the test part, and what sets it apart."""
    clusters = task.decode(answered)[""]
    found = []
    for number in range(1, len(task.centroids) + 1):
        rows = int((clusters == number).sum())
        differs = list(apart[number - 1]) if number <= len(apart) else []
        share = rows / max(len(clusters), 1)
        found.append({"cluster": number, "test_rows": rows, "share": share, "differs": differs})
    return {"clusters": found}


def _line(fact: Mapping[str, Json]) -> str:
    differs = "; ".join(fact["differs"])
    return f"cluster {fact['cluster']}: {fact['share']:.0%} of the test rows" + (f"; {differs}" if differs else "")


def _curve(found: Grouping) -> tuple[Exhibit, ...]:
    """Stability by the number of clusters, where several were tried."""
    if not found.tried:
        return ()
    firm = found.firmness
    lines = tuple(
        f"{number} clusters: {firm[place]:.2f} (halves agree with {found.stability[place]:.2f}, "
        f"of clouds without groups with {found.reference[place]:.2f})"
        for place, number in enumerate(found.tried)
    )
    text = (
        f"Chosen: {found.reason}. The figures are the share of the way from a cloud without groups (0) to always the "
        f"same clusters (1) that is reached; from {grouping.LEAST:g} on there are groups."
    )
    # One cluster is the same in all halves, and in all clouds: the curve begins with 0.
    points = () if found.asked else (0.0, *firm)
    return (Exhibit("Stability by number of clusters", text, (), points, lines),)


def _clusters(trained: Trained, task: cluster.Task, answered: Array, facts: Json) -> tuple[Exhibit, ...]:
    """Each cluster's most typical test rows."""
    rows, answers = trained.prepared.split.test, task.decode(answered)
    found = []
    for fact in facts:
        inside = np.flatnonzero(answers[""] == fact["cluster"])
        places = inside[np.argsort(answers[".distance"][inside], kind="stable")][:SHOWN]
        notes = [f"typicality {answers['.typicality'][place]:.2f}" for place in places]
        pictures, lines = looks(trained.prepared, rows[places], notes)
        differs = "".join(f" {sentence}." for sentence in fact["differs"])
        text = f"{fact['test_rows']:,} test rows, {fact['share']:.1%}.{differs} Its most typical members:"
        found.append(Exhibit(f"Cluster {fact['cluster']}", text, pictures, (), lines))
    return tuple(found)


def _judged(trained: Trained, task: cluster.Task, answered: Array, found: Grouping) -> TargetResult:
    """Do labels know the clusters too? And without labels: are they stable, and do they lie apart?"""
    sentence = collapsed(answered)
    figures = _figures(task, answered, found, trained.plan.seed)
    text = f"{_claim(found)} {sentence}" if sentence else _claim(found)
    if len(task.centroids) < 2:
        return TargetResult(task.name, "cluster", figures, text, "even")
    if trained.labels is None:
        return TargetResult(task.name, "cluster", figures, f"{text} {NO_LABELS}.", "even")
    codes, _ = trained.labels.codes(trained.prepared.split.test)
    kept = np.flatnonzero(codes >= 0)
    if not len(kept):
        return TargetResult(task.name, "cluster", figures, f"{text} No test row has a label.", "even")
    own = judge.partitions("", task.decode(answered)[""][kept], codes[kept], trained.seconds)
    others = [
        judge.partitions(name, members[kept], codes[kept], took) for name, members, took in _others(trained, task)
    ]
    scores, baselines = compared(own, others, len(kept), trained.plan.seed)
    kind, said = verdict("ari", scores["ari"], trained.seconds, baselines, len(kept))
    text = f"{text} Judged by {trained.labels.name}, which nothing was learned from. {said}"
    return TargetResult(task.name, "cluster", {**scores, **figures}, text, kind, baselines)


def _figures(task: cluster.Task, answered: Array, found: Grouping, seed: int) -> dict[str, Interval]:
    """What can be said without labels: "stability" (`Grouping.firmness`), "silhouette", and of the vectors "spread" and
    "effective_rank"."""
    figures = {}
    clusters = task.decode(answered)[""]
    rows = _some(np.arange(len(answered)), MOST_COMPARED, seed)
    if 2 <= len(np.unique(clusters[rows])) < len(rows):
        from sklearn.metrics import silhouette_score

        figures["silhouette"] = plain_figure(float(silhouette_score(answered[rows], clusters[rows])))
    if found.tried:
        figures["stability"] = plain_figure(found.firmness[found.best])
    return figures | filled(answered)


def _claim(found: Grouping) -> str:
    """What is found, in a sentence or two."""
    reason = found.reason[:1].upper() + found.reason[1:]
    if found.clusters == 1:
        return f"One cluster is the honest answer: {found.reason}."
    if found.asked and found.tried and found.firmness[0] < grouping.LEAST:
        return f"{reason}. Other rows would be cut otherwise: such clusters are a choice, not a finding."
    return f"{reason}."


def _others(trained: Trained, task: cluster.Task) -> list[tuple[str, Array, float]]:
    """(Name, clusters of the test rows, seconds) of as many clusters in other descriptions of the rows."""
    parts, seed = trained.prepared.split, trained.plan.seed
    rows = _some(parts.train, simple.MOST, seed)

    def members(train: Array, test: Array) -> Array:
        random = np.random.default_rng(seed)
        return nearest(test, grouping.centroids(train, len(task.centroids), random))

    begin = time.monotonic()
    fresh = untrained(trained.plan, trained.prepared, hardware.detect().device, trained.base)
    blank = members(trained.outputs(task, rows, fresh), trained.outputs(task, parts.test, fresh))
    middle = time.monotonic()
    plain, tested_on, _ = simple.vectors(trained.prepared, rows, parts.test, seed)
    simply = members(plain, tested_on)
    return [
        (judge.UNTRAINED, blank, middle - begin),
        ("k-means without a network", simply, time.monotonic() - middle),
    ]
