"""The fastest of a sealed model and its smaller variants, by timing them here; needs no PyTorch."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.schema import Json
from lamina.errors import InputError
from lamina.evaluate.scores import title
from lamina.modalities._canonical import object_array
from lamina.model import golden
from lamina.model.runtime import BATCH, Model, load

Array = np.ndarray[Any, Any]
ROUNDS = 7
MOST_SECONDS = 5.0
"""For all rounds but the first, which warms up; one is run whatever it takes."""
AHEAD = 1.05
"""How much faster a variant must be: less is no reason to answer a little differently."""


def digest_of(network: bytes) -> str:
    """By which a variant knows the network that it was made of."""
    return hashlib.blake2b(network, digest_size=16).hexdigest()


def fastest(path: Path, threads: int = 0) -> Model:
    """The sealed model, or that of the variants beside it (`lamina quantize`) which answers faster here.

    A variant was only sealed where it lost no more than was allowed; its card says how much that was, and how much it
    lost. Each answers the golden examples, repeated to a batch, in turn with the others.

    Args:
        path: of the proven model, whose variants are called NAME-KIND.lamina.
        threads: for the network; 0 takes every core.

    Returns:
        The model, which says in `chosen` what was measured and why it was taken.

    Raises:
        InputError: the proven model is missing, damaged, or newer than this Lamina.
    """
    proven, said, models = load(path, threads), list[str](), dict[Path, Model]()
    for file in sorted(path.parent.glob(f"{escape(path.stem)}-*{escape(path.suffix)}")):
        found = _variant(file, proven, threads)
        if isinstance(found, Model):
            models[file] = found
        else:
            said.append(f"{file.name} is left out: {found}")
    if not models:
        said.append(f"{path.name} answers: there is no smaller variant beside it (lamina quantize makes some)")
        return _chosen(proven, said)
    encoded = _batch(proven)
    if encoded is None:
        said.append(f"{path.name} answers: it holds no examples to time its variants with")
        return _chosen(proven, said)
    seconds = _timed([proven, *models.values()], encoded)
    paces = {file: seconds[0] / own for file, own in zip(models, seconds[1:], strict=True)}
    said += [
        f"{file.name}: {pace:.2f} times the pace of {path.name} here; {_loss(models[file].card['variant'])}"
        for file, pace in paces.items()
    ]
    best = max(paces, key=lambda file: paces[file])
    if paces[best] < AHEAD:
        said.append(f"{path.name} answers: no variant is clearly faster here")
        return _chosen(proven, said)
    said.append(f"{best.name} answers: it is the fastest here")
    return _chosen(models[best], said)


def _chosen(model: Model, said: list[str]) -> Model:
    model.chosen = tuple(said)
    return model


def _variant(file: Path, proven: Model, threads: int) -> Model | str:
    """A variant of the model, or why it is none."""
    try:
        model = load(file, threads)
    except InputError as error:
        return error.what
    made = model.card.get("variant")
    if not isinstance(made, Mapping):
        return "it is no variant that lamina quantize has made"
    if made.get("of") != digest_of(proven.sealed.network):
        return "it was made of another model (lamina quantize makes it anew)"
    if (model.sealed.encoders, model.sealed.tasks) != (proven.sealed.encoders, proven.sealed.tasks):
        return "it reads or answers otherwise"
    return model


def _batch(model: Model) -> dict[str, Array] | None:
    """The golden examples, encoded and repeated to a batch."""
    rows = golden.rows_of(model)
    if not rows:
        return None
    arrays, _ = model.encode({name: object_array(row[name] for row in rows) for name in model.columns})
    places = np.arange(model.fitting(BATCH)) % len(rows)
    return {name: array[places] for name, array in arrays.items()}


def _timed(models: list[Model], encoded: Mapping[str, Array]) -> list[float]:
    """The median seconds of each for the batch, taken in turn: what disturbs one disturbs all."""
    times: list[list[float]] = [[] for _ in models]
    begin = time.perf_counter()
    for number in range(ROUNDS + 1):
        for model, own in zip(models, times, strict=True):
            start = time.perf_counter()
            model.outputs(encoded)
            if number:
                own.append(time.perf_counter() - start)
        if not number:
            begin = time.perf_counter()
        elif time.perf_counter() - begin > MOST_SECONDS:
            break
    return [statistics.median(own) for own in times]


def _loss(made: Mapping[str, Json]) -> str:
    """ "Status: accuracy 0.83 before, 0.828 after on the test rows"."""
    told = [
        f"{target}: {title(str(item['score']))} {item['before']:.4g} before, {item['after']:.4g} after on the test rows"
        for target, item in made.get("scores", {}).items()
        if isinstance(item.get("before"), int | float) and isinstance(item.get("after"), int | float)
    ]
    return "; ".join([*told, f"a loss of {made.get('allowed', 0):g} was allowed on the validation rows"])
