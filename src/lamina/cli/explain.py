"""`lamina explain`: why a sealed model answers as it does; needs no PyTorch."""

from __future__ import annotations

import argparse
from typing import Any

from lamina.cli import _options
from lamina.cli.predict import model_file

ABOUT = "show what in an input decided a sealed model's answer"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .lamina file or a run folder")
    parser.add_argument("input", metavar="INPUT", help="a table, a picture, a sound, or a JSON object of one row")
    parser.add_argument("--row", type=int, default=0, help="which row of a table, counted from 0 (default: 0)")
    parser.add_argument("--out", metavar="FILE.html", help="write a page with the explanation drawn")


def run(arguments: argparse.Namespace) -> int:
    from lamina.explain.explain import explain_input, page
    from lamina.files import write_text
    from lamina.model.runtime import load

    model = load(model_file(arguments.model))
    explanation = explain_input(model, arguments.input, arguments.row)
    if arguments.out:
        from pathlib import Path

        write_text(Path(arguments.out), page(explanation))
    if arguments.json:
        _options.print_json(explanation)
    else:
        _print(explanation)
    return 0


def _print(explanation: Any) -> None:
    from lamina.explain.explain import as_text

    print(as_text(explanation))
