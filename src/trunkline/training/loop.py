"""One training run: loaders, Lightning's Trainer, the best weights by validation."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from safetensors.torch import save_model
from torch import Tensor
from torch.utils.data import DataLoader

from trunkline.data import EpochSampler, EveryRowSampler
from trunkline.engine import Engine
from trunkline.files import replacing
from trunkline.model import Evaluation, Network, TaskScores, aggregate
from trunkline.schema import RowBatches
from trunkline.training.log import JsonLinesLog
from trunkline.training.module import TrainingModule


@dataclass(frozen=True)
class Rows:
    """Some rows of a source of batches."""

    batches: RowBatches
    rows: np.ndarray


@dataclass(frozen=True)
class Settings:
    """How to train; everything decided.

    Attributes:
        steps: optimiser steps.
        batch_size: rows per step and device.
        lr: peak learning rate of AdamW.
        weight_decay: on matrices.
        warmup: share of the steps with a rising rate.
        clip: largest norm of the whole gradient; `None` for no limit.
        precision: as Lightning names it: `32-true`, `bf16-mixed`, …
        devices: how many; more than one means data-parallel processes.
        accelerator: as Lightning names it: `auto`, `cpu`, `gpu`, …
        validations: how often to look at the validation rows on the way.
        seed: of the order of rows, augmentation and dropout.
    """

    steps: int
    batch_size: int
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    clip: float | None = 1.0
    precision: Any = "32-true"
    devices: int = 1
    accelerator: str = "auto"
    validations: int = 10
    seed: int = 0


@dataclass
class Fitted:
    """What came of it. The network holds its best weights.

    Attributes:
        steps: optimiser steps taken.
        best_step: after which the kept weights stood.
        scores: on the validation rows, with the kept weights; `None` without validation rows.
        seconds: wall time of the loop.
        history: `(step, aggregate, scores)` of each validation.
    """

    steps: int
    best_step: int
    scores: TaskScores | None
    seconds: float
    history: list[tuple[int, float | None, TaskScores]] = field(default_factory=list)


def train(
    network: Network,
    engine: Engine,
    training: Rows,
    validation: Rows | None,
    settings: Settings,
    folder: Path,
    *,
    show_progress: bool | None = None,
) -> Fitted:
    """Train in place and keep the weights that were best on the validation rows.

    Writes `log.jsonl` and `checkpoints/best.safetensors` under `folder`. Rows without any label are not drawn.

    Args:
        network: the layers.
        engine: balances the tasks.
        training: rows to learn from.
        validation: rows to choose weights by; without them the last weights are kept.
        settings: how.
        folder: of the run.
        show_progress: a bar on the terminal; by default only where there is one.
    """
    _quiet()
    L.seed_everything(settings.seed, workers=True, verbose=False)
    keeper = _BestWeights(network, validation, folder / "checkpoints" / "best.safetensors")
    module = TrainingModule(
        network,
        engine,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        warmup=settings.warmup,
        steps=settings.steps,
        on_scores=keeper,
    )
    useful = training.rows[training.batches.labelled[training.rows].any(1)]
    loaders = _Loaders(Rows(training.batches, useful), validation, settings)
    bar = sys.stderr.isatty() if show_progress is None else show_progress
    log = JsonLinesLog(folder / "log.jsonl", every=max(1, settings.steps // 100))
    keeper.log = log
    trainer = L.Trainer(
        max_steps=settings.steps,
        max_epochs=-1,
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy="ddp_find_unused_parameters_true" if settings.devices > 1 else "auto",
        precision=settings.precision,
        gradient_clip_val=settings.clip,
        val_check_interval=max(1, settings.steps // settings.validations) if validation else None,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        callbacks=[log, *([TQDMProgressBar(refresh_rate=5)] if bar else [])],
        enable_progress_bar=bar,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
        use_distributed_sampler=False,
        inference_mode=True,
    )
    start = time.perf_counter()
    trainer.fit(module, datamodule=loaders)
    seconds = time.perf_counter() - start
    keeper.finish(trainer.global_step)
    return Fitted(trainer.global_step, keeper.best_step, keeper.best_scores, seconds, keeper.history)


class _BestWeights:
    """Called with the scores of each validation; keeps the weights that were best."""

    def __init__(self, network: Network, validation: Rows | None, path: Path) -> None:
        self.network, self.path = network, path
        self.majority = _majority(validation) if validation else {}
        self.best: float | None = None
        self.best_step = 0
        self.best_scores: TaskScores | None = None
        self.weights: dict[str, Tensor] | None = None
        self.history: list[tuple[int, float | None, TaskScores]] = []
        self.log: JsonLinesLog | None = None

    def __call__(self, step: int, scores: TaskScores) -> None:
        score = aggregate(scores, self.majority, self.network.preprocessing)
        self.history.append((step, score, scores))
        if self.log is not None:
            self.log.write({"step": step, "validation": scores, "aggregate": score})
        if self.weights is None or (score is not None and (self.best is None or score > self.best)):
            self.best, self.best_step, self.best_scores = score, step, scores
            self.weights = {k: v.detach().to("cpu", copy=True) for k, v in self.network.state_dict().items()}
            if _is_first_rank():
                with replacing(self.path) as unfinished:
                    save_model(self.network, str(unfinished))

    def finish(self, step: int) -> None:
        """Put the best weights back; without validation the last ones stay."""
        if self.weights is None:
            self.best_step = step
        else:
            self.network.load_state_dict(self.weights)


def _majority(validation: Rows) -> TaskScores:
    evaluation = Evaluation(validation.batches.preprocessing)
    for draw in EveryRowSampler(validation.rows, 256):
        evaluation.update_baseline(validation.batches[draw])
    return evaluation.compute()


class _Loaders(L.LightningDataModule):
    """Batches for each rank. Made in the process that uses them, which knows its rank."""

    def __init__(self, training: Rows, validation: Rows | None, settings: Settings) -> None:
        super().__init__()
        self.training, self.validation, self.settings = training, validation, settings

    def train_dataloader(self) -> DataLoader:
        rank, world = self._place()
        sampler = EpochSampler(
            self.training.rows, self.settings.batch_size, seed=self.settings.seed, rank=rank, world=world
        )
        return DataLoader(self.training.batches, sampler=sampler, batch_size=None)

    def val_dataloader(self) -> DataLoader | Sequence[Any]:
        if self.validation is None:
            return []
        rank, world = self._place()
        sampler = EveryRowSampler(self.validation.rows, max(256, self.settings.batch_size), rank=rank, world=world)
        return DataLoader(self.validation.batches, sampler=sampler, batch_size=None)

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


def _is_first_rank() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _quiet() -> None:
    """Lightning's remarks on hardware and workers; trunkline says what matters itself."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
