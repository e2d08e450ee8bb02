"""`lamina test`: score a sealed model on labelled data; needs no PyTorch."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import Any

from lamina.cli import _options
from lamina.cli.predict import model_file
from lamina.errors import InputError

ABOUT = "score a sealed model on labelled data, or a policy in fresh episodes"

EPISODES, MOST_EPISODES = 100, 100_000


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .lamina file or a run folder")
    about = "data that has the true answers as well (for a model that writes: texts), or an environment"
    parser.add_argument("data", metavar="DATA", help=about)
    parser.add_argument(
        "--target", metavar="COLUMN", default="",
        help="of a model that learned without answers: the column of labels, or of what was taken next",
    )  # fmt: skip
    parser.add_argument("--normal", metavar="VALUE", default="", help="of a detector: the label of ordinary rows")
    parser.add_argument(
        "--by", metavar="COLUMN", action="append", default=[],
        help="compare answers by the groups of a column, which the model need not know (may be given several times)",
    )  # fmt: skip
    parser.add_argument("--episodes", type=int, help=f"of an environment (default: {EPISODES})")
    parser.add_argument("--seed", type=int, help="of the episodes (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    from lamina.environments import is_environment
    from lamina.evaluate.sealed import play_model, score_model
    from lamina.model.runtime import load
    from lamina.plan import LARGEST_SEED

    acting, seed = is_environment(arguments.data), arguments.seed or 0
    episodes = EPISODES if arguments.episodes is None else arguments.episodes
    if not acting and (arguments.episodes, arguments.seed) != (None, None):
        raise InputError("--episodes and --seed are for an environment, and DATA is none.", fix="Leave them out.")
    if not 1 <= episodes <= MOST_EPISODES:
        raise InputError(f"--episodes is {episodes}.", fix=f"Give a number from 1 to {MOST_EPISODES:,}.")
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"--seed is {seed}.", fix=f"Give a whole number from 0 to {LARGEST_SEED}.")
    if acting and (arguments.target or arguments.normal or arguments.by):
        raise InputError("--target, --normal and --by are for data, and DATA is an environment.", fix="Leave them out.")
    model = load(model_file(arguments.model))
    if acting:
        document = play_model(model, arguments.data, episodes, seed)
    else:
        document = score_model(model, arguments.data, target=arguments.target, normal=arguments.normal, by=arguments.by)
    if arguments.json:
        _options.print_json(document)
        return 0
    print(_counted(document))
    for note in document.get("notes", ()):
        print(note)
    for target, scores in document["targets"].items():
        for name, score in scores.items():
            print(f"{target}  {name} {_said(score)}")
    for target, audits in document.get("fairness", {}).items():
        for audit in audits:
            _tell_groups(target, audit)
    return 0


def _tell_groups(target: str, audit: Mapping[str, Any]) -> None:
    """The figures of each group of one column, and what they come to."""
    print(f"{target}  by {audit['column']}: {audit['text']}")
    for group in audit["groups"]:
        figures = ", ".join(f"{name} {score['value']:.4g}" for name, score in group["figures"].items())
        print(f"  {group['value']}: {group['rows']:,} rows; {figures or 'too few to be judged'}")


def _said(score: Mapping[str, Any]) -> str:
    """A score with its interval, if it has one; a score that these rows do not define is called so."""
    if not math.isfinite(score["value"]):
        return "is not defined on these rows"
    unit = f" {score['unit']}" if score["unit"] else ""
    if not math.isfinite(score["low"]):
        return f"{score['value']:.4g}{unit}"
    return f"{score['value']:.4g}{unit}  (95% interval {score['low']:.4g} to {score['high']:.4g})"


def _counted(document: Mapping[str, Any]) -> str:
    """How much was scored, and how much could not be."""
    counted, rows, errors = document["counted"], f"{document['rows']:,}", f"{document['errors']:,}"
    if counted["rows"] == "episodes":
        return f"{rows} fresh episodes"
    if counted["rows"] == counted["errors"]:
        return f"{rows} {counted['rows']}, {errors} could not be answered or have no target"
    rows += f" of {document['given']:,}" if "given" in document else ""
    return f"{rows} {counted['rows']}; {errors} {counted['errors']} could not be scored"
