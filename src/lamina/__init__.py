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
__all__ = [
    "InputError",
    "LaminaError",
    "Policy",
    "compare",
    "counterfactuals",
    "few_shot",
    "generate",
    "inspect",
    "load",
    "quantize",
    "resume",
    "score",
    "search",
    "train",
    "verify",
]

if TYPE_CHECKING:
    from lamina.api import few_shot, inspect, load, quantize, resume, train
    from lamina.errors import InputError, LaminaError
    from lamina.model.policy import Policy
    from lamina.using import compare, counterfactuals, generate, score, search, verify

_OFFERED = {
    "lamina.api": ("few_shot", "inspect", "load", "quantize", "resume", "train"),
    "lamina.errors": ("InputError", "LaminaError"),
    "lamina.model.policy": ("Policy",),
    "lamina.using": ("compare", "counterfactuals", "generate", "score", "search", "verify"),
}


def __getattr__(name: str) -> Any:
    for module, names in _OFFERED.items():
        if name in names:
            import importlib

            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'lamina' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
