"""Times of several things measured by turns, so that whatever slows the machine down slows all of them down."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Act = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Comparison:
    """Times of several acts, round by round.

    Attributes:
        title: what is compared.
        seconds: by act, one time a round.
        base: the act that the others are divided by.
    """

    title: str
    seconds: Mapping[str, Sequence[float]]
    base: str

    def ratios(self, act: str) -> list[float]:
        """Times the base of the same round."""
        return [mine / theirs for mine, theirs in zip(self.seconds[act], self.seconds[self.base], strict=True)]

    def table(self) -> str:
        """Median and quartiles of each act's milliseconds, and of its ratio to the base."""
        width = max(map(len, self.seconds))
        rounds = len(self.seconds[self.base])
        lines = [f"{self.title} ({rounds} rounds)", f"  {'':{width}}  {'ms':>8}  {'quartiles':>17}  ratio  quartiles"]
        for act, times in self.seconds.items():
            low, mid, high = quartiles([1e3 * t for t in times])
            spread, ratio = f"{low:.2f} … {high:.2f}", quartiles(self.ratios(act))
            says = f"{ratio[1]:5.2f}  {ratio[0]:.2f} … {ratio[2]:.2f}"
            lines.append(f"  {act:{width}}  {mid:8.2f}  {spread:>17}  {says}")
        return "\n".join(lines)


def by_turns(
    title: str,
    acts: Mapping[str, Act],
    *,
    base: str,
    rounds: int = 150,
    warm_up: int = 10,
    clock: Clock = time.perf_counter,
) -> Comparison:
    """Run every act once a round, each round starting with another one; the first rounds do not count.

    Args:
        title: what is compared.
        acts: by name.
        base: the one that the others are divided by.
        rounds: that count.
        warm_up: rounds before.
        clock: seconds; `time.process_time` counts those of this process alone, where others take its core.
    """
    seconds: dict[str, list[float]] = {name: [] for name in acts}
    names = list(acts)
    for number in range(-warm_up, rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            taken = stopwatch(acts[name], clock)
            if number >= 0:
                seconds[name].append(taken)
    return Comparison(title, seconds, base)


def stopwatch(act: Act, clock: Clock = time.perf_counter) -> float:
    """Seconds of one run, in which no garbage is collected that others have left."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        start = clock()
        act()
        return clock() - start
    finally:
        if was_on:
            gc.enable()


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower quartile, the median, the upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, mid, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, mid, high
