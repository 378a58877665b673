"""Requests that come at about the same time go through the network together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from trunkline.errors import DataError
from trunkline.serving.limits import Limits

Row = Mapping[str, Any]
Said = dict[str, Any]  # by task
Answer = Callable[[Sequence[Row], Collection[str]], list[Said]]


class BusyError(Exception):
    """Too much is waiting."""


@dataclass(frozen=True)
class Load:
    """What a request holds.

    Attributes:
        size: bytes that were sent.
        pixels: of all its pictures.
        samples: of all its sounds.
    """

    size: int = 0
    pixels: int = 0
    samples: int = 0


@dataclass
class Request:
    """What one caller asked for.

    Attributes:
        rows: cells by column.
        tasks: that are wanted.
        load: what it holds.
        answer: to come.
    """

    rows: Sequence[Row]
    tasks: Collection[str]
    load: Load
    answer: asyncio.Future[list[Said]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher:
    """One thread that answers, and a queue before it. It starts with the first request, in whatever loop that comes.

    Args:
        answer: rows and tasks → what is said of each; called in one thread alone.
        limits: how many rows at a time, and how much may wait. A batch has no more pixels and samples than one request
            may have.
        maps: tasks whose answers have a picture's size: pixels count for each of them that is asked for.

    Attributes:
        waiting: rows that are not answered yet.
        megabytes: that they were sent in.
        batches: how often the network has run.
    """

    def __init__(self, answer: Answer, limits: Limits, maps: Collection[str] = ()) -> None:
        self.answer, self.limits, self.maps = answer, limits, frozenset(maps)
        self.waiting, self.megabytes, self.batches = 0, 0.0, 0
        self._queue: asyncio.Queue[Request] = asyncio.Queue()
        self._held: Request | None = None  # did not fit into the batch before
        self._is_alone = True  # the batch before was one request, and nobody came while it was answered
        self._running: asyncio.Task[None] | None = None
        self._worker = ThreadPoolExecutor(1, "trunkline")

    async def ask(self, rows: Sequence[Row], tasks: Collection[str], load: Load = Load()) -> list[Said]:
        """What is said, one a row.

        Raises:
            BusyError: too much waits already.
            TimeoutError: it took too long.
            DataError: a row cannot be used.
        """
        self._start()
        is_full = self.waiting + len(rows) > self.limits.waiting
        if self.waiting and (is_full or self.megabytes + load.size / 1e6 > self.limits.waiting_megabytes):
            raise BusyError
        request = Request(rows, tasks, load)
        self._count(request, 1)
        self._queue.put_nowait(request)
        async with asyncio.timeout(self.limits.seconds):
            return await request.answer

    async def stop(self) -> None:
        """Answer nobody any more in this loop. What another one has going is its own, and cannot be awaited here."""
        if self._running is not None and self._running.get_loop() is not asyncio.get_running_loop():
            return
        if self._running is not None and not self._running.done():
            self._running.cancel()
            await asyncio.wait([self._running])
        self._running = None

    def _count(self, request: Request, sign: int) -> None:
        self.waiting += sign * len(request.rows)
        self.megabytes += sign * request.load.size / 1e6

    def _start(self) -> None:
        """The task that answers, in this loop; anew where there is none, or it was of another loop."""
        loop = asyncio.get_running_loop()
        if self._running is None or self._running.done() or self._running.get_loop() is not loop:
            self._queue, self._held, self.waiting, self.megabytes = asyncio.Queue(), None, 0, 0.0
            self._running = loop.create_task(self._run())

    async def _run(self) -> None:
        """Answer requests, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            together = await self._gathered()
            asked = [request for request in together if not request.answer.done()]  # whoever has gone wants nothing
            outcomes = await loop.run_in_executor(self._worker, self._answered, asked)
            for request, outcome in zip(asked, outcomes, strict=True):
                if request.answer.done():
                    continue
                if isinstance(outcome, BaseException):
                    request.answer.set_exception(outcome)
                else:
                    request.answer.set_result(outcome)
            for request in together:
                self._count(request, -1)
            self._is_alone = len(together) == 1 and self._held is None and self._queue.empty()

    async def _gathered(self) -> list[Request]:
        """The next request, those that wait already, and those that come soon after, as far as they fit into the batch.

        Who asks alone is not kept waiting: others are waited for only where the batch before had several requests, or
        somebody came while it was answered.
        """
        first = await self._queue.get() if self._held is None else self._held
        together, self._held = [first], None
        loop = asyncio.get_running_loop()
        until = loop.time() + (0.0 if self._is_alone else self.limits.batch_seconds)
        while sum(len(one.rows) for one in together) < self.limits.batch_rows:
            try:
                async with asyncio.timeout_at(until):
                    following = await self._queue.get()
            except TimeoutError:
                break
            if not self._fit([*together, following]):
                self._held = following
                break
            together.append(following)
        return together

    def _fit(self, requests: Sequence[Request]) -> bool:
        """Whether they may be one batch. All of it is asked what any of them asks for."""
        asked = {task for request in requests for task in request.tasks}
        pixels = sum(request.load.pixels for request in requests) * max(1, len(self.maps & asked))
        return (
            sum(len(request.rows) for request in requests) <= self.limits.batch_rows
            and pixels <= self.limits.megapixels * 1e6
            and sum(request.load.samples for request in requests) <= self.limits.megasamples * 1e6
        )

    def _answered(self, requests: Sequence[Request]) -> list[list[Said] | Exception]:
        """All in one pass; where one spoils it, each half by itself. The server goes on, whatever a row was."""
        try:
            return self._in_one_pass(requests) if requests else []
        # Whatever is raised, also by a task of one's own, is an outcome of its request: `ask` raises it there, so
        # nothing is swallowed, and the thread goes on for all others.
        except Exception as error:
            if len(requests) == 1:
                return [error if isinstance(error, DataError) else _fault(error)]
            half = len(requests) // 2
            return [*self._answered(requests[:half]), *self._answered(requests[half:])]

    def _in_one_pass(self, requests: Sequence[Request]) -> list[list[Said] | Exception]:
        self.batches += 1
        rows = [row for request in requests for row in request.rows]
        said = self.answer(rows, {task for request in requests for task in request.tasks})
        assert len(said) == len(rows), "there is an answer for each row"
        found: list[list[Said] | Exception] = []
        start = 0
        for request in requests:
            own, start = said[start : start + len(request.rows)], start + len(request.rows)
            found.append([{task: row[task] for task in row if task in request.tasks} for row in own])
        return found


def _fault(error: Exception) -> Exception:
    """One that a future takes (`StopIteration` is none), with what was raised as its cause."""
    fault = RuntimeError(repr(error))
    fault.__cause__ = error
    return fault
