"""The model card: what a person should know before using a model (Mitchell et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from lamina.data.schema import Json
from lamina.evaluate.fairness import TRADE_OFF
from lamina.evaluate.results import Fairness, TargetResult, to_json
from lamina.plan import Plan

FEW_ROWS = 200
DATA = ("rows", "train", "validation", "test", "sources", "dropped_count")
"""What the card says of the data that learned and tested."""


def build(
    plan: Plan,
    data: Mapping[str, Json],
    targets: Sequence[TargetResult],
    versions: Mapping[str, str],
    *,
    created: str = "",
    golden: int = 0,
    licence: str = "",
    network: Mapping[str, Json] | None = None,
    privacy: Mapping[str, Json] | None = None,
) -> dict[str, Json]:
    """The card as JSON.

    Args:
        data: as in `Results.data`: rows, parts, fields.
        targets: what testing found.
        golden: raw rows that are kept in the sealed file.
        licence: the user's words on who may use the model; "" if nothing was said.
        network: as in `Results.network`.
        privacy: what private training promises: "epsilon", "delta" and how it was reached.
    """
    found = limits(plan, data, targets, golden)
    return {
        "name": plan.name,
        "created": created,
        "licence": licence or "not stated",
        "inputs": [{"name": item.name, "modality": item.modality} for item in plan.schema if item.role == "input"],
        "targets": {result.target: _target(result) for result in targets},
        "data": {
            "source": plan.data.train,
            "fingerprint": plan.data.fingerprint,
            **{name: data[name] for name in DATA if name in data},
        },
        "limits": [privacy["told"], *found] if privacy else found,
        "plan": _summary(plan),
        "network": dict(network or {}),
        "versions": dict(versions),
        **({"privacy": {key: value for key, value in privacy.items() if key != "told"}} if privacy else {}),
    }


def limits(plan: Plan, data: Mapping[str, Json], targets: Sequence[TargetResult], golden: int = 0) -> list[str]:
    """Plain sentences on where not to rely on the model, from what testing found."""
    found = []
    for result in targets:
        if result.verdict_kind == "baseline":
            found.append(f"{result.target}: a simpler model was better on the test part. {result.verdict}")
        found += [
            f"{result.target}: where {part.field} is {part.value} the score is {part.score.value:.4g}, "
            f"{abs(part.gap):.3g} {'above' if part.gap > 0 else 'below'} that of the other rows "
            f"({part.rows} test rows)."
            for part in result.slices
            if part.notable
        ]
        found += [
            f"{result.target}, by {item.column}: {item.text}"
            for item in result.fairness
            if any(part.notable for part in item.disparities)
        ]
    if any(item.answer for result in targets for item in result.fairness):
        found.append(TRADE_OFF)
    rows = data.get("test")
    if isinstance(rows, int) and rows < FEW_ROWS:
        found.append(f"Only {rows} test row{'' if rows == 1 else 's'}: the scores are uncertain, see their intervals.")
    if data.get("dropped_count"):
        found.append(f"{data['dropped_count']} rows could not be used and were left out.")
    if plan.data.split in ("random", "stratified"):
        found.append(
            "Tested on rows drawn at random from the same data: expect lower scores on data from another time or place."
        )
    found.append("Probabilities and intervals hold for data like the training data, and for no other.")
    if golden:
        found.append(f"The file holds {golden} raw example rows: whoever has the model can read them.")
    return found


def of_policy(
    plan: Plan,
    result: TargetResult,
    versions: Mapping[str, str],
    *,
    created: str,
    golden: int,
    network: Mapping[str, Json],
    history: int,
    steps: int,
) -> dict[str, Json]:
    """The card of a policy that was learned in an environment.

    Args:
        result: what the test episodes showed.
        golden: observations that are kept in the sealed file.
        history: observations that it is shown at once.
        steps: in the environment, that it learned from.
    """
    limits = ["Tested in the environment it was trained in: another world, or a changed one, may surprise it."]
    if result.verdict_kind != "network":
        limits.insert(0, f"It is not clearly better than a simpler policy. {result.verdict}")
    if history > 1:
        limits.append(f"It decides from the last {history} observations, the newest last: give it all of them.")
    return {
        "name": plan.name,
        "created": created,
        "licence": "not stated",
        "inputs": [{"name": item.name, "modality": item.modality} for item in plan.schema if item.role == "input"],
        "targets": {result.target: _target(result)},
        "data": {"source": plan.data.train, "fingerprint": plan.data.fingerprint, "steps": steps, "history": history},
        "limits": [*limits, f"The file holds {golden} observations: whoever has the model can read them."],
        "plan": {**_summary(plan), "steps": plan.training.steps},
        "network": dict(network),
        "versions": dict(versions),
    }


def _target(result: TargetResult) -> dict[str, Json]:
    return {
        "task": result.task,
        "scores": {name: asdict(interval) for name, interval in result.scores.items()},
        "verdict": result.verdict,
        "baselines": {
            item.name: {name: interval.value for name, interval in item.scores.items()} for item in result.baselines
        },
        **({"fairness": to_json([_without_few(item) for item in result.fairness])} if result.fairness else {}),
    }


def _without_few(found: Fairness) -> Fairness:
    """Without the groups of few rows: who has the model need not know the names of a few people."""
    return replace(found, groups=tuple(group for group in found.groups if group.figures))


def _summary(plan: Plan) -> dict[str, Json]:
    return {
        "seed": plan.seed,
        "split": plan.data.split,
        "tasks": {name: part.name for name, part in plan.task.items()},
        "networks": {
            name: {"family": part.name, "fields": list(part.fields), "weights": part.weights}
            for name, part in plan.network.items()
        },
        "method": plan.method.name,
        "optimizer": plan.optimizer.name,
        "epochs": plan.training.epochs,
        "precision": plan.training.precision,
    }
