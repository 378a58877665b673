"""One training run: loaders, Lightning's Trainer, the best weights by validation."""

from __future__ import annotations

import logging
import math
import signal
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from safetensors.torch import save_model
from torch import Tensor
from torch.utils.data import DataLoader

from trunkline.data import Draw, EpochSampler, EveryRowSampler
from trunkline.engine import Engine
from trunkline.files import replacing
from trunkline.model import Evaluation, Network, TaskScores, aggregate
from trunkline.schema import RowBatches
from trunkline.training.log import JsonLinesLog
from trunkline.training.module import TrainingModule
from trunkline.training.processes import is_first_process
from trunkline.training.progress import StepBar


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
        weight_decay: on matrices, see `decayed`.
        warmup: share of the steps with a rising rate.
        clip: largest norm of the whole gradient; `None` for no limit.
        precision: as Lightning names it: `32-true`, `bf16-mixed`, …
        devices: how many; more than one means data-parallel processes. `auto`: all GPUs there are, or one CPU process.
        accelerator: as Lightning names it: `auto`, `cpu`, `gpu`, …
        workers: processes that make batches, for each device; 0: the one that trains.
        seed: of the order of rows, augmentation and dropout.
        validations: how often to look at the validation rows on the way.
    """

    steps: int
    batch_size: int
    lr: float
    weight_decay: float
    warmup: float
    clip: float | None
    precision: Any
    devices: int | Literal["auto"]
    accelerator: str
    workers: int
    seed: int
    validations: int = 10  # no config says


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

    Raises:
        RunError: a loss is not finite any more.
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
        devices=num_devices(settings),
        strategy="auto" if num_devices(settings) == 1 else "ddp_find_unused_parameters_true",
        precision=settings.precision,
        gradient_clip_val=settings.clip,
        val_check_interval=max(1, settings.steps // settings.validations) if validation else None,
        check_val_every_n_epoch=None,
        limit_val_batches=None if validation else 0,
        num_sanity_val_steps=0,
        callbacks=[log, *([StepBar(keeper.last_score)] if bar else [])],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
        use_distributed_sampler=False,
        inference_mode=True,
    )
    start = time.perf_counter()
    _fit(trainer, module, loaders)
    seconds = time.perf_counter() - start
    keeper.finish(trainer.global_step)
    return Fitted(trainer.global_step, keeper.best_step, keeper.best_scores, seconds, keeper.history)


def num_devices(settings: Settings) -> int:
    """What `auto` comes to here."""
    if settings.devices != "auto":
        return settings.devices
    return 1 if settings.accelerator == "cpu" else max(1, torch.cuda.device_count())


def _fit(trainer: L.Trainer, module: TrainingModule, loaders: _Loaders) -> None:
    """Lightning takes Ctrl-C for the wish to end the process, and is deaf to it from then on. Here it is raised."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=loaders)
    except SystemExit as exit:
        if not isinstance(exit.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None
    if trainer.interrupted:  # so it was in older versions
        raise KeyboardInterrupt


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
        score = None if score is None or math.isnan(score) else score
        self.history.append((step, score, scores))
        if self.log is not None:
            self.log.write({"step": step, "validation": scores, "aggregate": score})
        if self.weights is None or (score is not None and (self.best is None or score > self.best)):
            self.best, self.best_step, self.best_scores = score, step, scores
            self.weights = {k: v.detach().to("cpu", copy=True) for k, v in self.network.state_dict().items()}
            if is_first_process():
                with replacing(self.path) as unfinished:
                    save_model(self.network, str(unfinished))

    def last_score(self) -> float | None:
        """The aggregate of the last validation."""
        return self.history[-1][1] if self.history else None

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
        settings = self.settings
        return self._loader(
            self.training.batches,
            EpochSampler(self.training.rows, settings.batch_size, seed=settings.seed, rank=rank, world=world),
        )

    def val_dataloader(self) -> DataLoader:
        assert self.validation is not None
        draws = even_draws(self.validation.rows, max(256, self.settings.batch_size), *self._place())
        return self._loader(self.validation.batches, draws)

    def _loader(self, batches: RowBatches, draws: Any) -> DataLoader:
        """Its own generator: else every validation would draw from the one that dropout draws from."""
        settings = self.settings
        return DataLoader(
            batches,
            sampler=draws,
            batch_size=None,
            num_workers=settings.workers,
            persistent_workers=settings.workers > 0,
            generator=torch.Generator().manual_seed(settings.seed),
        )

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


def even_draws(rows: np.ndarray, batch_size: int, rank: int, world: int) -> list[Draw]:
    """Every row once over all ranks, and as many batches on each: they meet in every one, as they do in training.

    Where fewer rows are left than there are ranks, the last batch of some is empty.
    """
    together = batch_size * world
    parts = (np.array_split(rows[i : i + together], world)[rank] for i in range(0, len(rows), together))
    return [Draw(tuple(part.tolist()), None) for part in parts]


def _quiet() -> None:
    """Lightning's remarks on hardware and workers; trunkline says what matters itself."""
    for name in ("pytorch.utilities.rank_zero", "fabric.utilities.seed", "fabric.utilities.distributed"):
        logging.getLogger(f"lightning.{name}").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
