"""Requests that come together are answered together, in one thread, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from trunkline import DataError
from trunkline.serving.batcher import Batcher, BusyError, Load, Row
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
        found = await asyncio.gather(
            *(batcher.ask([{"x": x} for x in xs], tasks) for xs, tasks in asked), return_exceptions=True
        )
        while batcher.waiting:  # the thread may be busy with what was given up
            await asyncio.sleep(0.01)
        assert batcher.megabytes == 0.0
        await batcher.stop()
        return found

    return asyncio.run(ask())


def test_what_comes_at_once_is_one_batch() -> None:
    slow = Slow()
    found = answers(slow, Limits(batch_seconds=0.2), ([1], ["a"]), ([2, 3], ["b"]), ([4], ["a", "b"]))
    assert found == [[{"a": 2}], [{"b": 4}, {"b": 6}], [{"a": 8, "b": 8}]]
    assert slow.asked == [(4, {"a", "b"})] and len(slow.threads) == 1


def test_a_batch_has_no_more_rows_than_it_may() -> None:
    slow = Slow()
    answers(slow, Limits(batch_seconds=0.1, batch_rows=4), *(([i], ["a"]) for i in range(10)))
    assert [rows for rows, _ in slow.asked] == [4, 4, 2]
    slow = Slow()
    sizes = (3, 3, 1, 9, 2)
    found = answers(slow, Limits(batch_seconds=0.1, batch_rows=4), *(([7] * n, ["a"]) for n in sizes))
    assert [rows for rows, _ in slow.asked] == [3, 4, 9, 2]  # none is cut, and the one that is larger goes alone
    assert [len(said) for said in found] == list(sizes)


def test_who_asks_alone_does_not_wait_for_others() -> None:
    """One request after the other; a minute would pass for each if they waited."""

    async def ask() -> list[Any]:
        batcher = Batcher(Slow(), Limits(batch_seconds=60.0, seconds=30.0))
        found = [await batcher.ask([{"x": x}], ["a"]) for x in range(3)]
        await batcher.stop()
        return found

    assert asyncio.run(ask()) == [[{"a": 2 * x}] for x in range(3)]


def test_where_others_are_about_they_are_waited_for() -> None:
    """The second came while the first was answered; the third comes a little later, and goes with the second."""
    slow = Slow(0.2)

    async def ask() -> None:
        batcher = Batcher(slow, Limits(batch_seconds=20.0, batch_rows=2))
        first = asyncio.create_task(batcher.ask([{"x": 1}], ["a"]))
        while not slow.asked:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(batcher.ask([{"x": 2}], ["a"]))
        await first
        await asyncio.sleep(0.01)
        third = asyncio.create_task(batcher.ask([{"x": 3}], ["a"]))
        await asyncio.gather(second, third)
        await batcher.stop()

    asyncio.run(ask())
    assert [rows for rows, _ in slow.asked] == [1, 2]


def test_an_error_is_whose_it_is() -> None:
    found = answers(Slow(), Limits(batch_seconds=0.2), ([1], ["a"]), ([-1], ["a"]), ([2], ["a"]))
    assert found[0] == [{"a": 2}] and found[2] == [{"a": 4}] and isinstance(found[1], DataError)


def test_a_fault_of_our_own_ends_no_other_batch() -> None:
    found = answers(Slow(), Limits(batch_seconds=0.0, batch_rows=1), ([1], ["a"]), ([2000], ["a"]), ([3], ["a"]))
    assert found[0] == [{"a": 2}] and isinstance(found[1], RuntimeError) and found[2] == [{"a": 6}]


def test_too_many_rows_are_refused_and_late_answers_given_up() -> None:
    found = answers(Slow(0.1), Limits(waiting=3), ([1, 2], ["a"]), ([3, 4], ["a"]), ([5], ["a"]))
    assert found[0] == [{"a": 2}, {"a": 4}] and isinstance(found[1], BusyError) and found[2] == [{"a": 10}]
    (late,) = answers(Slow(0.3), Limits(seconds=0.05), ([1], ["a"]))
    assert isinstance(late, TimeoutError)


def test_a_bad_row_costs_few_passes() -> None:
    slow = Slow()
    asked = [([-1 if i == 20 else i], ["a"]) for i in range(64)]
    found = answers(slow, Limits(batch_seconds=0.2), *asked)
    assert [isinstance(said, Exception) for said in found] == [i == 20 for i in range(64)]
    assert len(slow.asked) == 1 + 2 * 6  # halves, down to the one


def test_an_answer_too_few_ends_nothing() -> None:
    """As a task of one's own may do."""
    slow = Slow()

    def forgetful(rows: Sequence[Row], tasks: Collection[str]) -> list[dict[str, Any]]:
        return slow(rows, tasks)[: -1 if rows[0]["x"] == 5 else None]

    found = answers(forgetful, Limits(batch_rows=1), ([5], ["a"]), ([6], ["a"]))  # type: ignore[arg-type]
    assert isinstance(found[0], RuntimeError) and found[1] == [{"a": 12}]


def test_bytes_that_wait_are_bounded_too() -> None:
    async def ask() -> list[Any]:
        batcher = Batcher(Slow(0.1), Limits(waiting_megabytes=1.0))
        sizes = (900_000, 200_000, 50_000)
        asked = (batcher.ask([{"x": i}], ["a"], Load(size)) for i, size in enumerate(sizes))
        found = await asyncio.gather(*asked, return_exceptions=True)
        await batcher.stop()
        return found

    found = asyncio.run(ask())
    assert [isinstance(said, BusyError) for said in found] == [False, True, False]


@pytest.mark.parametrize(
    ("tasks", "loads", "batches"),
    [
        (["a"], [Load(pixels=9), Load(pixels=9), Load(pixels=9), Load(pixels=99), Load()], [2, 1, 1, 1]),
        (["a"], [Load(samples=9), Load(samples=9), Load(samples=9), Load(samples=99)], [2, 1, 1]),
        (["a", "mask"], [Load(pixels=9), Load(pixels=9), Load(pixels=9)], [2, 1]),
        (["mask", "map"], [Load(pixels=9), Load(pixels=9), Load(), Load()], [1, 3]),  # 36 pixels would be answered
    ],
)
def test_a_batch_has_no_more_pixels_and_samples_than_a_request_may(
    tasks: list[str], loads: list[Load], batches: list[int]
) -> None:
    slow = Slow()

    async def ask() -> list[Any]:
        batcher = Batcher(slow, Limits(batch_seconds=0.1, megapixels=20e-6, megasamples=20e-6), ["mask", "map"])
        found = await asyncio.gather(*(batcher.ask([{"x": i}], tasks, load) for i, load in enumerate(loads)))
        await batcher.stop()
        return found

    assert [said["mask" if "mask" in tasks else "a"] for (said,) in asyncio.run(ask())] == [
        2 * i for i in range(len(loads))
    ]
    assert [rows for rows, _ in slow.asked] == batches


def test_it_answers_in_a_loop_after_another() -> None:
    batcher = Batcher(Slow(), Limits())
    for x in (1, 2):
        assert asyncio.run(batcher.ask([{"x": x}], ["a"])) == [{"a": 2 * x}]


@pytest.mark.parametrize("rows", [5, 50])
def test_a_request_that_is_larger_than_what_may_wait_is_answered_when_nobody_else_waits(rows: int) -> None:
    (found,) = answers(Slow(), Limits(waiting=1), (list(range(rows)), ["a"]))
    assert len(found) == rows


def test_a_loop_that_ends_stops_no_other() -> None:
    """An application that two servers have, or a server and a test: to await what the other one runs takes for ever."""
    batcher = Batcher(lambda rows, tasks: [{"kind": 1} for _ in rows], Limits())
    with start_blocking_portal() as portal:
        assert portal.call(batcher.ask, [{}], ["kind"]) == [{"kind": 1}]
        asyncio.run(asyncio.wait_for(batcher.stop(), 30))
        assert portal.call(batcher.ask, [{}], ["kind"]) == [{"kind": 1}]
        portal.call(batcher.stop)
    asyncio.run(batcher.stop())
