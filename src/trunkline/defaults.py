"""Data → settings, each with its reason. What a config says stands; only what it leaves out is chosen here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from trunkline.balancers import CATALOG as BALANCERS
from trunkline.balancers import GramianBalancer
from trunkline.config import BalancerConfig, ComponentConfig, Config, DataConfig
from trunkline.engine import choose_level
from trunkline.fusion import CATALOG as FUSION
from trunkline.trunks import CATALOG as TRUNKS

Reasons = dict[str, str]

VALIDATION = 0.1  # of the training table, where nothing else is said
MIN_STEPS, MAX_STEPS, EPOCHS = 300, 5000, 30
MINUTES = 20.0  # on a CPU; see `run.budget`
VALIDATIONS = 20
LOOK = 0.4  # rows looked at in all validations together, at most, in rows trained on: about an eighth of the time
FEWEST_ROWS = 500  # to look at in a validation


@dataclass(frozen=True)
class Facts:
    """What the choices follow from.

    Attributes:
        rows: training rows with at least one label.
        inputs: how many there are.
        tasks: names.
        overlap: `[T, T]`, training rows that carry both labels.
        counts: `[T]`, training rows that carry each label.
    """

    rows: int
    inputs: int
    tasks: Sequence[str]
    overlap: Tensor
    counts: Tensor


def choose(config: Config, facts: Facts) -> tuple[Config, Reasons]:
    """The config with nothing left open, and why each choice was made, by dotted path."""
    reasons: Reasons = {}

    def pick(path: str, given: Any, make: Callable[[], tuple[Any, str]]) -> Any:
        if given is not None:
            return given
        value, reasons[path] = make()
        return value

    t = config.training
    batch_size = pick("training.batch_size", t.batch_size, lambda: _batch_size(facts))
    processes = t.devices if isinstance(t.devices, int) else 1
    per_epoch = math.ceil(facts.rows / (batch_size * processes))
    steps = pick("training.steps", t.steps, lambda: _steps(t.epochs, per_epoch))
    validations = pick("training.validations", t.validations, lambda: (VALIDATIONS, "as many points on each curve"))
    training = replace(
        t,
        batch_size=batch_size,
        steps=steps,
        epochs=None,
        minutes=None if t.steps is not None else pick("training.minutes", t.minutes, lambda: _minutes(t.accelerator)),
        accumulate=t.accumulate or 1,
        validations=validations,
        validation_rows=pick(
            "training.validation_rows", t.validation_rows, lambda: _validation_rows(steps * batch_size, validations)
        ),
        patience=pick("training.patience", t.patience, lambda: ("off", "the best weights are kept in any case")),
        ema=pick("training.ema", t.ema, lambda: ("off", "the rate falls to zero, which averages as well")),
        lr=pick("training.lr", t.lr, lambda: (2e-3, "a good rate for AdamW on small networks trained from scratch")),
        weight_decay=pick("training.weight_decay", t.weight_decay, lambda: (0.05, "of AdamW, on matrices only")),
        warmup=pick("training.warmup", t.warmup, lambda: (0.1, "the first tenth of the steps, then a cosine to zero")),
        clip=pick("training.clip", t.clip, lambda: (1.0, "one wild batch cannot undo the ones before")),
        precision=pick("training.precision", t.precision, lambda: ("32", "safe everywhere")),
        devices=pick("training.devices", t.devices, lambda: (1, "one process")),
        input_dropout=pick("training.input_dropout", t.input_dropout, lambda: _input_dropout(facts.inputs)),
    )
    chosen = replace(
        config,
        data=_with_validation(config, reasons),
        inputs={name: c.complete() for name, c in config.inputs.items()},
        tasks={name: c.complete() for name, c in config.tasks.items()},
        fusion=pick(
            "fusion", config.fusion, lambda: _component("concat", FUSION, "every input keeps its own place")
        ).complete(),
        trunk=pick("trunk", config.trunk, lambda: _component("hard", TRUNKS, "the cheapest way to share")).complete(),
        balancer=_with_level(pick("balancer", config.balancer, _equal), facts, reasons).complete(),
        width=pick("width", config.width, lambda: (128, "enough for small data, cheap on a CPU")),
        training=training,
    )
    return chosen, reasons


def _with_validation(config: Config, reasons: Reasons) -> DataConfig | None:
    """What was done when the rows were split."""
    data = config.data
    if data is None or data.split is not None or data.validation is not None:
        return data
    reasons["data.validation"] = "a share to choose the best weights by"
    return replace(data, validation=VALIDATION)


def _batch_size(facts: Facts) -> tuple[int, str]:
    """At least 64 labels a task and step, on average, where there are rows enough for five batches."""
    rate = float(facts.counts.mean()) / max(facts.rows, 1)
    wanted = min(256, 2 ** math.ceil(math.log2(64 / max(rate, 0.01))))
    size = min(wanted, max(8, 2 ** int(math.log2(facts.rows / 5 + 1))))
    return size, f"a task is labelled on {rate:.0%} of the {facts.rows} rows: about {size * rate:.0f} labels a step"


def _steps(epochs: float | None, per_epoch: int) -> tuple[int, str]:
    if epochs is not None:
        return max(1, round(epochs * per_epoch)), f"{epochs:g} epochs of {per_epoch} batches"
    steps = min(MAX_STEPS, max(MIN_STEPS, EPOCHS * per_epoch))
    return steps, f"{EPOCHS} epochs of {per_epoch} batches, but at least {MIN_STEPS} and at most {MAX_STEPS} steps"


def _minutes(accelerator: str | None) -> tuple[float | Literal["off"], str]:
    """Where there is a GPU nobody knows what is too long."""
    if accelerator == "cpu" or (accelerator in (None, "auto") and not torch.cuda.is_available()):
        return MINUTES, "as long as one waits for a CPU"
    return "off", "on a GPU, as long as it takes"


def _validation_rows(rows_trained_on: int, validations: int) -> tuple[int, str]:
    rows = max(FEWEST_ROWS, int(LOOK * rows_trained_on / validations))
    return rows, f"at most: {validations} validations then take about an eighth of the time"


def _input_dropout(inputs: int) -> tuple[float, str]:
    if inputs > 1:
        return 0.1, f"{inputs} inputs: the network must learn to do without any of them"
    return 0.0, "a single input cannot be left out"


def _component(name: str, catalog: dict[str, Any], reason: str) -> tuple[ComponentConfig, str]:
    return ComponentConfig(type=name, component=catalog[name]), reason


def _equal() -> tuple[BalancerConfig, str]:
    return BalancerConfig(type="equal", component=BALANCERS["equal"]), "the plain sum, hard to beat"


def _with_level(balancer: BalancerConfig, facts: Facts, reasons: Reasons) -> BalancerConfig:
    if balancer.level not in (None, "auto"):
        return balancer
    if issubclass(balancer.component, GramianBalancer):
        level, reasons["balancer.level"] = choose_level(facts.overlap, facts.counts, facts.tasks)
        return replace(balancer, level=level)
    return replace(balancer, level="losses")
