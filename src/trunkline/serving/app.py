"""The application (ASGI)."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from trunkline.cells import parse_json
from trunkline.data import read_table
from trunkline.errors import DataError
from trunkline.predictor import Predictor
from trunkline.serving.answers import as_json
from trunkline.serving.batcher import Batcher, BusyError, Load, Row, Said
from trunkline.serving.cells import NAME, Reader
from trunkline.serving.counters import Counters
from trunkline.serving.description import inputs_of, openapi
from trunkline.serving.description import tasks_of as described_tasks
from trunkline.serving.limits import LimitedBody, Limits
from trunkline.tasks import Dense, Mask

PAGE = Path(__file__).with_name("page.html")
SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
GONE = 499  # the caller, as some servers call it
log = logging.getLogger("trunkline.serving")


class Server:
    """What the routes share.

    Args:
        predictor: trained.
        name: of the run, as the page calls it.
        limits: of a request.
    """

    def __init__(self, predictor: Predictor, name: str, limits: Limits) -> None:
        self.predictor, self.name, self.limits = predictor, name, limits
        self.preprocessing = predictor.preprocessing
        columns = self.preprocessing.schema.tasks.items()
        maps = [name for name, column in columns if isinstance(column.task, (Dense, Mask))]
        self.batcher, self.counters = Batcher(self.answer, limits, maps), Counters()

    def answer(self, rows: Sequence[Row], tasks: Collection[str]) -> list[Said]:
        """The network, and its answers as JSON, in the batcher's thread."""
        table = read_table([dict(row) for row in rows])
        said, _ = self.predictor.answers(table, range(len(table)), tasks)
        return [as_json(prediction) for prediction in said]

    async def predict(self, request: Request) -> Response:
        """`POST /predict`."""
        start, rows, status = time.perf_counter(), 0, 500
        try:
            async with asyncio.timeout(self.limits.seconds):
                cells, tasks, load = await self._read(request)
            said = await self.batcher.ask(cells, tasks, load)
            status, rows = 200, len(cells)
            return JSONResponse({"predictions": said})
        except BusyError:
            status = 503
            return refused(503, "too much is waiting; try again", {"Retry-After": "1"})
        except TimeoutError:
            status = 504
            return refused(504, f"there was no answer within {self.limits.seconds:g} s")
        except DataError as error:
            status = 422
            return refused(422, str(error))
        except ClientDisconnect:
            status = GONE
            return Response(status_code=GONE)  # nobody reads it
        except HTTPException as error:
            status = error.status_code
            raise
        finally:
            self.counters.count(status, time.perf_counter() - start, rows)

    async def _read(self, request: Request) -> tuple[list[dict[str, Any]], Sequence[str], Load]:
        """Rows, tasks, and what they hold."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        reader = Reader(self.preprocessing, self.limits)
        if kind == "application/json":
            body = await request.body()
            rows, tasks = await asyncio.to_thread(lambda: reader.request(_json(body)))
            return rows, tasks, Load(len(body), reader.pixels, reader.samples)
        if kind == "multipart/form-data":
            form = await self._form(request, reader)
            row = await asyncio.to_thread(reader.row, form, "the form")
            return [row], reader.tasks, Load(sum(map(len, form.values())), reader.pixels, reader.samples)
        raise HTTPException(415, "send application/json, or multipart/form-data with a field for each input")

    async def _form(self, request: Request, reader: Reader) -> dict[str, Any]:
        """One row: a field for each input that is there. An empty field says nothing."""
        row: dict[str, Any] = {}
        try:
            async with request.form(max_part_size=int(self.limits.megabytes * 1e6)) as form:
                for name, value in form.multi_items():
                    if name in row:
                        raise DataError(f"the form has {name[:NAME]!r} twice; a form is one row")
                    cell: Any = await value.read() if isinstance(value, UploadFile) else value
                    if isinstance(cell, bytes) and not reader.reads_file(name):
                        cell = _text(cell, name[:NAME])
                    row[name] = cell
        except MultiPartException as error:
            raise HTTPException(400, f"the form cannot be read: {error}") from None
        return {name: cell for name, cell in row.items() if cell}

    async def health(self, request: Request) -> Response:
        """`GET /health`."""
        inputs, tasks = inputs_of(self.preprocessing), described_tasks(self.preprocessing)
        return JSONResponse({"status": "ok", "run": self.name, "inputs": inputs, "tasks": tasks})

    async def metrics(self, request: Request) -> Response:
        """`GET /metrics`."""
        text = self.counters.text(batches=self.batcher.batches, waiting=self.batcher.waiting)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def description(self, request: Request) -> Response:
        """`GET /openapi.json`."""
        return JSONResponse(openapi(self.preprocessing, self.name, version("trunkline"), self.limits))

    async def page(self, request: Request) -> Response:
        """`GET /`."""
        about = {
            "name": self.name,
            "inputs": inputs_of(self.preprocessing),
            "tasks": described_tasks(self.preprocessing),
        }
        told = json.dumps(about).replace("<", "\\u003c")  # so that no name ends the script that it stands in
        return HTMLResponse(PAGE.read_text(encoding="utf-8").replace("/*ABOUT*/null", told), headers=SAFE)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Where it is told that the server ends, nobody is answered any more."""
        yield
        await self.batcher.stop()


def make_app(
    predictor: Predictor, *, name: str = "trunkline", limits: Limits | None = None, hosts: Sequence[str] = ("*",)
) -> Starlette:
    """An application that answers with this network.

    `POST /predict`, and `GET` of `/`, `/health`, `/metrics` and `/openapi.json`; for any ASGI server, or to be mounted.

    Args:
        predictor: trained.
        name: of the run, as the page calls it.
        limits: of a request; `Limits()` by default.
        hosts: names that it may be called by, as `Host` says; all by default.
    """
    limits = limits or Limits()
    server = Server(predictor, name, limits)
    return Starlette(
        routes=[
            Route("/", server.page),
            Route("/predict", server.predict, methods=["POST"]),
            Route("/health", server.health),
            Route("/metrics", server.metrics),
            Route("/openapi.json", server.description),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
            Middleware(OwnPages),
            Middleware(LimitedBody, most=int(limits.megabytes * 1e6), together=int(limits.waiting_megabytes * 1e6)),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _own_fault},
        lifespan=server.lifespan,
    )


class OwnPages:
    """Refuses what pages of other sites have a browser send."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        headers = Headers(scope=scope) if scope["type"] == "http" else {}
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != headers.get("host"):
            await refused(403, "a page of another site asks; only this server's own page may")(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def refused(status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    """An error, as JSON."""
    return JSONResponse({"error": why}, status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refused(error.status_code, error.detail, dict(error.headers or {}))


async def _own_fault(request: Request, error: Exception) -> Response:
    """What is no fault of the caller's is told to the log alone."""
    log.error("a request failed", exc_info=error)
    return refused(500, "the server could not answer; its log says why")


def _json(body: bytes) -> Any:
    try:
        return parse_json(body)
    except ValueError as error:
        raise HTTPException(400, f"the request is no JSON: {error}") from None


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise DataError(f"the form: {name!r} is a file that is no text in UTF-8") from None
