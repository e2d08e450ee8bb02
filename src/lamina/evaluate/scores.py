"""How a score is called and said in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina.evaluate.intervals import percentile, tango, wilson
from lamina.evaluate.results import Interval
from lamina.tasks import Score

Array = np.ndarray[Any, Any]

TITLES: Mapping[str, str] = {
    "accuracy": "accuracy",
    "auc": "AUC",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "f1": "F1",
    "mcc": "Matthews correlation",
    "average_precision": "average precision",
    "mean_ap": "mean average precision",
    "exact_match": "exact match",
    "log_loss": "log loss",
    "brier": "Brier score",
    "word_error": "word error rate",
    "character_error": "character error rate",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "median_ae": "median absolute error",
    "r2": "R²",
    "mape": "mean absolute percentage error",
    "dice": "Dice",
    "iou": "IoU",
    "mean_iou": "mean IoU",
    "mean_dice": "mean Dice",
    "pixel_accuracy": "share of pixels answered rightly",
    "instance_f1": "F1 of instances",
    "count_error": "mean error of the number of instances",
    "knn_accuracy": "accuracy by nearest neighbors",
    "probe_accuracy": "accuracy by a linear probe",
    "frechet": "Fréchet distance",
    "frechet_of_real": "Fréchet distance of training pictures",
    "taken": "share taken for the wanted class",
    "cycle_psnr": "PSNR after the way back",
    "accuracy_from_made": "accuracy learned from made pictures",
    "accuracy_from_real": "accuracy learned from real pictures",
    "ap": "AP",
    "ap50": "AP at an overlap of 0.5",
    "ap75": "AP at an overlap of 0.75",
    "ap_small": "AP of small things",
    "ap_medium": "AP of medium things",
    "ap_large": "AP of large things",
    "recall": "recall (mean over overlaps)",
    "boxes_found": "share of the things that is found, whatever it is called",
    "boxes_named": "share of the found things with the right name",
    "neighbors_kept": "share of the 10 nearest rows that stay",
    "rank_agreement": "rank correlation of the scores",
    "same_clusters": "share of rows in the same cluster",
    "ari": "adjusted Rand index",
    "nmi": "normalised mutual information",
    "bits_per_byte": "bits per byte",
    "bleu": "BLEU",
    "chrf": "chrF",
    "cider": "CIDEr-D",
    "memorised": "strings learned by heart",
    "mase": "mean absolute scaled error",
    "pinball": "scaled pinball loss",
    "selection_rate": "selection rate",
    "true_positive_rate": "true positive rate",
    "false_positive_rate": "false positive rate",
    "positive_predictive_value": "precision",
    "calibration_error": "mean probability minus true share",
    "mean_error": "mean absolute error",
    "signed_error": "mean signed error",
}
COUNTED = frozenset(("accuracy", "exact_match"))
"""Shares of rows that are right or wrong (`tasks.Counted`), with Wilson's interval; differences, with Tango's."""
RATES = frozenset(("knn_accuracy", "probe_accuracy", "found", "stretches_found", "false_alarms", "alarms", "taken")) | {
    "neighbors_kept",
    "same_clusters",
}
"""Shares of rows that methods without answers are judged by."""
ERRORS = frozenset(("word_error", "character_error"))
"""Shares of words or characters to be changed; they may be above 1."""
BY_GROUP = frozenset(
    ("selection_rate", "true_positive_rate", "false_positive_rate", "positive_predictive_value", "calibration_error")
)
"""Shares by which groups of people are compared."""
BOXES = frozenset(("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "recall", "boxes_found", "boxes_named"))
"""Average precision, recall and shares of boxes."""
OF_CLASS = {"ap.": "AP", "iou.": "IoU"}
"""The average precision, or the IoU, of one class: what follows is its name."""
OF_INTERVAL = "coverage."
"""The share of the truth that a narrower interval holds: what follows is the share in percent that it is to hold."""
AT = frozenset(f"{name}@{top}" for name in ("recall", "ndcg") for top in range(1, 101))
"""Scores of lists of recommendations."""
POINTS = (
    COUNTED
    | RATES
    | ERRORS
    | AT
    | BOXES
    | BY_GROUP
    | frozenset(("auc", "balanced_accuracy", "macro_f1", "micro_f1", "f1", "average_precision", "mean_ap", "mape"))
    | frozenset(("dice", "iou", "mean_iou", "mean_dice", "pixel_accuracy", "instance_f1"))
)
"""Shares, whose differences are said in percentage points."""


def title(score: str) -> str:
    """The score's name for a reader; an unknown one as it is, with spaces."""
    for start, name in OF_CLASS.items():
        if score.startswith(start):
            return f"{name} of {score.removeprefix(start)}"
    if score.startswith(OF_INTERVAL):
        return f"coverage of the {score.removeprefix(OF_INTERVAL)}% interval"
    return TITLES.get(score, score.replace("_", " "))


def interval(name: str, score: Score, drawn: Array, rows: int) -> Interval:
    """A score with its interval: of a share of right rows Wilson's, else that of its bootstrap replicates."""
    low, high = wilson(score.value, rows) if name in COUNTED else percentile(score.value, drawn)
    return Interval(score.value, low, high, score.higher_is_better, score.unit)


def better_by(
    name: str, score: Score, other: Score, drawn: Array, other_drawn: Array, right: tuple[Array, Array] | None = None
) -> Interval:
    """How much better `score` is than `other` on the same rows: positive is better, whatever the direction.

    Args:
        drawn, other_drawn: bootstrap replicates on the same resampled rows.
        right: of a task that counts right rows (`tasks.Counted`), which rows each has right, bool [row].
    """
    sign = 1.0 if score.higher_is_better else -1.0
    value = sign * (score.value - other.value)
    if name in COUNTED and right:
        first, second = right
        low, high = tango(int((first & ~second).sum()), int((second & ~first).sum()), len(first))
    else:
        low, high = percentile(value, sign * (drawn - other_drawn))
    return Interval(value, low, high, True, "" if name in POINTS else score.unit)


def amount(name: str, value: float, unit: str = "") -> str:
    """A score's value or difference as a person says it: "2.1 points" for shares, three digits otherwise."""
    if not math.isfinite(value):
        return "unknown"
    if name in POINTS:
        shown = f"{100 * value:.1f}" if abs(value) >= 0.001 or value == 0 else f"{100 * value:.2f}"
        return f"{shown.replace('-0.0', '0.0') if float(shown) == 0 else shown} points"
    return digits(value) + (f" {unit}" if unit else "")


def digits(value: float) -> str:
    """Three significant digits, without an exponent where that reads well."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "unknown"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude >= 6 or magnitude < -5:
        return f"{value:.2e}"
    return f"{value:,.{max(0, 2 - magnitude)}f}"
