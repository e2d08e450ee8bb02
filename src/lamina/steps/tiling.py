"""Are masks of large pictures learned from as a whole, or in parts? Decided before rows are divided, for the plan.

Brought to the network's size, a large picture keeps what is large in it. What would be lost of the things that are
asked for is measured on the masks themselves: made so small and large again, how much of them is left?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lamina.data.pairs import WINDOWS, Cutting, Pairs
from lamina.data.recognise import visible
from lamina.data.schema import Field, Json, Schema
from lamina.data.tables import Table
from lamina.errors import InputError, nearest
from lamina.modalities import image, polygons
from lamina.modalities._files import Unreadable, objects
from lamina.modalities._frame import Frame
from lamina.model.stitch import LARGER
from lamina.plan import Plan
from lamina.steps.cutting import SMALL, Sizes, parts_of, sides_of, sizes_of, some, told
from lamina.tasks._masks import laid, read_mask
from lamina.tasks._masks_seen import MANY, looked

Array = np.ndarray[Any, Any]

TASK = "segment"
MASKS = 24
"""Masks that are made small and large again."""
KEPT = 0.9
"""Dice that masks keep when they are made small and large again, below which pictures are cut in parts: discs of five
pixels keep as much."""
COLORS = 3
"""Channels that parts are cut out in; the encoder of grey pictures makes one of them, as it does of whole ones."""


def tiled(plan: Plan, table: Table, boundary: int | None) -> tuple[Plan, Table]:
    """The plan, and the table of parts where masks are learned from in parts; else the table as it is.

    Args:
        boundary: the first row of the test data given separately, or None: none of it is looked at.

    Raises:
        InputError: parts are asked for that cannot be cut, or a wrong option.
    """
    target, part = next(((name, part) for name, part in plan.task.items() if part.name == TASK), ("", None))
    if part is None:
        return plan, table
    schema, options = Schema(plan.schema), dict(part.options)
    asked = options.get("window", "auto")
    if asked not in ("auto", *WINDOWS):
        raise InputError(
            f"There is no window {asked!r} of masks.",
            where=f"task.{target}.window",
            fix=nearest(str(asked), ("auto", *WINDOWS)),
        )
    alone = len(plan.task) == 1 and len(schema.inputs) == 1 and schema.inputs[0].modality == "image"
    if asked == "cut" and not alone:
        raise InputError(
            "Parts are cut out of pictures where these are the only input, and their masks the only target.",
            where=f"task.{target}.window",
            fix="Leave the others out with --set schema.COLUMN.role=ignore, or learn from whole pictures: window=whole",
        )
    picture, window = schema.inputs[0], asked
    if asked == "auto":
        among = _visible(table, schema, boundary)
        window, why = _decided(table, picture, schema[target], options, among) if alone else ("whole", "")
    else:
        why = "you asked for it"
    if window == "whole" and "parts" in options:
        raise InputError(
            f"Whole pictures are learned from{f', for {why}' if asked == 'auto' and why else ''}: there are no parts.",
            where=f"task.{target}.parts",
            fix=f"Leave it out, or cut the pictures: --set task.{target}.window=cut",
        )
    if window == "whole":
        return (_with(plan, target, {**options, "window": window}, {"window": why}) if why else plan), table
    among = _visible(table, schema, boundary)
    sizes = sizes_of(table, picture.columns[0], among)
    height, width = sides_of(picture.options.get("size")) or _part(sizes, picture.name)
    parts = parts_of(options, target, len(table), sizes.hold(height, width))
    if options.get("kind", "auto") == "auto":
        # Few of the instances that a mask numbers are in one part of it.
        masks = objects(some(table, schema[target].columns[0], MASKS, among))
        seen = looked(schema[target], lambda: iter([masks]), table.root, int(options.get("unlabelled", -1)))
        options["kind"] = "instances" if seen.many else "classes"
    options |= {"window": window, "parts": parts}
    schema = schema.changed(picture.name, options={**picture.options, "size": [height, width]})
    plan = _with(
        replace(plan, schema=schema.fields),
        target,
        options,
        {"window": why, "parts": told(parts, height, width, len(table))},
    )
    table = again(plan, table)
    return replace(plan, data=replace(plan.data, fingerprint=table.fingerprint)), table


def again(plan: Plan, table: Table) -> Table:
    """The table with the parts that a plan was made for."""
    for target, part in plan.task.items():
        if part.name == TASK and part.options.get("window") == "cut":
            schema = Schema(plan.schema)
            (picture,) = schema.inputs
            height, width = picture.options["size"]
            first, second = picture.columns[0], schema[target].columns[0]
            cutting = Cutting(first, second, height, width, COLORS, 0, 1, plan.seed, int(part.options["parts"]))
            return Pairs(table, cutting, [name for name in table.columns if name not in (first, second)])
    return table


def _with(plan: Plan, target: str, options: dict[str, Json], reasons: dict[str, str]) -> Plan:
    task = {**plan.task, target: replace(plan.task[target], options=options)}
    told_of = {f"task.{target}.{name}": f"{options[name]}: {why}" for name, why in reasons.items()}
    return replace(plan, task=task, reasons={**plan.reasons, **told_of})


def _visible(table: Table, schema: Schema, boundary: int | None) -> Array:
    return visible(table, schema, None if boundary is None else np.arange(boundary))


def _decided(table: Table, picture: Field, target: Field, options: Mapping[str, Json], among: Array) -> tuple[str, str]:
    """("whole" or "cut", why); no reason where pictures are about as large as the network, or the user set its size."""
    sizes = sizes_of(table, picture.columns[0], among)
    if "size" in picture.options or not sizes.headers:
        return "whole", ""
    frame = image.framed(sizes.headers, "large", str(picture.options.get("resize", "auto")))
    shrunk = max(np.median(sizes.heights) / frame.height, np.median(sizes.widths) / frame.width)
    if shrunk <= LARGER:
        return "whole", ""
    kept = kept_of(table, picture, target, frame, among, options)
    if kept is None:
        return "whole", ""
    text = f"masks of {sizes.usual()} made as small as {frame.width} x {frame.height} and large again keep a Dice of"
    if kept < KEPT:
        return "cut", f"{text} {kept:.2f} only, for what they show is small"
    return "whole", f"{text} {kept:.2f}, for what they show is large enough"


def kept_of(
    table: Table, picture: Field, target: Field, frame: Frame, among: Array, options: Mapping[str, Json]
) -> float | None:
    """Dice of masks made as small as `frame` and large again with the masks as they are: of the class that fares worst,
    over all masks looked at; where they number many things, the mean over these. None where there are no masks.
    """
    names = (picture.columns[0], target.columns[0])
    rows = among[np.unique(np.linspace(0, len(among) - 1, min(len(among), MASKS)).astype(np.int64))]
    values = table.take(rows, list(names))
    labels = _labels(values[names[1]])
    totals: dict[int, Array] = {}
    each: list[Array] = []
    for one, value in zip(values[names[0]], values[names[1]], strict=True):
        try:
            header = image.header(one, table.root)
            mask = read_mask(value, table.root, (header.height, header.width), labels)
        except Unreadable:
            continue
        mask = np.where(mask == options.get("unlabelled", -1), 0, mask)
        counts = _counts((mask > 0).astype(np.int32) if options.get("kind") == "foreground" else mask, frame)
        if len(counts) > MANY:
            each += counts.values()
        for code, count in counts.items():
            totals[code] = totals.get(code, 0) + count
    dices = [2 * both / max(own + other, 1) for both, own, other in (each or totals.values())]
    if not dices:
        return None
    return float(np.mean(dices) if each else min(dices))


def _labels(values: Array) -> tuple[str, ...]:
    """Of outlines, the background first."""
    found: set[str] = set()
    for value in values:
        try:
            drawn = polygons.read(value)
        except Unreadable:
            continue
        found |= drawn.labels if drawn is not None else set()
    return ("", *sorted(found))


def _counts(mask: Array, frame: Frame) -> dict[int, Array]:
    """Of each value above 0: pixels that have it before and after, before, and after."""
    place = frame.place(*mask.shape)
    small = place.of(laid(mask, frame, 0))
    rows, columns = (
        ((np.arange(length) + 0.5) * side / length).astype(np.int64)
        for length, side in zip(mask.shape, small.shape, strict=True)
    )
    back = small[np.ix_(rows, columns)]
    found: dict[int, Array] = {}
    for number, pixels in enumerate((mask[mask == back], mask, back)):
        for value, count in zip(*np.unique(pixels, return_counts=True), strict=True):
            if value > 0:
                found.setdefault(int(value), np.zeros(3))[number] = count
    return found


def _part(sizes: Sizes, name: str) -> tuple[int, int]:
    """Height and width of a part: as large as the network's pictures may be, and as all pictures are but for SMALL."""
    if not sizes.headers:
        raise InputError(
            "None of the pictures looked at can be read.",
            where=f"column {name}",
            fix="Check that the file names are relative to the table's folder and that the files are pictures.",
        )

    def side(lengths: list[int]) -> int:
        least = float(np.quantile(lengths, SMALL))
        return max((one for one in image.LARGE_SIDES if one <= least), default=image.LARGE_SIDES[0])

    return side(sizes.heights), side(sizes.widths)
