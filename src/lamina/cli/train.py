"""`lamina train`: all five steps."""

from __future__ import annotations

import argparse

from lamina.cli import _options

ABOUT = "train a network on your data: understand, prepare, choose, train, test"


def arguments(parser: argparse.ArgumentParser) -> None:
    _options.data_arguments(parser)
    parser.add_argument("--budget", metavar="TIME", help="time for all five steps, e.g. 90s, 5m, 1h30m")
    parser.add_argument("--out", metavar="RUNDIR", help="the run folder (default: runs/NAME)")
    parser.add_argument("--plan", metavar="FILE", help="follow this plan.toml")
    parser.add_argument(
        "--weights", metavar="[FIELD=]PATH", nargs="+", action="extend", default=[],
        help="first weights: a Lamina run, a Hugging Face folder, or a backbone's state dict",
    )  # fmt: skip
    parser.add_argument(
        "--private", metavar="EPSILON", type=float, default=0.0,
        help="bound what the weights tell of any single training row (differential privacy)",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="accepted, and changes nothing: no question is ever asked")


def run(arguments: argparse.Namespace) -> int:
    from lamina import ahead

    if arguments.alone:
        ahead.spare_torch()
    from lamina.api import train_request
    from lamina.steps.request import seconds

    if arguments.private:
        arguments.sets.append(f"privacy.epsilon={arguments.private!r}")
    request = _options.request(
        arguments,
        budget=seconds(arguments.budget) if arguments.budget else 0.0,
        out=arguments.out,
        plan=arguments.plan,
        weights=tuple(arguments.weights),
        command=_options.command_line(),
        began=arguments.began,
    )
    trained = train_request(request, _options.narrator(arguments))
    if arguments.json:
        _options.print_json(trained.summary())
    return 130 if trained.interrupted else 0
