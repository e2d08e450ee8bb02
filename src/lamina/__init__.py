"""Raw data in; a trained, tested, explained and sealed neural network out.

    import lamina
    trained = lamina.train("loans.csv", target="default", budget="5m")
    model = lamina.load("runs/loans/model.lamina")
    model.predict("new.csv")

Nothing heavy is imported until it is needed; `load` and predicting never import PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["InputError", "LaminaError", "few_shot", "inspect", "load", "quantize", "resume", "train"]

if TYPE_CHECKING:
    from lamina.api import few_shot, inspect, load, quantize, resume, train
    from lamina.errors import InputError, LaminaError


def __getattr__(name: str) -> Any:
    if name in ("inspect", "train", "resume", "load", "quantize", "few_shot"):
        from lamina import api

        return getattr(api, name)
    if name in ("InputError", "LaminaError"):
        from lamina import errors

        return getattr(errors, name)
    raise AttributeError(f"module 'lamina' has no attribute {name!r}")
