"""Step 4: the loop over experience, with checkpoints, under the plan."""

from __future__ import annotations

from functools import partial

import torch
from safetensors.torch import save

from lamina.choose import hardware
from lamina.environments import World
from lamina.files import write_bytes
from lamina.learn.loop import Limits, Status, fit
from lamina.learn.record import Record
from lamina.learn.schedules import Schedule
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.control.choose import validation_seconds
from lamina.steps.control.player import Player, build, weights_of
from lamina.steps.train import exactly, tell_end, threads_measured

INEXACT = (
    "resumed, but not exactly: the environment is no function of its seed and the actions, so new episodes were begun"
)


def train(plan: Plan, world: World, run: Run, narrator: Narrator, seconds: float) -> tuple[Player, Status, Record]:
    """Learn as planned, or go on from the newest checkpoint in the run folder.

    Args:
        seconds: for training, counted over all its processes; 0 for no limit.
    """
    narrator.step("Train")
    torch.set_num_threads(plan.training.threads or hardware.detect().cores)
    player = build(plan, world, hardware.detect().device)
    player.seconds = validation_seconds(plan, seconds)
    steps = player.steps_in(plan.training.steps)
    limits = Limits(
        every=max(1, steps // max(plan.training.evaluations, 1)),
        patience=plan.training.patience,
        seconds=seconds,
        save_seconds=plan.training.checkpoint_seconds,
        log_steps=max(1, min(200, steps // 100)),
        keep_best=plan.training.keep == "best",
        threads=hardware.detect().cores if threads_measured(plan) else 0,
    )
    record = Record(run.log, narrator)
    torch.manual_seed(plan.seed + 1)
    try:
        with hardware.products("high"):
            status = fit(
                player.method,
                player.source,
                Schedule.over(steps, plan.schedule),
                player.engine,
                limits=limits,
                evaluate=partial(exactly, player.validation_scores),
                record=record,
                folder=run.checkpoints,
            )
    finally:
        player.close()
    if not player.exact:
        record.write("inexact", step=status.step)
        narrator.say(INEXACT)
    if not limits.keep_best:
        player.method.load(player.method.weights())
    write_bytes(run.weights, save(weights_of(player.method)))
    tell_end(status, plan, narrator)
    return player, status, record
