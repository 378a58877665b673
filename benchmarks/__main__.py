"""`python -m benchmarks [name …]` runs all benchmarks, or those named, and prints what it finds."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Protocol

import torch

from benchmarks import solvers, vision, wide_table


class Table(Protocol):
    def table(self) -> str: ...


BENCHMARKS: dict[str, Callable[[], Iterable[Table]]] = {
    "wide_table": wide_table.run,
    "solvers": solvers.run,
    "vision": vision.run,
}


def main(names: list[str]) -> None:
    """Run and print."""
    if unknown := [name for name in names if name not in BENCHMARKS]:
        sys.exit(f"no benchmark {', '.join(unknown)}. There are: {', '.join(BENCHMARKS)}")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread of {os.cpu_count()} cores\n")
    for name in names or BENCHMARKS:
        for measured in BENCHMARKS[name]():
            print(f"{name}: {measured.table()}\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
