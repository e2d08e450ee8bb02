"""The five steps for texts that are written, one after the other; and going on with them where they stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lamina import run as runs
from lamina.evaluate.cost import EnergyMeter
from lamina.evaluate.results import Results
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps import apart
from lamina.steps.apart import Ended, Way
from lamina.steps.finish import Clock, Course
from lamina.steps.request import Request, Sources, followed, shares
from lamina.steps.written import choose, judge_pairs, judge_texts, pairs, texts
from lamina.steps.written.learner import WRITER, Learner, build


@dataclass(frozen=True)
class Kind:
    """What the two tasks differ in.

    Attributes:
        understand: from the request to (plan, raw data).
        again: the raw data of a run that is gone on with: from plan and sources.
        prepare: from plan, raw data, run, narrator and a known tokenizer ("" for none) to the material.
        test: the fifth step.
    """

    understand: Callable[[Request, Narrator], tuple[Plan, Any]]
    again: Callable[[Plan, Sources], Any]
    prepare: Callable[..., Any]
    test: Callable[[Course, Any, Learner], Results]


KINDS = {
    "write": Kind(texts.understand, texts.again, texts.prepare, judge_texts.test),
    "translate": Kind(pairs.understand, pairs.again, pairs.prepare, judge_pairs.test),
}


def train(
    request: Request, narrator: Narrator, *, began: float, clock: Clock, meter: EnergyMeter, given: Plan | None
) -> Ended:
    """All five steps; ends with a sealed model that writes, and a report."""
    if given is not None:
        request = _following(request, given)
    kind = KINDS[request.task]
    plan, raw = kind.understand(request, narrator)
    way = _way(kind, raw)
    return apart.train(way, request, plan, narrator, began=began, clock=clock, meter=meter, given=given)


def looked_at(request: Request, narrator: Narrator) -> tuple[Plan, int]:
    """Step 1 alone: (the plan that says what is in the data, its rows)."""
    plan, raw = KINDS[request.task].understand(request, narrator)
    return plan, raw.places


def _way(kind: Kind, raw: Any, tokenizer: str = "") -> Way:
    """The steps from the raw data on.

    Args:
        tokenizer: of a run that is gone on with.
    """

    def prepare(plan: Plan, run: Run, narrator: Narrator) -> Any:
        return kind.prepare(plan, raw, run, narrator, tokenizer=tokenizer)

    return Way(prepare, choose, build, kind.test, samples=True)


def _following(request: Request, given: Plan) -> Request:
    """The request with what it leaves open taken from the plan it follows."""
    (name, part), *_ = given.task.items()
    return followed(
        request,
        given,
        shares(given),
        task=part.name,
        targets=request.targets or ((name,) if part.name == "translate" else ()),
        split=request.split or (given.data.column if given.data.split == "column" else ""),
        weights=request.weights or _weights(given),
    )


def _weights(given: Plan) -> tuple[str, ...]:
    """The weights that a plan learns on from."""
    part = given.network.get(WRITER)
    return (part.weights,) if part is not None and part.weights else ()


def resume(run: Run, plan: Plan, given: Sources, narrator: Narrator, *, clock: Clock, meter: EnergyMeter) -> Ended:
    """Go on with a run from its newest checkpoint, with the data it was started with.

    Raises:
        InputError: the data has changed.
    """
    kind = KINDS[next(iter(plan.task.values())).name]
    raw = kind.again(plan, given)
    runs.check_same(run, plan, raw.fingerprint)
    known = next(iter(json.loads(run.prepared.read_text(encoding="utf-8"))["tasks"].values()))
    way = _way(kind, raw, str(known["tokenizer"]))
    return apart.resume(way, run, plan, narrator, clock=clock, meter=meter)
