"""What sets the task "restyle" apart from others that make pictures."""

from __future__ import annotations

from lamina.plan import Plan
from lamina.steps.generate.kind import Kind
from lamina.steps.generate.task import in_a_game
from lamina.steps.prepare import Prepared
from lamina.steps.restyle.learner import Learner, build, sides_of, trained
from lamina.steps.restyle.test import test
from lamina.tasks.restyle import check_options

MOST_SEEN = 1e6
"""Pictures of each class that training looks at, where there is time."""
MOST_EPOCHS = 400.0
BATCH = 8
"""Pictures of each class in a step."""


def defaults(plan: Plan, prepared: Prepared) -> Plan:
    """Two makers and two critics."""
    sides = sides_of(prepared, plan)
    rows = max(len(sides.rows(prepared.split.train, code)) for code in (sides.source, sides.result))
    epochs = round(min(MOST_SEEN / rows, MOST_EPOCHS), 1)
    reason = "cycle: pictures are turned so that a critic takes them for the other class and they can be turned back"
    return in_a_game(plan, "cycle", reason, epochs, min(BATCH, rows))


def said(learner: Learner, prepared: Prepared) -> list[str]:
    """What is turned into what."""
    sides = learner.sides
    numbers = [
        f"{sides.name(code)} ({len(sides.rows(prepared.split.train, code)):,} pictures to learn from)"
        for code in (sides.source, sides.result)
    ]
    return [f"turned: {' to look like '.join(numbers)}"]


KIND = Kind({False: 64, True: 128}, check_options, defaults, build, said, test, trained)
