"""Step 5: foretell the latest interactions, beside simpler recommenders; show, seal, prove, report."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lamina.data.findings import AuditFinding
from lamina.data.schema import Chunk, Json
from lamina.evaluate.intervals import percentile, replicates, resampled
from lamina.evaluate.judged import compared
from lamina.evaluate.recommended import (
    COVERAGE,
    RECALL,
    answered,
    by_user,
    coverage,
    judged,
    listed,
    ranks,
    recall,
)
from lamina.evaluate.results import Exhibit, Interval, Results, Seal, Slice, TargetResult
from lamina.evaluate.verdict import verdict
from lamina.model import golden
from lamina.plan import Plan
from lamina.steps.apart import Documents, network_document, rows_document, seal
from lamina.steps.finish import Course, versions_of
from lamina.steps.recommend.interactions import TEST, TRAIN, VALIDATION
from lamina.steps.recommend.learner import Learner
from lamina.steps.recommend.prepare import Prepared, raw_rows, task_of
from lamina.tasks.recommend import UNLABELLED

Array = np.ndarray[Any, Any]
PROVEN = 2_000
"""Test histories that the sealed model must answer as the network does."""
SHOWN, LAST = 6, 8
"""Users whose recommendations are shown, and items of their histories."""
SHORT, LONG = 5, 50
"""Items below and above which a history is a short or a long one."""
POPULAR = 0.1
"""Share of the catalogue, the most frequent items, that counts as popular."""


@dataclass(frozen=True)
class Foretold:
    """What a recommender made of the test part.

    Attributes:
        places: [row], of what was taken, 1 is the first; infinite where it is not in the catalogue.
        lists: int64 [row, TOP], as of `listed`.
    """

    places: Array
    lists: Array


def test(
    course: Course,
    prepared: Prepared,
    learner: Learner,
) -> Results:
    """Score, compare, seal, prove, show, report."""
    plan, run, narrator = course.plan, course.run, course.narrator
    narrator.step("Test")
    own, proven = _own(learner, prepared)
    found = assessed(prepared, own, course.seconds, plan.seed)
    course.tell(found)
    documents = Documents(data_document(plan, prepared), network_document(learner.network), versions_of(plan, run))
    proof = _sealed(course, prepared, learner, found, proven, documents)
    course.tell_seal(proof, "test histories answered again from lists of ids")
    exhibits = _exhibits(prepared, own)
    return course.finish(
        (found,),
        proof,
        data=documents.data,
        network=documents.network,
        versions=documents.versions,
        audit=findings(prepared),
        exhibits=exhibits,
    )


def _own(learner: Learner, prepared: Prepared) -> tuple[Foretold, Array]:
    """What the network foretells; and its outputs for the rows that the sealed model is proven on, [row, item]."""
    which, chosen = prepared.test, set(proven_rows(prepared).tolist())
    places, lists, kept = [], [], []
    for rows, scores in learner.outputs(which):
        places.append(ranks(scores, which.target[rows]))
        lists.append(listed(scores))
        kept.append(scores[[row in chosen for row in rows.tolist()]])
    return Foretold(np.concatenate(places), np.concatenate(lists)), np.concatenate(kept)


def proven_rows(prepared: Prepared) -> Array:
    """The test rows whose outputs are kept: as many as memory has room for."""
    most = max(16, min(PROVEN, 50_000_000 // len(prepared.interactions.catalogue)))
    rows = len(prepared.test)
    return np.unique(np.linspace(0, rows - 1, min(most, rows)).astype(np.int64))


def assessed(prepared: Prepared, own: Foretold, seconds: float, seed: int) -> TargetResult:
    """Recall and NDCG in the mean of users, with intervals over users, beside the simpler recommenders."""
    which = prepared.test
    users = len(np.unique(which.user))
    others, simpler = [], []
    for one in prepared.simpler:
        begin = time.monotonic()
        other = Foretold(*answered(one.answer(which, prepared.memory), which, lists=True))
        simpler.append(other)
        others.append(judged(one.name, other.places, which.user, one.seconds + time.monotonic() - begin, one.note))
    scores, baselines = compared(judged("", own.places, which.user, seconds), others, users, seed)
    items = len(prepared.interactions.catalogue)
    scores[COVERAGE] = _figure(coverage(own.lists, items))
    baselines = tuple(
        replace(item, scores={**item.scores, COVERAGE: _figure(coverage(other.lists, items))})
        for item, other in zip(baselines, simpler, strict=True)
    )
    kind, text = verdict(RECALL, scores[RECALL], seconds, baselines, users)
    unknown = float(by_user(which.target == 0, which.user).mean())
    text += (
        f" Foretold were {len(which):,} of the latest interactions of {users:,} users, one by one; "
        f"{unknown:.0%} are of items of which nothing was known before, which nobody can recommend."
    )
    return TargetResult(
        target=UNLABELLED, task="recommend", scores=scores, verdict=text, verdict_kind=kind, baselines=baselines,
        slices=slices(prepared, own, seed),
    )  # fmt: skip


def _figure(value: float) -> Interval:
    return Interval(value, math.nan, math.nan)


def slices(prepared: Prepared, own: Foretold, seed: int) -> tuple[Slice, ...]:
    """Recall by how long the history is and how popular what was taken is, or whether it is cold; over users."""
    which = prepared.test
    lengths, hits = which.lengths(), recall(own.places)
    popular = max(1, round(POPULAR * len(prepared.interactions.counts)))
    had = (which.target > 0) & (which.target <= len(prepared.interactions.counts))
    groups = {
        ("history", f"shorter than {SHORT}"): lengths < SHORT,
        ("history", f"{SHORT} to {LONG}"): (lengths >= SHORT) & (lengths <= LONG),
        ("history", f"longer than {LONG}"): lengths > LONG,
        ("item taken", f"among the {POPULAR:.0%} most popular"): had & (which.target <= popular),
        ("item taken", "rarer"): had & (which.target > popular),
        ("item taken", "cold: nobody had it in the training part"): which.target > len(prepared.interactions.counts),
    }
    inside = {key: rows for key, rows in groups.items() if 0 < rows.sum() < len(which)}
    _, user = np.unique(which.user, return_inverse=True)
    users = int(user.max()) + 1
    weights = np.concatenate(list(resampled(users, replicates(users), seed)))
    level = 1 - 0.05 / max(len(inside), 1)
    return tuple(_slice(key, rows, hits, user, weights, level) for key, rows in inside.items())


def _slice(key: tuple[str, str], rows: Array, hits: Array, user: Array, weights: Array, level: float) -> Slice:
    def shares(chosen: Array) -> tuple[float, Array]:
        """The share of hits, users counting alike within the slice; and its replicates."""
        present, place, counts = np.unique(user[chosen], return_inverse=True, return_counts=True)
        each = np.bincount(place, weights=hits[chosen]) / counts
        drawn = weights[:, present]
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(each.mean()), drawn @ each / drawn.sum(axis=1)

    (value, drawn), (other, other_drawn) = shares(rows), shares(~rows)
    low, high = percentile(value, drawn)
    gap_low, gap_high = percentile(value - other, drawn - other_drawn, level)
    return Slice(*key, int(rows.sum()), Interval(value, low, high), value - other, bool(gap_low > 0 or gap_high < 0))


def findings(prepared: Prepared) -> tuple[AuditFinding, ...]:
    """What the user should know of the interactions."""
    found, notes = prepared.interactions, []
    if found.again:
        notes.append(AuditFinding(
            "repeated interactions", "note", f"{found.again:,} rows repeat an item that the user had before: left out.",
            found.again, (), "Keep them, and recommend items again, with --set task.repeat=true.",
        ))  # fmt: skip
    if found.low:
        notes.append(AuditFinding(
            "low ratings", "note", f"{found.low:,} rows are rated lower than the threshold: left out.",
            found.low, (), "Another threshold: --set task.liked=...",
        ))  # fmt: skip
    missing = prepared.test.target == 0
    if missing.any():
        share = float(missing.mean())
        notes.append(AuditFinding(
            "new items", "warning" if share > 0.1 else "note",
            f"{share:.0%} of the test interactions are of items of which nothing was known before: nothing can "
            "recommend them, and they count as missed for all.", int(missing.sum()), (),
            "Give a table of all items and what is known of them, --set task.items=items.csv, and train again often "
            "where the catalogue changes.",
        ))  # fmt: skip
    if found.cold:
        notes.append(AuditFinding(
            "cold items", "note", f"{found.cold:,} of {len(found.catalogue):,} items have no interaction in the "
            "training part: they are recommended by their features alone.", found.cold, (),
            "The scores by item taken say how well. More columns that describe items help.",
        ))  # fmt: skip
    for name, reason in prepared.left_out:
        notes.append(AuditFinding("unused feature", "note", f"{name} is left out: {reason}", 0, (),
                                  f"Correct it, or set it aside with --set schema.{name}.role=ignore"))  # fmt: skip
    return tuple(notes)


def data_document(plan: Plan, prepared: Prepared) -> dict[str, Json]:
    """The `data` part of the results."""
    found = prepared.interactions
    return {
        **rows_document(plan, prepared.table, found.dropped),
        "train": found.rows_of(TRAIN), "validation": found.rows_of(VALIDATION), "test": found.rows_of(TEST),
        "users": len(found.users), "items": len(found.catalogue),
        "split": "by the column " + plan.data.column if plan.data.split == "column" else
        "time: the latest interactions test, those before them validate",
    }  # fmt: skip


def _sealed(
    course: Course, prepared: Prepared, learner: Learner, found: TargetResult, outputs: Array, documents: Documents
) -> Seal:
    """Seal, and prove on raw histories."""
    rows = proven_rows(prepared)
    examples = raw_rows(prepared, prepared.test, rows[:: max(1, len(rows) // golden.USUAL)][: golden.USUAL])
    with learner.method.evaluating() as module:
        return seal(
            course, module, prepared.fields, prepared.encoders, task_of(course.plan, prepared), found, documents,
            examples, _chunks(prepared, rows), outputs,
        )  # fmt: skip


def _chunks(prepared: Prepared, rows: Array, size: int = 256) -> Iterator[Chunk]:
    return (raw_rows(prepared, prepared.test, rows[start : start + size]) for start in range(0, len(rows), size))


def _exhibits(prepared: Prepared, own: Foretold) -> tuple[Exhibit, ...]:
    """What some users had, what is recommended to them, and what they took."""
    which, names = prepared.test, prepared.names
    _, last = np.unique(which.user[::-1], return_index=True)
    rows = len(which) - 1 - last
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).astype(np.int64))]
    exhibits = []
    for row in chosen.tolist():
        history = which.histories(np.array([row]), prepared.memory)[0]
        had = [names[code - 1] for code in history[history > 0][-LAST:].tolist()]
        taken, place = int(which.target[row]), own.places[row]
        truth = names[taken - 1] if taken else "an item that is new"
        where = f", place {place:,.0f} of the recommendations" if math.isfinite(place) else ""
        lines = [names[item] for item in own.lists[row].tolist() if item >= 0]
        text = f"Had at last: {'; '.join(had) or 'nothing'}. Then took: {truth}{where}. Recommended were:"
        user = prepared.interactions.users[int(which.user[row])]
        exhibits.append(Exhibit(f"Recommendations for {user}", text, (), (), tuple(lines)))
    return tuple(exhibits)
