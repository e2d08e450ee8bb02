"""`lamina quantize`: smaller variants of a run's sealed model, each with what it loses."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from lamina.cli import _options

ABOUT = "make smaller variants of a run's sealed model and measure what they lose"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUNDIR", help="the folder of a finished run")
    parser.add_argument(
        "--kind", metavar="KIND", nargs="+", action="extend", default=[],
        help="int8 (weights and sums in 8 bits), fp16 (weights kept in 16 bits); default: both",
    )  # fmt: skip
    parser.add_argument(
        "--most-loss", metavar="SHARE", type=float, default=None,
        help="how much worse the first score may be on the validation rows: points of a share / 100, or a share of "
        "any other score (default: 0.01; of the nearest rows by vectors, 0.05)",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="tell nothing on standard error")


def run(arguments: argparse.Namespace) -> int:
    from lamina.api import quantize

    variants = quantize(
        arguments.run, arguments.kind, most_loss=arguments.most_loss, narrator=_options.narrator(arguments)
    )
    if arguments.json:
        _options.print_json({"variants": [asdict(variant) for variant in variants]})
    sealed = [variant for variant in variants if not variant.refused]
    if sealed and not arguments.json:
        quickest = max(sealed, key=lambda variant: variant.pace)
        advice = quickest.path if quickest.pace > 1 else "the full model"
        smallest = min(sealed, key=lambda variant: variant.bytes)
        print(f"quickest here: {advice}; smallest: {smallest.path}")
        print(f"lamina predict {arguments.run} DATA --fastest answers with the quickest, wherever it runs")
    return 0 if sealed else 2
