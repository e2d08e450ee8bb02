"""What is answered at which address.

GET  /                        a page to try the models
GET  /health                  {"status": "ok"}, once all models are loaded and proven
GET  /metrics                 counts and times, as Prometheus reads them
GET  /openapi.json            all of this, for programs that write clients
GET  /models                  what there is
GET  /models/NAME             what it reads and answers, and what is known of it
POST /models/NAME/predict     rows in, answers out
POST /predict                 the same, of the only model
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from lamina.data.schema import Json
from lamina.errors import InputError, LaminaError, nearest
from lamina.model.runtime import Model
from lamina.serve import description, values
from lamina.serve.metrics import Metrics
from lamina.serve.queue import FullError, Queue

PAGES = Path(__file__).parent
STATIC = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data: blob:; "
    "frame-ancestors 'none'"
)
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")


class TooLargeError(InputError):
    """The body is larger than what is taken."""


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Attributes:
        bytes: of a request.
        rows: of a request.
        waiting: rows that wait for a model; further requests are refused (503).
        together: bytes of all requests that are being read or answered; further ones are refused (503).
    """

    bytes: int = 32 << 20
    rows: int = 10_000
    waiting: int = 20_000
    together: int = 256 << 20


@dataclass
class Server:
    """Models by the names that they are served under.

    Attributes:
        token: what a client has to send as its bearer token; "" for none.
    """

    models: Mapping[str, Model]
    limits: Limits = field(default_factory=Limits)
    token: str = ""
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.queues = {name: Queue(model, self.limits.waiting) for name, model in self.models.items()}
        self._held = 0

    def close(self) -> None:
        """Answer what waits, then end."""
        for queue in self.queues.values():
            queue.close()

    async def predict(self, request: Request) -> Response:
        """The answers to a request's rows, in order."""
        name = request.path_params.get("name") or self._only()
        model, queue = self._of(self.models, name), self._of(self.queues, name)
        body = bytearray()
        try:
            await self._read(request, body)
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            asked = await run_in_threadpool(self._asked, bytes(body), kind, model)
            lines = await asyncio.wrap_future(queue.ask(asked))
        finally:
            self._held -= len(body)
        self.metrics.answered(name, len(lines), sum(line.get("error") is not None for line in lines))
        return JSONResponse({"model": name, "answers": await run_in_threadpool(values.answer, lines)})

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "models": list(self.models)})

    async def told(self, request: Request) -> Response:
        waiting = {name: queue.waiting for name, queue in self.queues.items()}
        return PlainTextResponse(self.metrics.text(waiting), media_type="text/plain; version=0.0.4")

    async def listed(self, request: Request) -> Response:
        return JSONResponse({"models": [description.of(name, model) for name, model in self.models.items()]})

    async def described(self, request: Request) -> Response:
        name = request.path_params["name"]
        return JSONResponse(description.of(name, self._of(self.models, name)))

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(description.openapi(self.models))

    async def page(self, request: Request) -> Response:
        name = request.path_params.get("file", "page.html")
        headers = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}
        return Response((PAGES / name).read_bytes(), media_type=STATIC[name], headers=headers)

    def _only(self) -> str:
        if len(self.models) > 1:
            raise InputError(
                "There are several models here.",
                where="/predict",
                fix=f"Ask /models/NAME/predict. {nearest('', self.models)}",
            )
        return next(iter(self.models))

    def _of(self, found: Mapping[str, Any], name: str) -> Any:
        if name not in found:
            raise _UnknownModelError(f"There is no model {name!r} here.", fix=nearest(name, found))
        return found[name]

    def _asked(self, body: bytes, kind: str, model: Model) -> values.Asked:
        if kind.startswith(("image/", "audio/", "video/")) or kind == "application/octet-stream":
            return values.of_file(body, model)
        if kind not in ("application/json", ""):
            raise _UnknownKindError(
                f"The request is of the type {kind!r}.",
                where="content-type",
                fix="Send application/json, or a picture or sound as it is (image/png, audio/wav, ...).",
            )
        try:
            document = json.loads(body)
        except RecursionError:
            raise InputError("The request is nested too deeply.", where="the body", fix=values.FORM) from None
        except ValueError as error:
            raise InputError(f"The request is no JSON: {error}.", where="the body", fix=values.FORM) from None
        return values.asked(document, model, self.limits.rows)

    async def _read(self, request: Request, body: bytearray) -> None:
        """The body, of which no more is read than is taken; what is read is counted."""
        said = request.headers.get("content-length", "")
        if not (said.isdigit() and int(said) > self.limits.bytes):
            async for part in request.stream():
                body += part
                self._held += len(part)
                if self._held > self.limits.together:
                    raise FullError(sum(queue.waiting for queue in self.queues.values()))
                if len(body) > self.limits.bytes:
                    break
            else:
                return
        raise TooLargeError(
            f"The request has more than the {self.limits.bytes:,} bytes that are taken at once.",
            where="the body",
            fix="Send fewer rows or smaller files, or start the server with a larger --most-mb.",
        )


class _UnknownModelError(InputError):
    """There is no such model."""


class _UnknownKindError(InputError):
    """A body of a type that is not read."""


STATUS = {_UnknownModelError: 404, _UnknownKindError: 415, TooLargeError: 413, FullError: 503, InputError: 400}
"""HTTP's number for an error; the first that fits. Any other is ours: 500."""

Handler = Callable[[Request], Awaitable[Response]]


def application(server: Server, host: str) -> Starlette:
    """The server as an ASGI application.

    Args:
        host: that it listens on. On the machine's own addresses no request is answered that was sent to another name: a
            page elsewhere could have its name point here.
    """

    def route(path: str, handler: Handler, method: str = "GET", open_to_all: bool = False) -> Route:
        return Route(path, _guarded(server, path, handler, open_to_all), methods=[method])

    routes = [
        route("/", server.page, open_to_all=True),
        *(Route(f"/{name}", _file(server, name), methods=["GET"]) for name in STATIC),
        route("/health", server.health, open_to_all=True),
        route("/metrics", server.told),
        route("/openapi.json", server.openapi),
        route("/models", server.listed),
        route("/models/{name}", server.described),
        route("/models/{name}/predict", server.predict, "POST"),
        route("/predict", server.predict, "POST"),
    ]
    own = [Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK])] if host in LOOPBACK else []
    told = {404: _nothing_here, 405: _nothing_here, 500: _our_fault}
    return Starlette(routes=routes, middleware=own, exception_handlers=told)


def _file(server: Server, name: str) -> Handler:
    async def handle(request: Request) -> Response:
        request.path_params["file"] = name
        return await server.page(request)

    return handle


def _guarded(server: Server, path: str, handler: Handler, open_to_all: bool) -> Handler:
    """The handler for whoever may ask; its errors as JSON, its time counted."""

    async def handle(request: Request) -> Response:
        begin = time.perf_counter()
        given, wanted = request.headers.get("authorization", ""), f"Bearer {server.token}"
        if server.token and not open_to_all and not hmac.compare_digest(given.encode(), wanted.encode()):
            fix = "Send the header `Authorization: Bearer TOKEN`."
            response = _failed(401, "The token is missing or wrong.", None, fix)
        else:
            try:
                response = await handler(request)
            except LaminaError as error:
                status = next((number for kind, number in STATUS.items() if isinstance(error, kind)), 500)
                response = _failed(status, error.what, error.where, error.fix)
            except ClientDisconnect:
                response = Response(status_code=400)
            except Exception:
                server.metrics.request(path, 500, time.perf_counter() - begin)
                raise
        server.metrics.request(path, response.status_code, time.perf_counter() - begin)
        return response

    return handle


def _failed(status: int, what: str, where: str | None, fix: str) -> Response:
    headers = {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "1"}}.get(status)
    document: Json = {"error": {"what": what, "where": where, "fix": fix}}
    return JSONResponse(document, status_code=status, headers=headers)


async def _nothing_here(request: Request, error: Exception) -> Response:
    status = int(getattr(error, "status_code", 404))
    what = f"There is nothing at {request.method} {request.url.path[:200]}."
    return _failed(status, what, None, "See GET /openapi.json, or ask POST /models/NAME/predict.")


async def _our_fault(request: Request, error: Exception) -> Response:
    # What it was stands in the server's own output, not in the answer to a stranger.
    return _failed(500, "The server could not answer this.", None, "Tell who runs it; its output says what happened.")
