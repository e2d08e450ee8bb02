"""`lamina resume`: go on with a run that was stopped, exactly as if it had not been."""

from __future__ import annotations

import argparse

from lamina.cli import _options

ABOUT = "go on with a run that was stopped, as if it had not been"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUNDIR", help="the run folder")
    parser.add_argument("--quiet", action="store_true", help="tell nothing on standard error")


def run(arguments: argparse.Namespace) -> int:
    from lamina import ahead

    if arguments.alone:
        ahead.spare_torch()
    from lamina.api import resume

    trained = resume(arguments.run, _options.narrator(arguments))
    if arguments.json:
        _options.print_json(trained.summary())
    return 130 if trained.interrupted else 0
