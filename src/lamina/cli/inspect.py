"""`lamina inspect`: what is in the data, without training."""

from __future__ import annotations

import argparse
from typing import Any

from lamina.cli import _options

ABOUT = "show what is in the data and what is wrong with it, without training"


def arguments(parser: argparse.ArgumentParser) -> None:
    _options.data_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    from lamina.api import inspect_request

    inspection = inspect_request(_options.request(arguments))
    if arguments.json:
        _options.print_json(inspection.document())
        return 0
    _print(inspection.document())
    return 0


def _print(document: dict[str, Any]) -> None:
    rows = "" if document["rows"] is None else f": {document['rows']:,} rows, {document['columns']} columns"
    print(f"{document['name']}{rows}\n")
    width = max((len(field["name"]) for field in document["fields"]), default=4)
    for field in document["fields"]:
        print(f"  {field['name']:{width}}  {field['modality']:9} {field['role']:7} {field['reason']}")
        summary = "  ".join(f"{key} {_short(value)}" for key, value in field["summary"].items())
        if summary:
            print(f"  {'':{width}}  {summary}")
    for target, task in document["tasks"].items():
        print(f"\ntask for {target}: {task}")
    if document["split"]:
        print("\nrows: " + ", ".join(f"{count:,} {part}" for part, count in document["split"].items()))
    if document["sources"]:
        from lamina.data.added import told

        print(told(document["sources"]))
    if document["audit"]:
        print("\naudit:")
    for finding in document["audit"]:
        print(
            f"  {finding['severity']}: {finding['text']}" + (f"\n    fix: {finding['fix']}" if finding["fix"] else "")
        )


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} ({_short(part)})" for key, part in list(value.items())[:5])
    if isinstance(value, list):
        return ", ".join(_short(part) for part in value[:5])
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
