"""A server under load, on this machine: `python -m benchmarks.serving RUN TABLE`.

As many clients as are said ask for one row after the other, each as soon as it has an answer; with requests that go
through the network together, and one by one, by turns. The clients are on the same cores.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from trunkline.data import read_table
from trunkline.loading import load
from trunkline.predictor import Predictor
from trunkline.serving import Limits, make_app

WAYS = {"together": Limits(), "one by one": Limits(batch_rows=1, batch_seconds=0.0)}


@contextlib.contextmanager
def served(predictor: Predictor, limits: Limits, port: int) -> Iterator[str]:
    """A server in a thread, and its address."""
    config = uvicorn.Config(make_app(predictor, limits=limits), host="127.0.0.1", port=port, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def bodies(predictor: Predictor, path: Path, rows: int) -> list[dict[str, Any]]:
    """Requests of one row each; files in base64."""
    table, inputs = read_table(path), predictor.preprocessing.schema.inputs.values()
    columns = {column.column for column in inputs} & set(table.columns)
    files = {column.column for column in inputs if column.modality.reads_files}
    found = []
    for row in range(min(rows, len(table))):
        cells = {name: table.cell(row, name) for name in columns}
        sent = {name: value for name, value in cells.items() if value is not None}
        for name in files & sent.keys():
            sent[name] = base64.b64encode(((table.base or Path()) / sent[name]).read_bytes()).decode()
        if sent:
            found.append({"rows": [sent]})
    return found


def asked(address: str, requests: Sequence[dict[str, Any]], clients: int, seconds: float) -> tuple[list[float], int]:
    """Seconds of each answer, and how many were errors."""
    until = time.perf_counter() + seconds

    def client(number: int) -> tuple[list[float], int]:
        times, errors, place = [], 0, number
        with httpx.Client(base_url=address, timeout=60) as session:
            while (start := time.perf_counter()) < until:
                errors += session.post("/predict", json=requests[place % len(requests)]).status_code != 200
                times.append(time.perf_counter() - start)
                place += clients
        return times, errors

    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(client, range(clients)))
    return [t for times, _ in found for t in times], sum(errors for _, errors in found)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--clients", type=int, nargs="*", default=[16])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=8123)
    options = parser.parse_args()
    predictor = load(options.run)
    requests = bodies(predictor, options.table, 256)
    ways = [(way, clients) for clients in options.clients for way in WAYS]
    speeds: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    times: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    errors = 0
    for _ in range(options.rounds):
        for way, clients in ways:
            with served(predictor, WAYS[way], options.port) as address:
                asked(address, requests, 2, 0.5)
                found, wrong = asked(address, requests, clients, options.seconds)
            speeds[way, clients].append(len(found) / options.seconds)
            times[way, clients] += found
            errors += wrong
    for way, clients in ways:
        cuts = statistics.quantiles(times[way, clients], n=100)
        print(f"{clients:3} clients, {way:11} {statistics.median(speeds[way, clients]):7.1f} requests/s   "
              f"p50 {1000 * cuts[49]:6.1f} ms   p99 {1000 * cuts[98]:6.1f} ms")  # fmt: skip
    print(f"{errors} errors")


if __name__ == "__main__":
    main()
