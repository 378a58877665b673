"""`log.jsonl`: one line of JSON for every few steps and each validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L

from trunkline.files import plain_json
from trunkline.training.module import TrainingModule
from trunkline.training.processes import is_first_process


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
            path.write_text("")

    def write(self, line: dict[str, Any]) -> None:
        """Append one line."""
        if is_first_process():
            with self.path.open("a") as file:
                file.write(json.dumps(plain_json(line), ensure_ascii=False) + "\n")

    def on_before_optimizer_step(self, trainer: L.Trainer, module: Any, optimizer: Any) -> None:
        """Note the rate of this step; when the batch has ended, the schedule has moved on."""
        self.lr = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, number: int) -> None:
        """One line every few optimiser steps."""
        if trainer.global_step % self.every == 0 or trainer.global_step == 1:
            assert isinstance(module, TrainingModule)
            self.write({"step": trainer.global_step, "lr": self.lr, **module.engine.report()})
