"""Pairs for the task "restore": made of the user's own pictures, or given; what is decided goes into the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lamina.data import encoding
from lamina.data.degrade import BLURS, HOLES, KINDS, NOISES, STRENGTHS, Degrading
from lamina.data.pairs import RESTORED, WINDOWS, Cutting, Making, Pairs
from lamina.data.recognise import recognise
from lamina.data.schema import Field, Json, Schema
from lamina.data.tables import Table
from lamina.errors import InputError, nearest
from lamina.modalities import image
from lamina.modalities._files import Unreadable
from lamina.plan import Plan, as_toml, from_text
from lamina.steps import tiling
from lamina.steps.cutting import LOOKED_AT, SMALL, Sizes, parts_of, sides_of, sizes_of, told
from lamina.steps.request import Request
from lamina.tasks.restore import GIVEN, MAKING

TASK = "restore"
WAYS = {"denoise": NOISES, "deblur": BLURS, "inpaint": HOLES}
SCALES = (2, 3, 4)
CUT_SIDES = (16, 24, 32, 48, 64)
"""Sides of a part that is cut out of larger pictures: it shows what surrounds a pixel, and is quick to learn from."""
FEWEST = 4
"""Pixels that a picture made smaller must have on each side."""
SHAPING = ("size", "channels", "resize")
"""Options of a column of pictures that say what shape a better picture has."""
WHOLE = ("colourise", "inpaint")
"""What needs to see the whole picture: which color a thing has depends on what it is."""
REASONS = {
    "cut": "parts are learned from as they are, for what is finest is lost when a picture is made small",
    "whole": "which color a thing has, or what a hole held, depends on what the whole picture shows",
}


def paired(request: Request, table: Table) -> tuple[Table, Request]:
    """The table with pairs, and the request with all that was decided; both as they are for any other task.

    Raises:
        InputError: there are no pictures, or an option is wrong or does not suit them.
    """
    if request.task != TASK:
        return table, request
    own = request.targets in ((), (RESTORED,)) and RESTORED not in table.columns
    return _made(request, table) if own else _given(request, table)


def reasoned(plan: Plan, table: Table) -> Plan:
    """The plan with the reasons for what was decided."""
    target, part = next(((name, part) for name, part in plan.task.items() if part.name == TASK), ("", None))
    if part is None:
        return plan
    making = table.making if isinstance(table, Pairs) else None
    window = part.options.get("window", "whole")
    kind = part.options.get("kind", GIVEN)
    usual = window == ("whole" if kind in WHOLE else "cut")
    if kind == GIVEN:
        (picture,) = (field for field in plan.schema if field.name == part.options.get("picture"))
        usual = (window == "whole") == (picture.options["channels"] < part.options["channels"])
    why = "you asked for it" if not usual else REASONS[window]
    reasons = {f"task.{target}.window": f"{window}: {why}"}
    if making is not None:
        height, width = int(part.options["height"]), int(part.options["width"])
        reasons[f"task.{target}.parts"] = told(making.parts, height, width, len(table) // making.parts)
    return replace(plan, reasons={**plan.reasons, **reasons})


def again(plan: Plan, table: Table) -> Table:
    """The table with the pairs, or the parts of pictures and masks, that a plan was made for."""
    target, part = next(((name, part) for name, part in plan.task.items() if part.name == TASK), ("", None))
    if part is None:
        return tiling.again(plan, table)
    options = part.options
    given = options.get("kind", GIVEN) == GIVEN
    if given and options.get("window") != "cut":
        return table
    picture = options["picture"]
    for name in (picture, target) if given else (picture,):
        if name not in table.columns:
            raise InputError(
                f"There is no column {name!r} of pictures.",
                where=table.name,
                fix="Give the data that the run was started with.",
            )
    own = {picture, target}
    kept = [column for field in plan.schema for column in field.columns if column not in own]
    worse = int(Schema(plan.schema)[picture].options["channels"]) if given else 0
    return Pairs(table, making_of(target, options, plan.seed, worse), kept)


def making_of(target: str, options: Mapping[str, Json], seed: int, worse: int = 0) -> Making | Cutting:
    """How a plan's pairs are made, from its task's options.

    Args:
        worse: channels of the worse pictures, where they are given.
    """
    scale, channels, parts = int(options["scale"]), int(options["channels"]), int(options.get("parts", 1))
    height, width = int(options["height"]), int(options["width"])
    if options["kind"] == GIVEN:
        tall, wide = height // scale, width // scale
        return Cutting(options["picture"], target, tall, wide, worse, channels, scale, seed, parts)
    degrading = Degrading(options["kind"], options["way"], float(options["strength"]), scale)
    return Making(
        options["picture"], degrading, height, width, channels, options["window"], options["resize"], seed, parts
    )


def _made(request: Request, table: Table) -> tuple[Table, Request]:
    asked = {item: _option(item) for item in request.sets}
    options = _options(request, RESTORED)
    kind, way, strength, scale = _degrading(options)
    column = _picture_column(request, table, options)
    wanted = _wanted(request, column, options, kind, scale)
    encoder = image.Encoder.fit(encoding.stream(table, Field(column, "image")), wanted, table.root)
    sizes = sizes_of(table, column)
    window = _one_of(options, "window", WINDOWS, "whole" if kind in WHOLE else "cut")
    height, width = _size(sizes, encoder, window, "size" in wanted, scale)
    parts = _parts(options, RESTORED, table, window, way, sizes, (height, width))
    if kind == "colourise" and encoder.channels == 1:
        raise InputError(
            "The pictures are grey: nothing in them tells which colors things have.",
            where=f"column {column}",
            fix="Give pictures in color, or choose something else to restore: " + ", ".join(KINDS),
        )
    decided = {
        "kind": kind, "way": way, "strength": strength, "scale": scale, "picture": column, "height": height,
        "width": width, "channels": encoder.channels, "window": window, "resize": encoder.resize, "parts": parts,
    }  # fmt: skip
    fields: dict[str, dict[str, Json]] = {
        column: {
            "modality": "image",
            "role": "input",
            "size": [height // scale, width // scale],
            "channels": 1 if kind == "colourise" else encoder.channels,
            "resize": encoder.resize,
            **({"transparent": "hole"} if kind == "inpaint" else {}),
        },
        RESTORED: {"modality": "image"},
    }
    table = Pairs(table, making_of(RESTORED, decided, request.seed or 0), _kept(request, table, column))
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


def _option(item: str, target: str = RESTORED) -> str:
    """Which option of the task a setting is of, with or without the target's name; "" where of none."""
    key = item.partition("=")[0].strip()
    if not key.startswith("task."):
        return ""
    rest = key.removeprefix("task.").removeprefix(f"{target}.").removeprefix("options.")
    return "" if "." in rest else rest


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


def _one_of(options: Mapping[str, Json], name: str, known: Sequence[str], usual: str, target: str = RESTORED) -> str:
    value = options.get(name, usual)
    if value not in known:
        raise InputError(
            f"There is no {name} {value!r} of restoring.",
            where=f"task.{target}.{name}",
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
    if smaller := sides_of(of_column.get("size")):
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


def _parts(
    options: Mapping[str, Json],
    target: str,
    table: Table,
    window: str,
    way: str,
    sizes: Sizes,
    part: tuple[int, int],
) -> int:
    """How many pairs are made of each picture."""
    if window == "cut":
        return parts_of(options, target, len(table), sizes.hold(*part))
    parts = parts_of(options, target, len(table), 1)
    if parts > 1 and not way:
        raise InputError(
            f"{parts:,} pairs of a whole picture would be the same: nothing in them is drawn at random.",
            where=f"task.{target}.parts",
            fix=f"Leave it out, or cut parts out of the pictures: --set task.{target}.window=cut",
        )
    return parts


def _size(sizes: Sizes, encoder: image.Encoder, window: str, given: bool, scale: int) -> tuple[int, int]:
    """Height and width of the better picture, multiples of the scale.

    Args:
        sizes: of the better pictures.
        encoder: which suits them.
        given: the user says its size.
    """
    height, width = encoder.height, encoder.width
    if window == "cut" and not given:
        least = float(np.quantile(np.minimum(sizes.heights, sizes.widths), SMALL)) if sizes.headers else 0.0
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


def _given(request: Request, table: Table) -> tuple[Table, Request]:
    """The pairs that the user has, of sizes that fit one another and no other inputs: parts of them, or the whole."""
    target = request.targets[0] if request.targets else RESTORED
    if len(request.targets) > 1 or target not in table.columns:
        raise InputError(
            f"Which column holds the better pictures? {', '.join(request.targets)} is not one column of the data.",
            where="--target",
            fix=nearest(target, table.columns),
        )
    schema = recognise(table, (target,))
    pictures = [item.name for item in schema.inputs if item.modality == "image"]
    if len(pictures) != 1:
        raise InputError(
            f"The better picture {target!r} needs one column of worse ones; there are {len(pictures)}: "
            f"{', '.join(pictures) or 'none'}.",
            where=table.name,
            fix="Set the others aside with --set schema.COLUMN.role=ignore; to make pairs of the pictures that you "
            "have, leave out --target and say --restore KIND.",
        )
    picture = pictures[0]
    options = _options(request, target)
    worse, better, scale, sized = _fitting(request, table, picture, target)
    coloring = worse.channels < better.channels
    window = _one_of(options, "window", WINDOWS, "whole" if coloring else "cut", target)
    height, width = scale * worse.height, scale * worse.width
    sizes = sizes_of(table, target)
    if window == "cut":
        _ratio(table, picture, target, len(table))
        height, width = _size(sizes, better, window, sized, scale)
    parts = _parts(options, target, table, window, "", sizes, (height, width))
    channels = min(worse.channels, better.channels)
    decided: dict[str, Json] = {
        "kind": GIVEN, "scale": scale, "height": height, "width": width, "channels": better.channels,
        "resize": worse.resize, "window": window, "parts": parts, "picture": picture,
    }  # fmt: skip
    _check_given(options, decided, picture, target)
    fields: dict[str, Mapping[str, Json]] = {
        **{item.name: {"role": "ignore"} for item in schema.inputs if item.name != picture},
        picture: {"size": [height // scale, width // scale], "channels": channels, "resize": worse.resize},
        target: {"modality": "image"},
    }
    # What was asked for is in what was decided.
    keys = {f"schema.{name}.{more}size" for name in (picture, target) for more in ("", "options.")}
    rest = tuple(
        item
        for item in request.sets
        if _option(item, target) not in MAKING and item.partition("=")[0].strip() not in keys
    )
    found = replace(request, targets=(target,), sets=_with(replace(request, sets=rest), fields, {target: decided}))
    if window == "cut":
        kept = [name for name in table.columns if name not in (picture, target)]
        table = Pairs(table, making_of(target, decided, request.seed or 0, channels), kept)
    return table, found


def _fitting(
    request: Request, table: Table, picture: str, target: str
) -> tuple[image.Encoder, image.Encoder, int, bool]:
    """(Encoders of the worse and of the better pictures, how many times larger these are, whether a size is asked for).

    Raises:
        InputError: sizes are asked for that do not fit each other.
    """
    scale = _ratio(table, picture, target)
    of_worse, of_better = _size_asked(request, picture), _size_asked(request, target)
    wanted = sides_of(of_better.get("size"))
    if wanted and "size" not in of_worse:
        of_worse["size"] = [max(1, side // scale) for side in wanted]
    worse = image.Encoder.fit(encoding.stream(table, Field(picture, "image")), of_worse, table.root)
    size = [scale * worse.height, scale * worse.width]
    if wanted and list(wanted) != size:
        raise InputError(
            f"The better pictures cannot be {wanted[1]} x {wanted[0]} pixels: they are {scale} times as wide and high "
            f"as the worse ones, of {worse.width} x {worse.height}.",
            where=f"schema.{target}.size",
            fix=f"Give --set schema.{target}.size={size}, or leave it out.",
        )
    channels = {"channels": of_better["channels"]} if "channels" in of_better else {}
    better = image.Encoder.fit(encoding.stream(table, Field(target, "image")), {"size": size, **channels}, table.root)
    return worse, better, scale, "size" in of_worse


def _check_given(options: Mapping[str, Json], decided: Mapping[str, Json], picture: str, target: str) -> None:
    """Raise InputError for options of pairs that are made, which would do nothing to those that are given."""
    for name in MAKING:
        if name in ("window", "parts") or name not in options or options[name] in (decided.get(name), "", 0):
            continue
        of_size = name in ("size", "height", "width", "channels", "resize")
        raise InputError(
            f"The pairs are given: the option {name!r} of how pairs are made does nothing.",
            where=f"task.{target}.{name}",
            fix="Leave it out; "
            + (
                f"the pictures' size is set with --set schema.{picture}.size=SIDE"
                if of_size
                else "to make pairs of the pictures that you have, leave out --target and say --restore KIND."
            ),
        )


def _options(request: Request, target: str) -> dict[str, Json]:
    """What the request says of the task's options."""
    items = ((_option(item, target), item) for item in request.sets)
    return {option: from_text(item.partition("=")[2].strip()) for option, item in items if option}


def _size_asked(request: Request, column: str) -> dict[str, Json]:
    """The options of the picture's encoder that the user has set."""
    start = f"schema.{column}."
    items = [item.partition("=") for item in request.sets if item.startswith(start)]
    found = {key.removeprefix(start).removeprefix("options."): from_text(value.strip()) for key, _, value in items}
    return {name: value for name, value in found.items() if name in image.DEFAULTS}


def _ratio(table: Table, worse: str, better: str, most: int = LOOKED_AT) -> int:
    """How many times larger the better pictures are.

    Args:
        most: pairs that are looked at.

    Raises:
        InputError: not the same whole number of times in all pairs looked at.
    """
    rows = np.unique(np.linspace(0, len(table) - 1, min(len(table), most)).astype(np.int64))
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
