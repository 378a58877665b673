"""The most memory that an act holds at once, by PyTorch's own account of what it allocates."""

from __future__ import annotations

import os

from torch.profiler import ProfilerActivity, profile

from benchmarks.timing import Act

os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # the profiler is loud about every start


def peak_memory(act: Act) -> int:
    """Bytes beyond what was there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        act()
    results = profiler.profiler.kineto_results  # type: ignore[union-attr]
    changes = [(event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]"]
    held = most = 0
    for _, bytes_ in sorted(changes, key=lambda change: change[0]):
        held += bytes_
        most = max(most, held)
    return most
