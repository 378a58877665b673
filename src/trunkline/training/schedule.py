"""The learning rate over the steps: up, down as a cosine, and, where nothing gets better any more, down at once."""

from __future__ import annotations

import math
from typing import Any

COOLDOWN = 0.2  # of the steps taken so far


class Schedule:
    """Share of the peak rate at each step, and how many steps there are.

    Stopping where the rate is high would lose what the fall to zero gains. So a run that has come to a plateau `cool`s:
    from wherever the rate is, half a cosine to zero, and then it ends.

    Args:
        steps: how many in all.
        warmup: share of them in which the rate rises.

    Example:
        >>> schedule = Schedule(100, 0.1)
        >>> schedule.cool(50)
        >>> schedule.last
        60
    """

    def __init__(self, steps: int, warmup: float) -> None:
        self.steps, self.warmup = steps, warmup
        self.last = steps
        self.cooling_since: int | None = None

    def rate(self, step: int) -> float:
        """Share of the peak rate in the step that follows `step` others."""
        if self.cooling_since is None or step < self.cooling_since:
            return warmup_cosine(step, self.steps, self.warmup)
        since = self.cooling_since
        return warmup_cosine(since, self.steps, self.warmup) * half_cosine((step - since) / (self.last - since))

    def cool(self, step: int) -> None:
        """Begin to fall after `step` steps; never past the end."""
        self.cooling_since = step
        self.last = min(self.steps, step + max(1, round(COOLDOWN * step)))

    def end(self, step: int) -> None:
        """No more steps after `step`."""
        self.last = step

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"last": self.last, "cooling_since": self.cooling_since}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.last, self.cooling_since = state["last"], state["cooling_since"]


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """Share of the peak rate at `step` of `steps`: a line up over `warmup · steps`, then half a cosine down to 0."""
    rise = max(1, round(steps * warmup))
    if step < rise:
        return (step + 1) / rise
    return half_cosine((step - rise) / max(1, steps - rise))


def half_cosine(share: float) -> float:
    """From 1 to 0 while `share` goes from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def is_due(step: int, steps: int, times: int) -> bool:
    """Whether something that happens `times` times in `steps` steps, the last time at the end, happens after `step`.

    Example:
        >>> [step for step in range(1, 8) if is_due(step, 7, 3)]
        [3, 5, 7]
    """
    times = min(times, steps)
    return step * times // steps > (step - 1) * times // steps
