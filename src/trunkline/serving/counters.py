"""What happened, for whoever watches the server (Prometheus' text format)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # seconds


class Counters:
    """Requests by status, their seconds, and rows."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.within: Counter[float] = Counter()
        self.seconds = 0.0
        self.rows = 0

    def count(self, status: int, seconds: float, rows: int) -> None:
        """One request that was answered."""
        self.statuses[status] += 1
        self.within.update(bound for bound in BOUNDS if seconds <= bound)
        self.seconds += seconds
        self.rows += rows

    def text(self, *, batches: int, waiting: int) -> str:
        """All of it."""
        return "\n".join([*self._lines(batches, waiting), ""])

    def _lines(self, batches: int, waiting: int) -> Iterator[str]:
        yield "# TYPE trunkline_requests_total counter"
        for status, number in sorted(self.statuses.items()):
            yield f'trunkline_requests_total{{status="{status}"}} {number}'
        yield "# TYPE trunkline_request_seconds histogram"
        for bound in BOUNDS:
            yield f'trunkline_request_seconds_bucket{{le="{bound:g}"}} {self.within[bound]}'
        yield f'trunkline_request_seconds_bucket{{le="+Inf"}} {self.statuses.total()}'
        yield f"trunkline_request_seconds_sum {self.seconds:.6f}"
        yield f"trunkline_request_seconds_count {self.statuses.total()}"
        for name, kind, value in (
            ("rows_total", "counter", self.rows),
            ("batches_total", "counter", batches),
            ("rows_waiting", "gauge", waiting),
        ):
            yield f"# TYPE trunkline_{name} {kind}"
            yield f"trunkline_{name} {value}"
