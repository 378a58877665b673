"""Look at a config, its data and its network before training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trunkline.config import load_config
from trunkline.data import EpochSampler
from trunkline.export import example_batch
from trunkline.model import Network
from trunkline.plan import Plan, make_plan
from trunkline.run.budget import fix_steps
from trunkline.run.wiring import rows_of, settings_of, validation_of
from trunkline.sources import columns_of, read_splits
from trunkline.training import Pace, check_tensorboard, measure_pace
from trunkline.types import Batch


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        plan: everything before the first step.
        shared: parameters that more than one task's loss can reach.
        private: the others.
        batch: one training batch.
        pace: how long steps and validations take here and now.
        rows: of each split.
        presence: share of training rows that have each input.
        labels: share of training rows that carry each label.
    """

    plan: Plan
    shared: int
    private: int
    batch: Batch
    pace: Pace
    rows: dict[str, int]
    presence: dict[str, float]
    labels: dict[str, float]

    @property
    def seconds(self) -> tuple[float, float]:
        """That the steps of training will take here, and its validations."""
        training = self.plan.config.training
        assert training.steps is not None and training.validations is not None and training.validation_rows is not None
        looked_at = training.validations * min(self.rows.get("validation", 0), training.validation_rows)
        return training.steps * self.pace.step, looked_at * self.pace.row


def check(source: str | Path, *, overrides: Iterable[str] = (), trust_code: bool = False) -> Report:
    """Read the config and every plain cell, build the network, take a few steps and forget them.

    Args:
        source: path of a config.
        overrides: `key=value`.
        trust_code: import classes of your own that the config names.

    Raises:
        ConfigError: the config cannot work.
        DataError: the rows cannot be used.
    """
    config = load_config(source, columns=columns_of, overrides=overrides, trust_code=trust_code)
    plan = make_plan(config, read_splits(config))
    splits = {"train": plan.splits.train, "validation": plan.splits.validation, "test": plan.splits.test}
    batches, rows = plan.taught(plan.splits.train), plan.splits.train.rows
    useful = rows[batches.labelled[rows].any(1)]
    batch_size = plan.config.training.batch_size
    assert batch_size is not None
    draw = next(iter(EpochSampler(useful, batch_size, seed=plan.config.training.seed)))
    settings = settings_of(plan.config.training, plan.config.data)
    if plan.config.training.tensorboard:
        check_tensorboard()
    fixed, pace = fix_steps(plan)
    if pace is None:
        pace = measure_pace(plan.network, plan.engine, rows_of(plan, plan.splits.train), validation_of(plan), settings)
    batch = batches[draw]
    # An encoder that this batch happens to lack would count as private.
    shared = shared_parameters(plan.network, example_batch(batches, rows.tolist(), batch_size))
    total = sum(p.numel() for p in plan.network.parameters())
    names = plan.network.preprocessing
    return Report(
        plan=fixed,
        shared=sum(p.numel() for p in shared),
        private=total - sum(p.numel() for p in shared),
        batch=batch,
        pace=pace,
        rows={name: len(split) for name, split in splits.items() if split is not None},
        presence=dict(zip(names.inputs, batches.present[rows].mean(0).tolist())),
        labels=dict(zip(names.tasks, batches.labelled[rows].mean(0).tolist())),
    )


def shared_parameters(network: Network, batch: Batch) -> list[Tensor]:
    """What every task's loss can reach: all that stands before the trunk, and of the trunk what autograd finds there.

    Args:
        network: in which to look.
        batch: any rows.
    """
    before: list[Tensor] = [network.missing, *network.encoders.parameters(), *network.fusion.parameters()]
    trunk = list(network.trunk.parameters())
    learns = [p.requires_grad for p in trunk]
    network.trunk.requires_grad_(True)  # of a frozen one, autograd would find nothing
    total = torch.stack([tap.values.float().sum() for lot in network.share(batch) for tap in lot.taps]).sum()
    gradients = torch.autograd.grad(total, trunk, allow_unused=True) if trunk else ()
    for parameter, before_it in zip(trunk, learns):
        parameter.requires_grad_(before_it)
    return before + [p for p, g in zip(trunk, gradients) if g is not None]
