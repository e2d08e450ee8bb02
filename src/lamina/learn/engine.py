"""The engine: the only way to take an optimizer step.

It owns device, precision, accumulation, clipping and the finite check, so that a method that overrides
`update` (adversarial training, actor-critic, ...) loses none of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.learn import memory
from lamina.learn.batch import Batch, Loss
from lamina.learn.distributed import Team
from lamina.learn.optimizers import can_skip, take_step
from lamina.learn.privacy import Private
from lamina.learn.row_steps import RowAdam
from lamina.networks.blocks import rows as by_rows


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


class _CannotBeCutError(Exception):
    """A loss that compares the examples of a batch was given a part of one."""


Answer = TypeVar("Answer")


@dataclass
class Engine:
    """How a step is taken, and what is done where memory does not suffice.

    A step that runs out of memory is taken again, from the buffers and random draws that it began with. What depends on
    the rows of a batch together (batch normalisation) keeps all of them: first, activations are not kept but computed
    again in the backward pass, which changes nothing but the time. All else, and what is still too large, is cut into
    parts, whose gradients are added; the statistics of a part are then its own, which `normalised` tells.

    Attributes:
        device: where the networks and batches are.
        precision: "fp32", or "bf16" for autocast; losses, norms and optimizer state stay fp32.
        accumulation: number of parts a batch is cut into, to save memory; the gradient is the same, but for batch
            statistics. Where memory does not suffice it is doubled, and stays so.
        clip: largest norm of the gradient over all parameters of an optimizer; 0 for none.
        step: the loop's current step, for error messages.
        progress: how far the training is, 0 to 1.
        recomputing: whether activations are computed again in the backward pass, as memory did not suffice.
        hosted: whether batches are prepared in the computer's own memory and go to the device part by part.
        together: the most rows that are answered at once in evaluation; 0 for whole batches.
        normalised: the fewest rows of a part that batch statistics were taken over; 0 where it was all of a batch.
        deferred: whether `settle` tells of a loss that is not finite, rather than the step that it comes up in, so that
            the computer need not wait for the accelerator at each. That step and all after it are then left out on the
            device, where the optimizers can do so; others are looked at as ever.
        team: the processes that learn from the same batches, each from its share; None where there is one.
        private: how gradients are made private; None where they need not be.
    """

    device: torch.device
    precision: Literal["fp32", "bf16"] = "fp32"
    accumulation: int = 1
    clip: float = 0.0
    step: int = 0
    progress: float = 0.0
    recomputing: bool = False
    hosted: bool = False
    together: int = 0
    normalised: int = 0
    deferred: bool = False
    team: Team | None = None
    private: Private | None = None
    _asked: int = field(init=False)
    _recomputable: bool = field(init=False, default=True)
    _unknown: memory.Watched = field(init=False)
    _watched: dict[nn.Module, memory.Watched] = field(init=False, default_factory=dict)
    _taken: list[tuple[int, Tensor]] = field(init=False, default_factory=list)
    """Steps and rows of the batches that `settle` has not looked at yet."""
    _failed: Tensor | None = field(init=False, default=None)
    """On the device: which of them was the first that is not finite; -1 for none."""

    def __post_init__(self) -> None:
        self._asked = self.accumulation
        self._unknown = memory.Watched(None, self.device)
        if self.device.type == "cpu":
            memory.keep_freed()

    def state(self) -> dict[str, Any]:
        """What was found to fit into memory: training that goes on begins with it."""
        return {
            "accumulation": self.accumulation if self.accumulation != self._asked else 0,
            "recomputing": self.recomputing,
            "recomputable": self._recomputable,
            "hosted": self.hosted,
            "together": self.together,
            "normalised": self.normalised,
        }

    def spared(self) -> dict[str, Any]:
        """How memory is spared, for the log."""
        return {
            "parts": self.accumulation,
            "asked": self._asked,
            "recomputing": self.recomputing,
            "hosted": self.hosted,
            "together": self.together,
            "normalised": self.normalised,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`; a finer cut that is asked for now stays."""
        self.accumulation = max(self.accumulation, state["accumulation"])
        self.recomputing, self._recomputable = state["recomputing"], state["recomputable"]
        self.hosted, self.together, self.normalised = state["hosted"], state["together"], state["normalised"]

    def autocast(self) -> AbstractContextManager[object]:
        """Where networks run: mixed precision if wanted."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def apart(self, optimizers: Sequence[torch.optim.Optimizer]) -> AbstractContextManager[object]:
        """Where gradients of tables tell the used rows alone, if that is worth it and an optimizer can take them."""
        able = self.device.type == "cpu" and self.team is None and self.private is None
        return by_rows.apart(able and any(isinstance(optimizer, RowAdam) for optimizer in optimizers))

    def prepared(self, batch: Batch, prepare: Callable[[Batch], Batch] | None = None) -> Batch:
        """The batch on the device, changed by `prepare` (without gradient); on the host where the device is too small.

        Raises:
            InputError: it takes more memory than there is.
        """
        for hosted in (False, True)[self.hosted :]:
            put_back = None if prepare is None else self._unknown.before()
            try:
                found = batch if hosted else batch.to(self.device)
                with torch.no_grad():
                    found = found if prepare is None else prepare(found)
            except (RuntimeError, MemoryError) as error:
                # On the host, what is prepared with the network's own weights finds them elsewhere.
                if not memory.out_of_memory(error) and hosted == self.hosted:
                    raise
            else:
                self.hosted = hosted
                return found
            if put_back is not None:
                put_back()
            memory.release(self.device)
            if self.device.type == "cpu":
                break
        raise InputError(
            "A batch needs more memory than there is, before the network has seen it.",
            where=f"the {len(batch):,} rows of a batch, on {self.device}",
            fix="Choose smaller batches (--set training.batch_size=...) or smaller inputs.",
        )

    def answers(self, answer: Callable[[Batch], Answer], batch: Batch) -> Iterator[tuple[Batch, Answer]]:
        """(Part, `answer` of it) for parts that make up the batch: all of it, or as much as memory suffices for.

        `answer` is of every row alone, so it is the same but for rounding.

        Raises:
            InputError: a single row takes more memory than there is.
        """
        done = 0
        while done < len(batch):
            rows = min(self.together or len(batch), len(batch) - done)
            part = batch if rows == len(batch) else batch.part(done, done + rows)
            try:
                found = answer(part)
            except (RuntimeError, MemoryError) as error:
                if not memory.out_of_memory(error):
                    raise
                if rows == 1:
                    raise self._too_little() from None
            else:
                done += rows
                yield part, found
                continue
            self.together = (rows + 1) // 2
            memory.release(self.device)

    def descend(
        self,
        loss: Callable[[Batch], Loss],
        batch: Batch,
        optimizers: Sequence[torch.optim.Optimizer],
        network: nn.Module | None = None,
    ) -> dict[str, Tensor]:
        """One step of `optimizers` down the gradient of `loss(batch)`'s mean.

        The batch is cut into `accumulation` parts; sums and weights are added over the parts and divided
        once, so that masks and uneven parts change nothing. A batch in which nothing counts (its weight is 0) leaves
        the weights and the optimizers as they are.

        Args:
            network: that the loss goes through; without, its buffers are not put back where memory did not suffice,
                and batch statistics are not known of.

        Returns:
            The mean loss as "loss", the gradient's norm as "norm" if it was clipped, and the loss's own
            metrics (means over the parts, weighted): scalars on the device.

        Raises:
            NonFiniteLossError: before any weight is changed (where `deferred`, by `settle`).
            InputError: accumulation was asked for a loss that is no sum over examples, or memory does not suffice for a
                single example, for such a loss of a whole batch, or for the optimizers.
        """
        if self.private is not None:
            return self._privately(self.private, loss, batch, optimizers, network)
        total, weight, metrics = self._fitting(loss, batch, optimizers, network)
        if self.team is not None:
            total, weight, metrics = self.team.summed(total, weight, metrics, _parameters(optimizers))
        mean, rows = total / weight, batch.all.rows
        if self.deferred and all(map(can_skip, optimizers)):
            return self._unseen(total, weight, metrics, rows, optimizers)
        if not bool(torch.isfinite(mean)):
            if bool(weight == 0) and bool(total == 0):
                for optimizer in optimizers:
                    optimizer.zero_grad(set_to_none=True)
                return {"loss": torch.zeros_like(mean)}
            raise NonFiniteLossError("The loss is not a finite number", self.step, rows.tolist())
        gradients, norm = self._gradient(optimizers, weight)
        result = {"loss": mean, **metrics}
        length = float(norm)
        if not math.isfinite(length):
            raise NonFiniteLossError("The gradient is not finite", self.step, rows.tolist())
        if self.clip > 0:
            # A shorter gradient would be multiplied by 1, which costs another pass over all of it.
            if length > self.clip:
                torch._foreach_mul_(gradients, self.clip / (norm + 1e-6))
            result["norm"] = norm.detach()
        for optimizer in optimizers:
            self._take(optimizer)
        return result

    def settle(self) -> None:
        """Wait for the steps that nobody has looked at yet, where there are any (`deferred`).

        Raises:
            NonFiniteLossError: of the first whose loss or gradient was not finite; the weights are as they were before.
        """
        taken, self._taken = self._taken, []
        failed, self._failed = self._failed, None
        place = -1 if failed is None else int(failed)
        if place >= 0:
            step, rows = taken[place]
            raise NonFiniteLossError("The loss or its gradient is not finite", step, rows.tolist())

    def _gradient(self, optimizers: Sequence[torch.optim.Optimizer], weight: Tensor) -> tuple[list[Tensor], Tensor]:
        """The gradients, made those of the mean (of tables the rows that have one), and the norm over all of them."""
        gradients = [found for optimizer in optimizers for found in _gradients(optimizer)]
        if self.accumulation > 1 or self.team is not None:
            torch._foreach_div_(gradients, weight)
        return gradients, torch.nn.utils.get_total_norm(gradients, foreach=True)

    def _unseen(
        self,
        total: Tensor,
        weight: Tensor,
        metrics: Mapping[str, Tensor],
        rows: Tensor,
        optimizers: Sequence[torch.optim.Optimizer],
    ) -> dict[str, Tensor]:
        """The rest of `descend` without waiting for any number: whether a step counts is decided on the device."""
        norm = self._gradient(optimizers, weight)[1]
        empty = (weight == 0) & (total == 0)
        finite = torch.isfinite(total / weight) & torch.isfinite(norm)
        known = self._failed if self._failed is not None else torch.full_like(total, -1, dtype=torch.int64)
        self._failed = torch.where((known < 0) & ~finite & ~empty, len(self._taken), known)
        self._taken.append((self.step, rows))
        left_out = (empty | (self._failed >= 0)).float()
        for optimizer in optimizers:
            switches: Any = optimizer
            switches.found_inf = left_out
            # What the step divides the gradient by: no further pass over it.
            switches.grad_scale = (norm / self.clip).clamp_min(1.0).float() if self.clip > 0 else None
            try:
                self._take(optimizer)
            finally:
                switches.found_inf = switches.grad_scale = None
        result = {"loss": torch.where(empty, 0.0, total / weight), **metrics}
        return result | ({"norm": norm.detach()} if self.clip > 0 else {})

    def _privately(
        self,
        private: Private,
        loss: Callable[[Batch], Loss],
        batch: Batch,
        optimizers: Sequence[torch.optim.Optimizer],
        network: nn.Module | None,
    ) -> dict[str, Tensor]:
        """One step by a gradient that tells little of a single row.

        Raises:
            NonFiniteLossError: before any weight is changed.
        """
        if network is None:
            raise InputError("This method cannot train privately.", where="privacy.epsilon", fix="Leave it out.")
        parameters = [one for one in _parameters(optimizers) if one.requires_grad]
        total, weight, finite = private.gradient(loss, batch.to(self.device), network, parameters, self.step)
        if not finite:
            raise NonFiniteLossError("The loss of a row or its gradient is not finite", self.step, batch.rows.tolist())
        for optimizer in optimizers:
            self._take(optimizer)
        return {"loss": total / weight.clamp_min(1e-9)}

    def _take(self, optimizer: torch.optim.Optimizer) -> None:
        try:
            take_step(optimizer)
        except (RuntimeError, MemoryError) as error:
            if not memory.out_of_memory(error):
                raise
            # Activations and parts of a batch are gone by now: nothing could be made smaller.
            raise InputError(
                "The optimizer needs more memory than there is, beside the weights and their gradient.",
                where=f"{type(optimizer).__name__}, on {self.device}",
                fix="Choose one that remembers less (--set optimizer.name=sgd), a smaller network (--set network...), "
                "or a larger machine.",
            ) from None

    def _fitting(
        self,
        loss: Callable[[Batch], Loss],
        batch: Batch,
        optimizers: Sequence[torch.optim.Optimizer],
        network: nn.Module | None,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """`_backward` from no gradients; with less and less memory while it does not suffice."""
        watched = self._watch(network)
        put_back = watched.before()
        while True:
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            spare, uncut = True, False
            try:
                with watched.recomputed() if self.recomputing else nullcontext(), self.apart(optimizers):
                    return self._backward(loss, batch, watched)
            except _CannotBeCutError:
                if self.accumulation == self._asked:
                    raise InputError(
                        "This loss compares the examples of a batch with each other, so the batch cannot be cut.",
                        fix="Set training.accumulation=1 and a smaller training.batch_size.",
                    ) from None
                self.accumulation, uncut = self._asked, True
            except (RuntimeError, MemoryError) as error:
                if self.recomputing and memory.cannot_recompute(error):
                    self.recomputing = self._recomputable = spare = False
                elif not memory.out_of_memory(error):
                    raise
            # Outside of `except`: the error holds the tensors of the step that failed.
            put_back()
            memory.release(self.device)
            if spare:
                self._spare(len(batch), watched, uncut)

    def _watch(self, network: nn.Module | None) -> memory.Watched:
        if network is None:
            return self._unknown
        if network not in self._watched:
            self._watched[network] = memory.Watched(network, self.device)
        return self._watched[network]

    def _spare(self, rows: int, watched: memory.Watched, uncut: bool) -> None:
        """Ask for less memory from now on.

        Args:
            uncut: whether the batch must stay whole.

        Raises:
            InputError: nothing is left to be spared.
        """
        parts = self._most_parts(rows, watched)
        can_recompute = self._recomputable and not self.recomputing and bool(watched.blocks)
        can_cut = not uncut and self.accumulation < parts
        if can_recompute and (watched.takes_statistics or not can_cut):
            self.recomputing = True
        elif can_cut:
            self.accumulation = min(self.accumulation * 2, parts)
        elif uncut:
            raise InputError(
                "A batch needs more memory than there is, and this loss compares its examples with each other, so it "
                "cannot be cut.",
                where=f"the network, on {self.device}",
                fix="Set a smaller training.batch_size.",
            )
        else:
            raise self._too_little()

    def _most_parts(self, rows: int, watched: memory.Watched) -> int:
        """Where batch statistics are taken, no part has a single row."""
        return max(rows // 2, 1) if watched.takes_statistics else rows

    def _too_little(self) -> InputError:
        return InputError(
            "A single example needs more memory than there is.",
            where=f"the network, on {self.device}",
            fix="Choose a smaller network or smaller inputs (--set network...), or a larger machine.",
        )

    def _backward(
        self, loss: Callable[[Batch], Loss], batch: Batch, watched: memory.Watched
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Gradients of the mean (one part) or of the sum (several); the sum, the weight, the mean metrics."""
        if self.accumulation == 1 and self.team is None:
            # In small networks every call here costs as much as a layer.
            with self.autocast():
                value = loss(batch.to(self.device) if self.hosted else batch)
            value.backward()
            return value.sum.detach(), value.weight.detach(), dict(value.metrics)
        number = min(self.accumulation, self._most_parts(len(batch), watched))
        if watched.takes_statistics and number > 1:
            rows = len(batch) // number
            self.normalised = min(self.normalised or rows, rows)
        totals: list[Tensor] = []
        weights: list[Tensor] = []
        metrics: list[Mapping[str, Tensor]] = []
        for part in batch.parts(number):
            with self.autocast():
                value = loss(part.to(self.device) if self.hosted else part)
            if not value.decomposes and self.team is not None:
                raise InputError(
                    "This loss compares the examples of a batch, so several processes cannot share them.",
                    where="WORLD_SIZE",
                    fix="Train in one process, without a launcher.",
                )
            if not value.decomposes and number > 1:
                raise _CannotBeCutError
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


def _gradients(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    """The numbers of the gradient, parameter by parameter, to be changed in place."""
    for parameter in _parameters([optimizer]):
        gradient = parameter.grad
        if gradient is None:
            continue
        if gradient.is_sparse:
            gradient = _each_row_once(gradient) if isinstance(optimizer, RowAdam) else gradient.to_dense()
            parameter.grad = gradient
        yield gradient._values() if gradient.is_sparse else gradient


def _each_row_once(gradient: Tensor) -> Tensor:
    """A sparse gradient, coalesced: where it came in parts, their rows are added."""
    rows = gradient._indices()[0]
    # Autograd forgets that it is so; looking costs less than sorting.
    return gradient._coalesced_(True) if bool((rows[1:] > rows[:-1]).all()) else gradient.coalesce()


def _parameters(optimizers: Sequence[torch.optim.Optimizer]) -> Iterator[torch.nn.Parameter]:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            yield from group["params"]
