"""What to do? The answer is an action, from what is observed; learned by acting in an environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.environments import Actions
from lamina.modalities import Recognition
from lamina.tasks._agreement import Agreement, agreement

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

ENVIRONMENT = "action"
"""This task asks an environment, not a column of a table; its answer is called so."""


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """No column asks what to do."""
    return None


@dataclass(frozen=True)
class Task:
    """One action a row; outputs are [row, size].

    Attributes:
        name: the answer's name, "action".
        actions: what can be done.
        means: what the outputs of discrete actions are: "preferences" (logits, whose softmax are the policy's
            probabilities) or "values" (expected discounted returns).
        squashes: continuous outputs go through a tanh before they are scaled to the actions' bounds.
    """

    task: ClassVar[str] = "control"

    name: str
    actions: Actions
    means: Literal["preferences", "values"] = "preferences"
    squashes: bool = False

    @property
    def width(self) -> int:
        return self.actions.size

    def combine(self, output: Tensor) -> Tensor:
        """[row, member, size] to [row, size]: the members' mean, squashed if need be."""
        import torch

        mean = output.float().mean(dim=1)
        return torch.tanh(mean) if self.squashes else mean

    def chosen(self, output: Array) -> Array:
        """The policy's actions, as `Actions` counts them."""
        return np.asarray(output).argmax(axis=1) if self.actions.kind == "discrete" else np.asarray(output, np.float32)

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": action, ...} in the environment's own numbers.

        Discrete: also ".p.K" (probability) or ".value.K" (expected return) of every action K; of several choices at
        once a list of them, and K is like "0_2". Continuous: a number for one axis, else a list, with each axis by
        itself as ".0", ".1", ...
        """
        taken = self.actions.taken(self.chosen(output))
        if self.actions.kind == "continuous":
            if self.width == 1:
                return {"": taken[:, 0].astype(np.float64)}
            lists = np.empty(len(taken), dtype=object)
            lists[:] = taken.astype(np.float64).tolist()
            return {"": lists, **{f".{axis}": taken[:, axis].astype(np.float64) for axis in range(self.width)}}
        values = np.asarray(output, np.float64)
        if self.means == "preferences":
            values = np.exp(values - values.max(axis=1, keepdims=True))
            values /= values.sum(axis=1, keepdims=True)
        kind = "p" if self.means == "preferences" else "value"
        every = self.actions.taken(np.arange(self.width)).reshape(self.width, -1)
        names = ["_".join(map(str, parts)) for parts in every.tolist()]
        answer: Values = taken
        if self.actions.sizes:
            answer = np.empty(len(taken), dtype=object)
            answer[:] = taken.tolist()
        return {"": answer, **{f".{kind}.{name}": values[:, number] for number, name in enumerate(names)}}

    def agreement(self, before: Array, after: Array) -> Agreement:
        """How nearly two policies' outputs are the same, and their choices."""
        if self.actions.kind == "continuous" or self.width < 2:
            return agreement(before, after, np.ones(len(before), dtype=bool))
        leaders = np.sort(np.asarray(before), axis=1)[:, -2:]
        return agreement(before, after, self.chosen(before) == self.chosen(after), leaders[:, 1] - leaders[:, 0])

    def state(self) -> dict[str, Json]:
        # JSON has no infinity: where there is no bound, None.
        bounds = {
            end: [value if math.isfinite(value) else None for value in getattr(self.actions, end)]
            for end in ("low", "high")
        }
        return {**asdict(self), "actions": {**asdict(self.actions), **bounds}}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        known = state["actions"]
        low = tuple(-math.inf if value is None else float(value) for value in known["low"])
        high = tuple(math.inf if value is None else float(value) for value in known["high"])
        sizes, starts = (tuple(map(int, known.get(part, ()))) for part in ("sizes", "starts"))
        actions = Actions(known["kind"], int(known["size"]), int(known["start"]), low, high, sizes, starts)
        if actions.kind not in ("discrete", "continuous") or state["means"] not in ("preferences", "values"):
            raise ValueError(f"{actions.kind} actions, {state['means']}")
        if actions.kind == "continuous" and not len(actions.low) == len(actions.high) == actions.size:
            raise ValueError("the bounds of the actions are not as many as its axes")
        if sizes and (math.prod(sizes) != actions.size or len(starts) != len(sizes)):
            raise ValueError("the choices are not as many as their combinations")
        return cls(str(state["name"]), actions, state["means"], bool(state["squashes"]))
