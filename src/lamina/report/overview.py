"""What the page says about the whole run: what stands out, data, plan, network, curves, seal, cost."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from lamina.data.added import told
from lamina.data.schema import Json
from lamina.evaluate.results import Cost, Exhibit, Interval, Results, Seal, TargetResult
from lamina.evaluate.scores import title
from lamina.report import charts, wording
from lamina.report.axes import is_finite
from lamina.report.charts import Line
from lamina.report.fans import fan_chart
from lamina.report.inputs import is_picture, is_sound

FEW_TEST_ROWS = 200
MISCALIBRATED = 0.05
LISTED = 200
"""Dropped rows and fields that are listed; the rest is counted."""
CURVE_POINTS = 200

View = dict[str, Any]
SEVERITIES = ("error", "warning", "note")
MARKS = {"error": "✕", "warning": "!", "note": "i"}


def standing_out(results: Results) -> list[View]:
    """What the reader must know before using the model, the gravest first."""
    found = [
        _finding(item.severity, item.kind, item.text, item.fix, item.rows, item.count)
        for item in results.audit
        if item.severity != "note"
    ]
    if results.seal is not None and results.seal.same_answers < 1:
        share = wording.percent(1 - results.seal.same_answers, 2)
        found.append(_finding("error", "seal", f"The sealed file answers {share} of the test rows differently."))
    if results.stopped:
        found.append(_finding("note", "training", f"Training ended early: {results.stopped}."))
    dropped = results.data.get("dropped_count") or 0
    if dropped:
        text = f"{wording.rows(dropped)} left out: the section on the data lists the places and reasons."
        found.append(_finding("warning", "left out", text))
    for target in results.targets:
        found += _about(target, len(results.targets) > 1)
    rows = results.data.get("test")
    if isinstance(rows, int) and 0 < rows < FEW_TEST_ROWS:
        text = f"The test part has {wording.rows(rows)} only: intervals are wide, small differences cannot be seen."
        found.append(_finding("warning", "few rows", text))
    return sorted(found, key=lambda item: SEVERITIES.index(item["severity"]))


def _finding(
    severity: str, kind: str, text: str, fix: str = "", rows: Sequence[str] = (), count: int = 0
) -> dict[str, Any]:
    known = severity if severity in SEVERITIES else "note"
    return {
        "severity": known,
        "mark": MARKS[known],
        "kind": kind[:1].upper() + kind[1:],
        "text": text,
        "fix": fix,
        "rows": list(rows[:20]),
        "count": count,
    }


def _about(target: TargetResult, several: bool) -> list[View]:
    """Subgroup gaps, coverage, calibration and suspect labels of one target."""
    found = []
    name = f" of {target.target}" if several else ""
    primary = next(iter(target.scores), "")
    for item in [item for item in target.slices if item.notable][:4]:
        better = (item.gap > 0) == item.score.higher_is_better
        gap = Interval(abs(item.gap), float("nan"), float("nan"), unit=item.score.unit)
        amount = wording.difference(primary, gap).removeprefix("+")
        value = wording.score(primary, item.score.value, item.score.unit)
        text = (
            f"Where {item.field} is {item.value} ({wording.rows(item.rows)}), {title(primary)}{name} is {value}: "
            f"{amount} {'better' if better else 'worse'} than in all other rows."
        )
        found.append(_finding("note" if better else "warning", "subgroup", text))
    unlike = [item for item in target.fairness if any(part.notable for part in item.disparities)]
    found += [_finding("warning", "fairness", item.text) for item in unlike[:4]]
    measured = (target.coverage or {}).get("measured")
    coverage = measured if isinstance(measured, Mapping) else {}
    wanted = (target.coverage or {}).get("wanted")
    highest = coverage.get("high")
    if is_finite(highest) and is_finite(wanted) and highest < wanted:
        text = (
            f"Sets or intervals{name} that promise {wording.percent(wanted, 0)} hold the truth in "
            f"{wording.percent(coverage.get('value'))} of the test rows only."
        )
        found.append(_finding("warning", "coverage", text))
    calibration = target.calibration or {}
    error, chance = calibration.get("after"), calibration.get("chance")
    if is_finite(error) and error > max(MISCALIBRATED, chance if is_finite(chance) else 0.0):
        text = f"Stated probabilities{name} are off by {wording.percent(error)} on average, even after calibration."
        found.append(_finding("warning", "calibration", text))
    suspects = sum(item.suspect_label for item in target.mistakes)
    if suspects:
        text = f"{suspects} of the worst mistakes{name} look like wrong labels in the data: see them below."
        found.append(_finding("note", "labels", text))
    return found


def notes(results: Results) -> list[View]:
    """What the audit only notes."""
    return [
        _finding("note", item.kind, item.text, item.fix, item.rows, item.count)
        for item in results.audit
        if item.severity == "note"
    ]


FAN = ("history", "truth", "middle", "low", "high")


def exhibits(results: Results) -> list[View]:
    """What the network made or did, as pictures and curves."""
    return [
        {
            "title": item.title,
            "text": item.text,
            "lines": list(item.lines),
            "sounds": [Markup(sound) for sound in item.sounds if is_sound(sound)],
            "across": item.across,
            "pictures": [Markup(picture) for picture in item.pictures if is_picture(picture)],
            "chart": Markup(
                charts.line_chart(_lines(item), "place", "value", item.title)
                if item.points
                else fan_chart(**{part: item.fan[part] for part in FAN}, title=item.title)
                if set(FAN) <= set(item.fan)
                else ""
            ),
        }
        for item in results.exhibits
    ]


def _lines(item: Exhibit) -> list[Line]:
    """An exhibit's curve, and its level."""
    points = [(float(1 + place * item.every), value) for place, value in enumerate(item.points)]
    found = [Line("", points)]
    if item.level is not None:
        found.append(Line("threshold", [(points[0][0], item.level), (points[-1][0], item.level)], "reference"))
    return found


def data(found: Mapping[str, Json]) -> View:
    """Rows, parts, fields, dropped rows; of an environment, steps."""
    parts = [
        (name, found.get(key)) for name, key in (("training", "train"), ("validation", "validation"), ("test", "test"))
    ]
    known = [(name, int(rows)) for name, rows in parts if is_finite(rows) and rows > 0]
    total = sum(rows for _, rows in known) or 1
    fields = list(found.get("fields") or [])
    dropped = list(found.get("dropped") or [])
    unreadable = list(found.get("unreadable") or [])
    count = int(found.get("dropped_count") or len(dropped))
    return {
        "rows": wording.number(found.get("rows")),
        "environment": bool(found.get("environment")),
        "steps": wording.number(found.get("steps")),
        "longest": wording.number(found["longest"]) if found.get("longest") else "",
        "episodes": str(found.get("episodes") or ""),
        "source": str(found.get("source") or ""),
        "split": str(found.get("split") or ""),
        "sources": told(found["sources"], "texts" if "texts" in found else "rows") if found.get("sources") else "",
        "fingerprint": str(found.get("fingerprint") or ""),
        "parts": [
            {
                "name": name,
                "rows": wording.number(rows),
                "share": wording.percent(rows / total, 0),
                "width": rows / total,
            }
            for name, rows in known
        ],
        "fields": [_field(item) for item in fields[:LISTED]],
        "more_fields": max(0, len(fields) - LISTED),
        "dropped": [
            {"place": str(item.get("place") or ""), "reason": str(item.get("reason") or "")}
            for item in dropped[:LISTED]
        ],
        "dropped_count": wording.rows(count) if count else "",
        "more_dropped": max(0, count - len(dropped[:LISTED])),
        "unreadable": [
            {"place": str(item.get("place") or ""), "reason": str(item.get("reason") or "")}
            for item in unreadable[:LISTED]
        ],
    }


def _field(item: Mapping[str, Json]) -> View:
    summary = item.get("summary") or {}
    return {
        "name": str(item.get("name", "")),
        "modality": str(item.get("modality", "")),
        "role": str(item.get("role", "")),
        "reason": str(item.get("reason", "")),
        "missing": _missing(summary),
        "summary": _summary(summary),
    }


def _missing(summary: Mapping[str, Json]) -> str:
    """A share, or, where it is a whole number, a count out of `count`; "" where nothing is missing."""
    missing, count = summary.get("missing"), summary.get("count")
    if not is_finite(missing) or not missing:
        return ""
    counted = isinstance(missing, int) or missing > 1
    share = missing / count if counted and is_finite(count) and count else missing
    return wording.percent(share)


def _summary(summary: Mapping[str, Json]) -> str:
    """The most telling part of a field's summary."""
    if is_finite(summary.get("min")) and is_finite(summary.get("max")):
        text = f"{wording.number(summary['min'])} to {wording.number(summary['max'])}"
        return text + (f", median {wording.number(summary['median'])}" if is_finite(summary.get("median")) else "")
    if summary.get("top"):
        count = summary.get("distinct")
        levels = f"{wording.number(count)} values: " if is_finite(count) else ""
        return levels + wording.brief(summary["top"][:4], 110)
    hidden = ("count", "missing", "unreadable", "once", "rarest", "looked_at", "commonest", "example")
    rest = {key: value for key, value in summary.items() if key not in hidden and value not in (None, 0, "")}
    return ", ".join(f"{wording.words(key)} {wording.brief(value, 60)}" for key, value in list(rest.items())[:5])


def plan(text: str) -> View:
    """Every choice that has a reason, with its value, and the whole plan."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        document = {}
    reasons = document.get("reasons") or {}
    # A wish for "network.width" may say it of the only network: the last word on a setting is the one that is shown.
    found = {_whole_key(document, key): (key, str(reason)) for key, reason in reasons.items()}
    return {
        "text": text,
        "choices": [
            {"key": key, "value": _setting(document, whole), "reason": reason} for whole, (key, reason) in found.items()
        ],
    }


def _whole_key(document: Json, key: str) -> str:
    """The place in the plan that a key means: with the name of the only network or task, and among its options."""
    section, _, rest = key.partition(".")
    inside = document.get(section)
    if not rest or not isinstance(inside, Mapping):
        return key
    only = [f"{section}.{name}.{way}{rest}" for name in inside for way in ("", "options.")] if len(inside) == 1 else []
    return next((one for one in (key, f"{section}.options.{rest}", *only) if _setting(document, one)), key)


def _setting(document: Json, key: str) -> str:
    """The value at a dotted key; "" where it is a whole table without a name, or not there."""
    place: Json = document
    rest = key
    while rest and isinstance(place, Mapping):
        fitting = [name for name in place if rest == name or rest.startswith(f"{name}.")]
        if not fitting:
            return ""
        name = max(fitting, key=len)
        place, rest = place[name], rest[len(name) + 1 :]
    if isinstance(place, Mapping):
        return str(place.get("name", "")) or wording.brief(place)
    return wording.brief(place)


def network(found: Mapping[str, Json]) -> View | None:
    """Size and stages."""
    if not found:
        return None
    stages = [(str(name), count) for name, count in found.get("stages") or []]
    most = max((count for _, count in stages if is_finite(count)), default=0) or 1
    return {
        "parameters": wording.number(found.get("parameters")),
        "summary": str(found.get("summary") or ""),
        "notes": [str(note) for note in found.get("notes") or []],
        "stages": [
            {"name": name, "parameters": wording.number(count), "width": count / most if is_finite(count) else 0}
            for name, count in stages
        ],
    }


def curves(found: Mapping[str, Json], target: TargetResult | None) -> list[View]:
    """Loss, validation score and learning rate over the steps."""
    train, validation = list(found.get("train") or []), list(found.get("validation") or [])
    drawn = [
        (
            "Training loss",
            charts.line_chart([Line("loss", _points(train, "loss"))], "step", "loss", "Training loss by step"),
        )
    ]
    skipped = {"kind", "step", "steps", "epoch", "seconds", "best", "score"}
    # The first time a score may be none yet, as of a loss that was not finite.
    known = (key for entry in validation for key, value in entry.items() if key not in skipped and is_finite(value))
    names = list(dict.fromkeys(known))
    primary = next(iter(target.scores), "") if target else ""
    ending = [name for name in names if name == primary or name.endswith(f".{primary}")]
    for name in (ending or names)[:4]:
        own, dot, score = name.rpartition(".")
        heading = f"{wording.score_name(score)} on the validation part" + (f": {own}" if dot else "")
        chart = charts.line_chart(
            [Line(title(score), _points(validation, name))], "step", title(score), f"{heading}, by step"
        )
        drawn.append((heading, chart))
    rate = "learning_rate" if any("learning_rate" in entry for entry in train) else "rate"
    chart = charts.line_chart(
        [Line("learning rate", _points(train, rate), "second")], "step", "rate", "Learning rate by step", zero=True
    )
    drawn.append(("Learning rate", chart))
    return [{"title": heading, "chart": Markup(chart)} for heading, chart in drawn if chart]


def _points(entries: Sequence[Mapping[str, Json]], key: str) -> list[tuple[float, float]]:
    """(step, value), averaged over neighbors where there are more than can be seen."""
    points = [
        (float(entry["step"]), float(entry[key]))
        for entry in entries
        if is_finite(entry.get("step")) and is_finite(entry.get(key))
    ]
    width = -(-len(points) // CURVE_POINTS) or 1
    groups = [points[start : start + width] for start in range(0, len(points), width)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def seal(found: Seal | None) -> View | None:
    """The sealed file and the proof."""
    if found is None:
        return None
    return {
        "path": found.path,
        "size": wording.size(found.bytes),
        "rows": wording.number(found.rows),
        "same": wording.percent(found.same_answers, 0 if found.same_answers == 1 else 2),
        "proven": found.same_answers == 1,
        "difference": wording.number(found.largest_difference),
        "pace": wording.number(found.rows_per_second),
    }


def cost(found: Cost) -> View:
    """Time by step, energy, memory."""
    known = [(step, seconds) for step, seconds in found.seconds.items() if is_finite(seconds)]
    total = sum(seconds for _, seconds in known)
    return {
        "total": wording.duration(total) if known else "",
        "steps": [
            {"name": step, "seconds": wording.duration(seconds), "width": seconds / total if total else 0}
            for step, seconds in known
        ],
        "energy": f"{wording.number(found.energy_wh)} Wh" if is_finite(found.energy_wh) else "",
        "how": found.energy_how,
        "memory": wording.size(found.peak_memory_mb * 2**20) if is_finite(found.peak_memory_mb) else "",
        "pace": wording.number(found.rows_per_second) if found.rows_per_second else "",
    }
