"""Sealed models of a few kilobytes for tests: real encoders and tasks around networks of one layer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina import registry
from lamina.data.schema import Field, Values
from lamina.modalities import Encoder, _tracks
from lamina.modalities._covariate import Covariate
from lamina.modalities._grid import Clock, Grid
from lamina.modalities.time import DAY
from lamina.modalities.window import Encoder as Window
from lamina.model.export import export
from lamina.model.format import Sealed
from lamina.tasks import Task, forecast

Chunk = dict[str, Values]


def objects(values: list[Any]) -> Values:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


class Linear(nn.Module):
    """Every input flattened, joined, one linear layer for each target with `members` answers."""

    def __init__(self, inputs: Mapping[str, int], targets: Mapping[str, int], members: int = 2) -> None:
        super().__init__()
        self.members = members
        self.scale = {name: 255.0 if size > 100 else 1.0 for name, size in inputs.items()}
        self.norm = nn.BatchNorm1d(sum(inputs.values()))
        self.heads = nn.ModuleDict(
            {f"head_{number}": nn.Linear(sum(inputs.values()), members * width) for number, width in
             enumerate(targets.values())}
        )  # fmt: skip
        self.targets = dict(targets)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        flat = [inputs[name].flatten(1).float() if inputs[name].dim() > 1 else inputs[name][:, None].float()
                for name in self.scale]  # fmt: skip
        joined = self.norm(torch.cat([part / scale for part, scale in zip(flat, self.scale.values(), strict=True)], 1))
        return {
            name: self.heads[f"head_{number}"](joined).unflatten(1, (self.members, width))
            for number, (name, width) in enumerate(self.targets.items())
        }


def seal(
    chunk: Chunk,
    inputs: Mapping[str, str],
    targets: Mapping[str, str],
    seed: int = 0,
    build: Callable[[Mapping[str, Encoder]], nn.Module] | None = None,
) -> tuple[Sealed, nn.Module]:
    """Fit encoders (field to modality) and tasks (target to task) on `chunk`, and seal an untrained network.

    `build` makes the network from the encoders; by default it is `Linear`.
    """
    fields = {name: Field(name, modality) for name, modality in inputs.items()}
    encoders: dict[str, Encoder] = {
        name: registry.module("modalities", item.modality).Encoder.fit(lambda item=item: [item.values(chunk)], {})
        for name, item in fields.items()
    }
    kinds = {"classify": "category", "regress": "number", "tag": "set"}
    tasks: dict[str, Task] = {
        name: registry.module("tasks", task).Task.fit(
            Field(name, kinds[task], "target"), lambda name=name: [chunk[name]], {}
        )
        for name, task in targets.items()
    }
    torch.manual_seed(seed)
    if build is None:
        sizes = {name: int(np.prod(item.feature.shape, dtype=int)) for name, item in encoders.items()}
        network: nn.Module = Linear(sizes, {name: task.width for name, task in tasks.items()})
    else:
        network = build(encoders)
    exported = export(network, {name: item.feature for name, item in encoders.items()}, tasks)
    sealed = Sealed(
        network=exported.network,
        inputs=exported.inputs,
        outputs=exported.outputs,
        encoders={
            name: {"field": asdict(fields[name]), "modality": item.modality, "state": item.state()}
            for name, item in encoders.items()
        },
        tasks={name: {"task": task.task, "state": task.state()} for name, task in tasks.items()},
        card={"name": "small"},
    )
    return sealed, network


def table(rows: int = 40, seed: int = 1) -> Chunk:
    """A small table: a number, a category, a class that follows from them, a number that follows from them."""
    random = np.random.default_rng(seed)
    age = random.normal(40, 10, rows)
    color = random.choice(["red", "green", "blue"], rows)
    return {
        "age": objects([f"{value:.3f}" for value in age]),
        "color": objects(color.tolist()),
        "bought": objects(["yes" if a > 40 else "no" for a in age]),
        "price": objects([f"{3 * a + (c == 'red'):.3f}" for a, c in zip(age, color, strict=True)]),
    }


def table_model(seed: int = 0) -> tuple[Sealed, nn.Module]:
    """Two inputs, two targets."""
    return seal(table(), {"age": "number", "color": "category"}, {"bought": "classify", "price": "regress"}, seed)


def writing_model(reads: bool, *, even: bool = False, **task: Any) -> tuple[Sealed, nn.Module]:
    """An untrained network that writes, or one that translates, with the tokens of a few sentences.

    Args:
        even: every token is as likely as any other, always.
        task: what the task's state holds otherwise.
    """
    sealed, network = _writing_model(reads, even)
    state = {**sealed.tasks["answer"]["state"], **task}
    return replace(sealed, tasks={"answer": {**sealed.tasks["answer"], "state": state}}), network


@functools.cache
def _writing_model(reads: bool, even: bool) -> tuple[Sealed, nn.Module]:
    """Exporting takes seconds, so once for all tests that run in this process; none changes what it is given."""
    from lamina.modalities.text import Encoder as Text
    from lamina.model.export_writer import export_writer
    from lamina.networks.writers import decoder, encoder_decoder
    from lamina.tasks._tokenizer import trained

    json = trained(["the cat sat on the mat and the dog ran to the cat " * 5], 300)
    torch.manual_seed(0)
    size = {"width": 16, "depth": 2, "heads": 2, "dropout": 0.0}
    name, vocabulary = ("translate" if reads else "write"), len(Text("exact", 8, json).feature.details["spellings"])
    if reads:
        state = {"name": "answer", "tokenizer": json, "width": 12, "beams": 3, "penalty": 1.0}
        network: nn.Module = encoder_decoder.build(vocabulary, 12, 16, encoder_decoder.Options(**size, candidates=3))
        tokens = Text("exact", 16, json, unknown=2, cut="nothing")
    else:
        state = {"name": "answer", "tokenizer": json, "context": 12, "width": 6}
        network, tokens = (
            decoder.build(vocabulary, 12, 0, decoder.Options(**size)),
            Text("exact", 12, json, cut="start"),
        )
    if even:
        with torch.no_grad():
            for weight in network.parameters():
                weight.zero_()
    first, second = export_writer(network.eval(), "text" if reads else "")
    return Sealed(
        network=first,
        inputs={"prompt": "source" if reads else "tokens"},
        outputs={"answer": "memory" if reads else "logits"},
        encoders={
            "prompt": {"field": asdict(Field("prompt", "text")), "modality": "text", "state": tokens.state()},
        },
        tasks={"answer": {"task": name, "state": state}},
        decoder=second,
    ), network


class LastValue(nn.Module):
    """Forecasts the last value, and adds whatever the window tells of covariates at the steps to come.

    Quantiles lie 0, 1 and 2 beside the middle.
    """

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.length, self.horizon = window.length, window.horizon
        self.register_buffer("beside", torch.arange(5.0) - 2)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        past, ahead = inputs["window"][:, : self.length], inputs["window"][:, self.length :]
        last = past[:, -1, _tracks.TARGET] * past[:, -1, _tracks.SPREAD] + past[:, -1, _tracks.CENTER]
        middle = last[:, None] + ahead[:, :, _tracks.PLAIN] + ahead[:, :, _tracks.PLAIN + 2]
        return {"sold": (middle[:, :, None] + self.beside).flatten(1)[:, None]}


def forecasting_model(length: int = 4, horizon: int = 2) -> Sealed:
    """`LastValue` of "sold" by "day" for each "shop", with "promo" known in advance and "rain" not."""
    covariates = (Covariate("promo", True), Covariate("rain", False))
    window = Window(
        "day", "sold", "shop", covariates, Clock(), Grid("microseconds", DAY, 0), (), length, horizon, "last", 3
    )
    task = forecast.Task("sold", horizon)
    exported = export(LastValue(window), {"window": window.feature}, {"sold": task})
    field = asdict(Field("window", "window"))
    return Sealed(
        network=exported.network,
        inputs=exported.inputs,
        outputs=exported.outputs,
        encoders={"window": {"field": field, "modality": "window", "state": window.state()}},
        tasks={"sold": {"task": "forecast", "state": task.state()}},
        card={"name": "last value"},
    )
