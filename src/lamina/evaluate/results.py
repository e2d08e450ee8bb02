"""What a run found out, as one typed value: `results.json` in the run folder; the report is drawn from it."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamina.data.findings import AuditFinding as AuditFinding
from lamina.data.schema import Json
from lamina.errors import InputError


@dataclass(frozen=True)
class Interval:
    """A figure with its interval."""

    value: float
    low: float
    high: float
    higher_is_better: bool = True
    unit: str = ""


@dataclass(frozen=True)
class BaselineResult:
    """One baseline on the same rows.

    Attributes:
        name: e.g. "gradient-boosted trees".
        scores: as the target's scores, by name.
        seconds: time to fit and answer.
        difference: primary score of the network minus the baseline's (positive: the network is better,
            whatever the score's direction), with its paired interval on the same test rows.
        note: what was simplified to save time, e.g. "fitted on 20,000 of 337,000 rows", or "".
    """

    name: str
    scores: Mapping[str, Interval]
    seconds: float
    difference: Interval | None = None
    note: str = ""


@dataclass(frozen=True)
class Slice:
    """The primary score on a subgroup of test rows."""

    field: str
    value: str
    rows: int
    score: Interval
    gap: float
    """Score minus the score of all other rows, in the score's unit."""
    notable: bool
    """The interval of the gap excludes zero after correction for the number of subgroups."""


@dataclass(frozen=True)
class Group:
    """Test rows that share a value of a column which is only judged by.

    Attributes:
        figures: by measure; what too few rows would tell is not there.
    """

    value: str
    rows: int
    figures: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Disparity:
    """How far groups are apart in one measure.

    Attributes:
        lowest, highest: the groups with the smallest and the largest figure.
        gap: the largest minus the smallest figure.
        ratio: of selection rates, the smallest over the largest.
        notable: that groups differ is more than chance explains, corrected for all gaps of the target.
    """

    measure: str
    lowest: str
    highest: str
    gap: Interval
    ratio: Interval | None = None
    notable: bool = False


@dataclass(frozen=True)
class Fairness:
    """One target's answers by the groups of one column.

    Attributes:
        answer: the class that counts as positive; "" where the target is a number.
        text: a plain sentence.
    """

    column: str
    answer: str
    groups: tuple[Group, ...]
    disparities: tuple[Disparity, ...]
    text: str


@dataclass(frozen=True)
class Mistake:
    """One of the worst test rows.

    Attributes:
        row: its row in the test data, counted from 0.
        place: file and line or path, for the user to find it.
        inputs: what was shown to the network, by field: {"modality", "value"}; an image or sound is
            a data URI in "value", a text is quoted, numbers are as they were.
        expected, answered: as decoded.
        loss: how wrong.
        probability: of the answer given, where there is one.
        suspect_label: confident learning thinks that the label itself is wrong.
    """

    row: int
    place: str
    inputs: Mapping[str, Mapping[str, str]]
    expected: str
    answered: str
    loss: float
    probability: float | None = None
    suspect_label: bool = False


@dataclass(frozen=True)
class TargetResult:
    """All about one target on the test rows.

    Attributes:
        scores: score name to interval; the first is the primary one.
        verdict: is deep learning the right tool here? One or two plain sentences.
        verdict_kind: "network", "even" or "baseline": which is ahead; "unknown" where the test rows cannot tell.
        confusion: {"labels": [...], "counts": [[expected][answered]]} for classes.
        calibration: {"bins": [{"low","high","confidence","accuracy","count"}], "before": ece, "after": ece,
            "chance": ece, "temperature": t} for classes; {"points": [{"level", "coverage"}]} for numbers.
        coverage: {"wanted": 0.9, "measured": Interval-like dict, "mean_size": float} of conformal sets/intervals.
        scatter: {"expected": [...], "answered": [...]} at most 1,000 points, for numbers.
        curves: {"roc": [[fpr, tpr], ...], "pr": [[recall, precision], ...]} for two classes.
        fairness: by the columns of role audit.
    """

    target: str
    task: str
    scores: Mapping[str, Interval]
    verdict: str
    verdict_kind: str
    baselines: tuple[BaselineResult, ...] = ()
    confusion: Mapping[str, Json] | None = None
    calibration: Mapping[str, Json] | None = None
    coverage: Mapping[str, Json] | None = None
    scatter: Mapping[str, Json] | None = None
    curves: Mapping[str, Json] | None = None
    slices: tuple[Slice, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    fairness: tuple[Fairness, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """Model-free explanations on the sealed file.

    Attributes:
        importance: field name to the drop of the primary score when it is shuffled, with spread.
        examples: [{"row", "field", "modality", "value" (text/data URI), "answer", "contributions": ...}].
    """

    target: str
    importance: Mapping[str, Interval] = field(default_factory=dict)
    examples: tuple[Mapping[str, Json], ...] = ()


@dataclass(frozen=True)
class Exhibit:
    """Something to look at or listen to that the run has made.

    Attributes:
        title, text: for the reader.
        pictures: data URIs, shown side by side.
        sounds: data URIs.
        points: figures in order, drawn as one curve.
        lines: what is listed.
        level: drawn across the curve, where there is one.
        every: rows from one point to the next.
        across: pictures of a line; 0 for as many as there is room for.
        fan: of a forecast: "history", and of the steps after it "truth", "middle", "low" and "high".
    """

    title: str
    text: str = ""
    pictures: tuple[str, ...] = ()
    points: tuple[float, ...] = ()
    lines: tuple[str, ...] = ()
    level: float | None = None
    every: int = 1
    sounds: tuple[str, ...] = ()
    across: int = 0
    fan: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Seal:
    """What was sealed, and the proof.

    Attributes:
        path: the sealed file's name.
        bytes: its size.
        rows: test rows compared.
        same_answers: share of rows with the same decoded answer (must be 1).
        largest_difference: of any probability (classes) or of a number in units of the target's spread.
        rows_per_second: of the sealed model on this machine.
    """

    path: str
    bytes: int
    rows: int
    same_answers: float
    largest_difference: float
    rows_per_second: float


@dataclass(frozen=True)
class Cost:
    """Time and energy of the run.

    Attributes:
        seconds: by step: understand, prepare, choose, train, test.
        energy_wh: watt-hours; `energy_how` says measured (RAPL) or estimated and from what.
        peak_memory_mb: largest resident memory of the process, in MiB.
    """

    seconds: Mapping[str, float]
    energy_wh: float
    energy_how: str
    peak_memory_mb: float
    rows_per_second: float = 0.0


@dataclass(frozen=True)
class Results:
    """Everything the report shows.

    Attributes:
        data: {"rows", "train", "validation", "test", "dropped": [{"row","place","reason"}], "dropped_count",
            "fields": [{"name","modality","role","reason","summary": {...}}], "fingerprint"}; of an environment also
            "steps", "longest", and "episodes": how many were played, and why not more.
        curves: {"train": [{"step","epoch","loss","learning_rate"}], "validation": [{"step","epoch", SCORE...}]}.
        versions: lamina, torch, onnxruntime, python, machine, seed, command.
    """

    name: str
    created: str
    data: Mapping[str, Json]
    targets: tuple[TargetResult, ...]
    audit: tuple[AuditFinding, ...]
    explanations: tuple[Explanation, ...]
    seal: Seal | None
    cost: Cost
    curves: Mapping[str, Json]
    network: Mapping[str, Json]
    """{"parameters": n, "summary": str, "stages": [[name, parameters]]}."""
    versions: Mapping[str, str]
    stopped: str = ""
    """Why training ended early, if it did."""
    exhibits: tuple[Exhibit, ...] = ()
    """What the trained network made or did, to be seen."""


def to_json(results: Any) -> Any:
    """A result type as JSON: nested dicts and lists; NumPy numbers become Python's, NaN and infinity None."""
    if dataclasses.is_dataclass(results) and not isinstance(results, type):
        return {item.name: to_json(getattr(results, item.name)) for item in dataclasses.fields(results)}
    if isinstance(results, Mapping):
        return {str(key): to_json(value) for key, value in results.items()}
    if isinstance(results, list | tuple):
        return [to_json(item) for item in results]
    if isinstance(results, np.ndarray | np.generic):
        return to_json(results.tolist())
    if isinstance(results, float) and not math.isfinite(results):
        return None
    return results


def from_json(document: Mapping[str, Json]) -> Results:
    """The inverse of `to_json`; a figure that was not finite is NaN.

    Raises:
        InputError: something is missing, unknown or of the wrong type.
    """
    results = _typed(Results, document, "results")
    assert isinstance(results, Results)
    return results


def _typed(kind: Any, value: Any, place: str) -> Any:
    """`value` as the annotated type `kind`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _typed_dataclass(kind, value, place)
    if kind is Any:
        return value
    if origin is types.UnionType:
        if value is None and type(None) in arguments:
            return None
        return _typed(arguments[0], value, place)
    if origin is tuple and isinstance(value, list):
        return tuple(_typed(arguments[0], item, f"{place}[{number}]") for number, item in enumerate(value))
    if origin is Mapping and isinstance(value, Mapping):
        return {key: _typed(arguments[1], item, f"{place}.{key}") for key, item in value.items()}
    if kind is float and value is None:
        return math.nan
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind):
        return value
    raise _damaged(f"{place} is {value!r}")


def _typed_dataclass(kind: Any, value: Any, place: str) -> Any:
    if not isinstance(value, Mapping):
        raise _damaged(f"{place} is {value!r}")
    hints = typing.get_type_hints(kind)
    unknown = [name for name in value if name not in hints]
    if unknown:
        raise _damaged(f"{place} has {unknown[0]!r}, which is unknown")
    missing = [
        item.name
        for item in dataclasses.fields(kind)
        if item.name not in value
        and item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise _damaged(f"{place} has no {missing[0]!r}")
    return kind(**{name: _typed(hints[name], part, f"{place}.{name}") for name, part in value.items()})


def _damaged(what: str) -> InputError:
    return InputError(
        f"The results cannot be read: {what}.", where="results.json", fix="Run the test step again: lamina test RUN"
    )
