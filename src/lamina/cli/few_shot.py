"""`lamina few-shot`: new classes from a few examples, on top of a sealed encoder; needs no PyTorch."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from lamina.cli import _options
from lamina.cli.predict import model_file
from lamina.errors import InputError

if TYPE_CHECKING:
    from lamina.evaluate.results import Interval
    from lamina.steps.few_shot import FewShot

ABOUT = "classify new classes from a few examples, on top of a sealed encoder"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="the encoder: a .lamina file or a run folder, best of --task embed"
    )
    parser.add_argument("examples", metavar="EXAMPLES", help="labelled examples: a table, or a folder of class folders")
    parser.add_argument("--target", metavar="COLUMN", default="", help="the column of labels (default: label)")
    parser.add_argument("--way", metavar="WAY", default="", help="prototypes, neighbors or probe (default: the best)")
    parser.add_argument(
        "--shots", metavar="K,...", default="1,5,20", help="examples of each class in an episode (default: 1,5,20)"
    )
    parser.add_argument("--ways", type=int, default=0, help="classes of an episode (default: 5, or all if fewer)")
    parser.add_argument("--episodes", type=int, default=200, help="how many to draw (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the episodes (default: 0)")
    parser.add_argument(
        "--out", metavar="FILE", default="", help="write the model adapted by all examples to FILE.lamina"
    )


def run(arguments: argparse.Namespace) -> int:
    from lamina.steps.few_shot import adapt_to

    done = adapt_to(
        model_file(arguments.model),
        arguments.examples,
        arguments.target,
        way=arguments.way,
        shots=_numbers(arguments.shots),
        ways=arguments.ways,
        number=arguments.episodes,
        seed=arguments.seed,
        out=arguments.out or None,
    )
    if arguments.json:
        _options.print_json(done.document())
    else:
        _print(done, arguments.episodes)
    for line in done.notes:
        print(f"note: {line}", file=sys.stderr)
    return 0


def _numbers(text: str) -> tuple[int, ...]:
    """ "1,5,20" as numbers, in order, each once."""
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise InputError(f"--shots is {text!r}.", fix="Give whole numbers with commas between: 1,5,20") from None


def _print(done: FewShot, episodes: int) -> None:
    ways = next((list(item.accuracy) for item in done.measured if item.accuracy), [])
    print(f"{sum(done.counts.values()):,} examples of {len(done.counts)} classes of {done.target}\n")
    if ways:
        print(f"accuracy over {episodes} episodes, with the 95% interval of its mean:\n")
        print("  examples  classes  chance" + "".join(f"  {way:20}" for way in ways))
    for item in done.measured:
        if item.accuracy:
            cells = "".join(f"  {_shown(item.accuracy[way]):20}" for way in ways)
            print(f"  {item.shots:8}  {item.ways:7}  {100 * item.chance:5.1f}%{cells}".rstrip())
    print(f"\nway: {done.way}: {done.reason}")
    if done.adapted.accuracy is not None:
        print(f"with all examples, each left out in turn: {_shown(done.adapted.accuracy)}")
    print(f"adapted model: {done.out}" if done.out else "to keep the adapted model: --out NEW.lamina")


def _shown(share: Interval) -> str:
    return f"{100 * share.value:.1f}% ({100 * share.low:.1f} to {100 * share.high:.1f})"
