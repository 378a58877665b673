"""Requests that come together are answered together, in one thread, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from trunkline import DataError
from trunkline.serving.batcher import Batcher, BusyError, Row
from trunkline.serving.limits import Limits


class Slow:
    """Says the double of each row's number, and remembers how it was asked."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.asked, self.threads = seconds, [], set()  # type: ignore[var-annotated]

    def __call__(self, rows: Sequence[Row], tasks: Collection[str]) -> list[dict[str, Any]]:
        self.asked.append((len(rows), set(tasks)))
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        if any(row["x"] < 0 for row in rows):
            raise DataError("x is below 0")
        if any(row["x"] > 1000 for row in rows):
            raise ZeroDivisionError("a bug")
        return [{task: 2 * row["x"] for task in tasks} for row in rows]


def answers(answer: Slow, limits: Limits, *asked: tuple[list[int], list[str]]) -> list[Any]:
    """Of requests that come at once, in order; errors as they are."""

    async def ask() -> list[Any]:
        batcher = Batcher(answer, limits)
        running = asyncio.create_task(batcher.run())
        found = await asyncio.gather(
            *(batcher.ask([{"x": x} for x in xs], tasks) for xs, tasks in asked), return_exceptions=True
        )
        assert batcher.waiting == 0
        running.cancel()
        return found

    return asyncio.run(ask())


def test_what_comes_at_once_is_one_batch() -> None:
    slow = Slow()
    found = answers(slow, Limits(batch_seconds=0.2), ([1], ["a"]), ([2, 3], ["b"]), ([4], ["a", "b"]))
    assert found == [[{"a": 2}], [{"b": 4}, {"b": 6}], [{"a": 8, "b": 8}]]
    assert slow.asked == [(4, {"a", "b"})] and len(slow.threads) == 1


def test_a_batch_has_no_more_rows_than_it_may() -> None:
    slow = Slow()
    answers(slow, Limits(batch_seconds=0.2, batch_rows=4), *(([i], ["a"]) for i in range(10)))
    assert [rows for rows, _ in slow.asked] == [4, 4, 2]


def test_an_error_is_whose_it_is() -> None:
    found = answers(Slow(), Limits(batch_seconds=0.2), ([1], ["a"]), ([-1], ["a"]), ([2], ["a"]))
    assert found[0] == [{"a": 2}] and found[2] == [{"a": 4}] and isinstance(found[1], DataError)


def test_a_fault_of_our_own_ends_no_other_batch() -> None:
    found = answers(Slow(), Limits(batch_seconds=0.0, batch_rows=1), ([1], ["a"]), ([2000], ["a"]), ([3], ["a"]))
    assert found[0] == [{"a": 2}] and isinstance(found[1], ZeroDivisionError) and found[2] == [{"a": 6}]


def test_too_many_rows_are_refused_and_late_answers_given_up() -> None:
    found = answers(Slow(0.1), Limits(waiting=3), ([1, 2], ["a"]), ([3, 4], ["a"]), ([5], ["a"]))
    assert found[0] == [{"a": 2}, {"a": 4}] and isinstance(found[1], BusyError) and found[2] == [{"a": 10}]
    (late,) = answers(Slow(0.3), Limits(seconds=0.05), ([1], ["a"]))
    assert isinstance(late, TimeoutError)


@pytest.mark.parametrize("rows", [5, 50])
def test_a_request_that_is_larger_than_what_may_wait_is_answered_when_nobody_else_waits(rows: int) -> None:
    (found,) = answers(Slow(), Limits(waiting=1), (list(range(rows)), ["a"]))
    assert len(found) == rows
