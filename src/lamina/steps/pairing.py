"""Pairs for the task "restore": made of the user's own pictures, or given; what is decided goes into the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lamina.data import encoding
from lamina.data.degrade import BLURS, HOLES, KINDS, NOISES, STRENGTHS, Degrading
from lamina.data.pairs import RESTORED, WINDOWS, Making, Pairs
from lamina.data.recognise import recognise
from lamina.data.schema import Field, Json
from lamina.data.tables import Table
from lamina.errors import InputError, nearest
from lamina.modalities import image
from lamina.modalities._files import Unreadable, is_missing
from lamina.plan import Plan, as_toml, from_text
from lamina.steps.request import Request
from lamina.tasks.restore import GIVEN

TASK = "restore"
WAYS = {"denoise": NOISES, "deblur": BLURS, "inpaint": HOLES}
SCALES = (2, 3, 4)
LOOKED_AT = 300
"""Pictures whose sizes are looked at."""
CUT_SIDES = (16, 24, 32, 48, 64)
"""Sides of a part that is cut out of larger pictures: it shows what surrounds a pixel, and is quick to learn from."""
SMALL = 0.05
"""So large a share of the pictures may be smaller than the part that is cut out; their borders are repeated."""
FEWEST = 4
"""Pixels that a picture made smaller must have on each side."""
SHAPING = ("size", "channels", "resize")
"""Options of a column of pictures that say what shape a better picture has."""
WHOLE = ("colourise", "inpaint")
"""What needs to see the whole picture: which color a thing has depends on what it is."""


@dataclass(frozen=True)
class _Sizes:
    """What is known of the user's pictures."""

    heights: tuple[int, ...]
    widths: tuple[int, ...]
    encoder: image.Encoder

    @property
    def same(self) -> bool:
        return len(set(self.heights)) == len(set(self.widths)) == 1


def paired(request: Request, table: Table) -> tuple[Table, Request]:
    """The table with pairs, and the request with all that was decided; both as they are for any other task.

    Raises:
        InputError: there are no pictures, or an option is wrong or does not suit them.
    """
    if request.task != TASK:
        return table, request
    own = request.targets in ((), (RESTORED,)) and RESTORED not in table.columns
    return _made(request, table) if own else (table, _given(request, table))


def again(plan: Plan, table: Table) -> Table:
    """The table with the pairs that a plan was made for."""
    options = plan.task[RESTORED].options if RESTORED in plan.task else {}
    if RESTORED in table.columns or options.get("kind", GIVEN) == GIVEN:
        return table
    kept = [column for field in plan.schema for column in field.columns if column not in (options["picture"], RESTORED)]
    if options["picture"] not in table.columns:
        raise InputError(
            f"There is no column {options['picture']!r} of pictures.",
            where=table.name,
            fix="Give the data that the run was started with.",
        )
    return Pairs(table, making_of(options, plan.seed), kept)


def making_of(options: Mapping[str, Json], seed: int) -> Making:
    """How a plan's pairs are made, from its task's options."""
    degrading = Degrading(options["kind"], options["way"], float(options["strength"]), int(options["scale"]))
    return Making(
        options["picture"],
        degrading,
        int(options["height"]),
        int(options["width"]),
        int(options["channels"]),
        options["window"],
        options["resize"],
        seed,
    )


def _made(request: Request, table: Table) -> tuple[Table, Request]:
    asked = {item: _option(item) for item in request.sets}
    options = {option: from_text(item.partition("=")[2].strip()) for item, option in asked.items() if option}
    kind, way, strength, scale = _degrading(options)
    column = _picture_column(request, table, options)
    wanted = _wanted(request, column, options, kind, scale)
    sizes = _looked_at(table, column, wanted)
    window = _one_of(options, "window", WINDOWS, "whole" if kind in WHOLE else "cut")
    height, width = _size(sizes, window, "size" in wanted, scale)
    if kind == "colourise" and sizes.encoder.channels == 1:
        raise InputError(
            "The pictures are grey: nothing in them tells which colors things have.",
            where=f"column {column}",
            fix="Give pictures in color, or choose something else to restore: " + ", ".join(KINDS),
        )
    decided = {
        "kind": kind, "way": way, "strength": strength, "scale": scale, "picture": column, "height": height,
        "width": width, "channels": sizes.encoder.channels, "window": window, "resize": sizes.encoder.resize,
    }  # fmt: skip
    fields: dict[str, dict[str, Json]] = {
        column: {
            "modality": "image",
            "role": "input",
            "size": [height // scale, width // scale],
            "channels": 1 if kind == "colourise" else sizes.encoder.channels,
            "resize": sizes.encoder.resize,
            **({"transparent": "hole"} if kind == "inpaint" else {}),
        },
        RESTORED: {"modality": "image"},
    }
    table = Pairs(table, making_of(decided, request.seed or 0), _kept(request, table, column))
    # What was asked for is in what was decided: said twice, plan and pairs could differ.
    said = {f"schema.{column}.{more}{name}" for name in SHAPING for more in ("", "options.")}
    rest = replace(
        request,
        sets=tuple(
            item
            for item, option in asked.items()
            if option not in {*decided, "size"} and item.partition("=")[0].strip() not in said
        ),
    )
    return table, replace(request, targets=(RESTORED,), sets=_with(rest, fields, {RESTORED: decided}))


def _option(item: str) -> str:
    """Which option of the task a setting is of, with or without the target's name; "" where of none."""
    first, *rest = item.partition("=")[0].strip().split(".")
    for word in (RESTORED, "options"):
        rest = rest[1:] if rest[:1] == [word] else rest
    return rest[0] if first == "task" and len(rest) == 1 else ""


def _degrading(options: Mapping[str, Json]) -> tuple[str, str, float, int]:
    """(kind, way, strength, scale), checked."""
    if "kind" not in options:
        raise InputError(
            "What is to be restored?",
            where=f"task.{RESTORED}.kind",
            fix=f"Say it with --restore {KINDS[0]} (or {', '.join(KINDS[1:])}); where you have pairs of a worse and a "
            "better picture, name the column of the better ones with --target.",
        )
    kind = _one_of(options, "kind", KINDS, "")
    scale = options.get("scale", 2 if kind == "super-resolution" else 1)
    if scale not in (SCALES if kind == "super-resolution" else (1,)) or isinstance(scale, bool):
        raise InputError(
            f"The scale of {kind} is {scale!r}.",
            where=f"task.{RESTORED}.scale",
            fix=f"Give {', '.join(map(str, SCALES))}." if kind == "super-resolution" else "Leave it out.",
        )
    if kind not in WAYS:
        for name in ("way", "strength"):
            if options.get(name):
                raise InputError(f"{kind} has no {name}.", where=f"task.{RESTORED}.{name}", fix="Leave it out.")
        return kind, "", 0.0, int(scale)
    way = _one_of(options, "way", WAYS[kind], WAYS[kind][0])
    usual, most, meaning = STRENGTHS[kind, way]
    strength = options.get("strength", usual)
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0 < strength <= most:
        raise InputError(
            f"The strength of {kind} is {strength!r}.",
            where=f"task.{RESTORED}.strength",
            fix=f"Give a number above 0 and up to {most:g}: {meaning}.",
        )
    return kind, way, float(strength), 1


def _one_of(options: Mapping[str, Json], name: str, known: Sequence[str], usual: str) -> str:
    value = options.get(name, usual)
    if value not in known:
        raise InputError(
            f"There is no {name} {value!r} of restoring.",
            where=f"task.{RESTORED}.{name}",
            fix=nearest(str(value), known),
        )
    return str(value)


def _picture_column(request: Request, table: Table, options: Mapping[str, Json]) -> str:
    """The one column of pictures."""
    if "picture" in options:
        if options["picture"] not in table.columns:
            raise InputError(
                f"There is no column {options['picture']!r}.",
                where=f"task.{RESTORED}.picture",
                fix=nearest(str(options["picture"]), table.columns),
            )
        return str(options["picture"])
    found = [item.name for item in recognise(table, judged=True).inputs if item.modality == "image"]
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"There are several columns of pictures: {', '.join(found)}." if found else "There is no column of pictures.",
        where=table.name,
        fix=f"Say which with --set task.{RESTORED}.picture=COLUMN"
        + ("; where one of them is the better picture, name it with --target." if found else ""),
    )


def _wanted(request: Request, column: str, options: Mapping[str, Json], kind: str, scale: int) -> dict[str, Json]:
    """What the user wants of the better pictures' size and channels: of the task, or of the column of worse ones."""
    of_column = _size_asked(request, column)
    if kind == "colourise":
        of_column.pop("channels", None)
    if smaller := _sides(of_column.get("size")):
        of_column["size"] = [scale * side for side in smaller]
    wanted = {name: source[name] for source in (of_column, options) for name in SHAPING if name in source}
    given = [options[name] for name in ("height", "width") if name in options]
    if len(given) == 1:
        raise InputError(
            "Of height and width only one is given.",
            where=f"task.{RESTORED}",
            fix=f"Give both, or task.{RESTORED}.size=[height, width].",
        )
    if given:
        wanted["size"] = given
    return wanted


def _looked_at(table: Table, column: str, options: Mapping[str, Json]) -> _Sizes:
    """Sizes of some pictures, and the encoder that suits them; whether they are in color is seen in their pixels."""
    item = Field(column, "image")
    encoder = image.Encoder.fit(encoding.stream(table, item), options, table.root)
    heights, widths = [], []
    for value in _some(table, column):
        try:
            header = image.header(value, table.root)
        except Unreadable:
            continue
        heights.append(header.height)
        widths.append(header.width)
    return _Sizes(tuple(heights), tuple(widths), encoder)


def _some(table: Table, column: str) -> list[Any]:
    rows = np.unique(np.linspace(0, len(table) - 1, min(len(table), LOOKED_AT)).astype(np.int64))
    return [value for value in table.take(rows, [column])[column] if not is_missing(value)]


def _size(sizes: _Sizes, window: str, given: bool, scale: int) -> tuple[int, int]:
    """Height and width of the better picture, multiples of the scale."""
    height, width = sizes.encoder.height, sizes.encoder.width
    if window == "cut" and not given:
        least = float(np.quantile(np.minimum(sizes.heights, sizes.widths), SMALL)) if sizes.heights else 0.0
        fitting = [side for side in CUT_SIDES if side <= least]
        own = sizes.same and max(sizes.heights) <= max(CUT_SIDES)
        height, width = (sizes.heights[0], sizes.widths[0]) if own else (max(fitting, default=height),) * 2
    if min(height, width) // scale < FEWEST:
        raise InputError(
            f"Pictures of {width} x {height} pixels are too small to be made {scale} times smaller.",
            where=f"task.{RESTORED}.scale",
            fix=f"Give larger pictures, or a smaller scale ({', '.join(map(str, SCALES))}).",
        )
    return height - height % scale, width - width % scale


def _kept(request: Request, table: Table, column: str) -> list[str]:
    """Columns besides the picture: those that say which rows belong to which part, and those that the user names."""
    named = {request.split, "split"}
    for item in request.sets:
        key = item.partition("=")[0].strip()
        if key.startswith("schema."):
            named.add(key.removeprefix("schema.").rpartition(".")[0].removesuffix(".options"))
    return [name for name in table.columns if name in named and name != column]


def _with(
    request: Request, fields: Mapping[str, Mapping[str, Json]], tasks: Mapping[str, Mapping[str, Json]]
) -> tuple[str, ...]:
    """The request's settings after what was decided, which they may change."""
    sets = [f"schema.{name}.{key}={_text(value)}" for name, part in fields.items() for key, value in part.items()]
    sets += [f"task.{name}.{key}={_text(value)}" for name, part in tasks.items() for key, value in part.items()]
    return (*sets, *request.sets)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else as_toml(value)


def _given(request: Request, table: Table) -> Request:
    """The request for pairs that the user has: sizes that fit one another, and no other inputs."""
    target = request.targets[0]
    if len(request.targets) != 1 or target not in table.columns:
        raise InputError(
            f"Which column holds the better pictures? {', '.join(request.targets)} is not one column of the data.",
            where="--target",
            fix=nearest(target, table.columns),
        )
    schema = recognise(table, request.targets)
    pictures = [item.name for item in schema.inputs if item.modality == "image"]
    if len(pictures) != 1:
        raise InputError(
            f"The better picture {target!r} needs one column of worse ones; there are {len(pictures)}: "
            f"{', '.join(pictures) or 'none'}.",
            where=table.name,
            fix="Set the others aside with --set schema.COLUMN.role=ignore; to make pairs of the pictures that you "
            "have, leave out --target and say --restore KIND.",
        )
    others = {item.name: {"role": "ignore"} for item in schema.inputs if item.name != pictures[0]}
    scale = _ratio(table, pictures[0], target)
    of_worse, of_better = _size_asked(request, pictures[0]), _size_asked(request, target)
    sides = _sides(of_better.get("size"))
    if sides and "size" not in of_worse:
        of_worse["size"] = [max(1, side // scale) for side in sides]
    worse = image.Encoder.fit(encoding.stream(table, Field(pictures[0], "image")), of_worse, table.root)
    size = [scale * worse.height, scale * worse.width]
    if sides and list(sides) != size:
        raise InputError(
            f"The better pictures cannot be {sides[1]} x {sides[0]} pixels: they are {scale} times as wide and high as "
            f"the worse ones, of {worse.width} x {worse.height}.",
            where=f"schema.{target}.size",
            fix=f"Give --set schema.{target}.size={size}, or leave it out.",
        )
    channels = {"channels": of_better["channels"]} if "channels" in of_better else {}
    better = image.Encoder.fit(encoding.stream(table, Field(target, "image")), {"size": size, **channels}, table.root)
    fields: dict[str, Mapping[str, Json]] = {
        **others,
        pictures[0]: {
            "size": [worse.height, worse.width],
            "channels": min(worse.channels, better.channels),
            "resize": worse.resize,
        },
        target: {"modality": "image"},
    }
    decided = {
        "kind": GIVEN, "scale": scale, "height": scale * worse.height, "width": scale * worse.width,
        "channels": better.channels, "resize": worse.resize,
    }  # fmt: skip
    return replace(request, sets=_with(request, fields, {target: decided}))


def _sides(size: Json) -> tuple[int, int] | None:
    """(height, width) of an option that names them; None where it does not, or is none."""
    pair = size if isinstance(size, list) else [size, size]
    whole = len(pair) == 2 and all(isinstance(side, int) and not isinstance(side, bool) for side in pair)
    return (pair[0], pair[1]) if whole else None


def _size_asked(request: Request, column: str) -> dict[str, Json]:
    """The options of the picture's encoder that the user has set."""
    start = f"schema.{column}."
    items = [item.partition("=") for item in request.sets if item.startswith(start)]
    found = {key.removeprefix(start).removeprefix("options."): from_text(value.strip()) for key, _, value in items}
    return {name: value for name, value in found.items() if name in image.DEFAULTS}


def _ratio(table: Table, worse: str, better: str) -> int:
    """How many times larger the better pictures are.

    Raises:
        InputError: not the same whole number of times in all pairs looked at.
    """
    rows = np.unique(np.linspace(0, len(table) - 1, min(len(table), LOOKED_AT)).astype(np.int64))
    chunk, found = table.take(rows, [worse, better]), 0
    for row, small, large in zip(rows.tolist(), chunk[worse], chunk[better], strict=True):
        try:
            first, second = (image.header(value, table.root) for value in (small, large))
        except Unreadable:
            continue
        scale = round(second.width / first.width)
        fits = scale >= 1 and (second.width, second.height) == (scale * first.width, scale * first.height)
        if not fits or (found and scale != found):
            wanted = f"{found} times as wide and high" if found else "as large, or 2, 3, ... times as wide and high"
            raise InputError(
                f"In {table.place(row)}, {worse} has {first.width} x {first.height} pixels and {better} "
                f"{second.width} x {second.height}.",
                where=f"target {better}",
                fix=f"Every better picture must be {wanted} as the worse one: correct this pair, or leave the row out.",
            )
        found = scale
    return max(found, 1)
