"""Scores of a sealed forecaster: what is known already is hidden, forecast and compared, origin after origin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lamina.errors import InputError
from lamina.evaluate.forecasts import ERRORS, MAE, MASE, clusters, judged
from lamina.evaluate.judged import compared
from lamina.evaluate.scored import Scored
from lamina.modalities._canonical import object_array
from lamina.modalities._tracks import Track, Tracks
from lamina.modalities.window import Encoder
from lamina.model.forecast import ROWS, Series, as_columns, held, long_table, window_of
from lamina.model.graph import damaged
from lamina.model.rows import open_rows
from lamina.tasks.forecast import Task

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]
WINDOWS, SERIES = "windows", "series"
AT_ONCE = 1024
"""Windows that are made at a time."""


def score(model: Model, data: Any, seed: int) -> Scored:
    """The scores of training, from origins a horizon apart.

    The last origin is a horizon before the data's last value, the others follow backwards, at the same moments for all
    series. From the origin on the target and what is known only up to now are hidden; what is known in advance stays.
    A series is forecast from all origins that have as much history as the model reads; one that has less there, from
    the latest that it can be forecast from at all. As in training, no forecast begins after a gap, and intervals are
    over series, or over origins where series are few; of one alone there is none.

    The mean absolute scaled error and the scaled pinball loss are of the series that training knew, in whose units
    there they are told; where there is none, or the sealed file is one of before it held them, both are left out.

    Args:
        data: a long table, as `lamina predict` reads it. A series counts as an error where it cannot be read, as there,
            or where nothing in it can be forecast and compared.

    Raises:
        InputError: a column is missing, the data is no long table, or no series could be scored.
    """
    name, encoder, task = _forecaster(model)
    panel = _panel(model, encoder, data)
    series, origins = rolling(panel.tracks, encoder.length, encoder.horizon)
    if not len(series):
        raise _nothing(encoder, f"the longest has {int((panel.tracks.ends - panel.tracks.starts).max()):,} steps")
    parts = [
        model.outputs(panel.encoded(name, series[some], origins[some]))[task.name]
        for some in (slice(start, start + AT_ONCE) for start in range(0, len(series), AT_ONCE))
    ]
    truth = panel.tracks.values(series, origins, np.arange(encoder.horizon))
    cluster, _ = clusters(series, origins)
    units = np.array([task.units.get(name, np.nan) for name in panel.names])[series]
    known = bool(np.isfinite(units).any())
    own = judged(
        "", task.quantiles(np.concatenate(parts)), truth, units if known else None, cluster,
        primary=MASE if known and len(task.units) > 1 else MAE, levels=task.levels, pairs=task.pairs,
    )  # fmt: skip
    scores, _ = compared(own, (), int(cluster.max()) + 1, seed, lower=ERRORS)
    errors = panel.unread + len(panel.tracks) - len(np.unique(series))
    return Scored(len(series), errors, {task.name: scores}, WINDOWS, SERIES)


def rolling(tracks: Tracks, length: int, horizon: int) -> tuple[Array, Array]:
    """(int64 [window], series; int64 [window], origins), backwards from the end of the data.

    Args:
        length: steps of history that a series has at an origin; one that has them at none gets its latest origin.
    """
    back = np.arange(int(tracks.ends.max()) - horizon, int(tracks.starts.min()), -horizon)
    series, origins = np.repeat(np.arange(len(tracks)), len(back)), np.tile(back, len(tracks))
    kept = tracks.usable(series, origins)
    series, origins = series[kept], origins[kept]
    chosen = origins - tracks.starts[series] >= length
    latest = np.unique(series, return_index=True)[1]
    chosen[latest[~np.isin(series[latest], series[chosen])]] = True
    return series[chosen], origins[chosen]


@dataclass(frozen=True)
class _Panel:
    """Series that can be read, and what describes them, encoded by input; `unread` is how many could not be."""

    names: tuple[str, ...]
    tracks: Tracks
    about: Mapping[str, Array]
    unread: int

    def encoded(self, name: str, series: Array, origins: Array) -> dict[str, Array]:
        """Windows of the input `name`, and what describes their series."""
        return {name: self.tracks.windows(series, origins)} | {key: own[series] for key, own in self.about.items()}


def _panel(model: Model, encoder: Encoder, data: Any) -> _Panel:
    long = long_table(model, data)
    if long is None:
        raise InputError(
            "Windows do not tell what came after them.",
            where=model.where,
            fix=f"Give a long table: a row for each moment, with a number in {encoder.target!r}.",
        )
    whole = held(open_rows(as_columns(data), long, ROWS), model)
    every = list(whole.some(0, len(whole)))
    about, wrong = _described(model, every)
    read = {row: wrong.get(row) or found for row, found in enumerate(_read(encoder, every))}
    kept = [row for row, found in read.items() if isinstance(found, Track)]
    if not kept:
        raise _nothing(encoder, _first(encoder, every, read))
    tracks = encoder.tracks([cast(Track, read[row]) for row in kept])
    names = tuple(every[row].name or "" for row in kept)
    return _Panel(names, tracks, {name: array[kept] for name, array in about.items()}, len(every) - len(kept))


def _read(encoder: Encoder, every: list[Series]) -> Iterator[Track | str]:
    """Each series on the grid, or what is wrong with it."""
    for one in every:
        yield one.error or encoder.history_of(one.table)


def _first(encoder: Encoder, every: list[Series], read: Mapping[int, Track | str]) -> str:
    """What is wrong with the first series."""
    if not every:
        return "there is no row"
    return f"{encoder.group} {every[0].name!r}: {read[0]}" if every[0].name else str(read[0])


def _described(model: Model, every: list[Series]) -> tuple[dict[str, Array], dict[int, str]]:
    """(What describes the series, encoded by input; what is wrong with some of them)."""
    found, wrong = {}, dict[int, str]()
    for name, item in model.inputs.items():
        if not isinstance(item.encoder, Encoder):
            encoded = item.encoder.encode(object_array(one.about[name] for one in every))
            found[name] = encoded.array
            wrong |= {row: f"{name}: {reason}" for row, reason in encoded.errors.items()}
    return found, wrong


def _forecaster(model: Model) -> tuple[str, Encoder, Task]:
    """The input of windows, its encoder, and the task."""
    found, task = window_of(model), next(iter(model.tasks.values()))
    if found is None or not isinstance(task, Task) or found[1].horizon != task.horizon:
        raise damaged("The model does not fit together: it forecasts other steps than its windows have.", model.where)
    return *found, task


def _nothing(encoder: Encoder, reason: str) -> InputError:
    return InputError(
        f"No series could be scored: {reason}.",
        where=encoder.target,
        fix=f"Give at least {encoder.horizon + 1:,} steps of a series with numbers in {encoder.target!r} "
        f"({encoder.length + encoder.horizon:,} for all the history that is read): its last {encoder.horizon:,} are "
        "hidden, forecast and compared.",
    )
