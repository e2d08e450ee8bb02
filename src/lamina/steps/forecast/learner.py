"""From a plan and prepared series to a forecaster, its method and its batches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lamina import registry
from lamina.errors import InputError
from lamina.evaluate.forecasts import pinball
from lamina.learn import optimizers
from lamina.learn.batch import Batch, Loss
from lamina.learn.engine import Engine
from lamina.methods.next_item import groups
from lamina.methods.supervised import Supervised
from lamina.modalities import Feature
from lamina.modalities._tracks import CENTER, SPREAD
from lamina.networks.blocks.options import read_options
from lamina.networks.forecasters._forecaster import WINDOW, Forecaster, forecaster
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.forecast.prepare import Prepared, Windows, encoded_rows
from lamina.tasks.forecast import QUANTILES, levels_of

Array = np.ndarray[Any, Any]
FOLDER = "networks/forecasters"
FUTURE, WEIGHT = "future", "weight"
ANSWERED = 256
"""Windows that are answered at a time."""


@dataclass(frozen=True)
class Source:
    """Batches of windows, shuffled anew every epoch: a pure function of (seed, step).

    A batch's targets are "future", float32 [row, step], the truth from the window's center in units of its spread, NaN
    where it is not known, and "weight", float32 [row], a window's spread in units of its series.
    """

    pure: ClassVar[bool] = True

    prepared: Prepared
    windows: Windows
    batch_size: int
    seed: int = 0

    @property
    def rows(self) -> Array:
        """int64, the windows' numbers."""
        return np.arange(len(self.windows))

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return max(1, len(self.windows) // self.batch_size)

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """(step, batch) from `start`, for ever; the same from any start."""
        step = start
        while True:
            epoch, position = divmod(step, self.steps)
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.windows))
            for number in range(position, self.steps):
                yield step, self.batch(order[number * self.batch_size : (number + 1) * self.batch_size])
                step += 1

    def once(self) -> Iterator[Batch]:
        """Every window once, in order."""
        for start in range(0, len(self.windows), ANSWERED):
            yield self.batch(self.rows[start : start + ANSWERED])

    def batch(self, rows: Array) -> Batch:
        """The windows with these numbers as tensors."""
        chosen, panel = self.windows.at(rows), self.prepared.panel
        inputs = encoded_rows(self.prepared, chosen)
        center, spread = (inputs[WINDOW][:, 0, place].astype(np.float64) for place in (CENTER, SPREAD))
        truth = panel.tracks.values(chosen.series, chosen.origins, np.arange(panel.horizon))
        future = (truth - center[:, None]) / spread[:, None]
        arrays = {FUTURE: future, WEIGHT: spread / panel.units[chosen.series]}
        return Batch(
            torch.from_numpy(np.asarray(rows, np.int64)),
            {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()},
            {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()},
        )

    def state(self) -> dict[str, Any]:
        """Nothing: every batch follows from the seed and the step."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        return None


@dataclass
class Learner:
    """What learns, on what, and how well it does."""

    network: Forecaster
    method: Supervised
    engine: Engine
    source: Source
    validation: Source
    prepared: Prepared

    def steps_in(self, epochs: float) -> int:
        """How many steps so many passes over the windows are."""
        return max(1, round(epochs * self.source.steps))

    def validation_scores(self) -> dict[str, float]:
        """The pinball loss of the validation part, which counts, and the middle's error, in units of each series."""
        found = self.outputs(self.validation.windows)
        panel, windows = self.prepared.panel, self.validation.windows
        truth = panel.tracks.values(windows.series, windows.origins, np.arange(panel.horizon))
        levels = self.prepared.levels
        quantiles = found.reshape(len(found), panel.horizon, len(levels)).astype(np.float64)
        units = panel.units[windows.series][:, None]
        loss = float(np.nanmean(pinball(quantiles, truth, levels) / units))
        error = float(np.nanmean(np.abs(quantiles[:, :, len(levels) // 2] - truth) / units))
        return {"score": -loss, "pinball": loss, "mase": error}

    def outputs(self, windows: Windows) -> Array:
        """float32 [window, step * quantile] of the sealed module."""
        source, parts = Source(self.prepared, windows, ANSWERED), []
        with self.method.evaluating() as network:

            def answer(part: Batch) -> Array:
                found = network(part.to(self.engine.device).inputs)[self.network.target][:, 0]
                return np.asarray(found.float().cpu().numpy())

            for batch in source.once():
                parts += [answered for _, answered in self.engine.answers(answer, batch)]
        return np.concatenate(parts)


def quantile_loss(target: str, levels: Sequence[float] = QUANTILES) -> Any:
    """The mean pinball loss of quantiles and known steps (Koenker & Bassett 1978), windows weighted by their spread."""
    shares = torch.tensor(levels)

    def loss(outputs: Mapping[str, Tensor], batch: Batch) -> Loss:
        truth = batch.targets[FUTURE]
        known = ~torch.isnan(truth)
        above = torch.nan_to_num(truth).unsqueeze(2) - outputs[target].float()
        each = torch.maximum(shares.to(above.device) * above, (shares.to(above.device) - 1) * above).mean(dim=2)
        rows = (each * known).sum(dim=1) / known.sum(dim=1).clamp_min(1)
        weight = known.any(dim=1).float()
        return Loss((rows * batch.targets[WEIGHT] * weight).sum(), weight.sum())

    return loss


def build(plan: Plan, prepared: Prepared, device: torch.device) -> Learner:
    """Network, method, engine and batches as the plan says; random only through the plan's seed.

    Raises:
        InputError: a name, option or value that does not exist, or another method.
    """
    if plan.method.name != "supervised" or plan.method.options:
        raise InputError(
            f"The method {plan.method.name!r} with options {dict(plan.method.options)} does not serve the task "
            "'forecast'.", where="method", fix="Leave it out: forecasts are learned by the method 'supervised'.",
        )  # fmt: skip
    torch.manual_seed(plan.seed)
    network = untrained(plan, {name: encoder.feature for name, encoder in prepared.encoders.items()}).to(device)
    training = plan.training
    method = Supervised(
        network, quantile_loss(network.target, prepared.levels),
        optimizers.build(groups(network, plan.optimizer.weight_decay), plan.optimizer), ema=training.ema,
    )  # fmt: skip
    # Learned in units of the window, where numbers are neither large nor small.
    method.forward = network.normalised
    engine = Engine(device, training.precision, training.accumulation, training.clip)
    source = Source(prepared, prepared.training, min(training.batch_size, len(prepared.training)), plan.seed)
    return Learner(network, method, engine, source, Source(prepared, prepared.validation, ANSWERED), prepared)


def untrained(plan: Plan, features: Mapping[str, Feature]) -> Forecaster:
    """The plan's network, with fresh weights from PyTorch's generator."""
    part, (target, task) = plan.network[WINDOW], next(iter(plan.task.items()))
    module = registry.module(FOLDER, part.name)
    options = read_options(module.Options, part.options, f"network.{WINDOW}")
    horizon = int(task.options["horizon"])
    rule = rule_of(str(task.options["rule"]), features[WINDOW].shape[0] - horizon, horizon, int(task.options["season"]))
    return forecaster(target, features, rule, module, options, len(levels_of(task.options)))


def rule_of(name: str, length: int, horizon: int, season: int) -> Tensor:
    """float32 [horizon, length]: a simple rule as weights of the history.

    Args:
        name: "last", the last value; "season", that of the last season; "level", the same, moved by what the level
            changed since; "mean", the mean.
    """
    found = torch.zeros(horizon, length)
    steps = torch.arange(horizon)
    if name == "mean":
        return found + 1 / length
    if name == "last":
        found[:, -1] = 1
        return found
    found[steps, length - season + steps % season] = 1
    if name == "level":
        found[:, -1] += 1
        found[:, length - 1 - season] -= 1
    return found


def trained(run: Run, plan: Plan, weights: Mapping[str, Tensor]) -> Forecaster:
    """A run's network with its final weights, in evaluation mode; needs no data."""
    states = json.loads(run.prepared.read_text(encoding="utf-8"))["encoders"]
    modalities = {field.name: field.modality for field in plan.schema} | {WINDOW: "window"}
    features = {}
    for name, state in states.items():
        encoder = registry.module("modalities", modalities[name]).Encoder.restore(state)
        features[name] = encoder.feature
    network = untrained(plan, features)
    network.load_state_dict(dict(weights))
    return network.eval()
