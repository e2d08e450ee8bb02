"""Dreams of a run's network: pictures of what its classes and layers look for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.data.schema import Schema
from lamina.errors import InputError, nearest
from lamina.explain.dream import amplified, channel_of, visualised, watched
from lamina.explain.style import styled
from lamina.modalities import Encoder, image
from lamina.modalities._files import Unreadable, objects
from lamina.networks.assembly import Assembly
from lamina.run import Run
from lamina.steps import prepare
from lamina.tasks import classify

MOST = 20
"""Classes, or channels, that are dreamed of where none is named."""
LARGEST = 512
"""Pixels of a side of a picture that is amplified, at most."""


@dataclass(frozen=True)
class Dream:
    """A picture, and what the network says to it.

    Attributes:
        name: of the class, or of the layer with its channel.
        picture: uint8 [height, width, channel].
        before, after: of a class its probability, of a layer its activation, in the picture that ascent began with and
            in this one.
    """

    name: str
    picture: np.ndarray[Any, Any]
    before: float
    after: float


@dataclass(frozen=True)
class Seen:
    """A trained network, its field of pictures, and the rest of a row, which is missing."""

    network: Assembly
    field: str
    encoder: image.Encoder
    others: Mapping[str, Tensor]

    def inputs(self, pictures: Tensor) -> dict[str, Tensor]:
        """A row with this picture."""
        return {self.field: pictures, **self.others}


def seen(run: Run, network: nn.Module) -> Seen:
    """What of a run is looked at.

    Raises:
        InputError: it does not learn from pictures.
    """
    plan = run.plan()
    encoders: Mapping[str, Encoder] = {}
    if isinstance(network, Assembly):
        encoders, _ = prepare.restored(run, plan, Schema(plan.schema))
    pictures = {name: one for name, one in encoders.items() if isinstance(one, image.Encoder)}
    if not pictures or not isinstance(network, Assembly):
        raise InputError(
            f"The run {run.folder} does not read pictures, so there is nothing to look at.",
            where=str(run.folder),
            fix="See what decided an answer: lamina explain MODEL INPUT",
        )
    field, encoder = next(iter(pictures.items()))
    # The picture is what climbs: gradients of the weights would take as long again.
    network.requires_grad_(False)
    return Seen(network, field, encoder, _missing({name: one for name, one in encoders.items() if name != field}))


def _missing(encoders: Mapping[str, Encoder]) -> dict[str, Tensor]:
    nothing = objects([None])
    return {name: torch.from_numpy(np.array(one.encode(nothing).array)) for name, one in encoders.items()}


def of_classes(run: Run, look: Seen, names: Sequence[str], steps: int, seed: int, target: str = "") -> list[Dream]:
    """A picture for each of the classes; of the first ones where none are named.

    Raises:
        InputError: there is no such class, or no classes at all.
    """
    plan = run.plan()
    _, tasks = prepare.restored(run, plan, Schema(plan.schema))
    found = {name: task for name, task in tasks.items() if isinstance(task, classify.Task)}
    if not found or (target and target not in found):
        raise InputError(
            f"The run {run.folder} has no classes to dream of" + (f" in {target!r}." if target else "."),
            where="--target",
            fix=nearest(target, found) if found else "Name a layer: --layer NAME (lamina.api.network(RUN).layers()).",
        )
    target, task = (target, found[target]) if target else next(iter(found.items()))
    classes = list(task.labels)
    dreams = []
    for name in names or classes[:MOST]:
        if name not in classes:
            raise InputError(f"There is no class {name!r}.", where="--class", fix=nearest(name, classes))
        place = classes.index(name)

        def logits(pictures: Tensor) -> Tensor:
            outputs: Tensor = look.network(look.inputs(pictures))[target]
            return outputs.mean(dim=1)

        def wanted(pictures: Tensor, place: int = place) -> Tensor:
            return _margin(logits(pictures), place)

        picture = _from_noise(look, wanted, steps, seed)
        first = _from_noise(look, wanted, 0, seed)
        chances = [float(_chance(logits(_shown(one)).detach(), place)) for one in (first, picture)]
        dreams.append(Dream(name, picture, *chances))
    return dreams


def of_layer(look: Seen, layer: str, channels: Sequence[int], steps: int, seed: int) -> list[Dream]:
    """A picture for each of the layer's channels; of the first ones where none are named.

    Raises:
        InputError: there is no such layer or channel, or it is none of channels.
    """
    width = _channels(look, layer, channels)
    dreams = []
    with watched(look.network.layer(layer)) as given:

        def activation(channel: int, pictures: Tensor) -> Tensor:
            look.network(look.inputs(pictures))
            return channel_of(given[0], channel)

        for channel in channels or range(min(width, MOST)):
            wanted = partial(activation, channel)
            first, picture = (_from_noise(look, wanted, number, seed) for number in (0, steps))
            values = [float(wanted(_shown(one)).detach()) for one in (first, picture)]
            dreams.append(Dream(f"{layer}-{channel}", picture, *values))
    return dreams


def of_picture(look: Seen, file: Path, layer: str, channels: Sequence[int], steps: int, seed: int) -> list[Dream]:
    """The picture in the file with more of what a layer, or one of its channels, sees in it.

    Raises:
        InputError: it is no picture, or there is no such layer or channel.
    """
    picture = _opened(look, file, "--from")
    _channels(look, layer, channels)
    with watched(look.network.layer(layer)) as given:

        def activation(channel: int | None, pictures: Tensor) -> Tensor:
            look.network(look.inputs(pictures))
            return channel_of(given[0], channel)

        dreams = []
        wished: Sequence[int | None] = list(channels) or [None]
        for channel in wished:
            wanted = partial(activation, channel)
            found = amplified(wanted, picture, steps, seed)
            values = [float(wanted(_shown(one)).detach()) for one in (picture, found)]
            name = f"{file.stem}-{layer}" if channel is None else f"{file.stem}-{layer}-{channel}"
            dreams.append(Dream(name, found, *values))
    return dreams


def of_manner(look: Seen, file: Path, like: Path, steps: int, strength: float, seed: int) -> list[Dream]:
    """The picture in the one file, painted as that in the other one is; "before" and "after" are how far it was from
    that and is (`lamina.explain.style`).

    Raises:
        InputError: one of them is no picture, or the network has no layers of places.
    """
    picture, manner = _opened(look, file, "--from"), _opened(look, like, "--like")
    with ExitStack() as stack:
        given = [stack.enter_context(watched(stage.module)) for stage in look.network.stages() if stage.network]

        def sees(pictures: Tensor) -> list[Tensor]:
            look.network(look.inputs(pictures))
            return [one[0] for one in given if one and one[0].ndim == 4 and min(one[0].shape[2:]) > 1]

        with torch.no_grad():
            layers = len(sees(_shown(picture)))
        if not layers:
            raise InputError(
                "The network has no layer that knows what is where in a picture.",
                where=look.field,
                fix="Choose a run with a convolutional network, as resnet or efficientnet.",
            )
        found = styled(sees, picture, manner, steps, strength, seed)
    return [Dream(f"{file.stem}-like-{like.stem}", found.picture, found.before, found.after)]


def _opened(look: Seen, file: Path, option: str) -> np.ndarray[Any, Any]:
    """A picture as the network can look at it.

    Raises:
        InputError: it is none.
    """
    try:
        whole = look.encoder.whole(str(file))
    except Unreadable as error:
        raise InputError(f"{file.name} cannot be read: {error}.", where=option, fix="Name a picture.") from None
    return _fitting(look, whole[:, :, : look.encoder.channels])


def _fitting(look: Seen, picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The picture as large as it is, but for LARGEST, where the network takes any size; else as large as it learned."""
    from PIL import Image

    height, width = picture.shape[:2]
    times = min(1.0, LARGEST / max(height, width))
    large = (max(round(width * times), 1), max(round(height * times), 1))
    for size in (large, (look.encoder.width, look.encoder.height)):
        flat = picture[:, :, 0] if picture.shape[2] == 1 else picture
        resized = np.asarray(Image.fromarray(flat).resize(size, Image.Resampling.BICUBIC))
        resized = resized[:, :, None] if resized.ndim == 2 else resized
        try:
            with torch.no_grad():
                look.network(look.inputs(_shown(resized)))
        except (RuntimeError, ValueError):
            continue
        return resized
    raise InputError("The network cannot look at this picture.", where="--from", fix="Name another one.")


def _from_noise(look: Seen, wanted: Any, steps: int, seed: int) -> np.ndarray[Any, Any]:
    return visualised(wanted, look.encoder.height, look.encoder.width, look.encoder.channels, steps, seed)


def _channels(look: Seen, layer: str, asked: Sequence[int]) -> int:
    """How many channels a layer gives.

    Raises:
        InputError: it gives none, or not those that are asked for.
    """
    size = (look.encoder.height, look.encoder.width, look.encoder.channels)
    with watched(look.network.layer(layer)) as given, torch.no_grad():
        look.network(look.inputs(torch.full((1, *size), 127.5)))
    if not given or given[0].ndim < 2 or len(given[0]) != 1:
        raise InputError(
            f"The layer {layer!r} gives nothing that has channels.",
            where="--layer",
            fix=nearest(layer, look.network.layers()),
        )
    width = int(given[0].shape[1])
    for channel in asked:
        if not 0 <= channel < width:
            raise InputError(
                f"The layer {layer!r} has {width} channels, and no number {channel}.",
                where="--channel",
                fix=f"Give numbers from 0 to {width - 1}.",
            )
    return width


def _shown(picture: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(np.array(picture)).float()[None]


def _margin(logits: Tensor, place: int) -> Tensor:
    """How far a class is ahead of all on average."""
    return (logits[:, place] - logits.mean(dim=1)).sum()


def _chance(logits: Tensor, place: int) -> Tensor:
    return logits.softmax(dim=1)[0, place]
