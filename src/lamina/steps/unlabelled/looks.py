"""Rows as the report shows them: their pictures, or a line for each; and where in them something is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lamina.explain import drawing
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


def listed(prepared: Prepared, rows: Array, notes: Sequence[str]) -> tuple[str, ...]:
    """A line for each of the rows, with its note; without pictures and sounds."""
    one, lines = shown.show(prepared, rows), []
    for number, note in enumerate(notes):
        place, inputs = one(number)
        rest = {name: part for name, part in inputs.items() if part["modality"] not in ("image", "audio")}
        lines.append(f"{place} ({note})" + (f": {_brief(rest)}" if rest else ""))
    return tuple(lines)


def heat_maps(
    prepared: Prepared, rows: Array, field: str, heat: Array, largest: float, channels: Sequence[int] = ()
) -> tuple[str, ...]:
    """One field of rows as the network reads it, with the heat over it.

    Args:
        field: of pictures, sounds or series.
        heat: [row, rows, columns] of a picture or [row, stretch].
        largest: what is drawn at full strength.
        channels: which is drawn of each row's series; the first by default.
    """
    encoded = prepared.examples.take([field], rows)[field]
    kind = prepared.encoders[field].feature.kind
    found = []
    for place, array in enumerate(encoded):
        if kind == "image":
            under = drawing.picture(array)
        elif kind == "spectrogram":
            under = drawing.spectrogram(array)
        else:
            under = drawing.curve(array[:, channels[place] if channels else 0])
        found.append(drawing.heated(under, np.atleast_2d(heat[place]), shown.LARGEST_PICTURE, largest))
    return tuple(found)


def _brief(inputs: Mapping[str, Mapping[str, str]]) -> str:
    return "; ".join(f"{name} {part['value'][:80]}" for name, part in list(inputs.items())[:8])
