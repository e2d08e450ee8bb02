"""Low-rank adapters beside frozen layers (Hu et al. 2021, "LoRA: low-rank adaptation of large language models")."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Adapted(nn.Module):
    """A frozen linear map, or 1 x 1 convolution, plus a trainable one of low rank that starts at zero.

    The answer is original(x) + scale * up(down(x)), with `rank` values between down and up.
    """

    scale: Tensor

    def __init__(self, original: nn.Linear | nn.Conv2d, rank: int, strength: float) -> None:
        super().__init__()
        self.original = original
        device, dtype = original.weight.device, original.weight.dtype
        outer, inner = original.weight.shape[:2]
        self.down: nn.Module
        self.up: nn.Module
        if isinstance(original, nn.Linear):
            self.down, self.up = nn.Linear(inner, rank, bias=False), nn.Linear(rank, outer, bias=False)
        else:
            self.down = nn.Conv2d(inner, rank, 1, original.stride, bias=False)  # type: ignore[arg-type]
            self.up = nn.Conv2d(rank, outer, 1, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.up.weight)
        self.register_buffer("scale", torch.tensor(strength / rank))
        self.to(device=device, dtype=dtype)

    def forward(self, values: Tensor) -> Tensor:
        answer: Tensor = self.original(values) + self.scale * self.up(self.down(values))
        return answer

    @torch.no_grad()
    def merged(self) -> nn.Linear | nn.Conv2d:
        """The original layer with the adapter added into its weights; from now on they may change."""
        low_rank = self.up.weight.flatten(1) @ self.down.weight.flatten(1)  # type: ignore[operator]
        self.original.weight += (self.scale * low_rank).reshape(self.original.weight.shape)
        return self.original


def adaptable(module: nn.Module) -> bool:
    """Is it a layer that `Adapted` serves?"""
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.groups == 1 and module.padding in ((0, 0), "valid", "same")
    return type(module) is nn.Linear


def _children(module: nn.Module, kind: type[nn.Module] | None) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """(parent, name, child) of all adaptable layers, or of all modules of `kind`, outside of adapters."""
    for name, child in list(module.named_children()):
        if isinstance(child, kind) if kind is not None else adaptable(child):
            yield module, name, child
        elif not isinstance(child, Adapted):
            yield from _children(child, kind)


def add_adapters(module: nn.Module, rank: int, strength: float) -> int:
    """Put an adapter beside every linear map and 1 x 1 convolution inside `module`; returns how many."""
    count = 0
    for parent, name, child in _children(module, None):
        assert isinstance(child, nn.Linear | nn.Conv2d)
        # More rank than the layer has would only cost.
        fitting = min(rank, *child.weight.shape[:2])
        setattr(parent, name, Adapted(child, fitting, strength * fitting / rank))
        count += 1
    return count


def merge_adapters(module: nn.Module) -> int:
    """Add every adapter inside `module` into its layer's weights and take it away; returns how many."""
    count = 0
    for parent, name, child in _children(module, Adapted):
        assert isinstance(child, Adapted)
        setattr(parent, name, child.merged())
        count += 1
    return count


def merged_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dictionary as it were after `merge_adapters`."""
    result = dict(tensors)
    for name in tensors:
        stem = name.removesuffix(".original.weight")
        if stem == name or f"{stem}.down.weight" not in tensors:
            continue
        up, down, scale = (result.pop(f"{stem}.{part}") for part in ("up.weight", "down.weight", "scale"))
        weight = result.pop(name)
        result[f"{stem}.weight"] = weight + (scale * (up.flatten(1) @ down.flatten(1))).reshape(weight.shape)
        if f"{stem}.original.bias" in result:
            result[f"{stem}.bias"] = result.pop(f"{stem}.original.bias")
    return result
