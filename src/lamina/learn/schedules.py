"""Learning rates over time: a schedule gives the factor of the highest rate at each step.

Every schedule is a function of `progress`, the share of the training that is over, so that a run
whose number of steps is cut to keep its budget still comes down to its lowest rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lamina.errors import InputError, nearest
from lamina.plan import SchedulePlan

if TYPE_CHECKING:
    from torch.optim import Optimizer

Options = Mapping[str, float]


def constant(progress: float, final: float, options: Options) -> float:
    """Always 1."""
    return 1.0


def step(progress: float, final: float, options: Options) -> float:
    """Falls by `factor` (default 0.1) at `drops` (default 2) equal distances."""
    drops, factor = options.get("drops", 2), options.get("factor", 0.1)
    return float(factor ** math.floor(min(progress, 1 - 1e-9) * (drops + 1)))


def exponential(progress: float, final: float, options: Options) -> float:
    """final ** progress (final defaults to 0.01 where it is 0)."""
    return float((final or 0.01) ** progress)


def inverse_time(progress: float, final: float, options: Options) -> float:
    """1 / (1 + decay * progress): 1/t decay (Robbins & Monro 1951); `decay` is 9, so the end is a tenth."""
    return 1.0 / (1.0 + options.get("decay", 9.0) * progress)


def linear(progress: float, final: float, options: Options) -> float:
    """Straight from 1 down to `final`."""
    return 1.0 - (1.0 - final) * progress


def cosine(progress: float, final: float, options: Options) -> float:
    """Half a cosine from 1 to `final` (Loshchilov & Hutter 2017)."""
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))


def plateau(progress: float, final: float, options: Options) -> float:
    """1; the schedule's state multiplies it by `factor` when validation stops improving."""
    return 1.0


CURVES: dict[str, Callable[[float, float, Options], float]] = {
    "constant": constant,
    "step": step,
    "exponential": exponential,
    "inverse_time": inverse_time,
    "linear": linear,
    "cosine": cosine,
    "one_cycle": cosine,
    "plateau": plateau,
}
OPTIONS: dict[str, tuple[str, ...]] = {
    "step": ("drops", "factor"),
    "inverse_time": ("decay",),
    "plateau": ("factor", "patience"),
}


@dataclass
class Schedule:
    """The factor at every step, after a linear warm-up; "one_cycle" (Smith & Topin 2018) has a long one.

    Attributes:
        plan: name, warm-up share, final share and options.
        anchors: (step, progress) points; progress is linear between them; the last has progress 1.
        lowered: for "plateau": the factor reached so far.

    Raises:
        InputError: an unknown name or option, or an option that is no number from 0 on.
    """

    plan: SchedulePlan
    anchors: list[tuple[int, float]]
    lowered: float = 1.0
    best: float = math.inf
    waited: int = 0
    _curve: Callable[[float, float, Options], float] = field(init=False)

    def __post_init__(self) -> None:
        name = self.plan.name
        if name not in CURVES:
            raise InputError(f"There is no schedule called {name!r}.", where="schedule.name", fix=nearest(name, CURVES))
        known = OPTIONS.get(name, ())
        for option, value in self.plan.options.items():
            if option not in known:
                raise InputError(
                    f"The schedule {name!r} has no option {option!r}.", where="schedule", fix=nearest(option, known)
                )
            if type(value) not in (int, float) or not 0 <= value < math.inf:
                raise InputError(
                    f"The option {option!r} of the schedule {name!r} is {value!r}.",
                    where=f"schedule.options.{option}",
                    fix="Give a number, 0 or above.",
                )
        self._curve = CURVES[name]

    @classmethod
    def over(cls, steps: int, plan: SchedulePlan) -> Schedule:
        """A schedule for `steps` steps."""
        return cls(plan, [(0, 0.0), (max(steps, 1), 1.0)])

    @property
    def steps(self) -> int:
        """The last step's number: when training ends."""
        return self.anchors[-1][0]

    def progress(self, step: int) -> float:
        """The share of the training that is over at `step`."""
        for (first, low), (second, high) in zip(self.anchors, self.anchors[1:], strict=False):
            if step <= second:
                return low + (high - low) * (step - first) / max(second - first, 1)
        return 1.0

    def factor(self, step: int) -> float:
        """What the highest learning rate is multiplied by at `step`."""
        progress, warmup = self.progress(step), self.plan.warmup
        if progress < warmup:
            # Begin above zero: a first step of size zero would be wasted. A warm-up shorter than a step is none.
            return min(max(progress, 1.0 / max(self.steps, 1)) / warmup, 1.0) * self.lowered
        rest = (progress - warmup) / (1.0 - warmup) if warmup < 1 else 1.0
        return self._curve(rest, self.plan.final, self.plan.options) * self.lowered

    def apply(self, step: int, optimizers: Iterable[Optimizer]) -> float:
        """Set every group's rate for `step`; returns the first group's."""
        factor = self.factor(step)
        rates = []
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
                rates.append(group["lr"])
        return float(rates[0]) if rates else 0.0

    def shorten(self, step: int, steps: int) -> None:
        """End at `steps` instead: what is left of the curve is squeezed into the steps that are left."""
        now = self.progress(step)
        kept = [anchor for anchor in self.anchors if anchor[0] < step]
        self.anchors = [*kept, (step, now), (max(steps, step + 1), 1.0)]

    def observe(self, loss: float) -> None:
        """Tell a validation figure (lower is better): "plateau" lowers the rate after `patience` without a new best."""
        if self.plan.name != "plateau":
            return
        if loss < self.best:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > self.plan.options.get("patience", 2):
            self.lowered *= self.plan.options.get("factor", 0.3)
            self.waited = 0

    def state(self) -> dict[str, Any]:
        return {
            "anchors": [list(anchor) for anchor in self.anchors],
            "lowered": self.lowered,
            "best": None if math.isinf(self.best) else self.best,
            "waited": self.waited,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.anchors = [(int(step), float(progress)) for step, progress in state["anchors"]]
        self.lowered, self.waited = float(state["lowered"]), int(state["waited"])
        self.best = math.inf if state["best"] is None else float(state["best"])
