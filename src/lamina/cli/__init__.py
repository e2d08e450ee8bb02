"""The command line: one file per verb.

A verb's file offers `ABOUT` (one line), `arguments(parser)` and `run(arguments) -> int` (the exit code).
Exit codes: 0 done, 1 our fault, 2 the request or the data is wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import ast
import atexit
import difflib
import errno
import io
import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from lamina import __version__, registry
from lamina.errors import InputError, LaminaError, nearest
from lamina.files import FIXES

BEGAN = time.monotonic()
"""When the command started, as nearly as can be known: a budget counts from here."""
EXAMPLE = """examples:
  lamina inspect loans.csv --target default
  lamina train loans.csv --target default --budget 5m
  lamina train photos/
  lamina predict runs/loans/model.lamina new.csv --out answers.csv
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message[0].upper()}{message[1:]}.", fix=f"{self._meant(message)}See `{self.prog} --help`.")

    def _meant(self, message: str) -> str:
        """A hint at the option that was misspelt, if one was."""
        wrong = [word.partition("=")[0] for word in message.split() if word.startswith("--")]
        known = [option for option in self._option_string_actions if option.startswith("--")]
        close = difflib.get_close_matches(wrong[0], known, n=1) if message.startswith("unrecognized") and wrong else []
        return f"Did you mean {close[0]}? " if close else ""


def verbs() -> dict[str, str]:
    """Each verb as it is typed, and the name of its file: `few-shot` is in few_shot.py."""
    return {name.replace("_", "-"): name for name in registry.names("cli")}


def about(name: str) -> str:
    """The ABOUT line of a verb's file, read without importing it."""
    tree = ast.parse((registry.ROOT / "cli" / f"{name}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ABOUT":
            return str(ast.literal_eval(node.value))
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    # Not `list(...)`: once the verb of that name has been imported, it is this package's attribute.
    words = [*(sys.argv[1:] if argv is None else argv)]
    as_json = "--json" in words
    if argv is None:
        _write_any_character()
    try:
        code = _dispatch(words, BEGAN if argv is None else time.monotonic(), alone=argv is None)
        # What still waits to be written may meet a full disk, or nobody who reads.
        _flush()
    except LaminaError as error:
        code = _failed(error, as_json)
    except KeyboardInterrupt:
        print("lamina: interrupted; nothing that was saved is lost", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # The reader of our output has gone (`lamina ... | head`): nothing is wrong.
        sys.stderr.close()
        code = 0
    except OSError as error:
        told = _of_the_system(error)
        if told is None:
            raise
        code = _failed(told, as_json)
    _let_go()
    if argv is None:
        # One of several processes: PyTorch's threads that talk to the others do not always end by themselves.
        _end(code, wait=os.environ.get("WORLD_SIZE", "") in ("", "1"))
    return code


def _write_any_character() -> None:
    """Standard output is UTF-8 where it is no terminal, as files are, unless the user has named another encoding; what
    an encoding does not know is written as an escape."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        own = sys.stdout.isatty() or "PYTHONIOENCODING" in os.environ
        sys.stdout.reconfigure(encoding=None if own else "utf-8", errors="backslashreplace")


def _flush() -> None:
    # A closed standard output is none.
    if sys.stdout is not None:
        sys.stdout.flush()


def _let_go() -> None:
    """What cannot be written goes nowhere: Python would try again at its end, complain and change the exit code."""
    try:
        _flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(code: int, wait: bool) -> NoReturn:
    """End the process, with all that is registered for its end. To take PyTorch apart, module by module, as Python does
    it, would take 0.6 seconds more (two cores, PyTorch and ONNX Runtime loaded: 0.60 to 0.76 and 0.03 s).

    Args:
        wait: for threads.
    """
    if wait:
        # As the interpreter does it itself: pools of threads end, and are waited for.
        threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):
        _flush()
    # It may be closed, or there may be none.
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    os._exit(code)


def _failed(error: LaminaError, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": {"what": error.what, "where": error.where, "fix": error.fix}}))
    print(f"lamina: {error}", file=sys.stderr)
    return error.exit_code


def _of_the_system(error: OSError) -> InputError | None:
    """A full disk, or a file or folder that may not be written, as an error with its fix; None for anything else."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
        return None
    place = error.filename if isinstance(error.filename, str) else None
    return InputError(f"{os.strerror(error.errno)}.", where=place, fix=FIXES[error.errno])


def _dispatch(words: list[str], began: float, *, alone: bool) -> int:
    """Run the command that `words` ask for.

    Args:
        began: when it began, by `time.monotonic`.
        alone: whether this process is there for it alone.
    """
    known = verbs()
    if not words or words[0] in ("-h", "--help", "help"):
        _help(known)
        return 0
    if words[0] in ("-V", "--version"):
        print(f"lamina {__version__}")
        return 0
    verb = words[0]
    if verb not in known:
        raise InputError(f"There is no command {verb!r}.", fix=nearest(verb, known))
    module = registry.module("cli", known[verb])
    parser = _Parser(
        prog=f"lamina {verb}", description=module.ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.arguments(parser)
    parser.add_argument("--json", action="store_true", help="print machine-readable results on standard output")
    parser.set_defaults(began=began, alone=alone)
    return int(module.run(parser.parse_args(words[1:])))


def _help(known: Mapping[str, str]) -> None:
    print("usage: lamina COMMAND ...\n\nFrom raw data to a trained, tested, explained and sealed neural network.\n")
    print("commands:")
    for verb, name in known.items():
        print(f"  {verb:10} {about(name)}")
    print(f"\n`lamina COMMAND --help` tells more.\n\n{EXAMPLE}", end="")
