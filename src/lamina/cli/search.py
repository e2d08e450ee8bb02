"""`lamina search`: which rows are like this one, or near-duplicates, by a sealed model's embeddings; no PyTorch."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from lamina.cli import _options
from lamina.cli.predict import model_file
from lamina.errors import InputError

if TYPE_CHECKING:
    from lamina.model.kept import Kept
    from lamina.model.runtime import Model

MOST = 10_000
SHOWN_GROUPS, SHOWN_ROWS = 20, 10
"""Groups of near-duplicates, and rows of each, that are printed; --json has all."""
ABOUT = "find the rows of a data set that are most like a given one, or near-duplicates"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="a .lamina file or a run folder, best of `lamina train --task embed`"
    )
    parser.add_argument("data", metavar="DATA", help="what to search in: a table or a folder")
    parser.add_argument(
        "query",
        metavar="QUERY",
        nargs="?",
        help="what to search for: a file, a table, a folder, words, or a row as JSON",
    )
    parser.add_argument("--top", type=int, default=5, help="how many to find (default: 5)")
    parser.add_argument("--duplicates", action="store_true", help="find groups of rows that are all but the same")
    parser.add_argument(
        "--likeness", type=float, help="from which likeness on rows are near-duplicates, up to 1 (default: 0.98)"
    )
    parser.add_argument(
        "--index", metavar="FOLDER", help="where the embedded rows are kept for the next search (default: in the cache)"
    )
    parser.add_argument("--exact", action="store_true", help="compare with all rows, however many there are")


def run(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from lamina.model.inner import with_vectors
    from lamina.model.kept import open_index
    from lamina.model.runtime import load

    _check(arguments)
    model = with_vectors(load(model_file(arguments.model)), _tell)
    folder = None if arguments.index is None else Path(arguments.index)
    kept = open_index(model, arguments.data, folder, _tell)
    return _duplicates(arguments, kept) if arguments.duplicates else _search(arguments, model, kept)


def _check(arguments: argparse.Namespace) -> None:
    if not 1 <= arguments.top <= MOST:
        raise InputError(f"--top is {arguments.top}.", fix=f"Give a number from 1 to {MOST:,}.")
    if arguments.duplicates and arguments.query is not None:
        raise InputError("--duplicates looks for no QUERY.", fix="Leave one of them out.")
    if not arguments.duplicates and arguments.query is None:
        raise InputError("There is nothing to search for.", fix="Give a QUERY, or --duplicates.")
    if arguments.likeness is not None and not arguments.duplicates:
        raise InputError("--likeness belongs to --duplicates.", fix="Leave it out, or say --duplicates.")
    if arguments.likeness is not None and not 0 < arguments.likeness <= 1:
        raise InputError(f"--likeness is {arguments.likeness}.", fix="Give a number above 0, up to 1, such as 0.98.")


def _search(arguments: argparse.Namespace, model: Model, kept: Kept) -> int:
    from lamina.model.rows import as_data
    from lamina.model.search import index

    asked = index(model, as_data(arguments.query, model))
    kept = kept if arguments.exact else kept.for_queries(len(asked.rows))
    found = kept.index.search(asked.vectors, arguments.top)
    queries = [name or f"row {row}" for name, row in zip(asked.names, asked.rows.tolist(), strict=True)]
    if arguments.json:
        document = {
            "queries": [
                {"query": query, "found": [vars(item) for item in items]}
                for query, items in zip(queries, found, strict=True)
            ],
            "errors": len(kept.index.errors) + len(asked.errors),
            "index": _described(kept),
        }
        _options.print_json(document)
        return 0
    for query, items in zip(queries, found, strict=True):
        print(query)
        for item in items:
            print(f"  {item.likeness:6.3f}  {item.label}")
    _tell_how(kept)
    return 0


def _duplicates(arguments: argparse.Namespace, kept: Kept) -> int:
    from lamina.model.search import DUPLICATE

    likeness = DUPLICATE if arguments.likeness is None else arguments.likeness
    kept = kept if arguments.exact else kept.for_duplicates()
    groups = kept.index.duplicates(likeness)
    inside, rows = sum(map(len, groups)), len(kept.index.rows)
    if arguments.json:
        document = {
            "likeness": likeness,
            "rows": rows,
            "groups": [[vars(item) for item in group] for group in groups],
            "errors": len(kept.index.errors),
            "index": _described(kept),
        }
        _options.print_json(document)
        return 0
    print(
        f"{inside:,} of {rows:,} rows are in {len(groups):,} groups of near-duplicates (likeness {likeness:g} or more)"
    )
    for number, group in enumerate(groups[:SHOWN_GROUPS], start=1):
        print(f"group {number}: {len(group):,} rows, likeness to the first:")
        for item in group[:SHOWN_ROWS]:
            print(f"  {item.likeness:6.3f}  {item.label}")
        if len(group) > SHOWN_ROWS:
            print(f"          and {len(group) - SHOWN_ROWS:,} more")
    if len(groups) > SHOWN_GROUPS:
        print(f"and {len(groups) - SHOWN_GROUPS:,} more groups: --json lists all")
    if groups and len(groups[0]) > rows / 2:
        _tell("more than half of the rows are in one group: a higher --likeness tells more apart, or a better model")
    _tell_how(kept)
    return 0


def _described(kept: Kept) -> dict[str, Any]:
    graph = kept.index.graph
    return {
        "rows": len(kept.index.rows),
        "folder": None if kept.folder is None else str(kept.folder),
        "reused": kept.reused,
        "reason": kept.reason,
        "graph": graph is not None,
        "recall": None if graph is None else graph.recall,
    }


def _tell_how(kept: Kept) -> None:
    if kept.index.errors:
        _tell(f"{len(kept.index.errors):,} rows could not be read and were not searched")
    if kept.graph_reason:
        _tell(kept.graph_reason)
    if kept.index.graph is not None:
        recall = 100 * kept.index.graph.recall
        _tell(f"searched by a graph that finds {recall:.1f}% of the nearest (measured; --exact compares with all rows)")


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
