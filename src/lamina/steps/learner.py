"""From a plan and prepared examples to a method and its batches: the same for training, resuming and measuring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina import launched, registry
from lamina.ahead import whole_torch
from lamina.choose import hardware
from lamina.choose import training as choose_training
from lamina.data.examples import BLOCK, at, blocks, known_targets, room
from lamina.errors import InputError
from lamina.learn import augment, optimizers
from lamina.learn.batch import Batch, Loss
from lamina.learn.engine import Engine
from lamina.learn.loader import Loader
from lamina.learn.privacy import without_statistics
from lamina.methods.supervised import Supervised
from lamina.modalities import Feature, token_lengths
from lamina.networks.assembly import Assembly, build_assembly
from lamina.networks.transfer.freezing import adapters, apply_freezing, parameter_groups, thawing
from lamina.networks.transfer.weights import load_weights
from lamina.plan import Plan
from lamina.steps.prepare import Prepared
from lamina.tasks import LaidOut, Layout, Task, layout_of

Array = np.ndarray[Any, Any]


@dataclass
class Learner:
    """What learns, on what, and how it is scored."""

    network: Assembly
    method: Supervised
    engine: Engine
    source: Loader
    validation: Loader
    tasks: Mapping[str, Task]
    notes: tuple[str, ...] = ()
    """What was taken from given weights."""

    def steps_in(self, epochs: float) -> int:
        """How many steps so many passes over the data are."""
        return max(1, round(epochs * self.source.steps))

    def validation_scores(self) -> dict[str, float]:
        """The primary score first (higher is better), then every target's scores."""
        with self.method.evaluating():
            found = answers(self.network, self.validation, self.tasks, self.engine)
        return scores(self.tasks, found, self.validation)


def build(plan: Plan, prepared: Prepared, device: torch.device, base: Path) -> Learner:
    """Assemble networks, method, engine and batches as the plan says; random only through the plan's seed."""
    torch.manual_seed(plan.seed)
    features = {name: encoder.feature for name, encoder in prepared.encoders.items()}
    layouts = {name: layout_of(task) for name, task in prepared.tasks.items()}
    network = assembled(plan, features, layouts, base)
    notes = load_weights(network, plan.network, base, prepared.encoders)
    network = network.to(device)
    for name, part in plan.network.items():
        apply_freezing(network, name, part.frozen, **adapters(name, part))
    groups = parameter_groups(
        network,
        rates={name: part.rate for name, part in plan.network.items()},
        layer_decay=plan.optimizer.layer_decay,
        weight_decay=plan.optimizer.weight_decay,
    )
    training = plan.training
    method = Supervised(
        network,
        task_loss(prepared, plan),
        optimizers.build(groups, plan.optimizer),
        prepare=preparation(plan, features, layouts),
        ema=training.ema,
        thaw=thawing(network, [name for name, part in plan.network.items() if part.frozen == "gradual"]),
    )
    if training.compile:
        whole_torch()
        method.forward = torch.compile(network)
    engine = Engine(device, training.precision, training.accumulation, training.clip)
    return Learner(
        network,
        method,
        engine,
        replace(
            rows_loader(plan, prepared, learned(prepared), training.batch_size, training.balance == "sampling"),
            place=launched.place(),
        ),
        loader(plan, prepared, prepared.split.validation),
        prepared.tasks,
        notes,
    )


def assembled(plan: Plan, features: Mapping[str, Feature], layouts: Mapping[str, int | Layout], base: Path) -> Assembly:
    """The networks and heads of a plan, with first weights by chance."""
    network = build_assembly(plan.network, features, layouts, base=base)
    if plan.privacy.epsilon:
        without_statistics(network)
    return network


def learned(prepared: Prepared) -> Array:
    """The training rows without those of weight 0.

    In a batch these would be learned from all the same: in blends with others, and in statistics of the batch.
    """
    rows = prepared.split.train
    return rows if prepared.weight is None else rows[prepared.weight[rows] > 0]


def rows_loader(plan: Plan, prepared: Prepared, rows: Array, batch_size: int, sampled: bool = False) -> Loader:
    """Batches of `rows`; with `sampled` every class of the first target is drawn equally often."""
    padded = {
        name: int(encoder.feature.details.get("padding", 0))
        for name, encoder in prepared.encoders.items()
        if encoder.feature.kind == "tokens"
    }
    lengths = None
    sound = _heard(plan, prepared)
    if sound and _stepwise(prepared):
        lengths, padded = _frames(prepared, sound, rows), {sound: 0}
    elif padded:
        lengths = np.max(
            [token_lengths(prepared.examples.arrays[name], padding) for name, padding in padded.items()], axis=0
        )
    elif sound:
        # Not cut: what changes a sound's pace may make it longer, and the network leaves the padding out by itself.
        lengths = _frames(prepared, sound, rows)
    return Loader(
        prepared.examples,
        rows,
        list(prepared.encoders),
        list(prepared.tasks),
        min(batch_size, max(len(rows), 1)),
        plan.seed,
        lengths=lengths,
        sampling=_even_chances(prepared, rows) if sampled else None,
        weight=prepared.weight,
        padded=frozenset(padded),
        shuffle=plan.training.shuffle,
    )


def shuffled(plan: Plan, prepared: Prepared) -> Plan:
    """The plan with the rows shuffled in blocks where memory does not hold them, and the reason."""
    needed = prepared.examples.mapped([*prepared.encoders, *prepared.tasks], len(prepared.split.train))
    how, reason = choose_training.shuffle(needed, hardware.free_memory())
    if how == "rows":
        return plan
    reasons = {**plan.reasons, "training.shuffle": reason}
    return replace(plan, training=replace(plan.training, shuffle=how), reasons=reasons)


def _heard(plan: Plan, prepared: Prepared) -> str:
    """The only sound, if batches of sounds of like lengths cost less: its answer goes along it, or the network trims.

    Longer ones than the rest of a batch would make each of its rows cost as much as they do.
    """
    sounds = [name for name, encoder in prepared.encoders.items() if encoder.feature.kind == "spectrogram"]
    if len(sounds) != 1 or not prepared.tasks:
        return ""
    networks = [part.name for part in plan.network.values() if sounds[0] in part.fields]
    trims = all("spectrogram" in getattr(registry.module("networks", name), "TRIMS", ()) for name in networks)
    return sounds[0] if _stepwise(prepared) or trims else ""


def _stepwise(prepared: Prepared) -> bool:
    """Does an answer go along its input?"""
    return any(layout_of(task).kind == "steps" for task in prepared.tasks.values())


def _frames(prepared: Prepared, sound: str, rows: Array) -> Array:
    """int32 [row of the table]: how many frames of each of `rows` are no padding."""
    array = prepared.examples.arrays[sound]
    lengths = np.zeros(len(array), np.int32)
    for part in blocks(array, len(rows)):
        lengths[rows[part]] = token_lengths((np.asarray(array[rows[part]]) != 0).any(axis=2), 0)
    return lengths


def loader(plan: Plan, prepared: Prepared, rows: Array) -> Loader:
    """All `rows` in order, for evaluation: as many together as their answers, if they are large, leave room for."""
    laid_out = sum(task.width for task in prepared.tasks.values() if isinstance(task, LaidOut))
    together = max(plan.training.batch_size, 256)
    return rows_loader(plan, prepared, rows, max(1, min(together, BLOCK // (4 * laid_out))) if laid_out else together)


def _even_chances(prepared: Prepared, rows: Array) -> Array | None:
    """Chances that draw every class of the first target equally often."""
    labels = prepared.examples.arrays[next(iter(prepared.tasks))][rows]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        return None
    # Rows that lack it, beside other targets, are drawn like a class.
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    chances = 1.0 / counts[classes]
    return np.asarray(chances / chances.sum())


def task_loss(prepared: Prepared, plan: Plan) -> Callable[[Mapping[str, Tensor], Batch], Loss]:
    """The sum over targets of each task's mean loss; a missing target of a row does not count."""
    options: dict[str, dict[str, Any]] = {}
    for name in prepared.tasks:
        options[name] = {"label_smoothing": plan.training.label_smoothing}
        if plan.training.balance == "weights":
            options[name]["class_weights"] = _class_weights(prepared, name)
    tasks = prepared.tasks

    def loss(outputs: Mapping[str, Tensor], batch: Batch) -> Loss:
        weight = _weight(batch)
        total = torch.zeros((), device=weight.device)
        metrics = {}
        for name, task in tasks.items():
            output = outputs[name].float()
            target, known = told(batch.targets[name])
            rows = task.loss(output, target, options[name])
            if batch.other is not None and batch.share is not None:
                other, both = told(batch.other[name])
                rows = batch.share * rows + (1 - batch.share) * task.loss(output, other, options[name])
                known = known & both
            known_weight = weight * known
            # Each target is normalised by its own known rows, then brought to the batch's weight: the whole batch's,
            # or cutting it would change how much its rows count.
            all_weight, all_known = weight, known_weight
            if batch.whole is not None:
                all_weight, all_known = _weight(batch.whole), _weight(batch.whole) * _known(batch.whole, name)
            part = (torch.where(known, rows, 0.0) * known_weight).sum()
            part = part * (all_weight.sum() / all_known.sum().clamp_min(1e-9))
            total = total + part
            if len(tasks) > 1:
                metrics[f"loss.{name}"] = part.detach() / weight.sum().clamp_min(1e-9)
        return Loss(total, weight.sum(), metrics)

    return loss


def _weight(batch: Batch) -> Tensor:
    """float32 [row]."""
    return batch.weight if batch.weight is not None else torch.ones(len(batch), device=batch.rows.device)


def _known(batch: Batch, name: str) -> Tensor:
    """bool [row]: whether the row's target is known, and the one that it is blended with."""
    known = told(batch.targets[name])[1]
    return known if batch.other is None else known & told(batch.other[name])[1]


def told(target: Tensor) -> tuple[Tensor, Tensor]:
    """(The target with 0 where a row has none, bool [row]: whether the row's target is known, or any part of it).

    A loss of nothing would be no number, and so its gradient, whatever it is multiplied by.
    """
    found = ~torch.isnan(target) if target.is_floating_point() else target >= 0
    known = found if found.ndim == 1 else found.flatten(1).any(dim=1)
    return torch.where(known.view(-1, *[1] * (target.ndim - 1)), target, 0), known


def _class_weights(prepared: Prepared, name: str) -> list[float] | None:
    """Weights that make every class count alike: of rows, or of the pixels of maps of labels."""
    labels, layout = prepared.examples.arrays[name], layout_of(prepared.tasks[name])
    maps = layout.kind == "map" and labels.ndim == 3 and labels.dtype == np.uint8
    if not (labels.ndim == 1 or maps) or not np.issubdtype(labels.dtype, np.integer):
        return None
    classes = layout.shape[0]
    counts = np.zeros(classes, np.int64)
    rows = learned(prepared)
    for part in blocks(labels, len(rows)):
        found = np.asarray(labels[rows[part]]).astype(np.int64)
        counts += np.bincount(found[(found >= 0) & (found < classes)], minlength=classes)
    counts = counts.clip(1)
    weights = counts.sum() / (len(counts) * counts)
    return [float(value) for value in weights]


def preparation(
    plan: Plan, features: Mapping[str, Feature], layouts: Mapping[str, Layout]
) -> Callable[[Batch], Batch] | None:
    """Augmentation and blending of training batches, or None where there is none.

    Raises:
        InputError: blending is asked for, and a target's answer is no vector.
    """
    training = plan.training
    for name, layout in layouts.items():
        if layout.kind != "vector" and (training.mixup or training.cutmix):
            raise InputError(
                f"Blending mixes the answers of whole rows; the answer {name!r} has parts that lie in {layout.kind}.",
                where="training",
                fix="Set training.mixup=0 and training.cutmix=0.",
            )
    if not training.augment and not training.mixup and not training.cutmix:
        return None

    def prepare(batch: Batch) -> Batch:
        inputs, targets = dict(batch.inputs), dict(batch.targets)
        if training.augment:
            inputs, targets = augment.augment_with_targets(inputs, targets, layouts, training.augment, features)
        changed = Batch(batch.rows, inputs, targets, batch.weight)
        if training.mixup or training.cutmix:
            return augment.blend(changed, features, mixup=training.mixup, cutmix=training.cutmix)
        return changed

    return prepare


def answers(network: Assembly, source: Loader, tasks: Mapping[str, Task], engine: Engine) -> dict[str, Array]:
    """The network's combined outputs for every row of `source`, [row, width] float32 by target, on disk where large."""
    found = {name: room((len(source.rows), task.width)) for name, task in tasks.items()}
    network.eval()

    def answer(part: Batch) -> dict[str, Array]:
        outputs = network(part.to(engine.device).inputs)
        return {name: task.combine(outputs[name].float()).cpu().numpy() for name, task in tasks.items()}

    with torch.inference_mode():
        for places, batch in source.by_length():
            done = 0
            for part, answered in engine.answers(answer, batch):
                for name, values in answered.items():
                    found[name][places[done : done + len(part)]] = values
                done += len(part)
    return found


def scores(tasks: Mapping[str, Task], outputs: Mapping[str, Array], source: Loader) -> dict[str, float]:
    """The score to stop on first (mean over targets, higher is better), then all scores as they are."""
    primary: list[float] = []
    all_scores: dict[str, float] = {}
    for name, task in tasks.items():
        target = source.examples.arrays[name][source.rows]
        known = known_targets(target)
        found = task.scores(at(outputs[name], known), at(target, known))
        first = next(iter(found.values()))
        primary.append(first.value if first.higher_is_better else -first.value)
        prefix = f"{name}." if len(tasks) > 1 else ""
        all_scores.update({f"{prefix}{score}": value.value for score, value in found.items()})
    return {"score": float(np.mean(primary)), **all_scores}
