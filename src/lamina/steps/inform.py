"""Before the first step: what networks can take from one look at the training rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from lamina.networks import Informed, Remembering
from lamina.plan import Plan
from lamina.steps.learner import Learner, learned, loader, told
from lamina.steps.prepare import Prepared
from lamina.tasks import LaidOut

MOST_ROWS = 20_000
"""Rows that are looked at: a few seconds for long texts; more would hardly change what they tell."""


def inform(learner: Learner, plan: Plan, prepared: Prepared) -> None:
    """Let the networks that can, and that no weights were given for, start from what the training rows tell."""
    remember(learner, plan, prepared)
    assembly = learner.network
    parts = [assembly.network(name) for name in assembly.names if name not in assembly.pretrained]
    asking = [part for part in parts if isinstance(part, Informed)]
    if not asking:
        return
    rows = learned(prepared)
    if len(rows) > MOST_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_ROWS).astype(np.int64)]
    pull = pulls(learner, prepared, rows)
    for part in asking:
        part.inform(_batches(learner, plan, prepared, rows, pull))


def remember(learner: Learner, plan: Plan, prepared: Prepared) -> None:
    """Tell the networks that want it what goes together in the training rows, also those that weights were given for.

    What is in the data is no weight: it is told before anything is measured, too, for it makes steps slower.
    """
    assembly = learner.network
    for name in assembly.names:
        part = assembly.network(name)
        if isinstance(part, Remembering):
            part.remember(batch.inputs for batch in loader(plan, prepared, learned(prepared)).once())


def pulls(learner: Learner, prepared: Prepared, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Tensor:
    """Where each row's loss pulls the outputs of a network that answers 0 to everything: [row, output].

    The first step of gradient boosting asks the same (Friedman 2001); here it tells what every task wants in one
    form. Columns have a mean of 0, and the squares of a row sum to 1 in the mean; a missing target does not pull.
    """
    columns = []
    for name, task in learner.tasks.items():
        if isinstance(task, LaidOut):
            # No network of vectors, which alone ask for this, answers it.
            continue
        target, known = told(torch.from_numpy(prepared.examples.take([name], rows)[name]))
        output = torch.zeros(len(rows), 1, task.width, requires_grad=True)
        losses = torch.where(known, task.loss(output, target, {}), 0.0)
        (gradient,) = torch.autograd.grad(losses.sum(), output)
        columns.append(-gradient[:, 0])
    pull = torch.cat(columns, dim=1)
    pull = pull - pull.mean(dim=0)
    return pull / pull.pow(2).sum(dim=1).mean().sqrt().clamp_min(1e-9)


def _batches(
    learner: Learner, plan: Plan, prepared: Prepared, rows: np.ndarray[tuple[int], np.dtype[np.int64]], pull: Tensor
) -> Iterator[tuple[Mapping[str, Tensor], Tensor]]:
    device, start = learner.engine.device, 0
    for batch in loader(plan, prepared, rows).once():
        yield batch.to(device).inputs, pull[start : start + len(batch)].to(device)
        start += len(batch)
