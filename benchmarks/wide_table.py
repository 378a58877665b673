"""A wide table: 300 numbers, 600 binary tasks, 70 % of the labels absent; against a plain network of two layers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, cycle, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.timing import Act, Comparison, by_turns
from trunkline.config import load_config
from trunkline.data import Draw, EpochSampler
from trunkline.model import Evaluation
from trunkline.plan import Plan, make_plan
from trunkline.run import fit
from trunkline.schema import Preprocessing, RowBatches
from trunkline.sources import columns_of, read_splits
from trunkline.types import Batch

CONFIG = Path(__file__).with_suffix(".yaml")
LR, WEIGHT_DECAY, CLIP = 1e-3, 0.05, 1.0


# --- the table ---


def write_wide_table(
    path: Path,
    *,
    rows: int,
    inputs: int = 300,
    tasks: int = 600,
    holes: float = 0.0,
    absent: float = 0.7,
    seed: int = 0,
) -> None:
    """Parquet with columns `x000 …` and `y000 …`; every target is the sign of a noisy sum over the inputs.

    Args:
        path: of the file.
        rows: how many.
        inputs: columns of numbers.
        tasks: columns of 0 and 1.
        holes: share of absent inputs; `x000` has none.
        absent: share of absent labels.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, inputs))
    y = x @ rng.standard_normal((inputs, tasks)) / inputs**0.5 + 0.5 * rng.standard_normal((rows, tasks)) > 0
    gone_x, gone_y = rng.random(x.shape) < holes, rng.random(y.shape) < absent
    gone_x[:, 0] = False
    columns = {f"x{i:03d}": pa.array(x[:, i], mask=gone_x[:, i]) for i in range(inputs)}
    columns |= {f"y{j:03d}": pa.array(y[:, j].astype(np.int8), mask=gone_y[:, j]) for j in range(tasks)}
    pyarrow.parquet.write_table(pa.table(columns), path)


def plan_of(folder: Path, *overrides: str, tasks: str = "y*", rows: int = 2560, holes: float = 0.0) -> Plan:
    """What trunkline makes of the config and a table of its own."""
    folder.mkdir()
    write_wide_table(folder / "wide_table.parquet", rows=rows, holes=holes)
    (folder / CONFIG.name).write_text(CONFIG.read_text().replace('"y*"', f'"{tasks}"'))
    config = load_config(folder / CONFIG.name, columns=columns_of, overrides=overrides)
    return make_plan(config, read_splits(config))


# --- a training step ---


def adamw(network: nn.Module) -> torch.optim.Optimizer:
    """As trunkline trains: decay on matrices only."""
    parameters = list(network.parameters())
    return torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=LR,
    )


def draws_of(plan: Plan) -> list[Draw]:
    """Full training batches of one epoch."""
    size = plan.config.training.batch_size
    assert size is not None
    return list(EpochSampler(plan.splits.train.rows, size, seed=0, drop_last=True))


@dataclass
class Step:
    """Loss, backward, update, on one batch after the other."""

    network: nn.Module
    loss: Callable[[], Tensor]
    clip: float | None = None

    def __post_init__(self) -> None:
        self.network.train()
        self.optimizer = adamw(self.network)

    def __call__(self) -> None:
        """One step."""
        self.loss().backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()


def our_step(plan: Plan, clip: float | None = None) -> Step:
    """Of trunkline, on batches made beforehand."""
    source = plan.source(plan.splits.train)
    batches = cycle([source[draw] for draw in draws_of(plan)])
    return Step(plan.network, lambda: plan.network.training_loss(next(batches), plan.engine), clip)


def plain_step(plan: Plan, clip: float | None = None) -> Step:
    """Of `Linear, ReLU, Linear` with a masked loss, on the same numbers."""
    source = plan.source(plan.splits.train)
    batches = cycle([_plain_batch(source[Draw(draw.rows, None)]) for draw in draws_of(plan)])  # nothing left out
    inputs, tasks = len(plan.config.inputs), len(plan.config.tasks)
    network = nn.Sequential(nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, tasks))

    def loss() -> Tensor:
        x, y, mask, count = next(batches)
        return (F.binary_cross_entropy_with_logits(network(x), y, reduction="none") * mask).sum() / count

    return Step(network, loss, clip)


def _plain_batch(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    (inputs,), (targets,) = batch.inputs.values(), batch.targets.values()
    assert inputs.flags is None and targets.rows is None
    mask = targets.values["flags"].float()
    return inputs.values["numbers"], targets.values["values"], mask, mask.sum()


def _make_batch(plan: Plan) -> Act:
    source, draws = plan.source(plan.splits.train), cycle(draws_of(plan))
    return lambda: source[next(draws)]


def compare_steps(folder: Path) -> Comparison:
    """The requirement: a step of trunkline costs at most two plain ones."""
    plan = plan_of(folder / "whole")
    default = plan_of(folder / "default", "trunk.layers=2", "trunk.expansion=1")
    holes = plan_of(folder / "holes", holes=0.1)
    dense = plan_of(folder / "dense", "training.input_dropout=0")
    acts: dict[str, Act] = {
        "plain": plain_step(plan),
        "plain, clipped": plain_step(plan, CLIP),
        "trunkline": our_step(plan),
        "trunkline, clipped": our_step(plan, CLIP),
        "trunkline, without input dropout": our_step(dense),
        "trunkline, 10 % of the inputs absent": our_step(holes),
        "trunkline, trunk of the default size": our_step(default),
        "make a batch": _make_batch(plan),
        "make a batch, 10 % of the inputs absent": _make_batch(holes),
    }
    return by_turns("training step, 600 tasks, batches of 256", acts, base="plain")


def compare_balancers(folder: Path) -> Comparison:
    """Ten tasks of the table: UPGrad against equal weights."""
    acts: dict[str, Act] = {"equal": our_step(plan_of(folder / "equal", tasks="y00?"))}
    for level in ("features", "last"):
        plan = plan_of(folder / level, f"balancer={{type: upgrad, level: {level}}}", tasks="y00?")
        acts[f"upgrad at {level!r}"] = our_step(plan)
    return by_turns("training step, 10 tasks, batches of 256", acts, base="equal")


# --- all the rest ---


def compare_validation(folder: Path) -> Comparison:
    """Scores of 600 tasks on the validation rows."""
    plan = plan_of(folder / "validation")
    assert plan.splits.validation is not None
    evaluation = Evaluation(plan.network.preprocessing)
    batch = plan.source(plan.splits.validation)[Draw(tuple(plan.splits.validation.rows.tolist()), None)]

    @torch.inference_mode()
    def predict() -> None:
        evaluation.reset()
        plan.network.eval()
        evaluation.update(plan.network, plan.network.share(batch), batch)

    def predict_and_score() -> None:
        predict()
        evaluation.compute()

    acts: dict[str, Act] = {
        "plain training step": plain_step(plan),
        "predict": predict,
        "predict and score": predict_and_score,
    }
    return by_turns(f"validation, 600 tasks, {batch.size} rows", acts, base="plain training step", rounds=50)


def compare_reading(folder: Path) -> Comparison:
    """From a table in Arrow's memory to batches."""
    plan = plan_of(folder / "reading", rows=10_000)
    train, preprocessing = plan.splits.train, plan.network.preprocessing
    acts: dict[str, Act] = {
        "cells to Python values": lambda: [train.table.column(name) for name in train.table.columns],
        "fit the preprocessing": lambda: Preprocessing.fit(preprocessing.schema, train.table, train.rows),
        "read and prepare all cells": lambda: RowBatches(preprocessing, train.table),
    }
    return by_turns("10 000 rows, 900 columns", acts, base="cells to Python values", rounds=3, warm_up=0)


def compare_fit(folder: Path) -> Comparison:
    """A whole run with its reading, validations, log, files, against its bare steps."""
    plan = plan_of(folder / "fit")
    source, draws, step = plan.source(plan.splits.train), cycle(draws_of(plan)), adamw(plan.network)
    runs = count()

    def bare() -> None:
        for draw in islice(draws, plan.config.training.steps):
            plan.network.training_loss(source[draw], plan.engine).backward()
            step.step()
            step.zero_grad()

    acts: dict[str, Act] = {
        "its steps and batches alone": bare,
        "trunkline.fit": lambda: fit(
            folder / "fit" / CONFIG.name, out=folder / f"run-{next(runs)}", show_progress=False
        ),
    }
    title = f"a run of {plan.config.training.steps} steps on {len(plan.splits.train)} rows"
    return by_turns(title, acts, base="its steps and batches alone", rounds=3, warm_up=1)


def run() -> Iterator[Comparison]:
    """All of them, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        for compare in (compare_steps, compare_balancers, compare_validation, compare_reading, compare_fit):
            yield compare(Path(folder))
