"""One bar for the whole run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import lightning as L
from tqdm import tqdm


class StepBar(L.Callback):
    """Steps done of all steps, and the aggregate of the last validation.

    Args:
        aggregate: gives that of the last validation, `None` before the first.
    """

    def __init__(self, aggregate: Callable[[], float | None]) -> None:
        self.aggregate = aggregate
        self.bar: tqdm | None = None

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        self.bar = tqdm(total=trainer.max_steps, desc="training", unit="step", file=sys.stderr, dynamic_ncols=True)

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, number: int) -> None:
        assert self.bar is not None
        if (score := self.aggregate()) is not None:
            self.bar.set_postfix_str(f"aggregate {score:.3f}", refresh=False)
        self.bar.update(trainer.global_step - self.bar.n)

    def on_train_end(self, trainer: L.Trainer, module: Any) -> None:
        if self.bar is not None:
            self.bar.close()

    def on_exception(self, trainer: L.Trainer, module: Any, exception: BaseException) -> None:
        self.on_train_end(trainer, module)
