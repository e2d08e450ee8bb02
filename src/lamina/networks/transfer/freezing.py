"""Which weights may change, when, and how fast."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from torch import nn

from lamina.errors import InputError, nearest
from lamina.networks.assembly import Assembly
from lamina.networks.blocks.rows import ByRows
from lamina.networks.blocks.table import ColumnLinear, PiecewiseLinear
from lamina.networks.heads.vector import MemberLinear
from lamina.networks.transfer.lora import Adapted, add_adapters, merge_adapters
from lamina.plan import NetworkPlan

Freezing = Literal["none", "all", "gradual", "lora"]

FREEZINGS = ("none", "all", "gradual", "lora")

THAWED_AT = 0.5
"""Share of the training after which gradual unfreezing has reached the first stage."""


RANK, STRENGTH = 8, 16.0
"""Of adapters: the width that they go through, and the factor of what they add, divided by the width."""
WIDEST, STRONGEST = 1024, 10_000.0


def adapters(network: str, part: NetworkPlan) -> dict[str, Any]:
    """{"rank", "strength"} that a plan asks for, for `apply_freezing` or `freeze_stages`.

    Raises:
        InputError: one is out of range, or there are no adapters.
    """
    asked = {"rank": part.rank, "strength": part.strength}
    for name, value in asked.items():
        if value is not None and part.frozen != "lora":
            raise InputError(
                f"The setting {name!r} is for low-rank adapters, and there are none.",
                where=f"network.{network}.{name}",
                fix=f"Set network.{network}.frozen=lora too, which needs given weights, or leave it out.",
            )
    rank, strength = (RANK if part.rank is None else part.rank), (STRENGTH if part.strength is None else part.strength)
    if not 1 <= rank <= WIDEST:
        raise InputError(
            f"Adapters cannot be of rank {rank}.",
            where=f"network.{network}.rank",
            fix=f"Give a whole number from 1 to {WIDEST}.",
        )
    if not 0 < strength <= STRONGEST:
        raise InputError(
            f"Adapters cannot be of strength {strength:g}.",
            where=f"network.{network}.strength",
            fix=f"Give a number above 0, up to {STRONGEST:g}.",
        )
    return {"rank": rank, "strength": strength}


def apply_freezing(
    assembly: Assembly, network: str, how: str = "none", *, rank: int = RANK, strength: float = STRENGTH
) -> None:
    """Freeze one network of an assembly; fusion and heads always learn.

    Args:
        network: its name in the assembly.
        how: "none": all of it learns; "all": nothing of it does, and its normalisation keeps its statistics;
            "gradual": like "all" at first, then `unfreeze`; "lora": only low-rank adapters learn.
        rank, strength: of the adapters.

    Raises:
        InputError: no such network or way, or nothing in it that adapters serve.
    """
    if how not in FREEZINGS:
        raise InputError(f"frozen is {how!r}.", where=f"network.{network}.frozen", fix=nearest(how, FREEZINGS))
    module = assembly.network(network)
    if how == "lora":
        module.requires_grad_(False)
        if network not in assembly.adapted and not add_adapters(module, rank, strength):
            module.requires_grad_(True)
            raise InputError(
                f"The network {network!r} has no linear layers for low-rank adapters.",
                where=f"network.{network}.frozen",
                fix='Set frozen = "gradual" or "all".',
            )
        assembly.adapted.add(network)
        for part in module.modules():
            if isinstance(part, Adapted):
                part.down.requires_grad_(True)
                part.up.requires_grad_(True)
        assembly.train(assembly.training)
        return
    _freeze_below(assembly, network, 0 if how == "none" else None)


def unfreeze(assembly: Assembly, network: str, share_of_training: float) -> None:
    """Gradual unfreezing from the top (Howard & Ruder 2018): which stages learn at this point of the training.

    It begins with heads alone; one stage after the other follows, the last at half of the training.
    """
    count = sum(stage.network == network for stage in assembly.stages())
    thawed = min(count, int(share_of_training / THAWED_AT * (count + 1)))
    frozen = count - thawed
    if len(assembly.frozen.get(network, ())) != frozen:
        _freeze_below(assembly, network, frozen)


def thawing(assembly: Assembly, networks: Sequence[str]) -> Callable[[float], None] | None:
    """What is to be called with the share of the training before each step, to `unfreeze` these; None for none."""
    if not networks:
        return None

    def thaw(share_of_training: float) -> None:
        for network in networks:
            unfreeze(assembly, network, share_of_training)

    return thaw


def freeze_stages(
    network: nn.Module, how: str = "none", *, rank: int = RANK, strength: float = STRENGTH
) -> Callable[[float], None] | None:
    """Freeze a network that is no assembly, but has `stages()`; the last of them, with its head, always learns.

    Args:
        how, rank, strength: as of `apply_freezing`; with "lora" adapters beside the maps of the inner stages learn.

    Returns:
        For "gradual", what is to be called with the share of the training before each step; else None.
    """
    stages = [stage for _, stage in cast(Any, network).stages()]
    if how == "lora":
        network.requires_grad_(False)
        for stage in stages[1:-1]:
            add_adapters(stage, rank, strength)
        return None
    if how == "all":
        _learn_from(stages, len(stages) - 1)
    if how != "gradual":
        return None

    def thaw(share_of_training: float) -> None:
        below = len(stages) - 1
        _learn_from(stages, below - min(below, int(share_of_training / THAWED_AT * (below + 1))))

    return thaw


def _learn_from(stages: Sequence[nn.Module], first: int) -> None:
    """Freeze the first stages, thaw the others."""
    for number, stage in enumerate(stages):
        stage.requires_grad_(number >= first)


def _freeze_below(assembly: Assembly, network: str, count: int | None) -> None:
    """Freeze the first `count` stages of a network (None: all of it), thaw the others."""
    module = assembly.network(network)
    stages = [stage for stage in assembly.stages() if stage.network == network]
    frozen = stages if count is None else stages[:count]
    module.requires_grad_(not frozen)
    for stage in stages[len(frozen) :]:
        stage.module.requires_grad_(True)
    assembly.frozen[network] = frozenset(stage.name for stage in frozen)
    assembly.train(assembly.training)


def merge_lora(assembly: Assembly) -> int:
    """Add all adapters into the weights beside them, for export; returns how many. Changes `assembly`."""
    count = merge_adapters(assembly.networks)
    assembly.adapted.clear()
    return count


def parameter_groups(
    assembly: Assembly,
    *,
    rates: Mapping[str, float] | None = None,
    layer_decay: float = 1.0,
    weight_decay: float = 0.0,
    decay_embeddings: bool = False,
) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: "params", "lr" (a factor), "weight_decay", "matrix" (for Muon), and "rows" for
    tables of which a batch uses few.

    A network learns `rates` (by its name; else 1) times as fast as heads and fusion. A stage that is n stages below
    the heads learns layer_decay ** n times as fast; where some networks are pretrained, that holds for those only.
    Biases, norms and (by default) embeddings do not decay. Parameters that a gradual unfreezing will free are in the
    groups from the start.

    Raises:
        InputError: a rate that is not above 0.
    """
    for name, rate in (rates or {}).items():
        if not 0 < rate < math.inf:
            raise InputError(f"The rate is {rate}.", where=f"network.{name}.rate", fix="Give a number above 0.")
    waiting = {name for name, stages in assembly.frozen.items() if stages} - assembly.adapted
    groups: dict[tuple[float, bool, bool, bool], list[nn.Parameter]] = {}
    taken: set[int] = set()
    for stage in assembly.stages():
        slower = not assembly.pretrained or stage.network in assembly.pretrained
        factor = (rates or {}).get(stage.network, 1.0)
        factor *= layer_decay**stage.height if slower and stage.network else 1.0
        for owner in stage.module.modules():
            for name, parameter in owner.named_parameters(recurse=False):
                if id(parameter) in taken or not (parameter.requires_grad or stage.network in waiting):
                    continue
                taken.add(id(parameter))
                decays = _decays(owner, name, parameter, decay_embeddings)
                matrix = isinstance(owner, nn.Linear | nn.RNNBase) and parameter.ndim == 2 and stage.height > 0
                rows = isinstance(owner, ByRows) and not decays
                groups.setdefault((factor, decays, matrix, rows), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": factor,
            "weight_decay": weight_decay if decays else 0.0,
            "matrix": matrix,
            "rows": rows,
        }
        for (factor, decays, matrix, rows), parameters in groups.items()
    ]


def _decays(owner: nn.Module, name: str, parameter: nn.Parameter, embeddings: bool) -> bool:
    """Weights of maps decay; biases, norms, positions and members' factors do not."""
    if isinstance(owner, nn.Embedding):
        return embeddings
    maps = nn.Linear | nn.modules.conv._ConvNd | nn.RNNBase | ColumnLinear | PiecewiseLinear | MemberLinear
    return isinstance(owner, maps) and not name.startswith("bias") and parameter.ndim >= 2
