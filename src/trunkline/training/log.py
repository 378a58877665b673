"""`log.jsonl`: one line of JSON for every few steps and each validation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L

from trunkline.errors import RunError
from trunkline.files import plain_json
from trunkline.training.module import TrainingModule
from trunkline.training.processes import is_first_process

NAMED = 5  # tasks in an error


class JsonLinesLog(L.Callback):
    """Losses, task weights and conflicts as the engine reports them. Only the first process writes.

    Args:
        path: of the file; it is started anew.
        every: steps between lines.
    """

    def __init__(self, path: Path, *, every: int) -> None:
        self.path = path
        self.every = every
        self.lr = 0.0
        if is_first_process():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("", encoding="utf-8")

    def write(self, line: dict[str, Any]) -> None:
        """Append one line."""
        if is_first_process():
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(plain_json(line), ensure_ascii=False) + "\n")

    def on_before_optimizer_step(self, trainer: L.Trainer, module: Any, optimizer: Any) -> None:
        """Note the rate of this step; when the batch has ended, the schedule has moved on."""
        self.lr = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, number: int) -> None:
        """One line every few optimiser steps."""
        if trainer.global_step % self.every == 0 or trainer.global_step == 1:
            assert isinstance(module, TrainingModule)
            report = module.engine.report()
            self.write({"step": trainer.global_step, "lr": self.lr, **report})
            check_finite(trainer.global_step, report)

    def on_validation_start(self, trainer: L.Trainer, module: Any) -> None:
        """Weights that have diverged are not judged, and not kept."""
        check_finite(trainer.global_step, module.engine.report())

    def on_train_end(self, trainer: L.Trainer, module: Any) -> None:
        """The last step may not have had a line."""
        check_finite(trainer.global_step, module.engine.report())


def check_finite(step: int, report: Mapping[str, Any]) -> None:
    """Losses and their weights are numbers, as the engine reports them; the report has waited for the device already.

    Raises:
        RunError: one is not; training cannot recover from it.
    """
    wrong = [
        task
        for task, loss in report.get("losses", {}).items()
        if not all(value is None or math.isfinite(value) for value in (loss, report["weights"][task]))
    ]
    if wrong:
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise RunError(
            f"training has diverged: at step {step} the loss of {', '.join(map(repr, wrong[:NAMED]))}{more} is not "
            f"finite. A lower training.lr helps, or a lower training.clip; else look for extreme numbers in the data"
        )
