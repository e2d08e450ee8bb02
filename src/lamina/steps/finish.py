"""The end of every run, whatever it learned from: tell what was found, put the results together, write the report."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lamina import __version__
from lamina.choose import hardware
from lamina.data.findings import AuditFinding
from lamina.data.schema import Json
from lamina.evaluate.cost import EnergyMeter, peak_memory_mb
from lamina.evaluate.results import Cost, Exhibit, Explanation, Results, Seal, TargetResult, to_json
from lamina.evaluate.scores import title
from lamina.learn.loop import Status
from lamina.learn.record import Record
from lamina.narrate import Narrator
from lamina.plan import Plan
from lamina.run import Run

SHOWN_SCORES = 4
"""Scores of one target that are told; the report has all."""


class Clock(Protocol):
    """Seconds by step."""

    seconds: dict[str, float]

    def lap(self, step: str) -> None: ...

    def trained(self, run: Run, ended: Status) -> None: ...


@dataclass(frozen=True)
class Course:
    """A run whose training has ended, and how it went so far.

    Attributes:
        ended: where training ended.
        record: its log.
        clock: seconds in each step.
        meter: has run since the process began.
    """

    plan: Plan
    run: Run
    narrator: Narrator
    ended: Status
    record: Record
    clock: Clock
    meter: EnergyMeter

    @property
    def seconds(self) -> float:
        """What training the network took; the other steps serve the baselines as well."""
        return self.clock.seconds.get("train", 0.0)

    def tell(self, result: TargetResult, *, named: bool = False, most: int | None = None) -> None:
        """A target's scores and the verdict.

        Args:
            named: with the target's name before each score.
            most: scores that are told; None tells all.
        """
        for name, score in list(result.scores.items())[:most]:
            unit = f" {score.unit}" if score.unit else ""
            sure = f" (95% interval {score.low:.4g} to {score.high:.4g})" if math.isfinite(score.low) else ""
            value = f"{score.value:.4g}{unit}{sure}" if math.isfinite(score.value) else "is not defined on these rows"
            self.narrator.say(f"{f'{result.target}: ' if named else ''}{title(name)} {value}")
        self.narrator.say(f"verdict: {result.verdict}")

    def tell_seal(self, seal: Seal, proven: str) -> None:
        """That the sealed file answers as the network did.

        Args:
            proven: what was answered again, e.g. "test rows answered again from their raw values".
        """
        self.narrator.say(
            f"sealed: {seal.rows:,} {proven}, {seal.same_answers:.0%} the same, "
            f"largest difference {seal.largest_difference:.1g}"
        )

    def finish(
        self,
        targets: Sequence[TargetResult],
        seal: Seal,
        *,
        data: Mapping[str, Json],
        network: Mapping[str, Json],
        versions: Mapping[str, str],
        audit: Sequence[AuditFinding] = (),
        explanations: Sequence[Explanation] = (),
        exhibits: Sequence[Exhibit] = (),
    ) -> Results:
        """The results, kept in the run's folder, and the report drawn from them."""
        # Not before it is needed: what draws reports takes longer to import than many a table to prepare.
        from lamina.report.write import write_report

        self.clock.lap("test")
        energy, how = self.meter.watt_hours()
        if hardware.detect().device.type != "cpu":
            how += "; what the accelerator took is not counted"
        results = Results(
            name=self.plan.name,
            created=time.strftime("%Y-%m-%d %H:%M:%S"),
            data=data,
            targets=tuple(targets),
            audit=(*audit, *normalised_over_parts(self.record)),
            explanations=tuple(explanations),
            seal=seal,
            cost=Cost(dict(self.clock.seconds), energy, how, peak_memory_mb(), pace(self.record)),
            curves={"train": thinned(self.record.of("train")), "validation": self.record.of("validation")},
            network=network,
            versions=versions,
            stopped=self.ended.stopped,
            exhibits=tuple(exhibits),
        )
        self.run.write_json(self.run.results, to_json(results))
        path = write_report(self.run)
        self.narrator.say(f"sealed model: {self.run.model}")
        self.narrator.say(f"report:       {path}")
        return results


def normalised_over_parts(record: Record) -> list[AuditFinding]:
    """That batch normalisation saw less than a batch, where that is so: accuracy may suffer."""
    found = [entry for entry in record.of("memory") if entry.get("normalised")]
    if not found:
        return []
    rows, asked = found[-1]["normalised"], found[-1]["parts"] <= found[-1]["asked"]
    why = "Batches were cut, as was asked for" if asked else "Memory did not suffice for whole batches"
    return [
        AuditFinding(
            "batch statistics",
            "note" if asked else "warning",
            f"{why}: batch normalisation took its statistics over {rows:,} rows at a time, so gradients were not those "
            "of whole batches.",
            fix="Choose smaller pictures or a smaller network, or train where there is more memory."
            if not asked else "Leave training.accumulation out: memory is spared without it where it does not suffice.",
        )
    ]  # fmt: skip


def pace(record: Record) -> float:
    """The median of the training's examples a second."""
    paces = [entry["examples_per_second"] for entry in record.of("train")]
    return float(np.median(paces)) if paces else 0.0


def thinned(entries: list[dict[str, Any]], most: int = 400) -> list[dict[str, Any]]:
    """At most `most` entries, evenly chosen, the last among them: enough for a curve."""
    if len(entries) <= most:
        return entries
    return [entries[place] for place in np.unique(np.linspace(0, len(entries) - 1, most).astype(int))]


def versions_of(plan: Plan, run: Run) -> dict[str, str]:
    """Of all that a run depends on, with its machine, seed and command."""
    libraries = {name: importlib.metadata.version(name) for name in ("torch", "onnxruntime", "numpy")}
    return {
        "lamina": __version__,
        **libraries,
        "python": platform.python_version(),
        "machine": hardware.detect().description,
        "seed": str(plan.seed),
        "command": str(run.status().get("command", "")),
    }
