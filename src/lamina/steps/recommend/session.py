"""The five steps for interactions, one after the other; and going on with them where they stopped."""

from __future__ import annotations

from pathlib import Path

from lamina.data.tables import Table
from lamina.evaluate.cost import EnergyMeter
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps import apart
from lamina.steps.apart import Ended, Way
from lamina.steps.finish import Clock
from lamina.steps.recommend import choose, described, prepare, understand
from lamina.steps.recommend.described import Described
from lamina.steps.recommend.learner import build
from lamina.steps.recommend.test import test
from lamina.steps.request import Request, Sources, followed, shares
from lamina.steps.understand import opened_again


def train(
    request: Request, narrator: Narrator, *, began: float, clock: Clock, meter: EnergyMeter, given: Plan | None
) -> Ended:
    """All five steps for interactions; ends with a sealed recommender and a report."""
    if given is not None:
        request = _following(request, given)
    found = understand.understand(request, narrator)
    way = _way(found.table, found.described)
    return apart.train(way, request, found.plan, narrator, began=began, clock=clock, meter=meter, given=given)


def looked_at(request: Request, narrator: Narrator) -> tuple[Plan, int]:
    """Step 1 alone: (the plan that says what is in the data, its rows)."""
    found = understand.understand(request, narrator)
    return found.plan, len(found.table)


def _way(table: Table, items: Described | None) -> Way:
    return Way(lambda *rest: prepare.prepare(table, items, *rest), choose, build, test)


def _following(request: Request, given: Plan) -> Request:
    """The request with what it leaves open taken from the plan it follows."""
    split = request.split or (given.data.column if given.data.split == "column" else "")
    return followed(request, given, shares(given), split=split)


def resume(run: Run, plan: Plan, given: Sources, narrator: Narrator, *, clock: Clock, meter: EnergyMeter) -> Ended:
    """Go on with a run from its newest checkpoint, with the data it was started with.

    Raises:
        InputError: the data has changed.
    """
    table, _ = opened_again(run, plan, given)
    items = described.opened_again(run, plan, Path(run.status().get("base", ".")))
    return apart.resume(_way(table, items), run, plan, narrator, clock=clock, meter=meter)
