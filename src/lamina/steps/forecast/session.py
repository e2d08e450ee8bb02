"""The five steps for series, one after the other; and going on with them where they stopped."""

from __future__ import annotations

from lamina.data.tables import Table
from lamina.evaluate.cost import EnergyMeter
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps import apart
from lamina.steps.apart import Ended, Way
from lamina.steps.finish import Clock
from lamina.steps.forecast import choose, prepare, understand
from lamina.steps.forecast.learner import build
from lamina.steps.forecast.test import test
from lamina.steps.request import Request, Sources, followed, shares
from lamina.steps.understand import opened_again


def train(
    request: Request, narrator: Narrator, *, began: float, clock: Clock, meter: EnergyMeter, given: Plan | None
) -> Ended:
    """All five steps for series; ends with a sealed forecaster and a report."""
    if given is not None:
        request = _following(request, given)
    found = understand.understand(request, narrator)
    way = _way(found.table, found.boundary)
    return apart.train(way, request, found.plan, narrator, began=began, clock=clock, meter=meter, given=given)


def looked_at(request: Request, narrator: Narrator) -> tuple[Plan, int]:
    """Step 1 alone: (the plan that says what is in the data, its rows)."""
    found = understand.understand(request, narrator)
    return found.plan, len(found.table)


def _way(table: Table, boundary: int | None) -> Way:
    return Way(lambda *rest: prepare.prepare(table, boundary, *rest), choose, build, test)


def _following(request: Request, given: Plan) -> Request:
    """The request with what it leaves open taken from the plan it follows."""
    return followed(request, given, shares(given), targets=request.targets or tuple(given.task))


def resume(run: Run, plan: Plan, given: Sources, narrator: Narrator, *, clock: Clock, meter: EnergyMeter) -> Ended:
    """Go on with a run from its newest checkpoint, with the data it was started with.

    Raises:
        InputError: the data has changed.
    """
    way = _way(*opened_again(run, plan, given))
    return apart.resume(way, run, plan, narrator, clock=clock, meter=meter)
