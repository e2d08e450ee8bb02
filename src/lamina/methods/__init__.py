"""The contract of a method: how weights change, one file here.

A module `lamina/methods/NAME.py` offers a class with the protocol below. Most methods write only
`loss(batch) -> Loss` and take `update` as it is in `lamina.learn.engine.one_step`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from lamina.learn.batch import Batch, Loss
    from lamina.learn.engine import Engine


class Method(Protocol):
    """Owns networks and optimizers; changes weights."""

    def loss(self, batch: Batch) -> Loss:
        """The loss of a batch: a pure function of the networks and the batch."""
        ...

    def update(self, batch: Batch, engine: Engine) -> Mapping[str, Tensor]:
        """Change the weights once; metrics stay on the device."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that must be saved for an exact resume: nested dicts of tensors and JSON values."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None: ...
