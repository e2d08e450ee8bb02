"""Optimizers by name: PyTorch's own, with fused or multi-tensor steps."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from lamina.errors import InputError, nearest
from lamina.learn.row_steps import RowAdam
from lamina.plan import OptimizerPlan

Groups = Sequence[dict[str, Any]]
"""Parameter groups with "params" and, where they differ, "lr" (a factor of the plan's), "weight_decay", and "rows":
tables of which a batch uses few rows."""


MARK = "__dynamo_disable"
"""Where PyTorch keeps what is called in place of a function that is not to be compiled (`torch._compile`)."""


def spare_the_compiler() -> None:
    """Let optimizers begin without PyTorch's compiler, whose import takes as long as that of all of PyTorch.

    Their bookkeeping asks not to be compiled, and its first call imports the compiler to tell it so. Optimizers are
    never compiled here: each function is noted to be called as it is. Where a version of PyTorch notes that elsewhere,
    this changes nothing.
    """
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        function = getattr(getattr(Optimizer, name), "__wrapped__", None)
        if function is not None and not hasattr(function, MARK):
            setattr(function, MARK, function)


def take_step(optimizer: Optimizer) -> None:
    """`optimizer.step()`, of PyTorch's own optimizers without what is wrapped around it for the compiler.

    The wrapper imports the compiler and sets the gradient mode, which is done here; hooks, which are in it too, and
    steps that are differentiated themselves keep it.
    """
    hooked = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    known = isinstance(optimizer, RowAdam) or type(optimizer).__module__.startswith("torch.optim")
    if hooked or optimizer.defaults.get("differentiable") or not known:
        optimizer.step()
        return
    with torch.no_grad():
        inspect.unwrap(type(optimizer).step)(optimizer)


def can_skip(optimizer: Optimizer) -> bool:
    """Can the device itself leave out a step, by the optimizer's `found_inf`, as `torch.amp.GradScaler` has it?"""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def _momentum(nesterov: bool) -> Callable[[Groups, OptimizerPlan], list[Optimizer]]:
    def build(groups: Groups, plan: OptimizerPlan) -> list[Optimizer]:
        optimizer = torch.optim.SGD(groups, plan.learning_rate, momentum=plan.momentum, nesterov=nesterov, fused=True)
        if plan.momentum:
            # PyTorch's fused step begins all of a group's momentum in one step, or fails: not so weights that thaw one
            # after the other. From zero it begins the same, bit for bit.
            for weight in (weight for group in optimizer.param_groups for weight in group["params"]):
                optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        return [optimizer]

    return build


def _adam_family(kind: type[Optimizer], **extra: Any) -> Callable[[Groups, OptimizerPlan], list[Optimizer]]:
    def build(groups: Groups, plan: OptimizerPlan) -> list[Optimizer]:
        tables = [{key: group[key] for key in ("params", "lr")} for group in groups if group.get("rows")]
        others = _without("rows", [group for group in groups if not group.get("rows")])
        found: list[Optimizer] = []
        if others:
            found.append(kind(others, lr=plan.learning_rate, betas=(plan.momentum, plan.beta2), **extra))  # type: ignore[call-arg]
        return found + ([RowAdam(tables, plan.learning_rate, plan.beta2)] if tables else [])

    return build


def _without(key: str, groups: Groups) -> list[dict[str, Any]]:
    return [{name: value for name, value in group.items() if name != key} for group in groups]


def _plain(kind: type[Optimizer]) -> Callable[[Groups, OptimizerPlan], list[Optimizer]]:
    # On processors multi-tensor steps of what is not fused took up to twice as long as PyTorch's own loops: what they
    # compute on the way leaves the cache.
    def build(groups: Groups, plan: OptimizerPlan) -> list[Optimizer]:
        return [kind(groups, lr=plan.learning_rate)]  # type: ignore[call-arg]

    return build


def _adagrad(groups: Groups, plan: OptimizerPlan) -> list[Optimizer]:
    # Older versions of PyTorch have it fused for processors only; for GPUs it chooses multi-tensor steps by itself.
    fused = all(weight.device.type == "cpu" for group in groups for weight in group["params"])
    return [torch.optim.Adagrad(groups, lr=plan.learning_rate, fused=fused or None)]


def _muon(groups: Groups, plan: OptimizerPlan) -> list[Optimizer]:
    """Muon (Jordan et al. 2024) for matrices, AdamW for all else (embeddings' groups are told by "matrix": False)."""

    def matrices(group: dict[str, Any], wanted: bool) -> dict[str, Any]:
        chosen = [p for p in group["params"] if (p.ndim == 2 and group.get("matrix", True)) is wanted]
        return {**{key: value for key, value in group.items() if key != "matrix"}, "params": chosen}

    hidden = [part for part in (matrices(group, True) for group in groups) if part["params"]]
    other = [part for part in (matrices(group, False) for group in groups) if part["params"]]
    optimizers: list[Optimizer] = []
    if hidden:
        optimizers.append(
            torch.optim.Muon(
                hidden, lr=plan.learning_rate, momentum=0.95, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
            )
        )
    if other:
        optimizers.append(torch.optim.AdamW(other, lr=plan.learning_rate, betas=(0.9, plan.beta2), weight_decay=0.0))
    return optimizers


BUILDERS: dict[str, Callable[[Groups, OptimizerPlan], list[Optimizer]]] = {
    "sgd": _momentum(nesterov=False),
    "nesterov": _momentum(nesterov=True),
    "adam": _adam_family(torch.optim.Adam, fused=True, weight_decay=0.0),
    "adamw": _adam_family(torch.optim.AdamW, fused=True, weight_decay=0.0),
    "nadam": _adam_family(torch.optim.NAdam, weight_decay=0.0, decoupled_weight_decay=True),
    "radam": _adam_family(torch.optim.RAdam, weight_decay=0.0, decoupled_weight_decay=True),
    "adagrad": _adagrad,
    "adadelta": _plain(torch.optim.Adadelta),
    "rmsprop": _plain(torch.optim.RMSprop),
    "muon": _muon,
}


BY_ROWS = ("adam", "adamw")
"""What has a kind for tables of which a batch uses few rows."""


def build(groups: Groups, plan: OptimizerPlan) -> list[Optimizer]:
    """The optimizers for `groups` (several where one kind serves only some parameters).

    Each group remembers its highest rate as "initial_lr"; a schedule multiplies that.

    Raises:
        InputError: the name is unknown, or the learning rate is not positive.
    """
    spare_the_compiler()
    if plan.name not in BUILDERS:
        raise InputError(
            f"There is no optimizer called {plan.name!r}.", where="optimizer.name", fix=nearest(plan.name, BUILDERS)
        )
    if not plan.learning_rate > 0:
        raise InputError(
            f"The learning rate is {plan.learning_rate}.", where="optimizer.learning_rate", fix="Give a number above 0."
        )
    scaled = [
        {**group, "lr": plan.learning_rate * group.get("lr", 1.0), "weight_decay": group.get("weight_decay", 0.0)}
        for group in groups
    ]
    if plan.name != "muon":
        scaled = _without("matrix", scaled)
    if plan.name not in BY_ROWS:
        scaled = _without("rows", scaled)
    optimizers = BUILDERS[plan.name](scaled, plan)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers
