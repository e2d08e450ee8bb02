"""A page with the ROC curve of a verification, and the point where both errors are equal."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from lamina.evaluate.verification import Roc, Verification
from lamina.report.charts import Line, share_chart

MOST_POINTS = 1_000
"""Of the curve that is drawn; the CSV has all."""


def roc_page(curve: Roc, judged: Verification, name: str) -> str:
    """One HTML page that loads nothing from elsewhere.

    Args:
        name: what was judged, for the reader.
    """
    points = np.unique(np.linspace(0, len(curve.thresholds) - 1, MOST_POINTS).round().astype(np.int64))
    drawn = list(zip(curve.false_accepts[points].tolist(), curve.same_accepts[points].tolist(), strict=True))
    rate, area = judged.equal_error_rate, judged.auc
    chart = share_chart(
        [Line("chance", [(0.0, 0.0), (1.0, 1.0)], "reference"), Line("ROC", drawn)],
        "different pairs accepted", "same pairs accepted", "ROC curve", mark=(rate.value, 1 - rate.value),
    )  # fmt: skip
    said = (
        f"{judged.pairs:,} pairs, {judged.same:,} of them the same. ROC AUC {area.value:.4f} (95% interval "
        f"{area.low:.4f} to {area.high:.4f}). The dot: equal errors of {rate.value:.4f} ({rate.low:.4f} to "
        f"{rate.high:.4f}), from a likeness of {judged.equal_error_threshold.value:.4f} on."
    )
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>ROC of {escape(name)}</title>'
        f"<style>{style}</style></head><body><main><h1>{escape(name)}</h1><p>{said}</p>{chart}</main></body></html>"
    )
