"""One bar for the whole run."""

from __future__ import annotations

import sys

from tqdm import tqdm

from trunkline.training.processes import is_first_process


class StepBar:
    """Steps done of all steps, and the score of the last validation, from guessing (0) to perfect (1).

    Args:
        steps: how many in all.
        done: how many were taken before.
        is_shown: by default where there is a terminal.
    """

    def __init__(self, steps: int, done: int, is_shown: bool | None) -> None:
        shown = (sys.stderr.isatty() if is_shown is None else is_shown) and is_first_process()
        self.bar = tqdm(total=steps, initial=done, desc="training", unit="step", file=sys.stderr, dynamic_ncols=True,
                        disable=not shown)  # fmt: skip

    def step(self) -> None:
        """One more."""
        self.bar.update()

    def say(self, aggregate: float | None) -> None:
        """What the last validation gave."""
        if aggregate is not None:
            self.bar.set_postfix_str(f"score {aggregate:.3f}", refresh=False)

    def close(self, steps: int) -> None:
        """The run has ended after so many steps."""
        self.bar.total = steps
        self.bar.close()
