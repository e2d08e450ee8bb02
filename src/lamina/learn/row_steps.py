"""Adam for tables of which a batch uses few rows: rows that are not used cost nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class RowAdam(Optimizer):
    """Adam (Kingma & Ba 2015) without momentum, by rows: a row whose gradient is zero takes no step.

    The weights are, at every step, those that Adam with a first beta of 0 gives: the mean square of a row decays by
    the steps since its last, once it has a gradient again. Momentum is what would move rows that no batch used: for
    tens of steps after each use, all that was read stays in motion. (PyTorch's SparseAdam lets the mean squares of
    unused rows stand, so that rare rows would learn more slowly than with Adam.) It takes dense gradients, too, with
    the same result; the device can leave a step out by `found_inf`, as `torch.amp.GradScaler` has it.

    Args:
        groups: "params" and, where they differ, "lr"; tables [row, width].
        lr: learning rate.
        beta2: decay of the mean square of the gradient.
        eps: added to its root.
    """

    _step_supports_amp_scaling = True

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, beta2: float = 0.999, eps: float = 1e-8) -> None:
        super().__init__(groups, {"lr": lr, "beta2": beta2, "eps": eps})
        self.found_inf: Tensor | None = None
        self.grad_scale: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of every table that has a gradient; `closure` is not supported."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._step(table, table.grad, group["lr"], group["beta2"], group["eps"])

    def _step(self, table: nn.Parameter, gradient: Tensor, rate: float, beta2: float, eps: float) -> None:
        state = self.state[table]
        if not state:
            # Floats, as a state that is loaded becomes what its parameter is; they count to 16 million.
            state["steps"] = torch.zeros((), device=table.device)
            state["last"] = torch.zeros(len(table), device=table.device)
            state["square"] = torch.zeros_like(table)
        steps, last, square = state["steps"], state["last"], state["square"]
        if self.grad_scale is not None:
            gradient = gradient / self.grad_scale
        if self.found_inf is None:
            steps += 1
        else:
            # Without a gradient and without a step nothing decays and nothing moves.
            steps += 1 - self.found_inf
            gradient = torch.where(self.found_inf > 0, 0.0, gradient)
        # Where the very first step is left out, nothing is divided by nothing.
        root = (1 - beta2 ** steps.clamp_min(1)).sqrt()
        if gradient.is_sparse:
            rows, values = gradient._indices()[0], gradient._values()
            mean = square.index_select(0, rows).mul_(_decay(beta2, steps, last.index_select(0, rows)))
            mean.addcmul_(values, values, value=1 - beta2)
            square.index_copy_(0, rows, mean)
            last.index_copy_(0, rows, steps.expand(len(rows)))
            table.index_add_(0, rows, mean.sqrt_().div_(root).add_(eps).reciprocal_().mul_(values), alpha=-rate)
        else:
            square.mul_(_decay(beta2, steps, last)).addcmul_(gradient, gradient, value=1 - beta2)
            last.copy_(steps.expand(len(last)))
            table.addcdiv_(gradient, square.sqrt().div_(root).add_(eps), value=-rate)


def _decay(beta2: float, steps: Tensor, last: Tensor) -> Tensor:
    """[row, 1]: what the steps since the last are for a mean square."""
    return (beta2 ** (steps - last)).unsqueeze(1)
