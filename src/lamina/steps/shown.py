"""What the report shows of raw data: places, pictures, sounds, quotes, examples of explanations."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.examples import at, known_targets
from lamina.data.schema import Field, Json, Values
from lamina.evaluate.results import Exhibit
from lamina.explain.explain import evenly
from lamina.modalities._steps import steps_of
from lamina.plan import Plan
from lamina.steps import also
from lamina.steps.learner import Learner
from lamina.steps.prepare import Prepared
from lamina.tasks import Shown, Task

Array = np.ndarray[Any, Any]
LARGEST_SOUND = 300_000
"""Bytes of a sound that the report embeds; longer ones are only named."""
LARGEST_PICTURE = 160
"""Pixels of a picture's longer side in the report."""
SERIES_POINTS = 150
"""Of a series that the report draws: the texts of so many fit into what it takes of one value."""
FIELDS = 12
"""Fields of a row that the report shows."""


def show(prepared: Prepared, rows: Array) -> Callable[[int], tuple[str, Mapping[str, Mapping[str, str]]]]:
    """A function from a position among `rows` to the row's place and its inputs as the report shows them."""
    fields = prepared.schema.inputs[:FIELDS]
    columns = [column for field in fields for column in field.columns]

    def one(position: int) -> tuple[str, Mapping[str, Mapping[str, str]]]:
        row = int(rows[position])
        raw = prepared.table.take(np.array([row]), columns)
        inputs = {field.name: shown_value(field, field.values(raw)[0], prepared.table.root) for field in fields}
        return prepared.table.place(row), inputs

    return one


def shown_value(field: Field, value: Any, root: Path | None) -> dict[str, str]:
    """{"modality", "value"}: a picture or sound as a data URI, a series as its points, all else as text."""
    if field.modality == "image":
        return {"modality": "image", "value": _picture(value, root)}
    if field.modality == "audio":
        return {"modality": "audio", "value": _sound(value, root)}
    if field.modality == "series":
        return {"modality": "series", "value": _points(value)}
    text = "" if value is None else str(value)
    return {"modality": field.modality, "value": text if len(text) <= 1500 else text[:1500] + " ..."}


def _points(value: Any) -> str:
    """The first channel of a series, thinned evenly from its first step to its last; a text that is none as it is."""
    if value is None:
        return ""
    if isinstance(value, str | bytes):
        steps = steps_of(value)
        if not isinstance(steps, np.ndarray):
            return "" if steps is None else str(value)[:1500]
        value = steps
    steps = np.asarray(value, dtype=object)
    first = steps.reshape(len(steps), -1)[:, 0] if steps.size else steps.ravel()
    return " ".join(f"{_number(point):.3g}" for point in evenly(first, SERIES_POINTS)) if len(first) else ""


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def thumbnail(uri: str) -> str:
    """A PNG's data URI, as small as the report shows pictures."""
    return _picture(base64.b64decode(uri.partition(",")[2]), None)


def _bytes(value: Any, root: Path | None) -> bytes | None:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        path = Path(value) if root is None or Path(value).is_absolute() else root / value
        try:
            return path.read_bytes()
        except OSError:
            return None
    return None


def _picture(value: Any, root: Path | None) -> str:
    """A small PNG as a data URI; "" where it cannot be shown."""
    from PIL import Image, UnidentifiedImageError

    try:
        if isinstance(value, np.ndarray):
            picture = Image.fromarray(value.astype(np.uint8))
        else:
            content = _bytes(value, root)
            if content is None:
                return ""
            picture = Image.open(io.BytesIO(content))
        picture = picture.convert("RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB")
        picture.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE))
    except (OSError, UnidentifiedImageError, ValueError):
        return ""
    return _uri(picture)


def _uri(picture: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _sound(value: Any, root: Path | None) -> str:
    content = _bytes(value, root)
    if content is None or len(content) > LARGEST_SOUND:
        return "" if content is None else f"(a sound of {len(content) / 1e6:.1f} MB)"
    kinds = {b"RIFF": "audio/wav", b"OggS": "audio/ogg", b"fLaC": "audio/flac"}
    kind = kinds.get(content[:4], "audio/mpeg")
    return f"data:{kind};base64," + base64.b64encode(content).decode()


def exhibits(prepared: Prepared, tasks: Mapping[str, Task], outputs: Mapping[str, Array]) -> tuple[Exhibit, ...]:
    """What tasks have to show of the test rows.

    Args:
        tasks: calibrated.
        outputs: by target, [row, width] of all test rows.
    """
    rows, found = prepared.split.test, list[Exhibit]()
    for name, task in tasks.items():
        if not isinstance(task, Shown):
            continue
        target = prepared.examples.arrays[name][rows]
        known = np.flatnonzero(known_targets(target))

        def inputs(chosen: Array, known: Array = known) -> Mapping[str, Array]:
            return prepared.examples.take(list(prepared.encoders), rows[known[chosen]])

        heard = partial(_sounds, prepared, rows[known])
        found += [
            Exhibit(
                sight.title,
                sight.text,
                tuple(map(picture_uri, sight.pictures)),
                lines=sight.lines,
                sounds=heard(sight.rows),
                across=sight.across,
            )
            for sight in task.sights(at(outputs[name], known), at(target, known), inputs)
        ]
    return tuple(found)


def _sounds(prepared: Prepared, rows: Array, positions: tuple[int, ...]) -> tuple[str, ...]:
    """The sounds at positions among `rows` as data URIs."""
    one = show(prepared, rows)
    inputs = [part for position in positions for part in one(position)[1].values()]
    return tuple(part["value"] for part in inputs if part["modality"] == "audio")


def picture_uri(pixels: Array) -> str:
    """uint8 [height, width(, 1 or 3)] as the data URI of a PNG."""
    from PIL import Image

    flat = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    return _uri(Image.fromarray(flat.astype(np.uint8)))


def slice_inputs(prepared: Prepared, rows: Array) -> dict[str, tuple[Field, Values]]:
    """Name to (field, raw values at `rows`), of the fields that make subgroups; what is audited comes first."""
    kinds = ("number", "category", "set", "time", "text")
    fields = [
        field for field in prepared.schema if field.modality in kinds and field.role in ("input", "group", "time")
    ]
    return _raw_of(prepared, [*prepared.schema.with_role("audit"), *fields], rows)


def audited(prepared: Prepared, rows: Array) -> dict[str, tuple[Field, Values]]:
    """Name to (field, raw values at `rows`), of the columns that fairness is measured by."""
    return _raw_of(prepared, prepared.schema.with_role("audit"), rows)


def _raw_of(prepared: Prepared, fields: Sequence[Field], rows: Array) -> dict[str, tuple[Field, Values]]:
    raw = prepared.table.take(rows, [field.columns[0] for field in fields]) if fields else {}
    return {field.name: (field, raw[field.columns[0]]) for field in fields}


def data_document(plan: Plan, prepared: Prepared, summaries: Mapping[str, Json]) -> dict[str, Json]:
    """The `data` part of the results."""
    dropped, sources = prepared.dropped, also.sources(plan, prepared.table, prepared.split.train)
    return {
        "rows": len(prepared.table),
        "train": len(prepared.split.train),
        "validation": len(prepared.split.validation),
        "test": len(prepared.split.test),
        "split": f"{prepared.split.how}: {prepared.split.reason}",
        "dropped": [
            {"row": row, "place": prepared.table.place(row), "reason": reason} for row, reason in dropped[:200]
        ],
        "dropped_count": len(dropped),
        "unreadable": [{"place": place, "reason": reason} for place, reason in prepared.table.unreadable[:200]],
        "fields": [
            {
                "name": field.name, "modality": field.modality, "role": field.role, "reason": field.reason,
                "summary": summaries.get(field.name, {}),
            }
            for field in prepared.schema
        ],
        "fingerprint": plan.data.fingerprint,
        "source": plan.data.train,
        **({"sources": sources} if sources else {}),
    }  # fmt: skip


def network_document(learner: Learner) -> dict[str, Json]:
    """The `network` part of the results."""
    parameters = sum(parameter.numel() for parameter in learner.network.parameters())
    stages = [
        [stage.name, sum(parameter.numel() for parameter in stage.module.parameters())]
        for stage in learner.network.stages()
    ]
    families = ", ".join(type(part).__name__ for part in learner.network.networks.values())
    return {"parameters": parameters, "summary": families, "stages": stages, "notes": list(learner.notes)}
