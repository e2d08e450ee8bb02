"""`lamina predict`: answers from a sealed model; needs no PyTorch."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from lamina.cli import _options
from lamina.errors import InputError

if TYPE_CHECKING:
    from lamina.model.runtime import Model

MOST_THREADS = 1024
ABOUT = "answer new data with a sealed model"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .lamina file or a run folder")
    parser.add_argument("data", metavar="DATA", help="a table, a folder, one file, or one row as JSON")
    parser.add_argument(
        "--out",
        metavar="FILE",
        default="-",
        help=".csv, .jsonl or .parquet (default: CSV on the screen, JSON with --json); of pictures, a folder",
    )
    parser.add_argument(
        "--fastest", action="store_true",
        help="time the variants that lamina quantize made beside the model, and answer with the fastest here",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=0, help="threads (default: all cores that we may use)")


def run(arguments: argparse.Namespace) -> int:
    from lamina.model.predict import predict_to_file

    if not 0 <= arguments.threads <= MOST_THREADS:
        raise InputError(
            f"--threads is {arguments.threads}.", fix=f"Give a number up to {MOST_THREADS}, or 0 for all cores."
        )
    model = _loaded(arguments)
    for line in model.chosen:
        print(line, file=sys.stderr)
    screen = ".json" if arguments.json else ".csv"
    counts = predict_to_file(model, arguments.data, arguments.out, screen=screen)
    if arguments.json and arguments.out != "-":
        _options.print_json({**counts, "model": model.where, "chosen": model.chosen} if arguments.fastest else counts)
    elif arguments.out != "-":
        rest = f", {counts['errors']:,} could not be answered (see the column `error`)" if counts["errors"] else ""
        print(f"{counts['rows']:,} rows answered in {arguments.out}{rest}", file=sys.stderr)
    return 0


def _loaded(arguments: argparse.Namespace) -> Model:
    from pathlib import Path

    file = model_file(arguments.model)
    if arguments.fastest:
        from lamina.model.fastest import fastest

        return fastest(Path(file), arguments.threads)
    from lamina.model.runtime import load

    return load(file, threads=arguments.threads)


def model_file(given: str) -> str:
    """The sealed model: the file itself, or the one in a run folder."""
    from pathlib import Path

    from lamina import run as runs

    return str(runs.model_file(Path(given)))
