"""Rows as the report shows them: their pictures, or a line for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lamina.steps import shown
from lamina.steps.prepare import Prepared

Array = np.ndarray[Any, Any]

SHOWN = 10
"""Rows in a gallery."""


def looks(prepared: Prepared, rows: Array, notes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(Pictures of the rows, or where they have none a line for each, with its note)."""
    one = shown.show(prepared, rows)
    pictures: list[str] = []
    lines: list[str] = []
    for number, note in enumerate(notes):
        place, inputs = one(number)
        images = [part["value"] for part in inputs.values() if part["modality"] == "image" and part["value"]]
        if images:
            pictures.append(images[0])
        else:
            lines.append(f"{place} ({note}): {_brief(inputs)}")
    return tuple(pictures), tuple(lines)


def _brief(inputs: Mapping[str, Mapping[str, str]]) -> str:
    return "; ".join(f"{name} {part['value'][:80]}" for name, part in list(inputs.items())[:8])
