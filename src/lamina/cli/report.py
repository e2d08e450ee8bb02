"""`lamina report`: write a run's report anew and say where it is."""

from __future__ import annotations

import argparse

from lamina.cli import _options

ABOUT = "write a run's report anew and say where it is"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUNDIR", help="the run folder")
    parser.add_argument("--open", action="store_true", help="open it in the browser")


def run(arguments: argparse.Namespace) -> int:
    from lamina import run as runs
    from lamina.report.write import write_report

    found = runs.find(arguments.run)
    path = write_report(found)
    if arguments.open:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    if arguments.json:
        _options.print_json({"report": str(path)})
    else:
        print(path)
    return 0
