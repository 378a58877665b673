"""The application (ASGI)."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import warnings
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from trunkline.data import read_table
from trunkline.errors import DataError, TrunklineError
from trunkline.predictor import Prediction, Predictor
from trunkline.serving.answers import as_json
from trunkline.serving.batcher import Batcher, BusyError, Row
from trunkline.serving.cells import file_columns, row_of, rows_of, tasks_of
from trunkline.serving.counters import Counters
from trunkline.serving.description import inputs_of, openapi
from trunkline.serving.description import tasks_of as described_tasks
from trunkline.serving.limits import LimitedBody, Limits

PAGE = Path(__file__).with_name("page.html")
SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:",
    "X-Content-Type-Options": "nosniff",
}
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
        self.batcher, self.counters = Batcher(self.answer, limits), Counters()

    def answer(self, rows: Sequence[Row], tasks: Collection[str]) -> list[Prediction]:
        """The network, in the batcher's thread."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is longer than the network reads; a caller cannot see them
            return self.predictor.predict(read_table([dict(row) for row in rows]), tasks=tasks)

    async def predict(self, request: Request) -> Response:
        """`POST /predict`."""
        start, rows, status = time.perf_counter(), 0, 500
        try:
            cells, tasks = await self._read(request)
            rows = len(cells)
            said = await self.batcher.ask(cells, tasks)
            status = 200
            return JSONResponse({"predictions": as_json(said)})
        except BusyError:
            status = 503
            return refused(503, "too many rows are waiting; try again", {"Retry-After": "1"})
        except TimeoutError:
            status = 504
            return refused(504, f"there was no answer within {self.limits.seconds:g} s")
        except TrunklineError as error:
            status = 422
            return refused(422, str(error))
        except HTTPException as error:
            status = error.status_code
            raise
        finally:
            self.counters.count(status, time.perf_counter() - start, rows if status == 200 else 0)

    async def _read(self, request: Request) -> tuple[list[dict[str, Any]], Sequence[str]]:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            body = _json(await request.body())
            rows = rows_of(body, self.preprocessing, self.limits.rows)
            return rows, tasks_of(body.get("tasks"), self.preprocessing)
        if kind == "multipart/form-data":
            return [await self._form(request)], tasks_of(None, self.preprocessing)
        raise HTTPException(415, "send application/json, or multipart/form-data with a field for each input")

    async def _form(self, request: Request) -> dict[str, Any]:
        """One row: a field for each input that is there. An empty field says nothing."""
        files, row = file_columns(self.preprocessing), {}
        try:
            async with request.form(max_part_size=int(self.limits.megabytes * 1e6)) as form:
                for name, value in form.multi_items():
                    if name in row:
                        raise DataError(f"the form has {name!r} twice; a form is one row")
                    cell: Any = await value.read() if isinstance(value, UploadFile) else value
                    if isinstance(cell, bytes) and name not in files:
                        cell = _text(cell, name)
                    row[name] = cell or None
        except MultiPartException as error:
            raise HTTPException(400, f"the form cannot be read: {error}") from None
        return row_of(row, self.preprocessing, "the form")

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
        """The batcher runs as long as the server does."""
        running = asyncio.create_task(self.batcher.run())
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


def make_app(predictor: Predictor, *, name: str = "trunkline", limits: Limits | None = None) -> Starlette:
    """An application that answers with this network: `POST /predict`, and `GET` of `/`, `/health`, `/metrics` and
    `/openapi.json`.

    Args:
        predictor: trained.
        name: of the run, as the page calls it.
        limits: of a request; `Limits()` by default.
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
        middleware=[Middleware(LimitedBody, most=int(limits.megabytes * 1e6))],
        exception_handlers={HTTPException: _http_error, Exception: _own_fault},
        lifespan=server.lifespan,
    )


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
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the request is no JSON: {error}") from None


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise DataError(f"the form: {name!r} is a file that is no text in UTF-8") from None
