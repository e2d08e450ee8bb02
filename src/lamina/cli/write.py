"""`lamina write`: text from a sealed model that writes; needs no PyTorch."""

from __future__ import annotations

import argparse

from lamina.cli import _options
from lamina.cli.predict import model_file

ABOUT = "write on from a prompt with a sealed model"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .lamina file or a run folder of `lamina train --task write`")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="what to write on from (default: a new text)")
    parser.add_argument("--tokens", type=int, default=200, help="how many to write at most (default: 200)")
    parser.add_argument(
        "--temperature", type=float, default=0.8, help="0 takes the likeliest token, more is bolder (default: 0.8)"
    )
    parser.add_argument(
        "--top-p",
        type=float,
        default=0.95,
        help="draw from the likeliest tokens of so much probability (default: 0.95)",
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed writes the same text (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    from lamina.model.runtime import load
    from lamina.model.write import write

    model = load(model_file(arguments.model))
    text = write(model, arguments.prompt, arguments.tokens, arguments.temperature, arguments.top_p, arguments.seed)
    if arguments.json:
        _options.print_json({"prompt": arguments.prompt, "text": text, "seed": arguments.seed})
    else:
        print(arguments.prompt + text)
    return 0
