"""Training in several processes, as a launcher starts them: the first goes through all steps, the others follow."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import torch

from lamina import run as runs
from lamina.choose import hardware
from lamina.data.tables import Table
from lamina.errors import InputError, LaminaError
from lamina.learn import distributed, prefetch
from lamina.learn.distributed import Team
from lamina.learn.engine import NonFiniteLossError
from lamina.learn.loop import follow as follow_steps
from lamina.learn.schedules import Schedule
from lamina.narrate import Silent
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps import prepare
from lamina.steps.learner import Learner, build

Opened = Callable[[Run, Plan], tuple[Table, int | None]]
"""From a run and its plan to its data, and where the test rows begin."""


@contextmanager
def met(opened: Opened) -> Iterator[None]:
    """Within, this process trains: alone, or as the first of several. Another one follows it here, and ends.

    Raises:
        InputError: the environment tells of several processes, but not how they meet.
    """
    team = distributed.team()
    if team is not None and not team.leads:
        _follow(team, opened)
    try:
        yield
    finally:
        if team is not None:
            # Where something was wrong before the training, the others still wait.
            with suppress(LaminaError):
                team.dismiss()


def lead(learner: Learner, run: Run) -> Team | None:
    """Have the others follow the training of a learner; None where there are none.

    Raises:
        InputError: there are not two rows of a batch for each process.
    """
    team = distributed.team()
    if team is None:
        return None
    if learner.source.batch_size < 2 * team.place.size:
        raise InputError(
            f"A batch of {learner.source.batch_size} rows has not two for each of {team.place.size} processes.",
            where="training.batch_size",
            fix=f"Set at least training.batch_size={2 * team.place.size}, or start fewer processes.",
        )
    learner.engine.team = team
    team.dismiss(str(run.folder.resolve()))
    return team


def _follow(team: Team, opened: Opened) -> NoReturn:
    """Learn from a share of each batch, as long as the first process does; then end."""
    # The first one decides what an interruption means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = 0
    try:
        folder = team.receive().decode()
        if folder:
            _learn(team, Path(folder), opened)
            team.leave()
    except NonFiniteLossError as error:
        # In the first one, too, which tells of it.
        code = error.exit_code
    except LaminaError as error:
        print(f"lamina, process {team.place.rank} of {team.place.size}: {error}", file=sys.stderr)
        code = error.exit_code
    distributed.end(code)


def _learn(team: Team, folder: Path, opened: Opened) -> None:
    run = runs.find(folder)
    plan = run.plan()
    table, boundary = opened(run, plan)
    prepared = prepare.prepared_again(run, plan, table, boundary, Silent())
    machine = hardware.detect()
    torch.set_num_threads(plan.training.threads or machine.cores)
    base = Path(run.status().get("base", "."))
    learner = build(plan, prepared, machine.device, base)
    learner.engine.team = team
    source = prefetch.ahead(learner.source, machine.device, torch.get_num_threads(), machine.cores)
    with hardware.products("high"):
        follow_steps(
            learner.method,
            source,
            Schedule.over(learner.steps_in(plan.training.epochs), plan.schedule),
            learner.engine,
        )
