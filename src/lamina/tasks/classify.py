"""Which of two or more classes? The answer is a label with its probability. A set of labels is `tag`'s."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError, LaminaError
from lamina.modalities import Chunks, Encoded, Recognition
from lamina.modalities._canonical import canonical, canonical_value, map_distinct
from lamina.tasks import Score
from lamina.tasks._calibrate import FEWEST, best_threshold, conformal_quantile, read_threshold, temperature
from lamina.tasks._options import check_names, choice
from lamina.tasks._scores import (
    SMALLEST_PROBABILITY,
    Scorer,
    average_precision,
    balanced_accuracy,
    class_counts,
    f1,
    log_softmax,
    macro_f1,
    matthews,
    mean_of,
    plain,
    ranked,
    roc_auc,
    together,
)

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

TWO = ("accuracy", "auc", "balanced_accuracy", "f1", "mcc", "average_precision", "log_loss", "brier")
MANY = ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "log_loss", "brier")
LOWER_IS_BETTER = ("log_loss", "brier")
COVERAGE = 0.9
ROUNDING = 1e-6
"""Where rows are alike, a class often lies on the edge of their conformal set: rounding may not put it outside."""
RARE = 0.35
"""With two classes and the rarer one below this share, AUC is the primary score: accuracy flatters there."""
DOMINANT = 0.7
"""With many classes and one above this share, macro F1 is the primary score."""


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """Categories, yes or no, and text or numbers that take very few values."""
    distinct = description.get("distinct")
    if field.modality == "category":
        return Recognition(0.9, "the target takes a limited set of values: which of them?")
    if field.modality == "text" and isinstance(distinct, int) and distinct <= 100:
        return Recognition(0.7, f"the target takes only {distinct} different texts")
    if field.modality == "number" and distinct == 2:
        return Recognition(0.95, "the target takes two values only: which of them?")
    return None


@dataclass(frozen=True)
class Task:
    """One answer out of `labels`; outputs are log-probabilities or logits, [row, class].

    Attributes:
        name: the target's column.
        labels: canonical text of each class, numbers in numeric order, others by text.
        counts: training rows of each class.
        primary: the score to report and to stop on. Fixed by the training part: accuracy; AUC for two
            classes of which the rarer has less than 35%; macro F1 for many of which one has over 70%.
        threshold: probability of the rarer of two classes from which on it is the answer.
        choose_threshold: `calibrated` sets the threshold for the best F1.
        scale: temperature that divides the logits (Guo et al. 2017).
        quantile: a class belongs to the conformal set if its probability reaches 1 - quantile (Sadinle et al. 2019).
    """

    task: ClassVar[str] = "classify"

    name: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    primary: str
    threshold: float = 0.5
    choose_threshold: bool = False
    scale: float = 1.0
    quantile: float = 1.0

    @property
    def width(self) -> int:
        return len(self.labels)

    @property
    def positive(self) -> int:
        """The class that "positive" means: the rarer one in training; of equals the last."""
        return int(len(self.counts) - 1 - np.argmin(self.counts[::-1]))

    @property
    def class_weights(self) -> tuple[float, ...]:
        """Weights that make every class count alike and the average training row 1."""
        rows = sum(self.counts)
        return tuple(rows / (len(self.counts) * count) for count in self.counts)

    @classmethod
    def fit(cls, field: Field, chunks: Chunks, options: Mapping[str, Json]) -> Self:
        """Learn the classes. Options: "primary" (a score's name), "threshold" (0 to 1, or "f1": two classes).

        Raises:
            InputError: no value, one class only, nearly as many classes as rows, or a wrong option.
        """
        if field.modality == "set":
            raise InputError(
                f"The target {field.name!r} holds sets of labels: a row may have several.",
                where=f"task.{field.name}.name",
                fix="Use the task tag, or say that every value is one class: "
                f"--set schema.{field.name}.modality=category",
            )
        check_names(options, ("primary", "threshold"), field.name)
        counts = _count(field, chunks)
        labels = in_order(counts)
        threshold, choose = read_threshold(options.get("threshold", 0.5), field.name)
        if len(labels) != 2 and "threshold" in options:
            raise InputError(
                f"Option 'threshold' needs two classes; target {field.name!r} has {len(labels)}.",
                where=f"task.{field.name}.options.threshold",
                fix="Leave it out.",
            )
        frequencies = tuple(counts[label] for label in labels)
        known = TWO if len(labels) == 2 else MANY
        primary = choice(options, "primary", known, _primary(frequencies), field.name)
        return cls(field.name, labels, frequencies, primary, threshold, choose)

    @cached_property
    def _codes(self) -> dict[str | None, int]:
        return {label: code for code, label in enumerate(self.labels)}

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """int64 [row], the class's number; -1 and an error where it is missing or no class of the training part."""
        codes, errors = self._codes, {}
        array = map_distinct(values, lambda value: codes.get(canonical_value(value), -1), np.int64)
        for row in np.flatnonzero(array < 0):
            text = canonical_value(values[row])
            errors[int(row)] = "the answer is missing" if text is None else f"{text!r} is no class of the training part"
        return Encoded(array, errors)

    def loss(self, output: Tensor, target: Tensor, options: Mapping[str, Json]) -> Tensor:
        """Cross entropy [row], mean over members, in float32 whatever the output's precision."""
        import torch

        log_probability = torch.log_softmax(output.float(), dim=-1)
        if options.get("soft"):
            wanted = target.float()
            loss = -(log_probability * wanted[:, None, :]).sum(-1).mean(1)
        else:
            index = target.long()[:, None, None].expand(-1, output.shape[1], 1)
            loss = -log_probability.gather(-1, index)[..., 0].mean(1)
        smoothing = float(options.get("label_smoothing", 0.0))
        if smoothing:
            loss = (1 - smoothing) * loss - smoothing * log_probability.mean(dim=(1, 2))
        if options.get("class_weights"):
            weights = torch.tensor(options["class_weights"], dtype=torch.float32, device=output.device)
            loss = loss * (target.float() @ weights if options.get("soft") else weights[target.long()])
        return loss

    def combine(self, output: Tensor) -> Tensor:
        """Log of the members' mean probability: [row, member, class] to [row, class]."""
        import math

        import torch

        log_probability = torch.log_softmax(output.float(), dim=-1)
        return torch.logsumexp(log_probability, dim=1) - math.log(output.shape[1])

    def calibrated(self, output: Array, target: Array) -> Self:
        """With temperature, threshold and conformal quantile from the validation part."""
        self._check(target)
        scale = temperature(output, target)
        fitted = replace(self, scale=scale)
        probability = fitted.probabilities(output)
        wrong = 1 - probability[np.arange(len(target)), target]
        # Too few rows know no quantile: every class is in the set.
        fitted = replace(fitted, quantile=conformal_quantile(wrong, COVERAGE) if len(wrong) >= FEWEST else 1.0)
        if self.choose_threshold:
            fitted = replace(fitted, threshold=best_threshold(probability[:, self.positive], target == self.positive))
        return fitted

    def uncalibrated(self) -> Self:
        """Without what `calibrated` learned: for another model's outputs."""
        return replace(self, scale=1.0, quantile=1.0, threshold=0.5 if self.choose_threshold else self.threshold)

    def probabilities(self, output: Array) -> Array:
        """Calibrated probabilities, float64 [row, class]."""
        return np.asarray(np.exp(log_softmax(np.asarray(output) / self.scale)))

    def answers(self, output: Array) -> Array:
        """int64 [row]: the class answered, the most probable unless a threshold was asked for."""
        if self.width == 2 and self.threshold != 0.5:
            chosen = self.probabilities(output)[:, self.positive] >= self.threshold
            return np.where(chosen, self.positive, 1 - self.positive)
        return np.asarray(np.argmax(output, axis=1))

    def right(self, output: Array, target: Array) -> Array:
        """bool [row]: is the class answered the true one?"""
        return np.asarray(self.answers(output) == target)

    def sets(self, output: Array) -> Values:
        """Conformal sets: object [row] of tuples of labels that hold the true one in 90% of cases.

        The answer is always in its set, so a good model's sets cover more than promised.
        """
        member = self.set_members(output)
        found = np.empty(len(member), dtype=object)
        for row, inside in enumerate(member):
            found[row] = tuple(self.labels[code] for code in np.flatnonzero(inside))
        return found

    def set_members(self, output: Array) -> Array:
        """bool [row, class]: which classes are in the row's conformal set."""
        # As `calibrated` computes it: a class on the edge is inside, whichever way 1 - (1 - p) rounds.
        member = 1 - self.probabilities(output) <= self.quantile + ROUNDING
        member[np.arange(len(member)), self.answers(output)] = True
        return np.asarray(member)

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": label, ".p": probability of the answer, ".p.CLASS": probability of each class}."""
        probability, answer = self.probabilities(output), self.answers(output)
        answers: dict[str, Values] = {
            "": np.array(self.labels, dtype=object)[answer],
            ".p": probability[np.arange(len(answer)), answer],
        }
        answers.update({f".p.{label}": probability[:, code] for code, label in enumerate(self.labels)})
        return answers

    def scorer(self, output: Array, target: Array, only: str = "") -> Scorer:
        """The scores, or `only` one, as a function of how often each row counts; the primary one comes first."""
        self._check(target)
        answer, losses, probability = self.answers(output), self.row_losses(output, target), self.probabilities(output)
        classes = self.width
        count = class_counts(answer, target, classes)
        scores = {
            "accuracy": mean_of(self.right(output, target)),
            "balanced_accuracy": balanced_accuracy(count),
            "macro_f1": macro_f1(count),
            "mcc": matthews(count),
            "log_loss": mean_of(losses),
        }
        if classes == 2:
            found, score = target == self.positive, probability[:, self.positive]
            # The difference of log-probabilities keeps an order that rounds away near 0 and 1.
            logit = np.asarray(output)[:, self.positive].astype(np.float64) - np.asarray(output)[:, 1 - self.positive]
            rank = ranked(logit, found)
            scores["auc"] = roc_auc(rank)
            scores["average_precision"] = average_precision(rank)
            scores["f1"] = f1(count, self.positive)
            scores["brier"] = mean_of((score - found) ** 2)
        else:
            wanted = np.eye(classes)[target]
            scores["brier"] = mean_of(((probability - wanted) ** 2).sum(axis=1))
        names = TWO if classes == 2 else MANY
        return together({name: scores[name] for name in names}, self.primary, only)

    def scores(self, output: Array, target: Array) -> dict[str, Score]:
        """Two classes: accuracy, AUC, balanced accuracy, F1, MCC, average precision, log loss, Brier (1950).

        More: accuracy, balanced accuracy, macro F1, MCC, log loss, Brier (summed over classes).
        F1 and average precision are the rarer class's.
        """
        values = plain(self.scorer(output, target), len(target))
        return {name: Score(value, name not in LOWER_IS_BETTER) for name, value in values.items()}

    def row_losses(self, output: Array, target: Array) -> Array:
        """Minus log-probability of the true class, [row]."""
        chosen = self.probabilities(output)[np.arange(len(target)), target]
        return np.asarray(-np.log(np.maximum(chosen, SMALLEST_PROBABILITY)))

    def state(self) -> dict[str, Json]:
        return {**asdict(self), "labels": list(self.labels), "counts": list(self.counts)}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        return cls(**{**state, "labels": tuple(state["labels"]), "counts": tuple(state["counts"])})

    def _check(self, target: Array) -> None:
        if len(target) and (target.min() < 0 or target.max() >= self.width):
            raise LaminaError(
                f"Rows without a known class of {self.name!r} were scored.",
                fix="Leave out the rows that encode() gave an error for.",
            )


def _count(field: Field, chunks: Chunks) -> Counter[str]:
    counts: Counter[str] = Counter()
    for values in chunks():
        counts.update(text for text in canonical(values) if text is not None)
    rows = sum(counts.values())
    if not rows:
        raise InputError(
            f"The target {field.name!r} has no value in the training part.", fix="Choose another target with --target."
        )
    if len(counts) == 1:
        raise InputError(
            f"The target {field.name!r} has one class only: {next(iter(counts))!r} in all {rows} training rows.",
            fix="Give data with at least two classes, or choose another target with --target.",
        )
    if len(counts) > max(2, rows / 2):
        raise InputError(
            f"The target {field.name!r} has {len(counts)} classes in {rows} training rows: too few rows of each.",
            fix="Choose another target, predict a number with --task regress, or give more rows of each class.",
        )
    return counts


def in_order(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Numeric order if every label is a number, else by text."""
    try:
        return tuple(sorted(counts, key=lambda label: (float(label), label)))
    except ValueError:
        return tuple(sorted(counts))


def _primary(counts: tuple[int, ...]) -> str:
    rows = sum(counts)
    if len(counts) == 2:
        return "auc" if min(counts) < RARE * rows else "accuracy"
    return "macro_f1" if max(counts) > DOMINANT * rows else "accuracy"
