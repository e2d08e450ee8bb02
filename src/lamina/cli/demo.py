"""`lamina demo`: the whole way on real data that comes with Lamina."""

from __future__ import annotations

import argparse

from lamina.cli import _options
from lamina.errors import InputError, nearest

ABOUT = "train on real data that comes with Lamina: images, table, text or sound"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", default="table", help="images, table, text or sound (default: table)")
    parser.add_argument(
        "--budget", metavar="TIME", default="", help="time for all five steps (default: the demo's own)"
    )
    parser.add_argument("--out", metavar="RUNDIR", help="the run folder (default: runs/demo-NAME)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="tell nothing on standard error")


def run(arguments: argparse.Namespace) -> int:
    from lamina.demo import sets

    known = sets()
    if arguments.what not in known:
        raise InputError(f"There is no demo {arguments.what!r}.", fix=nearest(arguments.what, known))
    from lamina.api import run_demo

    trained, prediction = run_demo(
        known[arguments.what], arguments.budget, arguments.out, arguments.seed, _options.narrator(arguments)
    )
    if arguments.json:
        _options.print_json({**trained.summary(), "prediction": prediction})
    else:
        print(f"a prediction: {prediction}")
        print(f"sealed model: {trained.run.model}")
        print(f"report:       {trained.run.report}")
    return 130 if trained.interrupted else 0
