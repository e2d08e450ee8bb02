"""How soon, and how many rows a second, are answered over HTTP?

    python -m bench serve --data DATA [--rounds 5] [--seconds 5]

`lamina serve` beside what one writes oneself in a few lines: the same library for HTTP, and a handler that calls
`model.predict` for each request. For a table (diamonds) and pictures (fashion-mnist-small, PNG files in base64), round
by round in turn, each server in a process of its own, asked by clients in another: one that asks one row after the
other (how soon), and sixteen at the same time (how many).
"""

from __future__ import annotations

import argparse
import base64
import csv
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import _machine
from bench.predict import JOBS, model_of

CLIENTS = (1, 16)
MANY = 200
"""Different rows that are asked for."""
OWN = """
import sys, socket
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Route
import base64
import lamina

model, picture = lamina.load(sys.argv[1]), sys.argv[2]

def answered(rows):
    if picture:
        rows = [{picture: base64.b64decode(row[picture])} for row in rows]
    return model.predict(rows).to_rows()

async def predict(request):
    document = await request.json()
    return JSONResponse({"answers": await run_in_threadpool(answered, document["rows"])})

listening = socket.create_server(("127.0.0.1", 0))
listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print(f"at http://127.0.0.1:{listening.getsockname()[1]}/", file=sys.stderr, flush=True)
app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listening])
"""


def bodies_of(data: Path, source: str) -> tuple[list[bytes], str]:
    """Requests of one row each, and the column of pictures, if it is one."""
    place = data / source
    if place.is_dir():
        files = sorted(place.rglob("*.png"))
        some = files[:: max(1, len(files) // MANY)][:MANY]
        rows: list[dict[str, Any]] = [{"path": base64.b64encode(file.read_bytes()).decode()} for file in some]
    else:
        with place.open(encoding="utf-8", newline="") as file:
            rows = [row for row, _ in zip(csv.DictReader(file), range(MANY), strict=False)]
    return [json.dumps({"rows": [row]}).encode() for row in rows], "path" if place.is_dir() else ""


def asked(port: int, bodies: Sequence[bytes], clients: int, seconds: float) -> list[float]:
    """Seconds of each answer, from so many clients at the same time, each with a connection that it keeps."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    def client(first: int) -> None:
        connection, number, own = http.client.HTTPConnection("127.0.0.1", port), first, []
        while (begin := time.perf_counter()) < end:
            connection.request("POST", "/predict", bodies[number % len(bodies)], {"content-type": "application/json"})
            response = connection.getresponse()
            found = json.loads(response.read())
            if response.status != 200 or found["answers"][0]["error"]:
                raise SystemExit(f"a server answered {response.status}: {found}")
            own.append(time.perf_counter() - begin)
            number += clients
        times.extend(own)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def measured(command: Sequence[str], bodies: Sequence[bytes], seconds: float) -> dict[str, float]:
    """A server's figures, from its start to its end."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            port = int(process.stderr.readline().partition("127.0.0.1:")[2].partition("/")[0])
            asked(port, bodies, max(CLIENTS), 1.0)
            alone, together = (asked(port, bodies, clients, seconds) for clients in CLIENTS)
        finally:
            process.terminate()
    slowest = statistics.quantiles(alone, n=100)
    return {
        "milliseconds, one client": 1000 * statistics.median(alone),
        "99 of 100 within": 1000 * slowest[98],
        f"rows a second, {max(CLIENTS)} clients": len(together) / seconds,
    }


def page(found: Mapping[str, Any]) -> str:
    """The result as it stands in docs/benchmarks.md."""
    rows, head = [], ("data", "server")
    for name, tools in found.items():
        for tool, figures in tools.items():
            head = ("data", "server", *figures)
            rows.append((name, tool, *(_machine.around(part, ".3g") for part in figures.values())))
    return _machine.markdown(head, rows)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench serve", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args(words)
    data, found = arguments.data.resolve(), {}
    for name in ("table", "pictures"):
        job, source = JOBS[name]
        with tempfile.TemporaryDirectory(prefix="lamina-bench-") as place:
            model_of(data, job, Path(place) / "run")
            file = str(Path(place) / "run" / "model.lamina")
            bodies, picture = bodies_of(data, source)
            commands = {
                "lamina serve": [sys.executable, "-m", "lamina", "serve", file, "--port", "0"],
                "a handler of one's own": [sys.executable, "-c", OWN, file, picture],
            }
            runs: dict[str, list[dict[str, float]]] = {tool: [] for tool in commands}
            for _ in range(arguments.rounds):
                for tool, command in commands.items():
                    runs[tool].append(measured(command, bodies, arguments.seconds))
                    print(name, tool, runs[tool][-1], flush=True)
        found[name] = {
            tool: {figure: _machine.spread([run[figure] for run in several]) for figure in several[0]}
            for tool, several in runs.items()
        }
    print(_machine.keep("serve", found))
    return 0
