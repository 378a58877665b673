"""Look at a config, its data and its network before training."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trunkline.config import load_config
from trunkline.data import Draw, EpochSampler
from trunkline.export import example_batch
from trunkline.model import Network
from trunkline.plan import Plan, columns_of, make_plan, read_splits
from trunkline.types import Batch

TIMED_STEPS = 3


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        plan: everything before the first step.
        shared: parameters that more than one task's loss can reach.
        private: the others.
        batch: one training batch.
        seconds_per_step: median of a few training steps here and now.
        rows: of each split.
        presence: share of training rows that have each input.
        labels: share of training rows that carry each label.
    """

    plan: Plan
    shared: int
    private: int
    batch: Batch
    seconds_per_step: float
    rows: dict[str, int]
    presence: dict[str, float]
    labels: dict[str, float]


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
    batches, rows = plan.source(plan.splits.train), plan.splits.train.rows
    useful = rows[batches.labelled[rows].any(1)]
    batch_size = plan.config.training.batch_size
    assert batch_size is not None
    draw = next(iter(EpochSampler(useful, batch_size, seed=plan.config.training.seed)))
    seconds = _seconds_per_step(plan, draw)
    batch = batches[draw]
    # An encoder that this batch happens to lack would count as private.
    shared = shared_parameters(plan.network, example_batch(batches, rows.tolist(), batch_size))
    total = sum(p.numel() for p in plan.network.parameters())
    names = plan.network.preprocessing
    return Report(
        plan=plan,
        shared=sum(p.numel() for p in shared),
        private=total - sum(p.numel() for p in shared),
        batch=batch,
        seconds_per_step=seconds,
        rows={name: len(split) for name, split in splits.items() if split is not None},
        presence=dict(zip(names.inputs, batches.present[rows].mean(0).tolist())),
        labels=dict(zip(names.tasks, batches.labelled[rows].mean(0).tolist())),
    )


def shared_parameters(network: Network, batch: Batch) -> list[Tensor]:
    """The parameters behind the taps, found by autograd: those that every task's loss can reach.

    Args:
        network: in which to look.
        batch: in which every encoder has a row.
    """
    taps = network.share(batch)
    parameters = list(network.parameters())
    total = torch.stack([tap.values.float().sum() for tap in taps]).sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return [p for p, g in zip(parameters, gradients) if g is not None]


def _seconds_per_step(plan: Plan, draw: Draw) -> float:
    """Median of a few, batch made anew each time; the first one, which warms up, does not count."""
    times = []
    for _ in range(TIMED_STEPS + 1):
        start = time.perf_counter()
        plan.network.training_loss(plan.source(plan.splits.train)[draw], plan.engine).backward()
        times.append(time.perf_counter() - start)
        plan.network.zero_grad(set_to_none=True)
    return sorted(times[1:])[TIMED_STEPS // 2]
