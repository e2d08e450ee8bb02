"""What the page says about one target: scores, baselines, calibration, confusion, subgroups, mistakes, explanations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from lamina.data.schema import Json
from lamina.evaluate.fairness import TRADE_OFF
from lamina.evaluate.results import Explanation, Fairness, Interval, Slice, TargetResult
from lamina.evaluate.scores import POINTS, title
from lamina.report import charts, inputs, wording
from lamina.report.axes import finite, is_finite
from lamina.report.charts import Line, Whisker

LARGEST_MATRIX = 20
"""More classes are shown as the pairs that are confused most."""
SLICES = 12
BARS = 20
WORDS = 250
"""Words of an explained text that are shown."""

View = dict[str, Any]
HEADINGS = {
    "network": ("▲", "Deep learning is ahead"),
    "even": ("=", "A simpler tool is as good"),
    "baseline": ("▼", "A simpler tool is better"),
}
ALONE = ("•", "Nothing to compare with")
UNTOLD = ("•", "Not enough to tell")


def view(result: TargetResult, explanation: Explanation | None) -> View:
    """Everything the template needs to know about a target."""
    primary = next(iter(result.scores), "")
    icon, heading = HEADINGS.get(result.verdict_kind, ("•", "Verdict"))
    if result.verdict_kind == "even" and not result.baselines:
        icon, heading = ALONE
    elif result.verdict_kind == "unknown":
        icon, heading = UNTOLD
    return {
        "target": result.target,
        "task": result.task,
        "kind": result.verdict_kind if result.verdict_kind in HEADINGS else "even",
        "icon": icon,
        "heading": heading,
        "verdict": result.verdict,
        "primary": primary,
        "headline": _headline(primary, result.scores[primary]) if primary else None,
        "scores": _scores(result),
        "compared": _compared(result, primary),
        "compared_chart": _compared_chart(result, primary),
        "calibration": _calibration(result.calibration),
        "coverage": _coverage(result),
        "curves": _curves(result.curves),
        "confusion": _confusion(result.confusion),
        "scatter": _scatter(result),
        "slices": _slices(result.slices, primary),
        "more_slices": max(0, len(result.slices) - SLICES),
        "slice_chart": _slice_chart(result, primary),
        "fairness": [_fairness(item) for item in result.fairness],
        "trade_off": TRADE_OFF if any(item.answer for item in result.fairness) else "",
        "mistakes": [_mistake(item, result.task) for item in result.mistakes],
        "importance": _importance(explanation, primary),
        "examples": [example(item) for item in explanation.examples] if explanation else [],
    }


def _headline(name: str, figure: Interval) -> View:
    return {
        "name": wording.score_name(name),
        "value": wording.score(name, figure.value, figure.unit),
        "span": wording.span(name, figure),
        "better": "higher is better" if figure.higher_is_better else "lower is better",
    }


def _scores(result: TargetResult) -> list[View]:
    return [
        {
            "name": wording.score_name(name),
            "value": wording.score(name, figure.value, figure.unit),
            "span": wording.span(name, figure),
            "better": "higher" if figure.higher_is_better else "lower",
        }
        for name, figure in result.scores.items()
    ]


def _compared(result: TargetResult, primary: str) -> list[View]:
    rows = []
    for item in result.baselines:
        figure = item.scores.get(primary)
        rows.append(
            {
                "name": item.name,
                "value": wording.score(primary, figure.value, figure.unit) if figure else wording.UNKNOWN,
                "span": wording.span(primary, figure) if figure else "",
                "difference": wording.difference(primary, item.difference),
                "seconds": wording.duration(item.seconds),
                "note": item.note,
            }
        )
    return rows


def _compared_chart(result: TargetResult, primary: str) -> Markup:
    if not result.baselines or not primary:
        return Markup()
    rows = [_whisker("this network", primary, result.scores[primary], main=True)]
    rows += [_whisker(item.name, primary, item.scores[primary]) for item in result.baselines if primary in item.scores]
    direction = "higher is better" if result.scores[primary].higher_is_better else "lower is better"
    name = wording.score_name(primary)
    return Markup(
        charts.whisker_chart(
            rows, f"{name} ({direction})", f"{name} of the network and of the baselines, with 95% intervals"
        )
    )


def _whisker(label: str, name: str, figure: Interval, *, main: bool = False, mark: bool = False) -> Whisker:
    factor = 100 if name in wording.PERCENT else 1
    shown = wording.score(name, figure.value, figure.unit)
    return Whisker(label, factor * figure.value, factor * figure.low, factor * figure.high, shown, main, mark)


def _calibration(found: Mapping[str, Json] | None) -> View | None:
    if not found:
        return None
    if found.get("points"):
        rows = [(item.get("level"), item.get("coverage")) for item in found["points"]]
        points = [(level, share) for level, share in rows if is_finite(level) and is_finite(share)]
        chart = charts.share_chart(
            [Line("", points), Line("", [(0, 0), (1, 1)], "reference")],
            "promised coverage",
            "measured coverage",
            "Measured against promised coverage of the intervals",
        )
        table = [[wording.percent(level, 0), wording.percent(share)] for level, share in rows]
        return {"chart": Markup(chart), "table": table, "kind": "numbers"}
    bins = [(item.get("confidence"), item.get("accuracy"), int(item.get("count") or 0)) for item in found["bins"]]
    chart = charts.reliability_chart(bins, "Reliability: stated probability against the share that was right")
    return {
        "chart": Markup(chart),
        "kind": "classes",
        "before": wording.percent(found.get("before")),
        "after": wording.percent(found.get("after")),
        "chance": wording.percent(found.get("chance")) if _by_chance(found) else "",
        "temperature": wording.number(found.get("temperature")),
        "table": [
            [wording.percent(stated), wording.percent(right), wording.number(count)]
            for stated, right, count in bins
            if count
        ],
    }


def _by_chance(found: Mapping[str, Json]) -> bool:
    """May the calibration's error be chance alone?"""
    after, chance = found.get("after"), found.get("chance")
    return is_finite(after) and is_finite(chance) and after <= chance


def _coverage(result: TargetResult) -> View | None:
    found = result.coverage
    if not found:
        return None
    measured = found.get("measured")
    value = measured.get("value") if isinstance(measured, Mapping) else measured
    ends = [measured.get("low"), measured.get("high")] if isinstance(measured, Mapping) else []
    return {
        "wanted": wording.percent(found.get("wanted"), 0),
        "measured": wording.percent(value),
        "span": " to ".join(wording.percent(end) for end in ends) if len(finite(ends)) == 2 else "",
        "size": wording.number(found.get("mean_size")),
        "classes": result.scatter is None,
        "unit": next(iter(result.scores.values())).unit if result.scores else "",
    }


def _curves(found: Mapping[str, Json] | None) -> list[View]:
    if not found:
        return []
    positive = f" of {found['positive']!r}" if found.get("positive") else ""
    chance = Line("chance", [(0, 0), (1, 1)], "reference")
    drawn = [
        (
            "Receiver operating characteristic",
            charts.share_chart(
                [Line("network", found.get("roc") or []), chance],
                "false alarms: share of the others",
                f"found: share{positive}",
                f"ROC curve: share found{positive} against share of false alarms",
            ),
        ),
        (
            "Precision and recall",
            charts.share_chart(
                [Line("network", found.get("pr") or [])],
                f"recall: share found{positive}",
                "precision: share that is right",
                f"Precision against recall{positive}",
            ),
        ),
    ]
    return [{"title": heading, "chart": Markup(chart)} for heading, chart in drawn if chart]


def _confusion(found: Mapping[str, Json] | None) -> View | None:
    if not found or not found.get("labels"):
        return None
    labels = [str(label) for label in found["labels"]]
    counts: Sequence[Sequence[int]] = found["counts"]
    totals = [sum(row) for row in counts]
    pairs = [
        (count, labels[row], labels[column], totals[row])
        for row in range(len(labels))
        for column, count in enumerate(counts[row])
        if row != column and count
    ]
    pairs.sort(key=lambda pair: -pair[0])
    chart = charts.heat_map(labels, counts, "Confusion matrix") if len(labels) <= LARGEST_MATRIX else ""
    return {
        "chart": Markup(chart),
        "classes": len(labels),
        "large": len(labels) > 6,
        "pairs": [
            {
                "true": true,
                "answered": answered,
                "count": wording.number(count),
                "share": wording.percent(count / total),
            }
            for count, true, answered, total in pairs[: 8 if chart else 20]
        ],
    }


def _scatter(result: TargetResult) -> Markup:
    if not result.scatter:
        return Markup()
    unit = next(iter(result.scores.values())).unit if result.scores else ""
    return Markup(
        charts.scatter_chart(
            result.scatter.get("expected") or [],
            result.scatter.get("answered") or [],
            unit,
            f"Answered against true values of {result.target}",
        )
    )


def _slices(found: Sequence[Slice], primary: str) -> list[View]:
    return [
        {
            "group": f"{item.field}: {item.value}",
            "rows": wording.number(item.rows),
            "value": wording.score(primary, item.score.value, item.score.unit),
            "span": wording.span(primary, item.score),
            "gap": wording.difference(primary, Interval(item.gap, float("nan"), float("nan"), unit=item.score.unit)),
            "notable": item.notable,
        }
        for item in found[:SLICES]
    ]


def _fairness(item: Fairness) -> View:
    measures = list(dict.fromkeys(name for group in item.groups for name in group.figures))
    apart = {part.measure: part for part in item.disparities}
    told = [group for group in item.groups if group.figures]
    few = [f"{group.value} ({wording.number(group.rows)})" for group in item.groups if not group.figures]
    ratio = next((part.ratio for part in item.disparities if part.ratio), None)
    return {
        "title": f"By {item.column}" + (f": the answer {item.answer}" if item.answer else ""),
        "text": item.text,
        "measures": [wording.score_name(name) for name in measures],
        "groups": [
            {
                "name": group.value,
                "rows": wording.number(group.rows),
                "cells": [_cell(name, group.figures.get(name)) for name in measures],
            }
            for group in told
        ],
        "gaps": [
            {
                "value": wording.difference(name, apart[name].gap) if name in apart else wording.UNKNOWN,
                "notable": name in apart and apart[name].notable,
            }
            for name in measures
        ],
        "ratio": f"{ratio.value:.2f}" + _ratio_span(ratio) if ratio else "",
        "few": ", ".join(few[:SLICES]) + (f" and {len(few) - SLICES} more" if len(few) > SLICES else ""),
    }


def _cell(name: str, figure: Interval | None) -> View:
    if figure is None:
        return {"value": wording.UNKNOWN, "span": "too few rows"}
    return {"value": wording.score(name, figure.value, figure.unit), "span": wording.span(name, figure)}


def _ratio_span(ratio: Interval) -> str:
    ends = finite([ratio.low, ratio.high])
    return f" ({ends[0]:.2f} to {ends[1]:.2f})" if len(ends) == 2 else ""


def _slice_chart(result: TargetResult, primary: str) -> Markup:
    rows = [
        _whisker(f"{item.field}: {item.value}", primary, item.score, mark=item.notable)
        for item in result.slices[:SLICES]
    ]
    if not rows or not primary:
        return Markup()
    overall = result.scores[primary].value * (100 if primary in wording.PERCENT else 1)
    name = wording.score_name(primary)
    return Markup(
        charts.whisker_chart(
            rows,
            f"{name}; dashed: all test rows",
            f"{name} by subgroup, with 95% intervals",
            reference=overall,
        )
    )


def _mistake(item: Any, task: str) -> View:
    return {
        "row": wording.number(item.row),
        "place": item.place,
        "expected": item.expected,
        "answered": item.answered,
        "probability": wording.percent(item.probability, 0) if item.probability is not None else "",
        "loss": wording.number(item.loss),
        "number": task == "regress",
        "suspect": item.suspect_label,
        "inputs": inputs.show(item.inputs),
    }


def _importance(explanation: Explanation | None, primary: str) -> View | None:
    if explanation is None or not explanation.importance:
        return None
    ordered = sorted(explanation.importance.items(), key=lambda pair: -pair[1].value if is_finite(pair[1].value) else 0)
    factor = 100 if primary in POINTS else 1
    rows = [
        Whisker(name, factor * item.value, factor * item.low, factor * item.high, _drop(factor * item.value, factor))
        for name, item in ordered[:BARS]
    ]
    unit = "points" if factor == 100 else next(iter(explanation.importance.values())).unit
    chart = charts.bar_chart(
        rows,
        f"loss of {title(primary)}{f' in {unit}' if unit else ''}",
        "Importance of each field: how much worse the score is when the field is shuffled",
    )
    return {"chart": Markup(chart), "left_out": max(0, len(ordered) - BARS)} if chart else None


def _drop(value: float, factor: int) -> str:
    return f"{value:.1f}".replace("-0.0", "0.0").replace("-", "−") if factor == 100 else wording.number(value)


def example(found: Mapping[str, Json]) -> View:
    """One explained row: what was seen, what was answered, and which parts of it spoke for the answer."""
    value, modality = found.get("value"), str(found.get("modality", ""))
    parts = found.get("contributions")
    shown: View = {
        "row": wording.brief(found.get("row", "")),
        "field": str(found.get("field", "")),
        "answer": wording.brief(found.get("answer", "")),
        "inputs": [],
        "words": [],
        "chart": Markup(),
        "overlay": Markup(),
    }
    if value is not None and not isinstance(value, Mapping):
        shown["inputs"] = inputs.show({shown["field"]: {"modality": modality, "value": str(value)}})
    grid = _grid(parts)
    if grid and inputs.is_picture(value):
        shown["overlay"] = overlay(grid)
        return shown
    pairs = _pairs(parts)
    if pairs and modality == "text":
        largest = max(abs(weight) for _, weight in pairs) or 1.0
        shown["words"] = [{"text": word, "level": round(3 * weight / largest)} for word, weight in pairs[:WORDS]]
        if len(pairs) > WORDS:
            shown["words"].append({"text": f"… and {len(pairs) - WORDS} more words", "level": 0})
        shown["inputs"] = []
    elif pairs:
        pairs.sort(key=lambda pair: -abs(pair[1]))
        rows = [Whisker(name, weight, weight, weight, wording.number(weight)) for name, weight in pairs[:BARS]]
        shown["chart"] = Markup(charts.bar_chart(rows, "speaks against | for the answer", "Contributions", signed=True))
    elif isinstance(parts, list) and finite(parts):
        shown["chart"] = Markup(charts.strip(parts, "Contributions in order of time"))
    return shown


def _pairs(parts: Json) -> list[tuple[str, float]]:
    """(name, contribution) from a mapping, a list of pairs, or a list of records."""
    if isinstance(parts, Mapping):
        found = [(str(name), weight) for name, weight in parts.items()]
    elif isinstance(parts, list) and all(isinstance(item, Mapping) for item in parts):
        found = []
        for item in parts:
            texts = [part for part in item.values() if isinstance(part, str)]
            figures = [part for part in item.values() if is_finite(part)]
            if texts and figures:
                found.append((texts[0], figures[-1]))
    elif isinstance(parts, list) and all(isinstance(item, list | tuple) and len(item) == 2 for item in parts):
        found = [(str(name), weight) for name, weight in parts]
        if all(is_finite(name) for name, _ in parts):
            return []
    else:
        return []
    return [(name, float(weight)) for name, weight in found if is_finite(weight)]


def _grid(parts: Json) -> list[list[float]]:
    """Rows of equal length of finite numbers, else nothing."""
    if not isinstance(parts, list) or not parts or not all(isinstance(row, list | tuple) and row for row in parts):
        return []
    if len({len(row) for row in parts}) != 1 or not all(is_finite(value) for row in parts for value in row):
        return []
    return [[float(value) for value in row] for row in parts]


def overlay(grid: Sequence[Sequence[float]]) -> Markup:
    """A heat map to lay over a picture: plus and minus in different colors, by opacity."""
    rows, columns = min(len(grid), 32), min(len(grid[0]), 32)
    picked = [[grid[r * len(grid) // rows][c * len(grid[0]) // columns] for c in range(columns)] for r in range(rows)]
    largest = max(abs(value) for row in picked for value in row) or 1.0
    cells = [
        f'<rect class="bar {"plus" if value > 0 else "minus"}" x="{c}" y="{r}" width="1.02" height="1.02" '
        f'fill-opacity="{0.75 * abs(value) / largest:.2f}"/>'
        for r, row in enumerate(picked)
        for c, value in enumerate(row)
        if abs(value) > 0.05 * largest
    ]
    return Markup(
        f'<svg class="overlay" viewBox="0 0 {columns} {rows}" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(cells)}</svg>"
    )
