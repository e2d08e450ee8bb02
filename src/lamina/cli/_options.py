"""Arguments that several verbs share."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

from lamina.narrate import Narrator, Plain, Silent

if TYPE_CHECKING:
    from lamina.steps.request import Request


def data_arguments(parser: argparse.ArgumentParser) -> None:
    """What the data is and what is asked of it."""
    parser.add_argument("data", metavar="DATA", help="a file, folder, archive, database, URL or environment")
    parser.add_argument("--test", metavar="DATA", help="more data, only for testing")
    parser.add_argument(
        "--also", metavar="DATA", action="append", default=[], help="more data, only to learn from; can be repeated"
    )
    parser.add_argument("--split", metavar="COLUMN", default="", help="column that says train, validation or test")
    parser.add_argument("--target", metavar="NAME", nargs="+", action="extend", default=[], help="what to predict")
    parser.add_argument("--task", default="", help="classify, regress, ... (default: from the target's values)")
    parser.add_argument(
        "--restore",
        metavar="KIND",
        default="",
        help="make pictures better: super-resolution, denoise, deblur, colourise or inpaint",
    )  # fmt: skip
    parser.add_argument("--time", metavar="COLUMN", default="", help="of a forecast: when (default: found)")
    parser.add_argument("--group", metavar="COLUMN", default="", help="of a forecast: which series a row belongs to")
    parser.add_argument("--horizon", metavar="N", type=int, default=0, help="forecast so many steps")
    parser.add_argument("--seed", type=int, help="of everything random (default: 0, or the plan's)")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], dest="sets",
        help="change the plan, e.g. network.depth=6 or schema.age.modality=number",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="tell nothing on standard error")


def drawing(parser: argparse.ArgumentParser) -> None:
    """How tokens are drawn."""
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


def request(arguments: argparse.Namespace, **more: Any) -> Request:
    """What `data_arguments` asked for, and more."""
    from lamina.steps.request import Request, restored

    task, restoring = restored(arguments.restore, arguments.task)
    return Request(
        data=arguments.data,
        test=arguments.test,
        also=tuple(arguments.also),
        split=arguments.split,
        targets=tuple(arguments.target),
        task=task,
        seed=arguments.seed,
        sets=(*restoring, *arguments.sets),
        time=arguments.time,
        group=arguments.group,
        horizon=arguments.horizon,
        **more,
    )


def narrator(arguments: argparse.Namespace) -> Narrator:
    """Progress for this call."""
    return Silent() if getattr(arguments, "quiet", False) else Plain()


def command_line() -> str:
    """How the user called us; what is not UTF-8, as a name of a folder may be, is written as an escape."""
    return f"lamina {shlex.join(sys.argv[1:])}".encode(errors="backslashreplace").decode()


def print_json(document: Any) -> None:
    """One JSON document on standard output; what is not finite is null, for JSON has no NaN."""
    from lamina.evaluate.results import to_json

    print(json.dumps(to_json(document), default=str))
