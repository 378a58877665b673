"""`log.jsonl`: one line of JSON for every few steps and each validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import torch

from trunkline.training.module import TrainingModule


class JsonLinesLog(L.Callback):
    """Losses, task weights and conflicts as the engine reports them.

    Args:
        path: of the file; it is started anew.
        every: steps between lines.
    """

    def __init__(self, path: Path, *, every: int) -> None:
        self.path = path
        self.every = every
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")

    def write(self, line: dict[str, Any]) -> None:
        """Append one line (first rank only)."""
        if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
            with self.path.open("a") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, number: int) -> None:
        """One line every few optimiser steps."""
        if trainer.global_step % self.every == 0 or trainer.global_step == 1:
            assert isinstance(module, TrainingModule)
            lr = trainer.optimizers[0].param_groups[0]["lr"]
            self.write({"step": trainer.global_step, "lr": lr, **module.engine.report()})
