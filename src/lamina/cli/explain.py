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
    parser.add_argument("--change", action="store_true", help="what would have to change for another answer?")
    parser.add_argument(
        "--to",
        metavar="ANSWER",
        help='of --change: the class, ">= NUMBER" or "<= NUMBER" (default: the next likeliest)',
    )
    parser.add_argument("--target", metavar="NAME", default="", help="of --change: which answer, if there are several")
    parser.add_argument(
        "--keep", metavar="COLUMN", nargs="+", action="extend", default=[], help="of --change: what cannot change"
    )
    parser.add_argument(
        "--among", metavar="DATA", help="of --change: try the values of these rows (default: those the model knows)"
    )


def run(arguments: argparse.Namespace) -> int:
    from lamina.explain.explain import explain_input, page
    from lamina.files import write_text
    from lamina.model.runtime import load

    _check_change(arguments)
    if arguments.change:
        return _changes(arguments)
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


def _check_change(arguments: argparse.Namespace) -> None:
    """Raise InputError where options do not go together."""
    if arguments.change and arguments.out:
        raise InputError("--change draws no page.", where="--out", fix="Leave --out out; --json gives all of it.")
    for name in ("to", "target", "keep", "among"):
        if getattr(arguments, name) and not arguments.change:
            raise InputError(
                f"--{name} says which change is looked for, but no change is.", where=f"--{name}", fix="Add --change."
            )


def _changes(arguments: argparse.Namespace) -> int:
    from lamina.explain.counterfactual import as_text, counterfactuals
    from lamina.model.runtime import load

    found = counterfactuals(
        load(model_file(arguments.model)),
        arguments.input,
        arguments.row,
        target=arguments.target,
        to=arguments.to,
        keep=arguments.keep,
        among=arguments.among,
    )
    if arguments.json:
        _options.print_json(found)
    else:
        print(as_text(found))
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
