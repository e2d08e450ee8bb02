"""`lamina test`: score a sealed model on labelled data; needs no PyTorch."""

from __future__ import annotations

import argparse

from lamina.cli import _options
from lamina.cli.predict import model_file

ABOUT = "score a sealed model on labelled data"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .lamina file or a run folder")
    parser.add_argument("data", metavar="DATA", help="data that has the targets as well")


def run(arguments: argparse.Namespace) -> int:
    from lamina.evaluate.sealed import score_model
    from lamina.model.runtime import load

    document = score_model(load(model_file(arguments.model)), arguments.data)
    if arguments.json:
        _options.print_json(document)
        return 0
    print(f"{document['rows']:,} rows, {document['errors']:,} could not be answered or have no target")
    for target, scores in document["targets"].items():
        for name, score in scores.items():
            unit = f" {score['unit']}" if score["unit"] else ""
            print(
                f"{target}  {name} {score['value']:.4g}{unit}  (95% interval {score['low']:.4g} to {score['high']:.4g})"
            )
    return 0
