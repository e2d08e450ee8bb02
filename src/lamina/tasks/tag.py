"""Which labels, any number of them? Every label is a yes or no of its own (binary relevance)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Recognition
from lamina.modalities._canonical import map_distinct, object_array
from lamina.modalities.set import Encoder, labels_of
from lamina.tasks import Score
from lamina.tasks._calibrate import best_threshold, read_threshold, scale_by
from lamina.tasks._options import check_names, choice
from lamina.tasks._scores import Scorer, label_f1, mean_average_precision, mean_of, plain, sigmoid, together

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

SCORES = ("micro_f1", "macro_f1", "exact_match", "mean_ap", "log_loss")
LOWER_IS_BETTER = ("log_loss",)


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """Sets of labels."""
    if field.modality == "set":
        return Recognition(0.9, "the target is a set of labels: which of them?")
    return None


@dataclass(frozen=True)
class Task:
    """Any of `labels`; outputs are logits, [row, label].

    Attributes:
        name: the target's column.
        labels: canonical text of each label, the most frequent first.
        counts: training rows that have it.
        rows: training rows with a set, the empty one too.
        delimiter: what divides the labels in a text; "" if the data has lists, and then the answers are lists.
        primary: the score to report and to stop on.
        threshold: probability from which on a label is given.
        choose_threshold: `calibrated` sets the threshold for the best micro F1.
        scale: temperature that divides the logits (Guo et al. 2017), one for all labels.
    """

    task: ClassVar[str] = "tag"

    name: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    rows: int
    delimiter: str
    primary: str = "micro_f1"
    threshold: float = 0.5
    choose_threshold: bool = False
    scale: float = 1.0

    @property
    def width(self) -> int:
        return len(self.labels)

    @classmethod
    def fit(cls, field: Field, chunks: Chunks, options: Mapping[str, Json]) -> Self:
        """Learn the labels. Options: "primary" (a score's name), "threshold" (0 to 1, or "f1"), and the
        set's "delimiter", "max_labels", "min_count".

        Raises:
            InputError: no label, a label that every row or no row has as the only one, or a wrong option.
        """
        of_set = ("delimiter", "max_labels", "min_count")
        check_names(options, ("primary", "threshold", *of_set), field.name)
        threshold, choose = read_threshold(options.get("threshold", 0.5), field.name)
        primary = choice(options, "primary", SCORES, SCORES[0], field.name)
        try:
            encoder = Encoder.fit(chunks, {**field.options, **{key: options[key] for key in of_set if key in options}})
        except InputError as error:
            raise InputError(
                f"The target {field.name!r} cannot be learned: {error.what}", where=error.where, fix=error.fix
            ) from error
        rows = sum(len(values) for values in chunks()) - encoder.missing
        if all(count == rows for count in encoder.counts):
            raise InputError(
                f"Every training row has the same labels in {field.name!r}: {', '.join(encoder.labels)}.",
                fix="Give data in which the labels vary, or choose another target with --target.",
            )
        return cls(field.name, encoder.labels, encoder.counts, rows, encoder.delimiter, primary, threshold, choose)

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder(self.labels, self.counts, self.delimiter, 0)

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """float32 [row, label], 1 where the row has it; an error where the set is missing or a label is unknown."""
        known = frozenset(self.labels)

        def problem(value: Any) -> str | None:
            found = labels_of(value, self.delimiter)
            if found is None:
                return "the answer is missing"
            strange = [label for label in found if label not in known]
            return f"{strange[0]!r} is no label of the training part" if strange else None

        problems = map_distinct(values, problem)
        errors = {row: text for row, text in enumerate(problems) if text is not None}
        return Encoded(self._encoder.encode(values, root).array, errors)

    def loss(self, output: Tensor, target: Tensor, options: Mapping[str, Json]) -> Tensor:
        """Binary cross entropy [row], mean over labels and members, in float32.

        "class_weights" is the weight of each label's presence; blended targets ("soft") need nothing special.
        """
        import torch

        smoothing = float(options.get("label_smoothing", 0.0))
        wanted = target.float() * (1 - smoothing) + smoothing / 2
        weights = options.get("class_weights")
        positive = torch.tensor(weights, dtype=torch.float32, device=output.device) if weights else None
        logits = output.float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, wanted[:, None, :].expand_as(logits), pos_weight=positive, reduction="none"
        )
        return loss.mean(dim=(1, 2))

    def combine(self, output: Tensor) -> Tensor:
        """Logit of the members' mean probability: [row, member, label] to [row, label]."""
        import torch

        logits = output.float()
        # The members' number cancels in the difference.
        yes = torch.logsumexp(torch.nn.functional.logsigmoid(logits), dim=1)
        return yes - torch.logsumexp(torch.nn.functional.logsigmoid(-logits), dim=1)

    def calibrated(self, output: Array, target: Array) -> Self:
        """With temperature and threshold from the validation part."""
        logits, sign = np.asarray(output, dtype=np.float64), 2.0 * np.asarray(target, dtype=np.float64) - 1

        def cost(log_scale: float) -> float:
            return float(np.logaddexp(0, -sign * logits / np.exp(log_scale)).sum()) + log_scale**2

        fitted = replace(self, scale=scale_by(cost, len(target)))
        if self.choose_threshold:
            best = best_threshold(fitted.probabilities(output).ravel(), (np.asarray(target) > 0.5).ravel())
            fitted = replace(fitted, threshold=best)
        return fitted

    def uncalibrated(self) -> Self:
        """Without what `calibrated` learned: for another model's outputs."""
        return replace(self, scale=1.0, threshold=0.5 if self.choose_threshold else self.threshold)

    def probabilities(self, output: Array) -> Array:
        """Calibrated probability of each label, float64 [row, label]."""
        return sigmoid(np.asarray(output) / self.scale)

    def answers(self, output: Array) -> Array:
        """bool [row, label]: the labels given."""
        return np.asarray(self.probabilities(output) >= self.threshold)

    def right(self, output: Array, target: Array) -> Array:
        """bool [row]: is exactly the true set of labels answered?"""
        return np.asarray((self.answers(output) == (np.asarray(target) > 0.5)).all(axis=1))

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": labels, in the form of the training data, ".p": probability of exactly these, were labels
        independent, ".p.LABEL": probability of each}."""
        probability, given = self.probabilities(output), self.answers(output)
        sets = [sorted(self.labels[place] for place in np.flatnonzero(row)) for row in given]
        answers: dict[str, Values] = {
            "": object_array(self.delimiter.join(labels) for labels in sets) if self.delimiter else object_array(sets),
            ".p": np.prod(np.where(given, probability, 1 - probability), axis=1),
        }
        answers.update({f".p.{label}": probability[:, place] for place, label in enumerate(self.labels)})
        return answers

    def scorer(self, output: Array, target: Array, only: str = "") -> Scorer:
        """The scores, or `only` one, as a function of how often each row counts; the primary one comes first."""
        given, wanted = self.answers(output), np.asarray(target) > 0.5
        scores = {
            "micro_f1": label_f1(given, wanted, "micro"),
            "macro_f1": label_f1(given, wanted, "macro"),
            "exact_match": mean_of(self.right(output, target)),
            "mean_ap": mean_average_precision(np.asarray(output), wanted),
            "log_loss": mean_of(self.row_losses(output, target)),
        }
        return together(scores, self.primary, only)

    def scores(self, output: Array, target: Array) -> dict[str, Score]:
        """Micro and macro F1, exact match, mean average precision, log loss (mean over labels)."""
        values = plain(self.scorer(output, target), len(target))
        return {name: Score(value, name not in LOWER_IS_BETTER) for name, value in values.items()}

    def row_losses(self, output: Array, target: Array) -> Array:
        """Binary cross entropy, mean over labels, [row]."""
        sign = 2.0 * np.asarray(target, dtype=np.float64) - 1
        return np.asarray(np.logaddexp(0, -sign * np.asarray(output, dtype=np.float64) / self.scale).mean(axis=1))

    def state(self) -> dict[str, Json]:
        return {**asdict(self), "labels": list(self.labels), "counts": list(self.counts)}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        return cls(**{**state, "labels": tuple(state["labels"]), "counts": tuple(state["counts"])})
