"""`lamina chat`: a conversation with a sealed model; needs no PyTorch."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from lamina.cli import _options
from lamina.cli.predict import model_file

ABOUT = "talk with a sealed model that learned to write from conversations"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .lamina file or a run folder of `lamina train --task write`")
    parser.add_argument("--tokens", type=int, default=80, help="of an answer at most (default: 80)")
    _options.drawing(parser)


def run(arguments: argparse.Namespace) -> int:
    from lamina.model.chat import Chat
    from lamina.model.runtime import load

    model = load(model_file(arguments.model))
    chat = Chat(model, arguments.tokens, arguments.temperature, arguments.top_p, arguments.seed)
    typed = sys.stdin.isatty() and not arguments.json
    if typed:
        print(f"You are {chat.person}. An empty line ends the conversation.", file=sys.stderr)
    for said in _lines(f"{chat.person}: " if typed else ""):
        answer = chat.say(said)
        if arguments.json:
            print(json.dumps({"said": said, "answer": answer}, ensure_ascii=False), flush=True)
        else:
            print(f"{chat.answering}: {answer}" if typed else answer, flush=True)
    return 0


def _lines(prompt: str) -> Iterator[str]:
    """What is typed, until an empty line; without a prompt every line that is not empty."""
    if not prompt:
        yield from (line for line in map(str.strip, sys.stdin) if line)
        return
    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            print()
            return
        if not line:
            return
        yield line
