"""`lamina write`: text from a sealed model that writes; needs no PyTorch."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from lamina.cli import _options
from lamina.cli.predict import model_file
from lamina.errors import InputError

if TYPE_CHECKING:
    from lamina.model.runtime import Model

ABOUT = "write on from a prompt, or from each of a file, with a sealed model"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .lamina file or a run folder of `lamina train --task write`")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="what to write on from (default: a new text)")
    parser.add_argument(
        "--prompts", metavar="FILE", help="prompts instead: a text file with one on each line, or a table"
    )
    parser.add_argument(
        "--column", default="", metavar="NAME", help="of the table of prompts (default: `prompt`, or the only one)"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="of prompts: .csv, .jsonl or .parquet (default: CSV on the screen, JSON with --json)",
    )
    parser.add_argument("--tokens", type=int, default=200, help="how many to write at most (default: 200)")
    _options.drawing(parser)


def run(arguments: argparse.Namespace) -> int:
    from lamina.model.runtime import load
    from lamina.model.write import write

    _check(arguments)
    model = load(model_file(arguments.model))
    if arguments.prompts is not None:
        return _each(model, arguments)
    text = write(model, arguments.prompt, arguments.tokens, arguments.temperature, arguments.top_p, arguments.seed)
    if arguments.json:
        _options.print_json({"prompt": arguments.prompt, "text": text, "seed": arguments.seed})
    else:
        print(arguments.prompt + text)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Raise InputError for options that do not go together."""
    if arguments.prompts is not None and arguments.prompt:
        raise InputError(
            "--prompt gives one prompt, and --prompts a file of them.", where="--prompts", fix="Leave one of them out."
        )
    for option, given in (("--column", arguments.column), ("--out", arguments.out)):
        if given and arguments.prompts is None:
            raise InputError(f"{option} is for a file of prompts.", where=option, fix="Leave it out, or add --prompts.")


def _each(model: Model, arguments: argparse.Namespace) -> int:
    from lamina.model.write import write_to_file

    out = arguments.out or "-"
    counts = write_to_file(
        model, arguments.prompts, out, arguments.column, screen=".json" if arguments.json else ".csv",
        tokens=arguments.tokens, temperature=arguments.temperature, top_p=arguments.top_p, seed=arguments.seed,
    )  # fmt: skip
    if out != "-" and arguments.json:
        _options.print_json(counts)
    elif out != "-":
        rest = f", {counts['errors']:,} not (see the column `error`)" if counts["errors"] else ""
        print(f"{counts['rows'] - counts['errors']:,} prompts written on in {out}{rest}", file=sys.stderr)
    return 0
