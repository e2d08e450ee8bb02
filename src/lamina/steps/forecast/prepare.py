"""Step 2: series on a grid, parts by time, encoders of windows and of what describes a series, simpler forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lamina import registry
from lamina.data.schema import Field, Values
from lamina.data.tables import Table
from lamina.errors import InputError
from lamina.modalities import Encoder
from lamina.modalities._canonical import canonical, object_array
from lamina.modalities.window import Encoder as Window
from lamina.narrate import Narrator
from lamina.networks.forecasters._forecaster import WINDOW
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.forecast import simple
from lamina.steps.forecast.series import Panel, panel, telling_nothing, training_windows
from lamina.steps.forecast.simple import Simple
from lamina.tasks.forecast import Task, levels_of

Array = np.ndarray[Any, Any]
VERSION = 1
VALIDATION_PACE = 4
"""Origins of the validation part come so many times in a horizon: calibration needs many."""
MOST_VALIDATED = 4_000
NAMED = 100
"""Training steps of a series, in the median, from which on its name is an input: fewer are learned by heart."""
TREES_SHARE, TREES_SECONDS = 0.15, 120.0
"""Of the budget, and seconds without one, that boosted trees may take."""


@dataclass(frozen=True)
class Windows:
    """Windows of one part: `series` and `origins`, int64 [window]."""

    series: Array
    origins: Array

    def __len__(self) -> int:
        return len(self.series)

    def at(self, rows: Array) -> Windows:
        """Those at `rows`."""
        return Windows(self.series[rows], self.origins[rows])

    def apart(self, horizon: int) -> int:
        """In how many stretches of a horizon's length, side by side in each series, they begin."""
        return len(np.unique(np.stack([self.series, self.origins // horizon]), axis=1).T)


@dataclass(frozen=True)
class Prepared:
    """Everything training and testing need of the data.

    Attributes:
        table: all rows, raw.
        panel: the series.
        encoders: of the sealed model's inputs: "window" first, then what describes a series.
        about: by such input, [series, ...], encoded.
        raw_about: by such input, object [series], raw values.
        training, validation, test: windows of each part.
        simpler: forecasts without a network.
        levels: the quantiles that are forecast.
    """

    table: Table
    panel: Panel
    encoders: Mapping[str, Encoder]
    about: Mapping[str, Array]
    raw_about: Mapping[str, Values]
    training: Windows
    validation: Windows
    test: Windows
    simpler: tuple[Simple, ...]
    levels: tuple[float, ...]

    @property
    def fields(self) -> dict[str, Field]:
        """The sealed model's inputs."""
        reason = "a mapping from column to list: one series up to now, and what is known of the steps to come"
        found = {WINDOW: Field(WINDOW, "window", reason=reason)}
        for name, encoder in self.encoders.items():
            if name != WINDOW:
                found[name] = Field(name, encoder.modality, reason="describes the series")
        return found


def prepare(table: Table, boundary: int | None, plan: Plan, run: Run, narrator: Narrator) -> Prepared:
    """Put the series in order, divide them, fit encoders and simpler forecasts on the training part."""
    narrator.step("Prepare")
    found = panel(table, boundary, plan)
    target, part = next(iter(plan.task.items()))
    _tell(found, narrator)
    training = Windows(*training_windows(found.tracks, found.encoder.length, found.horizon, found.validation))
    if not len(training):
        training = Windows(*training_windows(found.tracks, found.encoder.length, found.horizon, found.validation, 1))
    validation = rolling(found, found.validation, found.test, max(1, found.horizon // VALIDATION_PACE))
    test = rolling(found, found.test, found.end, found.horizon)
    for name, windows in (("train", training), ("validate", validation), ("test", test)):
        if not len(windows):
            raise InputError(
                f"No series is long enough to {name}: {found.horizon} steps ahead need values before and after.",
                where="--horizon", fix="Forecast fewer steps, or give series with a longer history.",
            )  # fmt: skip
    narrator.say(
        f"windows of {found.encoder.length} steps and {found.horizon} ahead: {len(training):,} to train, "
        f"{len(validation):,} to validate, {len(test):,} to test"
    )
    encoders, about, raw = _about(found, list(part.options["static"]), str(part.options["group"]), plan)
    seconds = TREES_SHARE * plan.budget if plan.budget else TREES_SECONDS
    simpler = simple.fit(
        found, (training.series, training.origins), (validation.series, validation.origins), narrator,
        seed=plan.seed, seconds=seconds,
        about=np.concatenate([np.zeros((len(found.names), 0)), *(_flat(array) for array in about.values())], axis=1),
        levels=task_of(plan).levels,
    )  # fmt: skip
    lost = telling_nothing(set(part.options["static"]) - set(about))
    for finding in lost:
        narrator.say(f"{finding.kind}: {finding.text}")
    found = replace(found, findings=(*found.findings, *lost))
    levels = task_of(plan).levels
    prepared = Prepared(table, found, encoders, about, raw, training, validation, test, simpler, levels)
    run.write_json(run.prepared, {
        "version": VERSION,
        "encoders": {name: encoder.state() for name, encoder in encoders.items()},
        "tasks": {target: task_of(plan).state()},
        "findings": [],
    })  # fmt: skip
    return prepared


def _flat(array: Array) -> Array:
    """[series, feature] of what describes a series, encoded."""
    return array.reshape(len(array), -1)


def rolling(found: Panel, begin: int, end: int, every: int) -> Windows:
    """Windows with origins every so many steps from `begin`, as many as fit before `end`, of every series."""
    origins = np.arange(begin, end - found.horizon + 1, every)
    most = max(1, MOST_VALIDATED // max(len(found.tracks), 1))
    if every < found.horizon and len(origins) > most:
        origins = origins[np.unique(np.linspace(0, len(origins) - 1, most).astype(np.int64))]
    series = np.repeat(np.arange(len(found.tracks)), len(origins))
    origins = np.tile(origins, len(found.tracks))
    kept = found.tracks.usable(series, origins)
    return Windows(series[kept], origins[kept])


def _tell(found: Panel, narrator: Narrator) -> None:
    names, grid = len(found.names), found.encoder.grid
    spacing = grid.describe(found.encoder.clock.dates)
    series = "one series" if names == 1 else f"{names:,} series"
    season = f"values come again after {found.season} steps" if found.season > 1 else "no season was found"
    narrator.say(f"{series}, a value every {spacing}; {season}")
    clock = found.encoder.clock
    edges = [clock.text(int(grid.moments(np.array([step]))[0]), grid.days) for step in (found.validation, found.test)]
    narrator.say(f"validation from {edges[0]}, test from {edges[1]}")
    for finding in found.findings:
        narrator.say(f"{finding.kind}: {finding.text}")
    for row, reason in found.long.dropped[:3]:
        narrator.say(f"row {row} is left out: {reason}")


def _about(
    found: Panel, static: list[str], group: str, plan: Plan
) -> tuple[dict[str, Encoder], dict[str, Array], dict[str, Values]]:
    """Encoders of the sealed model's inputs; and what describes the series, encoded and raw."""
    encoders: dict[str, Encoder] = {WINDOW: found.encoder}
    modalities = {field.name: field.modality for field in plan.schema}
    values = {name: _first_values(found, name) for name in static}
    if group and len(found.names) > 1 and np.median(found.validation - found.tracks.starts) >= NAMED:
        values[group], modalities[group] = object_array(found.names), "category"
    trained = found.tracks.starts < found.validation
    about, raw = {}, {}
    for name, column in values.items():
        encoder = _fitted(modalities[name], column[trained])
        if encoder is not None:
            encoders[name], about[name], raw[name] = encoder, encoder.encode(column).array, column
    return encoders, about, raw


def _first_values(found: Panel, name: str) -> Values:
    """Object [series]: the first value of a column that is not missing, None where there is none."""
    column, values = found.long.values[name], []
    for rows in found.rows:
        own = column[rows[rows >= 0]]
        there = np.flatnonzero(canonical(own) != None)  # noqa: E711
        values.append(own[there[0]] if len(there) else None)
    return object_array(values)


def _fitted(modality: str, values: Values) -> Encoder | None:
    """The encoder of what describes a series, or None where it tells nothing."""
    try:
        encoder: Encoder = registry.module("modalities", modality).Encoder.fit(lambda: [values], {})
    except InputError:
        return None
    return encoder


def task_of(plan: Plan) -> Task:
    """What the sealed model answers with, before calibration."""
    target, part = next(iter(plan.task.items()))
    levels = levels_of(part.options)
    return Task(target, int(part.options["horizon"]), (), levels, len(levels) // 2)


def raw_rows(prepared: Prepared, windows: Windows) -> dict[str, Values]:
    """Raw inputs of the sealed model, as somebody would give them: columns as lists, without what is to be forecast."""
    found = {WINDOW: object_array(_raw_window(prepared.panel, *pair) for pair in zip(
        windows.series.tolist(), windows.origins.tolist(), strict=True))}  # fmt: skip
    return found | {name: values[windows.series] for name, values in prepared.raw_about.items()}


def _raw_window(found: Panel, series: int, origin: int) -> dict[str, Values]:
    encoder: Window = found.encoder
    begin = int(found.tracks.starts[series])
    first, last = max(origin - encoder.length - begin, 0), origin + encoder.horizon - begin
    rows, places = found.members[series]
    own = (places >= first) & (places < last)
    table = {name: found.long.values[name][rows[own]].astype(object) for name in encoder.columns}
    table[encoder.target][places[own] + begin >= origin] = None
    return table


def encoded_rows(prepared: Prepared, windows: Windows) -> dict[str, Array]:
    """The same, encoded."""
    found = {WINDOW: prepared.panel.tracks.windows(windows.series, windows.origins)}
    return found | {name: array[windows.series] for name, array in prepared.about.items()}
