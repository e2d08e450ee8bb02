"""`lamina explain`: why a sealed model answers as it does; needs no PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lamina.cli import _options
from lamina.cli.predict import model_file
from lamina.errors import InputError

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

    if arguments.out:
        _check_out(Path(arguments.out), arguments.input)
    model = load(model_file(arguments.model))
    explanation = explain_input(model, arguments.input, arguments.row)
    if arguments.out:
        write_text(Path(arguments.out), page(explanation))
    if arguments.json:
        _options.print_json(explanation)
    else:
        _print(explanation)
    return 0


def _check_out(path: Path, data: str) -> None:
    """Refuse a file for the page that cannot be one, before anything is explained: data or a model is not written over.

    Raises:
        InputError: it does not end in .html, or its folder is missing.
    """
    from lamina.model.predict import check_place

    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"Cannot write a page to {path.name!r}.", where="--out", fix="Name a file that ends in .html.")
    check_place(path, data, usual="page.html")


def _print(explanation: Any) -> None:
    from lamina.explain.explain import as_text

    print(as_text(explanation))
