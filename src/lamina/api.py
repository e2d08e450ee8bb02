"""What `import lamina` offers: inspect, train, resume, load. The five steps, one after the other."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina import plan as plans
from lamina import run as runs
from lamina.errors import InputError, MissingDependencyError
from lamina.files import CannotWriteError
from lamina.narrate import Narrator, Plain, Silent
from lamina.run import Run
from lamina.steps.request import Request, seconds

if TYPE_CHECKING:
    from torch import Tensor

    from lamina.data.tables import Table
    from lamina.demo import DemoSet
    from lamina.evaluate.cost import EnergyMeter
    from lamina.evaluate.results import Results
    from lamina.model.runtime import Model
    from lamina.networks.assembly import Assembly
    from lamina.steps.baselines import Answers
    from lamina.steps.choose import Allowance
    from lamina.steps.learner import Learner
    from lamina.steps.prepare import Prepared
    from lamina.steps.quantize import Variant


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        run: its folder.
        results: everything that was found out.
        interrupted: training was ended by Ctrl-C; the best weights until then are sealed.
    """

    run: Run
    results: Results
    interrupted: bool = False

    @property
    def model(self) -> Model:
        """The sealed model."""
        return load(self.run.model)

    @property
    def network(self) -> Assembly:
        """The trained PyTorch network, in evaluation mode; its insides by `.layer(name)`."""
        return network(self.run.folder)

    def summary(self) -> dict[str, Any]:
        """What a script wants to know, as JSON."""
        return {
            "run": str(self.run.folder),
            "model": str(self.run.model),
            "report": str(self.run.report),
            "interrupted": self.interrupted,
            "targets": {
                target.target: {
                    "task": target.task,
                    "scores": {name: asdict(interval) for name, interval in target.scores.items()},
                    "verdict": target.verdict,
                    "verdict_kind": target.verdict_kind,
                }
                for target in self.results.targets
            },
            "seal": None if self.results.seal is None else asdict(self.results.seal),
            "cost": asdict(self.results.cost),
        }


@dataclass(frozen=True)
class Inspection:
    """What is in the data."""

    content: Mapping[str, Any]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return dict(self.content)


def inspect(data: Any, target: str | tuple[str, ...] | list[str] = (), **options: Any) -> Inspection:
    """Look at data without training: columns, modalities, tasks, parts, and what the audit finds.

    Args:
        data: a path, URL or data frame.
        target: the target column or columns.
        options: as in `train`.
    """
    return inspect_request(_request(data, target, options))


def inspect_request(request: Request, narrator: Narrator | None = None) -> Inspection:
    """`inspect` for a Request."""
    from lamina.data.audit import audit
    from lamina.data.split import split
    from lamina.steps.understand import understand

    found = understand(request, narrator or Silent())
    parts = split(found.table, found.schema, found.plan.data, request.seed, test_from=found.boundary)
    findings = audit(found.table, found.schema, parts)
    return Inspection(
        {
            "name": found.table.name,
            "rows": len(found.table),
            "columns": len(found.table.columns),
            "fields": [
                {
                    "name": field.name, "modality": field.modality, "role": field.role, "reason": field.reason,
                    "summary": dict(found.summaries.get(field.name, {})),
                }
                for field in found.schema
            ],
            "tasks": {name: found.plan.reasons[f"task.{name}"] for name in found.plan.task},
            "split": {"train": len(parts.train), "validation": len(parts.validation), "test": len(parts.test)},
            "audit": [asdict(finding) for finding in findings],
        }
    )  # fmt: skip


def train(data: Any, target: str | tuple[str, ...] | list[str] = (), *, quiet: bool = False, **options: Any) -> Trained:
    """All five steps: understand, prepare, choose, train, test; ends with a sealed model and a report.

    Args:
        data: a path, URL or data frame.
        target: the target column or columns; for a folder of class folders it is `label`.
        quiet: tell nothing on standard error.
        options: test, split, task, budget ("5m"), seed, out, plan, weights, and `set` (a dict of plan
            changes, e.g. {"network.depth": 6}).

    Raises:
        InputError: the data or the request is wrong; the text says what to do.
    """
    return train_request(_request(data, target, options), Silent() if quiet else Plain())


def _request(data: Any, target: str | tuple[str, ...] | list[str], options: Mapping[str, Any]) -> Request:
    known = {"test", "split", "task", "budget", "seed", "out", "plan", "weights", "set"}
    from lamina.errors import nearest

    for name in options:
        if name not in known:
            raise InputError(f"There is no option {name!r}.", where="lamina.train", fix=nearest(name, known))
    weights = options.get("weights", ())
    sets = options.get("set", {})
    return Request(
        data=str(data) if isinstance(data, Path) else data,
        test=str(options["test"]) if isinstance(options.get("test"), Path) else options.get("test"),
        split=options.get("split", ""),
        targets=(target,) if isinstance(target, str) else tuple(target),
        task=options.get("task", ""),
        budget=seconds(options["budget"]) if options.get("budget") else 0.0,
        seed=options.get("seed", 0),
        out=str(options["out"]) if options.get("out") else None,
        sets=tuple(f"{key}={plans.as_toml(value)}" for key, value in sets.items()),
        plan=str(options["plan"]) if options.get("plan") else None,
        weights=(str(weights),) if isinstance(weights, str | Path) else tuple(weights),
        command="lamina.train(...)",
    )


def train_request(request: Request, narrator: Narrator) -> Trained:
    """`train` for a Request."""
    _check_installed()
    from lamina.evaluate.cost import EnergyMeter
    from lamina.steps import baselines, choose, prepare, understand
    from lamina.steps.request import apply_weights, check

    begin = request.began or time.monotonic()
    check(request)
    runs.check_out(request.out)
    given = plans.read(Path(request.plan)) if request.plan else None
    if given is not None:
        request = _following(request, given)
    request = apply_weights(request)
    clock, meter = _Clock(begin), EnergyMeter()
    understood = understand.understand(request, narrator)
    clock.lap("understand")
    fresh = request.out is None or not Path(request.out).exists()
    run = runs.create(request.out, request.name)
    try:
        run.write_status(state="preparing", command=request.command, seconds=clock.seconds)
        prepared = prepare.prepare(understood, run, narrator)
        choose.check(request, prepared, understood.plan, given)
        compared = baselines.fit_baselines(understood.plan, prepared, run, narrator)
        clock.lap("prepare")
        plan, allowed = choose.choose(request, prepared, understood.plan, narrator, began=begin, given=given)
        clock.lap("choose")
        # The plan comes last: where there is a plan, resuming finds everything else as well.
        run.write_status(state="training", seconds=clock.seconds, allowed=asdict(allowed), base=str(request.base))
        run.write_plan(plan)
    except BaseException:
        # Without a plan there is nothing to resume: the same command must find its folder free again.
        run.discard(folder=fresh)
        raise
    return _train_and_test(run, plan, prepared, compared, narrator, clock, meter, allowed, request.base)


def _check_installed() -> None:
    """Raise MissingDependencyError where Lamina was installed for predicting only."""
    for module in ("torch", "safetensors", "onnx", "onnxscript", "sklearn", "polars", "pyarrow", "jinja2"):
        if importlib.util.find_spec(module) is None:
            raise MissingDependencyError(module, "Training", "train")


def resume(folder: str | Path, narrator: Narrator | None = None, *, data: Any = None, test: Any = None) -> Trained:
    """Go on with a run that was stopped, by a kill, a crash or Ctrl-C, bit for bit (CPU) as if it had not been.

    A finished run is only tested and reported again.

    Args:
        folder: the run folder.
        narrator: tells what goes on; on standard error unless said otherwise.
        data, test: the data again, where it was a data frame or has been moved.

    Raises:
        InputError: there is no run, or the data is not what the run was started with.
    """
    _check_installed()
    from lamina.evaluate.cost import EnergyMeter
    from lamina.steps import baselines, choose, prepare

    narrator = narrator or Plain()
    begin, meter = time.monotonic(), EnergyMeter()
    run = runs.find(folder)
    plan, status = run.plan(), run.status()
    clock = _Clock(begin, {step: float(value) for step, value in status.get("seconds", {}).items()})
    narrator.step("Prepare")
    table, boundary = _data_of(run, plan, data, test)
    prepared = prepare.prepared_again(run, plan, table, boundary, narrator)
    compared = baselines.read_baselines(run, plan)
    if compared is None:
        compared = baselines.fit_baselines(plan, prepared, run, narrator)
    base = Path(status.get("base", "."))
    allowed = choose.Allowance(**status.get("allowed", {}))
    return _train_and_test(run, plan, prepared, compared, narrator, clock, meter, allowed, base)


def _data_of(run: Run, plan: plans.Plan, data: Any, test: Any) -> tuple[Table, int | None]:
    """A run's data, read again from where it was, or from what the user gives in its place.

    Raises:
        InputError: it was a data frame and is not given, or it is other data.
    """
    from lamina.steps import understand

    base = Path(run.status().get("base", "."))
    for given, known in ((data, plan.data.train), (test, plan.data.test)):
        if given is None and known.startswith(understand.IN_MEMORY):
            raise InputError(
                f"The run {run.folder} was trained on a data frame, which is not on disk.",
                fix="Give the frame again, from Python: lamina.resume(run, data=frame)",
            )
    train = data if data is not None else _from_base(plan.data.train, base)
    held_out = test if test is not None else _from_base(plan.data.test, base)
    table, boundary = understand.open_data(train, held_out or None if isinstance(held_out, str) else held_out)
    if table.fingerprint != plan.data.fingerprint:
        raise InputError(
            f"The data in {plan.data.train} is not what the run {run.folder} was started with.",
            fix="Put the old data back, or start a new run with `lamina train`.",
        )
    return table, boundary


def _from_base(place: str, base: Path) -> str:
    """A path as the run was given it, whatever folder we are in now; URLs stay."""
    return place if not place or "://" in place or Path(place).is_absolute() else str(base / place)


def _train_and_test(
    run: Run,
    plan: plans.Plan,
    prepared: Prepared,
    compared: Answers,
    narrator: Narrator,
    clock: _Clock,
    meter: EnergyMeter,
    allowed: Allowance,
    base: Path,
) -> Trained:
    from lamina.steps import test
    from lamina.steps.train import train as learn

    try:
        learner, ended, record = learn(plan, prepared, run, narrator, allowed=allowed, base=base)
        clock.seconds["train"] = ended.seconds
        clock.last = time.monotonic()
        run.write_status(state="trained", seconds=clock.seconds)
        results = test.test(
            plan, prepared, learner, compared, run, narrator, ended=ended, record=record, clock=clock, meter=meter
        )
    except CannotWriteError as error:
        fix = f"Free disk space; `lamina resume {run.folder}` then goes on from what is saved."
        raise InputError(error.what, where=error.where, fix=fix) from error
    interrupted = ended.stopped == "interrupted"
    run.write_status(state="interrupted" if interrupted else "done", seconds=clock.seconds)
    return Trained(run, results, interrupted)


class _Clock:
    """Seconds spent in each step."""

    def __init__(self, begin: float, seconds: dict[str, float] | None = None) -> None:
        self.last, self.seconds = begin, dict(seconds or {})

    def lap(self, step: str) -> None:
        """What has passed since the last lap belongs to `step`."""
        now = time.monotonic()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - self.last
        self.last = now


def _following(request: Request, given: plans.Plan) -> Request:
    """The request with what it leaves open taken from the plan it follows."""
    sets = [f"schema.{field.name}.modality={field.modality}" for field in given.schema if len(field.columns) == 1]
    sets += [f"schema.{field.name}.role={field.role}" for field in given.schema if len(field.columns) == 1]
    sets += [
        f"schema.{field.name}.{key}={plans.as_toml(value)}"
        for field in given.schema
        for key, value in field.options.items()
    ]
    sets += [
        f"task.{name}.{key}={plans.as_toml(value)}"
        for name, part in given.task.items()
        for key, value in part.options.items()
    ]
    return replace(
        request,
        targets=request.targets or tuple(given.task),
        budget=request.budget or given.budget,
        seed=request.seed or given.seed,
        sets=(*sets, *request.sets),
    )


def load(path: str | Path) -> Model:
    """A sealed model; needs no PyTorch."""
    from lamina.model.runtime import load as load_model

    file = Path(path)
    return load_model(file / "model.lamina" if file.is_dir() else file)


def learner(folder: str | Path, *, data: Any = None, test: Any = None) -> Learner:
    """A run's network, method and batches, with its final weights: for looking inside and going on from there.

    Args:
        folder: the run folder.
        data, test: the data again, where it was a data frame or has been moved.

    Raises:
        InputError: there is no run, or the data is not what the run was started with.
    """
    import torch

    from lamina.steps import prepare
    from lamina.steps.learner import build

    run = runs.find(folder)
    plan = run.plan()
    table, boundary = _data_of(run, plan, data, test)
    prepared = prepare.prepared_again(run, plan, table, boundary, Silent())
    found = build(plan, prepared, torch.device("cpu"), Path(run.status().get("base", ".")))
    found.method.load(_final_weights(run))
    found.network.eval()
    return found


def quantize(
    folder: str | Path,
    kinds: Sequence[str] = (),
    *,
    most_loss: float = 0.01,
    data: Any = None,
    test: Any = None,
    narrator: Narrator | None = None,
) -> list[Variant]:
    """Smaller variants of a run's sealed model, `model-KIND.lamina` beside it, each with what it loses in its card.

    Args:
        folder: the run folder.
        kinds: "int8" (weights and sums in 8 bits), "fp16" (weights kept in 16 bits); both by default.
        most_loss: how much worse the first score may be on the validation rows: of a share that many hundred points,
            of any other score that share. A variant that loses more is not sealed.
        data, test: the data again, where it was a data frame or has been moved.

    Returns:
        A `Variant` for each kind: path, size, pace, scores before and after; or why it was refused.

    Raises:
        InputError: there is no finished run, the data is not what the run was started with, or an unknown kind.
    """
    _check_installed()
    from lamina.steps import prepare
    from lamina.steps import quantize as steps

    run = runs.find(folder)
    plan = run.plan()
    table, boundary = _data_of(run, plan, data, test)
    prepared = prepare.prepared_again(run, plan, table, boundary, Silent())
    return steps.quantize(run, prepared, narrator or Silent(), tuple(kinds) or steps.KINDS, most_loss)


def network(folder: str | Path) -> Assembly:
    """A run's trained PyTorch network, in evaluation mode; its insides by `.layer(name)`. Needs no data.

    Raises:
        InputError: there is no run, or it has not been trained to the end.
    """
    from lamina.data.schema import Schema
    from lamina.networks.assembly import build_assembly
    from lamina.networks.transfer.freezing import apply_freezing
    from lamina.steps import prepare

    run = runs.find(folder)
    plan = run.plan()
    encoders, tasks = prepare.restored(run, plan, Schema(plan.schema))
    features = {name: encoder.feature for name, encoder in encoders.items()}
    widths = {name: task.width for name, task in tasks.items()}
    found = build_assembly(plan.network, features, widths, base=Path(run.status().get("base", ".")))
    for name, part in plan.network.items():
        apply_freezing(found, name, part.frozen)
    found.load_state_dict(dict(_final_weights(run)))
    return found.eval()


def _final_weights(run: Run) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    if not run.weights.exists():
        raise InputError(
            f"The run {run.folder} has not been trained to the end.",
            fix=f"Go on with it first: lamina resume {run.folder}",
        )
    return load_file(run.weights)


def run_demo(
    demo: DemoSet, budget: str, out: str | None, seed: int, narrator: Narrator
) -> tuple[Trained, dict[str, Any]]:
    """Train on a shipped data set; returns the run and one decoded prediction of its sealed model."""
    folder = out or str(runs.free(Path("runs") / f"demo-{demo.name}"))
    request = Request(
        data=str(demo.path),
        targets=(demo.target,) if demo.target else (),
        budget=seconds(budget or demo.budget),
        seed=seed,
        out=folder,
        command=f"lamina demo {demo.name}",
    )
    trained = train_request(request, narrator)
    return trained, trained.model.golden_answer()
