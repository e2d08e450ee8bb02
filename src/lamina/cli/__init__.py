"""The command line: one file per verb.

A verb's file offers `ABOUT` (one line), `arguments(parser)` and `run(arguments) -> int` (the exit code).
Exit codes: 0 done, 1 our fault, 2 the request or the data is wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Sequence
from typing import NoReturn

from lamina import __version__, registry
from lamina.errors import InputError, LaminaError, nearest

EXAMPLE = """examples:
  lamina inspect loans.csv --target default
  lamina train loans.csv --target default --budget 5m
  lamina train photos/
  lamina predict runs/loans/model.lamina new.csv --out answers.csv
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message[0].upper()}{message[1:]}.", fix=f"See `{self.prog} --help`.")


def about(verb: str) -> str:
    """A verb's ABOUT line, read without importing the verb."""
    tree = ast.parse((registry.ROOT / "cli" / f"{verb}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ABOUT":
            return str(ast.literal_eval(node.value))
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words
    try:
        return _dispatch(words)
    except LaminaError as error:
        if as_json:
            print(json.dumps({"error": {"what": error.what, "where": error.where, "fix": getattr(error, "fix", "")}}))
        print(f"lamina: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("lamina: interrupted; nothing that was saved is lost", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`lamina ... | head`): nothing is wrong.
        sys.stderr.close()
        return 0


def _dispatch(words: list[str]) -> int:
    verbs = registry.names("cli")
    if not words or words[0] in ("-h", "--help", "help"):
        _help(verbs)
        return 0
    if words[0] in ("-V", "--version"):
        print(f"lamina {__version__}")
        return 0
    verb = words[0]
    if verb not in verbs:
        raise InputError(f"There is no command {verb!r}.", fix=nearest(verb, verbs))
    module = registry.module("cli", verb)
    parser = _Parser(
        prog=f"lamina {verb}", description=module.ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.arguments(parser)
    parser.add_argument("--json", action="store_true", help="print machine-readable results on standard output")
    return int(module.run(parser.parse_args(words[1:])))


def _help(verbs: Sequence[str]) -> None:
    print("usage: lamina COMMAND ...\n\nFrom raw data to a trained, tested, explained and sealed neural network.\n")
    print("commands:")
    for verb in verbs:
        print(f"  {verb:10} {about(verb)}")
    print(f"\n`lamina COMMAND --help` tells more.\n\n{EXAMPLE}", end="")
