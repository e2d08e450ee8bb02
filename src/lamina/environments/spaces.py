"""From an environment's name and spaces to a `World`, and from its observations to encoded arrays.

Spaces are told by the names of their classes, so that an environment of one's own needs not even Gymnasium.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.schema import Field, Json
from lamina.environments import Actions, Array, Observations, World
from lamina.environments.opening import close, maker
from lamina.errors import InputError
from lamina.modalities import category, frames, series, vector

if TYPE_CHECKING:
    from lamina.modalities import Encoder

WHOLE = "observation"
"""The field's name where there is only one thing to observe."""
MOST_COMBINED = 1024
"""Combinations of choices that are made at once: each is an action of its own to a policy."""
SPACES = ("Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict", "Tuple")
MOST_LEVELS = 1_000_000
UNBOUNDED = 1e6
LARGEST_BOUND = 1e38
SMALL = 32
"""Pictures of at most so many pixels a side are often grids of codes: they are kept as they are, colors and all."""
MOST_CODES = 32
"""Kinds that a grid of codes has at most, where nobody said that it is one: a picture has more values."""


def open_world(name: str, *, history: int = 1, base: Path | None = None, codes: int | None = None) -> World:
    """What is observed and what can be done in the environment `name`.

    Args:
        name: "gym:ID" of a registered environment, with options such as "gym:FrozenLake-v1?is_slippery=false"; or
            "module:factory" of an importable module, where factory(), or factory(render_mode=...), gives one.
        history: how many observations are shown at once. Numbers become a series, pictures are stacked; of a
            category only the newest is shown.
        base: a folder whose modules can be imported too.
        codes: how many kinds of codes are in pictures of at most `SMALL` pixels a side, 0 where these are pictures like
            others; None: codes where the bounds of the space are those of at most `MOST_CODES` kinds.

    Raises:
        InputError: there is no such environment, it cannot be made, or has spaces that nothing here can read.
        MissingDependencyError: it needs Gymnasium.
    """
    make = maker(name, base)
    environment = make(None)
    try:
        parts = dict(_unique(_parts(environment.observation_space, "", history, name, codes), name))
        actions = _actions(environment.action_space, name)
        reach = dict(_reaches(environment.observation_space, ""))
        spec = getattr(environment, "spec", None)
    finally:
        close(environment)
    solved = getattr(spec, "reward_threshold", None)
    return World(
        name=name,
        make=make,
        fields=tuple(field for field, _ in parts.values()),
        encoders={field: encoder for field, (_, encoder) in parts.items()},
        actions=actions,
        history=history,
        longest=int(getattr(spec, "max_episode_steps", None) or 0),
        solved=None if solved is None else float(solved),
        reach={field: values for field, values in reach.items() if field in parts},
        base=base,
    )


def encode(world: World, observations: Sequence[Any]) -> Observations:
    """What the policy is shown, [copy, ...] by field.

    Args:
        observations: as the environment gives them, one for each copy. Where the world's history is over 1, each is a
            list of the last observations, the newest last; the first is repeated where there are fewer.

    Raises:
        InputError: an observation is not of its space, or not finite.
    """
    if world.history == 1:
        return show(world, gather(world, observations))
    windows = [[*window[-world.history :]] for window in observations]
    full = [[window[0]] * (world.history - len(window)) + window for window in windows]
    gathered = gather(world, [observation for window in full for observation in window])
    shape = (len(full), world.history)
    return show(
        world,
        {
            name: array.reshape(len(full), -1, *array.shape[2:])
            if is_windowed(world, name)
            else array.reshape(*shape, *array.shape[1:])[:, -1]
            for name, array in gathered.items()
        },
    )


def raw(world: World, observation: Any) -> dict[str, Any]:
    """The values by column that the sealed policy would be given for one observation (or window, see `encode`).

    Numbers as lists, a category as an int, pictures as a uint8 array [time, height, width, channel].
    """
    window = [observation] if world.history == 1 else [*observation[-world.history :]]
    window = [window[0]] * (world.history - len(window)) + window
    values: dict[str, Any] = {}
    for field in world.fields:
        seen = [value_of(field.name, item) for item in window]
        encoder = world.encoders[field.name]
        if isinstance(encoder, category.Encoder):
            value: Any = int(seen[-1])
        elif isinstance(encoder, frames.Encoder):
            value = np.concatenate([encoder.stacks(np.array(picture)[None])[0] for picture in seen])
        else:
            lists = [np.array(numbers).reshape(-1).astype(np.float64).tolist() for numbers in seen]
            value = lists if isinstance(encoder, series.Encoder) else lists[0]
        values[field.columns[0]] = value
    return values


def gather(world: World, observations: Sequence[Any]) -> dict[str, Array]:
    """Observations as arrays by field, not yet encoded; a copy.

    Numbers [copy, size], a category [copy], pictures [copy, time, height, width, channel], reduced. Numbers that
    become a series have a second axis of length 1, so that windows of them are joined along it, as pictures are.
    """
    found: dict[str, Array] = {}
    for field in world.fields:
        encoder = world.encoders[field.name]
        try:
            plain = field.name == WHOLE and not isinstance(observations[0], Mapping)
            array = np.array(observations if plain else [value_of(field.name, item) for item in observations])
            if isinstance(encoder, category.Encoder):
                found[field.name] = array.reshape(len(observations)).astype(np.int64)
            elif isinstance(encoder, frames.Encoder):
                found[field.name] = encoder.reduced(encoder.stacks(array))
            else:
                numbers = array if array.dtype.kind == "f" else array.astype(np.float64)
                wide = (len(observations), 1, -1) if isinstance(encoder, series.Encoder) else (len(observations), -1)
                found[field.name] = numbers.reshape(wide)
                size, wanted = found[field.name].shape[-1], encoder.feature.shape[-1]
                if size != wanted:
                    # Said here, as windows of other sizes could not even be joined.
                    raise ValueError(f"{size} numbers, where {wanted} were announced")
        except (ValueError, TypeError, LookupError) as error:
            raise _unlike(world, field.name, f"{type(error).__name__} {error}") from error
    return found


def show(world: World, gathered: Mapping[str, Array]) -> Observations:
    """Encode what `gather` gives, joined to windows where the history is over 1; new arrays.

    Raises:
        InputError: an observation is not of its space, or not finite.
    """
    shown: dict[str, Array] = {}
    for name, array in gathered.items():
        encoder = world.encoders[name]
        is_series = isinstance(encoder, series.Encoder)
        if is_series and not np.isfinite(array).all():
            # In a table a gap in a series may be filled; here it is a fault of the environment.
            raise _unlike(world, name, "not every number is finite")
        encoded = encoder.encode(array.astype(np.float64) if is_series else array)
        if encoded.errors:
            raise _unlike(world, name, next(iter(encoded.errors.values())))
        if isinstance(encoder, category.Encoder) and encoded.array.min(initial=category.FIRST) < category.FIRST:
            raise _unlike(world, name, f"{array.tolist()} are not all among its {len(encoder.levels)} values")
        shown[name] = encoded.array
    return shown


def is_windowed(world: World, name: str) -> bool:
    """Does the policy see several observations of this field at once?"""
    return world.history > 1 and isinstance(world.encoders[name], series.Encoder | frames.Encoder)


def value_of(name: str, observation: Any) -> Any:
    """The part of an observation that the field `name` shows.

    Raises:
        LookupError: there is none.
    """
    if not isinstance(observation, Mapping) and (name == WHOLE or name.startswith(f"{WHOLE}.")):
        rest = name[len(WHOLE) + 1 :]
        return np.asarray(observation).reshape(-1)[int(rest)] if rest else observation
    return _inside(name, observation)


def _inside(rest: str, value: Any) -> Any:
    if not rest:
        return value
    if isinstance(value, Mapping):
        for key, part in value.items():
            if rest == str(key) or rest.startswith(f"{key}."):
                return _inside(rest[len(str(key)) + 1 :], part)
        raise KeyError(rest)
    head, _, tail = rest.partition(".")
    if isinstance(value, tuple | list):
        return _inside(tail, value[int(head)])
    return np.asarray(value).reshape(-1)[int(head)]


def _unlike(world: World, name: str, reason: str) -> InputError:
    return InputError(
        f"The environment gave an observation that cannot be read as {name!r}: {reason}.",
        where=world.name,
        fix="Let its reset and step give observations of its observation_space, finite numbers only.",
    )


def _kind(space: Any) -> str:
    """Which of SPACES it is, or the name of its class."""
    names = [kind.__name__ for kind in type(space).__mro__]
    return next((name for name in names if name in SPACES), names[0])


def _parts(space: Any, name: str, history: int, world: str, codes: int | None) -> Iterator[tuple[Field, Encoder]]:
    """Fields and encoders of a space, named from the outermost inwards, joined with dots."""
    kind = _kind(space)
    if kind == "Dict" or kind == "Tuple":
        inner = space.spaces.items() if kind == "Dict" else enumerate(space.spaces)
        for key, part in inner:
            yield from _parts(part, f"{name}.{key}" if name else str(key), history, world, codes)
        return
    name = name or WHOLE
    if kind == "Discrete":
        yield _category(name, int(getattr(space, "start", 0)), int(space.n), world)
    elif kind == "MultiDiscrete":
        counts = np.asarray(space.nvec).reshape(-1).tolist()
        starts = np.broadcast_to(getattr(space, "start", 0), np.shape(space.nvec)).reshape(-1).tolist()
        for place, (start, count) in enumerate(zip(starts, counts, strict=True)):
            yield _category(f"{name}.{place}", start, count, world)
    elif kind == "MultiBinary":
        yield _numbers(name, int(np.prod(space.shape)), "yes or no", history)
    elif kind == "Box" and space.dtype == np.uint8 and len(space.shape) in (2, 3, 4):
        kinds = int(np.max(space.high)) + 1
        yield _frames(name, tuple(space.shape), history, kinds * (kinds <= MOST_CODES) if codes is None else codes)
    elif kind == "Box":
        yield _numbers(name, int(np.prod(space.shape)), _range(space), history)
    else:
        raise InputError(
            f"The environment's observations hold a {kind} space, which no modality reads.",
            where=f"{world}, {name}",
            fix=f"Wrap the environment so that its observation_space is made of {', '.join(SPACES)}.",
        )


def _reaches(space: Any, name: str) -> Iterator[tuple[str, tuple[float, ...]]]:
    """`World.reach` of every Box, named as `_parts` does."""
    kind = _kind(space)
    if kind in ("Dict", "Tuple"):
        inner = space.spaces.items() if kind == "Dict" else enumerate(space.spaces)
        for key, part in inner:
            yield from _reaches(part, f"{name}.{key}" if name else str(key))
    elif kind == "Box":
        low, high = (np.asarray(end, np.float64).reshape(-1) for end in (space.low, space.high))
        # Largest numbers of a type stand for no bound.
        wide = np.where(np.maximum(np.abs(low), np.abs(high)) < UNBOUNDED, (high - low) / np.sqrt(12), np.inf)
        yield name or WHOLE, tuple(wide.tolist())


def _range(space: Any) -> str:
    low, high = float(np.min(space.low)), float(np.max(space.high))
    return f"from {low:g} to {high:g}" if np.isfinite([low, high]).all() else "without bounds"


def _numbers(name: str, size: int, what: str, history: int) -> tuple[Field, Encoder]:
    many = "1 number" if size == 1 else f"{size} numbers"
    if history == 1:
        reason = f"{many}, {what}"
        field = Field(name, "vector", "input", reason=reason, options={"size": size, "scale": "none"})
        return field, vector.Encoder((0.0,) * size, (1.0,) * size, "none")
    reason = f"the last {history} times {many}, {what}"
    field = Field(name, "series", "input", reason=reason, options={"length": history})
    return field, series.Encoder(history, (0.0,) * size, (1.0,) * size)


def _category(name: str, start: int, count: int, world: str) -> tuple[Field, Encoder]:
    if count > MOST_LEVELS:
        raise InputError(
            f"The environment observes one of {count:,} states, which is too many to tell apart one by one.",
            where=f"{world}, {name}",
            fix="Wrap the environment so that a state is given by several numbers (a Box space).",
        )
    levels = tuple(str(level) for level in range(start, start + count))
    return Field(name, "category", "input", reason=f"one of {count} states"), category.Encoder(
        levels, (0,) * count, 0, 0
    )


def _frames(name: str, shape: tuple[int, ...], history: int, codes: int) -> tuple[Field, Encoder]:
    # Pictures come as [height, width, channel], or several gray ones as [time, height, width]: there are fewer of them
    # than pixels.
    first, last = shape[0], shape[-1]
    plain = len(shape) == 3 and not (last in frames.COLORS or last <= first or first == shape[1])
    time = first if plain or len(shape) == 4 else 1
    channels = 1 if plain or len(shape) == 2 else last
    height, width = shape[-2:] if plain or len(shape) == 2 else shape[-3:-1]
    small = max(height, width) <= SMALL
    # Four channels that are no colors: gray pictures stacked by the environment itself.
    gray = not small and channels in (1, 3)
    tall, wide = (height, width) if max(height, width) <= frames.SIZE else (frames.SIZE, frames.SIZE)
    kept, stack = 1 if gray else channels, time * history
    options: dict[str, Json] = {"size": [tall, wide], "gray": gray, "stack": stack}
    if small and codes:
        # Of numbers that come equally often; for networks that read codes as amounts.
        mean, deviation = (codes - 1) / 2, float(np.sqrt((codes**2 - 1) / 12))
        reason, options["codes"] = f"grids of {width} x {height} places, {channels} of {codes} codes at each", codes
    else:
        mean, deviation, codes = frames.MEAN, frames.STD, 0
        reason = f"pictures of {width} x {height} pixels, {channels} channel{'s' * (channels > 1)}"
    encoder = frames.Encoder(tall, wide, kept, stack, gray, (mean,) * kept, (deviation,) * kept, codes)
    reason += f", the last {stack} of them" if stack > 1 else ""
    return Field(name, "frames", "input", reason=reason, options=options), encoder


def codes_seen(world: World, observations: Observations) -> int | None:
    """How many kinds of codes there seem to be in its `small_pictures`; None where these are pictures like others.

    Codes are few small numbers, and pixels are not. Of codes not all may have been seen, so there is room for more.
    """
    highest = max((int(observations[name].max(initial=0)) for name in small_pictures(world)), default=0)
    fitting = [kinds for kinds in (MOST_CODES // 2, MOST_CODES) if highest < kinds]
    return fitting[0] if highest and fitting else None


def small_pictures(world: World) -> list[str]:
    """The fields of pictures that may be grids of codes, as far as their spaces tell."""
    return [
        name
        for name, encoder in world.encoders.items()
        if isinstance(encoder, frames.Encoder) and not encoder.codes and max(encoder.height, encoder.width) <= SMALL
    ]


def _unique(parts: Iterator[tuple[Field, Encoder]], world: str) -> Iterator[tuple[str, tuple[Field, Encoder]]]:
    seen: set[str] = set()
    for field, encoder in parts:
        if field.name in seen:
            raise InputError(
                f"Two parts of the observations are called {field.name!r}.", where=world, fix="Rename one of them."
            )
        seen.add(field.name)
        yield field.name, (field, encoder)
    if not seen:
        raise InputError("The environment has nothing to observe.", where=world, fix="Give its Dict space a part.")


def _actions(space: Any, world: str) -> Actions:
    kind = _kind(space)
    if kind == "Discrete":
        return Actions("discrete", int(space.n), int(getattr(space, "start", 0)))
    if kind in ("MultiDiscrete", "MultiBinary"):
        sizes, starts = _choices(space, kind)
        if (size := math.prod(sizes)) <= MOST_COMBINED:
            return Actions("discrete", size, sizes=sizes, starts=starts)
        raise InputError(
            f"The environment's actions are {len(sizes)} choices at once, {size:,} combinations; "
            f"a policy chooses among {MOST_COMBINED:,} at most.",
            where=world,
            fix="Wrap the environment so that fewer choices are made at once, or give numbers (a Box of floats).",
        )
    if kind == "Box" and np.dtype(space.dtype).kind == "f":
        ends = (np.asarray(end, np.float32).reshape(-1) for end in (space.low, space.high))
        # Largest numbers of a type stand for no bound; the way between them would not even be a number.
        low, high = (np.where(np.abs(end) < LARGEST_BOUND, end, np.copysign(np.inf, end)).tolist() for end in ends)
        return Actions("continuous", len(low), 0, tuple(low), tuple(high))
    what = f"a Box of {space.dtype}" if kind == "Box" else f"a {kind} space"
    raise InputError(
        f"The environment's actions are {what}, among which no method can choose.",
        where=world,
        fix="Wrap the environment so that its action_space is Discrete (one of several), MultiDiscrete or MultiBinary "
        "(several choices at once), or a Box of floats (numbers).",
    )


def _choices(space: Any, kind: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(Among how many each of several choices is made, the number of the first of each)."""
    if kind == "MultiBinary":
        number = int(np.prod(space.shape))
        return (2,) * number, (0,) * number
    sizes = np.asarray(space.nvec).reshape(-1)
    starts = np.asarray(getattr(space, "start", np.zeros_like(sizes))).reshape(-1)
    return tuple(sizes.tolist()), tuple(starts.tolist())
