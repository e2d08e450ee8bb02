"""`lamina search`: which rows are like this one, by a sealed model's embeddings; needs no PyTorch."""

from __future__ import annotations

import argparse
import sys

from lamina.cli import _options
from lamina.cli.predict import model_file
from lamina.errors import InputError

MOST = 10_000
ABOUT = "find the rows of a data set that are most like a given one"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .lamina file or a run folder of `lamina train --task embed`")
    parser.add_argument("data", metavar="DATA", help="what to search in: a table or a folder")
    parser.add_argument(
        "query", metavar="QUERY", help="what to search for: a file, a table, a folder, or a row as JSON"
    )
    parser.add_argument("--top", type=int, default=5, help="how many to find (default: 5)")


def run(arguments: argparse.Namespace) -> int:
    from lamina.model.runtime import load
    from lamina.model.search import index

    if not 1 <= arguments.top <= MOST:
        raise InputError(f"--top is {arguments.top}.", fix=f"Give a number from 1 to {MOST:,}.")
    model = load(model_file(arguments.model))
    known, asked = index(model, arguments.data), index(model, arguments.query)
    found = known.search(asked.vectors, arguments.top)
    queries = [name or f"row {row}" for name, row in zip(asked.names, asked.rows.tolist(), strict=True)]
    if arguments.json:
        _options.print_json(
            {
                "queries": [
                    {"query": query, "found": [vars(item) for item in items]}
                    for query, items in zip(queries, found, strict=True)
                ],
                "errors": len(known.errors) + len(asked.errors),
            }
        )
        return 0
    for query, items in zip(queries, found, strict=True):
        print(query)
        for item in items:
            print(f"  {item.likeness:6.3f}  {item.name or f'row {item.row}'}")
    if known.errors:
        print(f"{len(known.errors):,} rows could not be read and were not searched", file=sys.stderr)
    return 0
