"""Requests that come at about the same time go through the network together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from trunkline.errors import TrunklineError
from trunkline.predictor import Prediction
from trunkline.serving.limits import Limits

Row = Mapping[str, Any]
Answer = Callable[[Sequence[Row], Collection[str]], list[Prediction]]


class BusyError(Exception):
    """Too many rows are waiting."""


@dataclass
class Request:
    """What one caller asked for.

    Attributes:
        rows: cells by column.
        tasks: that are wanted.
        answer: to come.
    """

    rows: Sequence[Row]
    tasks: Collection[str]
    answer: asyncio.Future[list[Prediction]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher:
    """One thread that answers, and a queue before it.

    Args:
        answer: rows and tasks → predictions; called in one thread alone.
        limits: how many rows at a time, and how many may wait.

    Attributes:
        waiting: rows that are not answered yet.
        batches: how often the network has run.
    """

    def __init__(self, answer: Answer, limits: Limits) -> None:
        self.answer, self.limits = answer, limits
        self.waiting, self.batches = 0, 0
        self._queue: asyncio.Queue[Request] = asyncio.Queue()
        self._worker = ThreadPoolExecutor(1, "trunkline")

    async def ask(self, rows: Sequence[Row], tasks: Collection[str]) -> list[Prediction]:
        """Predictions, one a row.

        Raises:
            BusyError: too many rows wait already.
            TimeoutError: it took too long.
            DataError: a row cannot be used.
        """
        if self.waiting and self.waiting + len(rows) > self.limits.waiting:
            raise BusyError
        request = Request(rows, tasks)
        self.waiting += len(rows)
        try:
            self._queue.put_nowait(request)
            async with asyncio.timeout(self.limits.seconds):
                return await request.answer
        finally:
            self.waiting -= len(rows)

    async def run(self) -> None:
        """Answer requests, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            together = await self._gathered()
            asked = [request for request in together if not request.answer.done()]  # whoever has gone wants nothing
            for request, outcome in await loop.run_in_executor(self._worker, self._answered, asked):
                if request.answer.done():
                    continue
                if isinstance(outcome, BaseException):
                    request.answer.set_exception(outcome)
                else:
                    request.answer.set_result(outcome)

    async def _gathered(self) -> list[Request]:
        """The next request, and those that come soon after it, up to a batch."""
        together = [await self._queue.get()]
        loop = asyncio.get_running_loop()
        until = loop.time() + self.limits.batch_seconds
        while sum(len(request.rows) for request in together) < self.limits.batch_rows:
            try:
                async with asyncio.timeout_at(until):
                    together.append(await self._queue.get())
            except TimeoutError:
                break
        return together

    def _answered(self, requests: Sequence[Request]) -> list[tuple[Request, list[Prediction] | Exception]]:
        """All in one pass; where a row spoils it, each request by itself."""
        try:
            return self._in_one_pass(requests)
        except TrunklineError as error:
            if len(requests) == 1:
                return [(requests[0], error)]
            return [outcome for request in requests for outcome in self._answered([request])]
        except Exception as error:  # the server goes on, whatever one batch was
            return [(request, error) for request in requests]

    def _in_one_pass(self, requests: Sequence[Request]) -> list[tuple[Request, list[Prediction] | Exception]]:
        if not requests:
            return []
        self.batches += 1
        rows = [row for request in requests for row in request.rows]
        said = iter(self.answer(rows, {task for request in requests for task in request.tasks}))
        return [
            (request, [{t: v for t, v in next(said).items() if t in request.tasks} for _ in request.rows])
            for request in requests
        ]
