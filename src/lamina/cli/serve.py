"""`lamina serve`: sealed models behind HTTP; needs no PyTorch."""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lamina.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from lamina.model.runtime import Model

ABOUT = "answer rows over HTTP with sealed models"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", metavar="MODEL", nargs="+", help="a .lamina file or a run folder, each under its name"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0 takes any that is free")
    parser.add_argument("--threads", type=int, default=0, help="for each network (default: all cores that we may use)")
    parser.add_argument("--token-file", metavar="FILE", help="whose one line clients have to send as a bearer token")
    parser.add_argument("--most-rows", type=int, default=10_000, help="of a request (default: 10,000)")
    parser.add_argument("--most-mb", type=float, default=32, help="of a request (default: 32)")


def run(arguments: argparse.Namespace) -> int:
    try:
        import uvicorn

        from lamina.serve.app import Limits, Server, application
    except ImportError as error:
        raise MissingDependencyError(str(error.name), "Serving", "serve") from None
    if arguments.most_rows < 1 or not arguments.most_mb > 0:
        raise InputError(
            "A request has at least one row, and some bytes.", fix="Give --most-rows and --most-mb above 0."
        )
    token = _token(arguments.token_file)
    models = _models(arguments.models, arguments.threads)
    most = int(arguments.most_mb * 2**20)
    limits = Limits(most, arguments.most_rows, max(2 * arguments.most_rows, 1000), max(8 * most, Limits.together))
    with _listening(arguments.host, arguments.port) as listening:
        server = Server(models, limits, token)
        config = uvicorn.Config(
            application(server, arguments.host),
            log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=30,
        )  # fmt: skip
        host, port = listening.getsockname()[:2]
        print(
            f"{', '.join(models)} at http://{f'[{host}]' if ':' in host else host}:{port}/ (Ctrl-C ends it)",
            file=sys.stderr,
            flush=True,
        )
        if not token and not _is_loopback(host):
            print("whoever reaches this address may ask: give --token-file to prevent it", file=sys.stderr, flush=True)
        try:
            uvicorn.Server(config).run([listening])
        except KeyboardInterrupt:
            # uvicorn has answered what was under way, and tells of the signal again.
            pass
        finally:
            server.close()
    return 0


def _models(given: list[str], threads: int) -> dict[str, Model]:
    """The models by name, each proven on its golden examples.

    Raises:
        InputError: there is no such model, two have the same name, or one answers otherwise than it was sealed with.
    """
    from lamina.cli.predict import model_file
    from lamina.model.runtime import load

    models: dict[str, Model] = {}
    for place in given:
        file = model_file(place)
        name = Path(place).resolve().name if Path(place).is_dir() else Path(file).stem
        if name in models:
            raise InputError(
                f"Two models would be served as {name!r}.", where=place, fix="Rename one of the files or folders."
            )
        models[name] = model = load(file, threads=threads)
        proof = model.check_golden()
        if not proof["sound"]:
            raise InputError(
                f"It answers {proof['rows'] - proof['agree']} of its {proof['rows']} golden examples otherwise than "
                "when it was sealed.",
                where=file,
                fix="See lamina doctor MODEL; the file or this machine's ONNX Runtime is not what it was proven with.",
            )
    return models


def _token(file: str | None) -> str:
    if file is None:
        return ""
    try:
        token = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or "it is no text"
        raise InputError(
            f"The token cannot be read: {told}.", where=file, fix="Write it into a file of one line."
        ) from None
    if not token or not token.isascii() or len(token.split()) != 1:
        raise InputError(
            "The file holds no token of one word in ASCII.", where=file, fix="Write one line, of one word."
        )
    return token


def _listening(host: str, port: int) -> socket.socket:
    """A socket that is bound, before anything else is started.

    Raises:
        InputError: the address is taken, or none of this machine's.
    """
    if not 0 <= port < 2**16:
        raise InputError(f"--port is {port}.", fix="Give a number up to 65535, or 0 for any that is free.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # With its protocol named: else asyncio lets small answers wait for the client's acknowledgement, for 40 ms.
        listening = socket.socket(found[0], socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise InputError(f"There is no address {host!r}: {error}.", where="--host", fix="Give e.g. 0.0.0.0.") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[4])
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise InputError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}.",
            where="--host and --port",
            fix="End what listens there, or give another --port (0 takes any that is free).",
        ) from None
    return listening


def _is_loopback(host: str) -> bool:
    return host == "::1" or host.startswith("127.")
