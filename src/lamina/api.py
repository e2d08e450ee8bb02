"""What `import lamina` offers: inspect, train, resume, load, quantize, few_shot. The five steps in a row."""

from __future__ import annotations

import importlib.util
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina import plan as plans
from lamina import run as runs
from lamina.errors import InputError, MissingDependencyError
from lamina.narrate import Narrator, Plain, Silent
from lamina.plan import Plan
from lamina.run import Run
from lamina.steps.request import Request, Sources, restored, seconds, source, sources

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lamina.demo import DemoSet
    from lamina.evaluate.results import Results
    from lamina.model.runtime import Model
    from lamina.networks.assembly import Assembly
    from lamina.steps.few_shot import FewShot
    from lamina.steps.learner import Learner
    from lamina.steps.quantize import Variant
    from lamina.steps.session import Ended

RUN = "a run folder"


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
    def network(self) -> Assembly | nn.Module:
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


def inspect(data: Any, target: str | tuple[str, ...] | list[str] | None = (), **options: Any) -> Inspection:
    """Look at data without training: columns, modalities, tasks, parts, and what the audit finds.

    Series to forecast, interactions, texts to be written and environments have neither parts nor audit before they are
    prepared: of them columns and task are told.

    Args:
        data: a path, URL or data frame, or the name of an environment.
        target: the target column or columns.
        options: as in `train`.
    """
    return inspect_request(_request(data, target, options))


def inspect_request(request: Request, narrator: Narrator | None = None) -> Inspection:
    """`inspect` for a Request."""
    from lamina.data.audit import audit
    from lamina.data.split import split
    from lamina.steps import also
    from lamina.steps.request import check
    from lamina.steps.understand import several_right, understand, way_of

    check(request)
    if way := way_of(request):
        _check_installed()
        session = importlib.import_module(f"lamina.steps.{way}.session")
        return _seen(*session.looked_at(request, narrator or Silent()))
    found = understand(request, narrator or Silent())
    parts = split(found.table, found.schema, found.plan.data, found.plan.seed, test_from=found.boundary)
    findings = audit(found.table, found.schema, parts, several=several_right(found.plan))
    return Inspection(
        {
            "name": found.table.name,
            "rows": len(found.table), "columns": len(found.table.columns),
            "fields": [
                {
                    "name": field.name, "modality": field.modality, "role": field.role, "reason": field.reason,
                    "summary": dict(found.summaries.get(field.name, {})),
                }
                for field in found.schema
            ],
            "tasks": {name: found.plan.reasons[f"task.{name}"] for name in found.plan.task},
            "split": {"train": len(parts.train), "validation": len(parts.validation), "test": len(parts.test)},
            "sources": also.sources(found.plan, found.table, parts.train),
            "audit": [asdict(finding) for finding in findings],
        }
    )  # fmt: skip


def _seen(plan: Plan, rows: int | None) -> Inspection:
    """What is in data that no rows are drawn from before they are prepared: without parts and audit."""
    return Inspection(
        {
            "name": plan.name,
            "rows": rows,
            "columns": len(plan.schema),
            "fields": [
                {"name": field.name, "modality": field.modality, "role": field.role, "reason": field.reason,
                 "summary": {}}
                for field in plan.schema
            ],
            "tasks": {name: plan.reasons[f"task.{name}"] for name in plan.task},
            "split": {}, "sources": [], "audit": [],
        }
    )  # fmt: skip


def train(
    data: Any, target: str | tuple[str, ...] | list[str] | None = (), *, quiet: bool = False, **options: Any
) -> Trained:
    """All five steps: understand, prepare, choose, train, test; ends with a sealed model and a report.

    Args:
        data: a path, URL or data frame, or the name of an environment.
        target: the target column or columns; for a folder of class folders it is `label`.
        quiet: tell nothing on standard error.
        options: test, also (more data, or several in a list, which only training learns from), split, task, restore,
            budget ("5m"), seed, out, plan, weights, and `set` (a dict of plan changes, e.g. {"network.depth": 6}); of
            a forecast time, group and horizon. None: not given.

    Raises:
        InputError: the data or the request is wrong; the text says what to do.
    """
    return train_request(_request(data, target, options), Silent() if quiet else Plain())


TEXTS, NUMBERS = ("split", "task", "restore", "time", "group"), ("seed", "horizon")
"""Options of `train` that are one text or one whole number."""


def _request(data: Any, target: str | tuple[str, ...] | list[str] | None, options: Mapping[str, Any]) -> Request:
    known = {*TEXTS, *NUMBERS, "test", "also", "budget", "out", "plan", "weights", "set"}
    from lamina.errors import nearest

    for name in options:
        if name not in known:
            raise InputError(f"There is no option {name!r}.", where="lamina.train", fix=nearest(name, known))
    # None says nothing, as where it is handed on from somebody's own arguments.
    given = {name: value for name, value in options.items() if value is not None}
    for name in TEXTS:
        if not isinstance(given.get(name, ""), str):
            raise _wrong(name, given[name], "Give a text.")
    task, restoring = restored(given.get("restore", ""), given.get("task", ""))
    return Request(
        data=source(data),
        test=source(given.get("test")),
        also=sources(given.get("also", ())),
        split=given.get("split", ""),
        targets=() if target is None else tuple(map(str, _several(target))),
        task=task,
        budget=seconds(given["budget"]) if given.get("budget") else 0.0,
        seed=_whole("seed", given["seed"]) if "seed" in given else None,
        out=str(given["out"]) if given.get("out") else None,
        sets=(*restoring, *_sets(given.get("set", {}))),
        plan=str(given["plan"]) if given.get("plan") else None,
        weights=tuple(map(str, _several(given.get("weights", ())))),
        command="lamina.train(...)",
        time=given.get("time", ""),
        group=given.get("group", ""),
        horizon=_whole("horizon", given.get("horizon", 0)),
    )


def _several(given: Any) -> tuple[Any, ...]:
    """What may be given alone or as several."""
    return tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)


def _whole(name: str, given: Any) -> int:
    """A whole number, NumPy's as well."""
    try:
        return operator.index(given)
    except TypeError:
        raise _wrong(name, given, "Give a whole number.") from None


def _sets(given: Any) -> tuple[str, ...]:
    if not isinstance(given, Mapping):
        raise _wrong("set", given, 'Give a dict of changes to the plan, e.g. {"network.depth": 6}.')
    return tuple(f"{key}={plans.as_toml(_plain(value))}" for key, value in given.items())


def _plain(value: Any) -> Any:
    """A setting as TOML knows it: NumPy's numbers as Python's, tuples and arrays as lists, paths as text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _wrong(name: str, given: Any, fix: str) -> InputError:
    return InputError(f"The option {name!r} is {str(given)[:100]!r}.", where="lamina", fix=fix)


def _path(given: Any, what: str) -> Path:
    """A path that was given.

    Raises:
        InputError: it is none.
    """
    if not isinstance(given, str | os.PathLike):
        raise InputError(f"{type(given).__name__} is no path of {what}.", fix=f"Give the path of {what}.")
    return Path(given)


def train_request(request: Request, narrator: Narrator) -> Trained:
    """`train` for a Request."""
    _check_installed()
    from lamina.steps import session

    return _trained(session.train(request, narrator))


def _trained(done: Ended) -> Trained:
    run, results, ended = done
    return Trained(run, results, ended.stopped == "interrupted")


def _check_installed() -> None:
    """Raise MissingDependencyError where Lamina was installed for predicting only."""
    for module in ("torch", "safetensors", "onnx", "onnxscript", "sklearn", "pyarrow", "jinja2"):
        if importlib.util.find_spec(module) is None:
            raise MissingDependencyError(module, "Training", "train")


def resume(
    folder: str | Path, narrator: Narrator | None = None, *, data: Any = None, test: Any = None, also: Any = None
) -> Trained:
    """Go on with a run that was stopped, by a kill, a crash or Ctrl-C, bit for bit (CPU) as if it had not been.

    A finished run is only tested and reported again.

    Args:
        folder: the run folder.
        narrator: tells what goes on; on standard error unless said otherwise.
        data, test, also: the data again, where it was a data frame or has been moved.

    Raises:
        InputError: there is no run, or the data is not what the run was started with.
    """
    _check_installed()
    from lamina.steps import session

    return _trained(session.resume(_path(folder, RUN), narrator or Plain(), Sources(data, test, sources(also))))


def load(path: str | Path, *, fastest: bool = False) -> Model:
    """A sealed model, from its file or a run folder; needs no PyTorch.

    Args:
        fastest: time the variants that `quantize` made beside it, and take whichever answers fastest here; `chosen` of
            the model says what was measured.

    Raises:
        InputError: there is none, the run is not finished, or the file is damaged or newer than this Lamina.
    """
    file = runs.model_file(_path(path, "a sealed model"))
    if fastest:
        from lamina.model.fastest import fastest as fastest_of

        return fastest_of(file)
    from lamina.model.runtime import load as load_model

    return load_model(file)


def learner(folder: str | Path, *, data: Any = None, test: Any = None, also: Any = None) -> Learner:
    """A run's network, method and batches, with its final weights: for looking inside and going on from there.

    Args:
        folder: the run folder.
        data, test, also: the data again, where it was a data frame or has been moved.

    Raises:
        InputError: there is no run, it did not learn from rows with answers, or the data is not what it was started
            with.
    """
    import torch

    from lamina.steps import prepare
    from lamina.steps.learner import build
    from lamina.steps.session import data_of
    from lamina.steps.understand import apart, unlabelled

    run = runs.find(_path(folder, RUN))
    plan = run.plan()
    names = [part.name for part in plan.task.values()]
    if apart(names) or any(map(unlabelled, names)):
        raise InputError(
            f"The run {run.folder} is of the task {names[0]!r}: this is for runs that learned from rows with answers.",
            where=str(run.folder),
            fix="Look at its network: lamina.api.network(run)",
        )
    table, boundary = data_of(run, plan, Sources(data, test, sources(also)))
    prepared = prepare.prepared_again(run, plan, table, boundary, Silent())
    found = build(plan, prepared, torch.device("cpu"), Path(run.status().get("base", ".")))
    found.method.load(_final_weights(run))
    found.network.eval()
    return found


def quantize(
    folder: str | Path,
    kinds: str | Sequence[str] = (),
    *,
    most_loss: float | None = None,
    data: Any = None,
    test: Any = None,
    also: Any = None,
    narrator: Narrator | None = None,
) -> list[Variant]:
    """Smaller variants of a run's sealed model, `model-KIND.lamina` beside it, each with what it loses in its card.

    Args:
        folder: the run folder.
        kinds: "int8" (weights and sums in 8 bits), "fp16" (weights kept in 16 bits); both by default.
        most_loss: how much worse the first score may be on the validation rows: of a share that many hundred points,
            of any other score that share; 0.01 by default, and 0.05 of the nearest rows by vectors. A variant that
            loses more, or whose loss cannot be measured, is not sealed.
        data, test, also: the data again, where it was a data frame or has been moved.

    Returns:
        A `Variant` for each kind: path, size, pace, scores before and after; or why it was refused.

    Raises:
        InputError: there is no finished run, the data is not what the run was started with, or an unknown kind.
    """
    _check_installed()
    from lamina.steps import prepare
    from lamina.steps import quantize as steps
    from lamina.steps.session import data_of

    run = runs.find(_path(folder, RUN))
    plan = run.plan()
    table, boundary = data_of(run, plan, Sources(data, test, sources(also)))
    prepared = prepare.prepared_again(run, plan, table, boundary, Silent())
    return steps.quantize(run, prepared, narrator or Silent(), _several(kinds) or steps.KINDS, most_loss)


def few_shot(
    model: str | Path,
    examples: Any,
    target: str = "",
    *,
    way: str = "",
    shots: int | Sequence[int] = (1, 5, 20),
    ways: int = 0,
    episodes: int = 200,
    seed: int = 0,
    out: str | Path | None = None,
) -> FewShot:
    """New classes from a few examples, on top of a sealed encoder; trains no network, needs no PyTorch.

    Args:
        model: the encoder: a .lamina file or a run folder, best of a training with task="embed".
        examples: a path or data frame with labelled rows, or a folder of class folders.
        target: the column of the labels; by default `label`.
        way: "prototypes" (nearest class mean), "neighbors" or "probe" (a linear layer); by default the best here.
        shots: examples of each class in an episode.
        ways: classes of an episode; by default 5, or all if there are fewer.
        episodes: how many to draw, by `seed`.
        out: where to write the adapted model, an ordinary .lamina file.

    Returns:
        Accuracy over episodes with intervals, and the adapted `model`.

    Raises:
        InputError: the model, the data or the request is wrong.
    """
    from lamina.steps.few_shot import adapt_to

    file = runs.model_file(_path(model, "a sealed model"))
    shots = tuple(_whole("shots", number) for number in _several(shots))
    return adapt_to(file, examples, target, way=way, shots=shots, ways=ways, number=episodes, seed=seed, out=out)


def network(folder: str | Path) -> Assembly | nn.Module:
    """A run's trained PyTorch network, in evaluation mode; its insides by `.layer(name)`. Needs no data.

    Of a run in an environment it is the policy, of interactions the recommender, of series the forecaster, of pictures
    to be made the generator, of texts to be written the writer; where that learned on from a given model, this must
    still be there.

    Raises:
        InputError: there is no run, or it has not been trained to the end.
    """
    from lamina.data.schema import Schema
    from lamina.environments import is_environment
    from lamina.networks.transfer.freezing import adapters, apply_freezing
    from lamina.steps import prepare
    from lamina.steps.learner import assembled
    from lamina.steps.understand import apart, later

    run = runs.find(_path(folder, RUN))
    plan = run.plan()
    if is_environment(plan.data.train):
        from lamina.steps.control.player import trained

        return trained(plan, Path(run.status().get("base", ".")), _final_weights(run))
    names = [part.name for part in plan.task.values()]
    if way := apart(names) or later(names):
        learner = importlib.import_module(f"lamina.steps.{way}.{'learner' if apart(names) else 'session'}")
        found: nn.Module = learner.trained(run, plan, _final_weights(run))
        return found
    encoders, tasks = prepare.restored(run, plan, Schema(plan.schema))
    features = {name: encoder.feature for name, encoder in encoders.items()}
    widths = {name: task.width for name, task in tasks.items()}
    whole = assembled(plan, features, widths, Path(run.status().get("base", ".")))
    for name, part in plan.network.items():
        apply_freezing(whole, name, part.frozen, **adapters(name, part))
    whole.load_state_dict(dict(_final_weights(run)))
    return whole.eval()


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
