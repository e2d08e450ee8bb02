"""Where memory does not suffice: what such an error is, what a failed step has moved, activations computed again."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import CheckpointError, checkpoint

WORDS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
"""On the CPU, and in libraries for GPUs, PyTorch says so in words only."""
STATE = 2**16
"""Numbers of a buffer that a forward pass may move, at most: running statistics; what is larger is a table."""
LONG = 12
"""Layers from which on a plain sequence of them is taken apart."""
TRIM, MAPPED = -1, -4
"""What `mallopt` of the GNU C library calls the bytes of free memory that it keeps, and the number of large pieces that
it asks the system for apart from the others: these always go back."""
KEPT = 2**31 - 1
"""The most bytes that it takes."""


def out_of_memory(error: BaseException) -> bool:
    """Says this error that memory does not suffice?"""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS))


def cannot_recompute(error: BaseException) -> bool:
    """Says this error that a forward pass cannot be repeated, as it changes its inputs or decides by other things?"""
    return isinstance(error, CheckpointError) or "modified by an inplace operation" in str(error)


def release(device: torch.device) -> None:
    """Give memory back that is kept for later, but in pieces of other sizes than will be asked for."""
    empty: Callable[[], None] | None = getattr(getattr(torch, device.type, None), "empty_cache", None)
    if empty is not None:
        empty()


@functools.cache
def keep_freed() -> bool:
    """Let the process keep the memory that a step frees for the next one; True where the C library was told so.

    By default what is freed goes back to the system, which gives it anew, page by page and full of zeros, at every
    step: of the network for a table that was a quarter of the time. The process takes what its largest step takes, as
    before, but does not give it back in between. Whoever sets these numbers in the environment has them as set.
    """
    own = any(name.startswith("MALLOC_") for name in os.environ) or "malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if own or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        # Another C library.
        return False
    return bool(mallopt(TRIM, KEPT)) and bool(mallopt(MAPPED, 0))


class Watched:
    """A network whose steps may run out of memory.

    Args:
        network: None where nothing is known of it: then only random generators are put back.
        device: where it is.

    Attributes:
        blocks: the parts that `recomputed` computes again.
    """

    def __init__(self, network: nn.Module | None, device: torch.device) -> None:
        modules = [] if network is None else list(network.modules())
        self.blocks = [] if network is None else list(blocks(network))
        self._normalising = [part for part in modules if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        self._moving = _moving(modules)
        accelerator: Any = getattr(torch, device.type, None)
        self._generators: list[Any] = [torch.random]
        if device.type != "cpu" and hasattr(accelerator, "get_rng_state"):
            self._generators.append(accelerator)

    @property
    def takes_statistics(self) -> bool:
        """Depends a row's output on the others of its batch, by batch normalisation (Ioffe & Szegedy 2015)?"""
        return any(part.training for part in self._normalising)

    def before(self) -> Callable[[], None]:
        """What puts buffers and random generators back as they are now."""
        buffers = [owner._buffers[name].clone() for owner, name in self._moving]  # type: ignore[union-attr]
        draws = [generator.get_rng_state() for generator in self._generators]

        def put_back() -> None:
            with torch.no_grad():
                for (owner, name), value in zip(self._moving, buffers, strict=True):
                    owner._buffers[name].copy_(value)  # type: ignore[union-attr]
            for generator, state in zip(self._generators, draws, strict=True):
                generator.set_rng_state(state)

        return put_back

    @contextmanager
    def recomputed(self) -> Iterator[None]:
        """Within, blocks keep their inputs only: the backward pass computes activations again (Chen et al. 2016,
        "Training deep nets with sublinear memory cost"). Random draws are the same again, and buffers move once, so
        outputs and gradients are as without."""
        changed: list[tuple[nn.Module, Callable[..., Any] | None]] = []
        try:
            for block in self.blocks:
                changed.append((block, block.__dict__.get("forward")))
                block.__dict__["forward"] = _again(block)
            yield
        finally:
            for block, forward in changed:
                block.__dict__.pop("forward")
                if forward is not None:
                    block.__dict__["forward"] = forward


def blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The parts of a network to be computed again one at a time: the members of its lists, and what has none inside.

    A single layer is none of them: it keeps little more than its input.
    """
    seen: set[nn.Module] = set()

    def visit(module: nn.Module) -> Iterator[nn.Module]:
        if module in seen or not any(module.children()):
            return
        seen.add(module)
        if any(map(_divisible, module.modules())) and not _long(module):
            for child in module.children():
                yield from visit(child)
        elif not isinstance(module, nn.ModuleList | nn.ModuleDict):
            yield module

    return visit(network)


def _divisible(module: nn.Module) -> bool:
    """Is it a list of parts, rather than a part?"""
    if _long(module):
        return True
    composed = sum(any(child.children()) for child in module.children())
    least = {nn.ModuleList: 1, nn.ModuleDict: 1, nn.Sequential: 2}
    return composed >= next((least[kind] for kind in least if isinstance(module, kind)), composed + 1)


def _long(module: nn.Module) -> bool:
    """Is it a long sequence of single layers?"""
    return type(module) is nn.Sequential and len(module) >= LONG and not any(_composed(module))


def _composed(module: nn.Module) -> Iterator[nn.Module]:
    return (child for child in module.children() if any(child.children()))


def _again(block: nn.Module) -> Callable[..., Any]:
    """A block's forward that is computed again in the backward pass; a long sequence in pieces."""
    if not _long(block):
        return _checkpointed(block, block.forward)
    pieces: list[list[nn.Module]] = [[]]
    for layer in block.children():
        # What changes its input cannot be the first to be computed again.
        if len(pieces[-1]) ** 2 >= len(list(block.children())) and not getattr(layer, "inplace", False):
            pieces.append([])
        pieces[-1].append(layer)
    parts = [nn.Sequential(*piece) for piece in pieces]
    steps = [_checkpointed(part, part.forward) for part in parts]

    def forward(values: Any) -> Any:
        for step in steps:
            values = step(values)
        return values

    return forward


def _checkpointed(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    moving = _moving(list(block.modules()))

    def call(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return forward(*args, **kwargs)
        # All tensors in one row: so PyTorch notices each that is changed in place before the second time.
        leaves, structure = pytree.tree_flatten((args, kwargs))
        first: list[Tensor] = []
        done = False

        def run(*found: Any) -> Any:
            nonlocal done
            again_args, again_kwargs = pytree.tree_unflatten(found, structure)
            if not done:
                first.extend(owner._buffers[name].clone() for owner, name in moving)  # type: ignore[union-attr]
                done = True
                return forward(*again_args, **again_kwargs)
            own = [owner._buffers[name] for owner, name in moving]
            for (owner, name), value in zip(moving, first, strict=True):
                owner._buffers[name] = value.clone()
            try:
                return forward(*again_args, **again_kwargs)
            finally:
                for (owner, name), buffer in zip(moving, own, strict=True):
                    owner._buffers[name] = buffer

        return checkpoint(run, *leaves, use_reentrant=False)

    return call


def _moving(modules: list[nn.Module]) -> list[tuple[nn.Module, str]]:
    """Owners and names of the buffers that a forward pass may move."""
    return [
        (module, name)
        for module in modules
        for name, value in module._buffers.items()
        if value is not None and name not in module._non_persistent_buffers_set and value.numel() <= STATE
    ]
