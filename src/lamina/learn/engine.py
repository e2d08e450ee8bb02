"""The engine: the only way to take an optimizer step.

It owns device, precision, accumulation, clipping and the finite check, so that a method that overrides
`update` (adversarial training, actor-critic, ...) loses none of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lamina.errors import InputError
from lamina.learn.batch import Batch, Loss
from lamina.learn.optimizers import take_step


class NonFiniteLossError(InputError):
    """The loss or its gradient is not a number; the weights are as they were before the batch."""

    def __init__(self, what: str, step: int, rows: Sequence[int]) -> None:
        self.rows = tuple(rows)
        shown = ", ".join(map(str, self.rows[:20])) + (", ..." if len(self.rows) > 20 else "")
        super().__init__(
            f"{what} at step {step}; training stopped before the update.",
            where=f"the batch of rows {shown}",
            fix="Lower the learning rate (--set optimizer.learning_rate=...), or look for extreme values there.",
        )


@dataclass
class Engine:
    """How a step is taken.

    Attributes:
        device: where the networks and batches are.
        precision: "fp32", or "bf16" for autocast; losses, norms and optimizer state stay fp32.
        accumulation: number of parts a batch is cut into, to save memory; the gradient is the same. Where memory does
            not suffice it is doubled, and stays so.
        clip: largest norm of the gradient over all parameters of an optimizer; 0 for none.
        step: the loop's current step, for error messages.
        progress: how far the training is, 0 to 1.
    """

    device: torch.device
    precision: Literal["fp32", "bf16"] = "fp32"
    accumulation: int = 1
    clip: float = 0.0
    step: int = 0
    progress: float = 0.0

    def autocast(self) -> AbstractContextManager[object]:
        """Where networks run: mixed precision if wanted."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def descend(
        self, loss: Callable[[Batch], Loss], batch: Batch, optimizers: Sequence[torch.optim.Optimizer]
    ) -> dict[str, Tensor]:
        """One step of `optimizers` down the gradient of `loss(batch)`'s mean.

        The batch is cut into `accumulation` parts; sums and weights are added over the parts and divided
        once, so that masks and uneven parts change nothing. A batch in which nothing counts (its weight is 0) leaves
        the weights and the optimizers as they are.

        Returns:
            The mean loss as "loss", the gradient's norm as "norm" if it was clipped, and the loss's own
            metrics (means over the parts, weighted): scalars on the device.

        Raises:
            NonFiniteLossError: before any weight is changed.
            InputError: accumulation was asked for a loss that is no sum over examples, or a single example takes more
                memory than there is.
        """
        total, weight, metrics = self._fitting(loss, batch, optimizers)
        mean = total / weight
        if not bool(torch.isfinite(mean)):
            if bool(weight == 0) and bool(total == 0):
                for optimizer in optimizers:
                    optimizer.zero_grad(set_to_none=True)
                return {"loss": torch.zeros_like(mean)}
            raise NonFiniteLossError("The loss is not a finite number", self.step, batch.rows.tolist())
        parameters = [parameter for parameter in _parameters(optimizers) if parameter.grad is not None]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.accumulation > 1:
            torch._foreach_div_(gradients, weight)
        result = {"loss": mean, **metrics}
        norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
        length = float(norm)
        if not math.isfinite(length):
            raise NonFiniteLossError("The gradient is not finite", self.step, batch.rows.tolist())
        if self.clip > 0:
            # A shorter gradient would be multiplied by 1, which costs another pass over all of it.
            if length > self.clip:
                torch.nn.utils.clip_grads_with_norm_(parameters, self.clip, norm, foreach=True)
            result["norm"] = norm.detach()
        for optimizer in optimizers:
            take_step(optimizer)
        return result

    def _fitting(
        self, loss: Callable[[Batch], Loss], batch: Batch, optimizers: Sequence[torch.optim.Optimizer]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """`_backward` from no gradients; in smaller and smaller parts while the memory does not suffice."""
        while True:
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            try:
                return self._backward(loss, batch)
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                if self.accumulation >= len(batch):
                    raise InputError(
                        "A single example needs more memory than there is.",
                        where=f"the network, on {self.device}",
                        fix="Choose a smaller network or smaller inputs (--set network...), or a larger machine.",
                    ) from None
            # Outside of `except`: the error holds the tensors of the step that failed.
            self.accumulation = min(self.accumulation * 2, len(batch))
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _backward(self, loss: Callable[[Batch], Loss], batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Gradients of the mean (one part) or of the sum (several); the sum, the weight, the mean metrics."""
        if self.accumulation == 1:
            # In small networks every call here costs as much as a layer.
            with self.autocast():
                value = loss(batch)
            value.backward()
            return value.sum.detach(), value.weight.detach(), dict(value.metrics)
        totals: list[Tensor] = []
        weights: list[Tensor] = []
        metrics: list[Mapping[str, Tensor]] = []
        for part in batch.parts(self.accumulation):
            with self.autocast():
                value = loss(part)
            if not value.decomposes:
                raise InputError(
                    "This loss compares the examples of a batch with each other, so the batch cannot be cut.",
                    fix="Set training.accumulation=1 and a smaller training.batch_size.",
                )
            value.backward(mean=False)
            totals.append(value.sum.detach())
            weights.append(value.weight.detach())
            metrics.append(value.metrics)
        weight = torch.stack(weights).sum()
        mean = {
            name: torch.stack([part[name] * share for part, share in zip(metrics, weights, strict=True)]).sum() / weight
            for name in metrics[0]
        }
        return torch.stack(totals).sum(), weight, mean


def _out_of_memory(error: RuntimeError) -> bool:
    """On the CPU, PyTorch says so in words only."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _parameters(optimizers: Sequence[torch.optim.Optimizer]) -> Iterator[torch.nn.Parameter]:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            yield from group["params"]
