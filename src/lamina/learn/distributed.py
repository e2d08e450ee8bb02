"""Several processes that train one network: each learns from its share of every batch (data parallelism).

A launcher such as torchrun starts the same command several times and tells each process, in its environment, which one
it is. The first one leads: it alone goes through all steps, scores, writes, and decides how long training goes on; the
others follow, from its state, and take the same steps. Gradients are summed over all processes and divided once by the
weight of the whole batch, so that a step is that of one process with the whole batch, but for rounding, random draws
and batch statistics, which are those of a share.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import NoReturn

import torch
from torch import Tensor, nn

from lamina import launched
from lamina.errors import LaminaError
from lamina.launched import Place

MEETING = timedelta(minutes=10)
"""That processes wait for each other at first: not all are started at once, but one that is missing is to be told."""
PATIENCE = timedelta(days=7)
"""The others wait while the first one reads data, scores and writes."""
PIECE = 25_000_000
"""Numbers of the gradient that go through the network at once, about."""


class Team:
    """The processes, met. Every one must call the same methods in the same order.

    Attributes:
        dismissed: whether the others know by now what to do: to follow, or that there is nothing to follow.

    Raises:
        LaminaError: another process has ended, in any of these methods.
    """

    def __init__(self, place: Place) -> None:
        import torch.distributed
        from torch.distributed.rendezvous import rendezvous

        self.place, self._group, self.dismissed = place, torch.distributed, False
        device = torch.device("cuda", place.local) if torch.cuda.is_available() else torch.device("cpu")
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
        try:
            store, rank, size = next(iter(rendezvous("env://", timeout=MEETING)))
            self._group.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
        except (RuntimeError, ValueError) as error:
            raise _alone(error, place) from error

    @property
    def leads(self) -> bool:
        """Is this the one that decides?"""
        return self.place.rank == 0

    def send(self, content: bytes) -> None:
        """From the first process to all others."""
        self._broadcast(torch.tensor([len(content)]))
        if content:
            self._broadcast(torch.frombuffer(bytearray(content), dtype=torch.uint8))

    def receive(self) -> bytes:
        """What the first process sends."""
        length = torch.zeros(1, dtype=torch.int64)
        self._broadcast(length)
        content = torch.empty(int(length), dtype=torch.uint8)
        if len(content):
            self._broadcast(content)
        return content.numpy().tobytes()

    def dismiss(self, folder: str = "") -> None:
        """Tell the others the run that they are to follow, or that there is none."""
        if not self.dismissed:
            self.dismissed = True
            self.send(folder.encode())

    def summed(
        self, total: Tensor, weight: Tensor, metrics: Mapping[str, Tensor], weights: Iterable[nn.Parameter]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Over all processes: the sum and the weight of the losses, the mean metrics; gradients are summed in place.

        Args:
            metrics: means over this process's share; the same ones everywhere.
            weights: whose gradients are sums; one that has none here gets the others', if any has.
        """
        parameters = [one for one in weights if one.requires_grad]
        told = [torch.where(weight > 0, value.float() * weight, 0.0) for value in metrics.values()]
        there = torch.tensor([float(one.grad is not None) for one in parameters], device=total.device)
        sums = torch.cat([torch.stack([total.float(), weight.float(), *told]), there])
        self._sum(sums)
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
        for some in _pieces(gradients):
            flat = torch.cat([gradient.reshape(-1) for gradient in some])
            self._sum(flat)
            parts = torch.split(flat, [gradient.numel() for gradient in some])
            torch._foreach_copy_(some, [part.view_as(gradient) for part, gradient in zip(parts, some, strict=True)])
        if any(one.grad is None for one in parameters):
            # Only who lacks one has to wait for what the others have.
            known = sums[2 + len(told) :].tolist()
            for one, gradient, number in zip(parameters, gradients, known, strict=True):
                one.grad = gradient if number else None
        means = (sums[2 : 2 + len(told)] / sums[1]).unbind()
        return sums[0], sums[1], dict(zip(metrics, means, strict=True))

    def seed(self, number: int, step: int) -> None:
        """Random draws of a step: of each process its own, and the same again where training goes on from there."""
        torch.manual_seed((number * 1_000_003 + step) * self.place.size + self.place.rank)

    def leave(self) -> None:
        """The last thing that is done together."""
        with suppress(RuntimeError):
            self._group.barrier()
            self._group.destroy_process_group()

    def _broadcast(self, tensor: Tensor) -> None:
        try:
            self._group.broadcast(tensor, 0)
        except RuntimeError as error:
            raise _alone(error, self.place) from error

    def _sum(self, tensor: Tensor) -> None:
        try:
            self._group.all_reduce(tensor)
        except RuntimeError as error:
            raise _alone(error, self.place) from error


def _alone(error: BaseException, place: Place) -> LaminaError:
    return LaminaError(
        f"Process {place.rank} of {place.size} lost the others: {str(error).splitlines()[0][:200]}",
        where="training in several processes",
        fix="See what another process has told; then go on in the same way with `lamina resume RUNDIR` as the command.",
    )


def _pieces(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one type that are summed at once."""
    some: list[Tensor] = []
    for gradient in gradients:
        if some and (sum(map(Tensor.numel, some)) + gradient.numel() > PIECE or gradient.dtype != some[0].dtype):
            yield some
            some = []
        some.append(gradient)
    if some:
        yield some


def team() -> Team | None:
    """The processes that this one trains with, met once; None for a process that is alone.

    Raises:
        InputError: the environment does not tell where they meet.
        LaminaError: they do not meet.
    """
    found = launched.place()
    return None if found is None else _met(found)


@functools.cache
def _met(place: Place) -> Team:
    return Team(place)


def end(code: int) -> NoReturn:
    """End a process of several at once: PyTorch's threads that talk to the others do not always end by themselves."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
