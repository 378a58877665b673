"""What a config says, once it is known to be good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trunkline.config.components import BalancerConfig, ComponentConfig, InputConfig, TaskConfig
from trunkline.data import Sampling


@dataclass(frozen=True)
class DataConfig:
    """Where the rows come from. In a config, paths are relative to it, and `table` is another name of `train`.

    Attributes:
        train: the table to learn from, or the one table of all splits; several follow each other. Empty where there are
            `tables`.
        validation: another table, or a share of `train`; `None`: chosen later.
        test: likewise; `None`: there is none.
        split: the column that says which split a row belongs to.
        na: values that mean absent, besides the empty cell and `null`.
        separator: between the parts of a list in one cell.
        group: the column whose rows stay together in a split by share.
        on_bad_row: what to do with a row that cannot be used: say all of them as one error, or leave them out.
        encoding: of files of text; `None`: UTF-8, or UTF-16 with its mark.
        delimiter: between the cells of a CSV file; `None`: found.
        pictures: the folder that the file names in COCO's files start from; `None`: found near the file.
        columns: other names for columns of the file, `{name: column}`; `{name: null}`: this table has no such column.
            In `tables` only.
        tables: several tables, each with columns, splits and a way of reading of its own, to learn from together.
        sampling: how often the rows of which table are drawn: `proportional`, to their number; `equal`, as often those
            of one table as of another; a temperature τ above 1, to the (1/τ)-th power of their number; or weights.
        batches: `mixed`, or of `one_table` each.
        slices: columns by whose values the scores of held-out rows are told apart, too.
        description: what the rows are and where they come from, in words, for the model card.
        licence: under which they may be used, likewise.
    """

    train: Path | tuple[Path, ...] = ()
    validation: Path | float | None = None
    test: Path | float | None = None
    split: str | None = None
    na: tuple[str | int | float, ...] = ()
    separator: str = "|"
    group: str | None = None
    on_bad_row: Literal["error", "skip"] = "error"
    encoding: str | None = None
    delimiter: str | None = None
    pictures: Path | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)
    tables: Mapping[str, DataConfig] = field(default_factory=dict)
    sampling: Sampling = "proportional"
    batches: Literal["mixed", "one_table"] = "mixed"
    slices: tuple[str, ...] = ()
    description: str | None = None
    licence: str | None = None

    @property
    def trained(self) -> tuple[Path, ...]:
        """The files of `train`."""
        return self.train if isinstance(self.train, tuple) else (self.train,)

    @property
    def is_drawn_whole(self) -> bool:
        """Whether each row comes once an epoch, whichever table it is from; else tables are drawn by their shares."""
        return not self.tables or (self.batches == "mixed" and self.sampling in ("proportional", 1.0))


@dataclass(frozen=True)
class Training:
    """How it is learned. `None`: chosen later, from the data and the machine.

    Attributes:
        steps: optimiser steps.
        epochs: passes over the training rows, where `steps` does not say.
        minutes: the longest that training may take on this machine, where `steps` does not say; turned into steps
            once, after a few timed ones. `off`: as long as it takes. `None`: 20 on a CPU, `off` on a GPU.
        batch_size: rows a step takes on each device.
        accumulate: parts in which the rows of a step go through the network, one after the other: less memory, the
            same step.
        lr: peak learning rate.
        weight_decay: of AdamW.
        warmup: share of the steps in which the learning rate rises.
        clip: largest norm of a step's gradient; `off`: it may have any.
        patience: validations without a better one after which the rate falls to zero early; `off`: all steps are taken.
        ema: how much of the average of the weights a step keeps; the average is what is validated and kept. `off`: the
            weights themselves.
        validations: how often to look at the validation rows on the way.
        validation_rows: how many of them to look at, at most; always the same ones.
        precision: of Lightning's.
        devices: how many on each machine, or `auto`; by default one, or as many as a launcher (`torchrun`, `srun`) has
            started processes for.
        nodes: machines; by default one, or as many as the launcher says.
        shard: divide the network, its gradient and what the optimiser keeps among all processes (FSDP2), where they are
            too large for one device; else each has the whole.
        accelerator: what kind of device, as Lightning names it; the best there is, by default.
        seed: of weights, order and augmentation.
        input_dropout: how often an input that is present is hidden from the network in training.
        align: weight of a contrastive loss that brings what the encoders say of one row together, beside the tasks'
            losses; none by default.
        by_length: whether rows with texts of about one length come together, so that little of a batch is padding;
            where steps have parts (`accumulate`), in a part, so that steps are drawn at random all the same.
        shuffle: rows that are mixed with each other, of a table that is read from a disk in its order: blocks of
            neighbours come in random order, so many rows at a time in random order among themselves. `all`: any row may
            come at any time.
        affinity: steps from one look at which task helps which to the next (see `trunkline affinity`); by default
            nobody looks.
        normalise: what a task's summed loss is divided by: this batch's weight, or the expected one.
        workers: processes that make batches, for each device; by default the one that trains makes them.
        threads: CPU threads of PyTorch.
        tensorboard: write curves for TensorBoard too.
    """

    steps: int | None = None
    epochs: float | None = None
    minutes: float | Literal["off"] | None = None
    batch_size: int | None = None
    accumulate: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    warmup: float | None = None
    clip: float | Literal["off"] | None = None
    patience: int | Literal["off"] | None = None
    ema: float | Literal["off"] | None = None
    validations: int | None = None
    validation_rows: int | None = None
    precision: Literal["32", "bf16-mixed", "16-mixed"] | None = None
    devices: int | Literal["auto"] | None = None
    nodes: int | None = None
    shard: bool = False
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] | None = None
    seed: int = 0
    input_dropout: float | None = None
    align: float | None = None
    by_length: bool | None = None
    shuffle: int | Literal["all"] | None = None
    affinity: int | None = None
    normalise: Literal["batch", "expected"] | None = None
    workers: int | None = None
    threads: int | None = None
    tensorboard: bool = False


@dataclass(frozen=True)
class Config:
    """A whole config: every name resolved, every pattern written out.

    Attributes:
        inputs: by name, in order.
        tasks: by name, in order.
        data: `None` where rows are handed over in Python.
        fusion: `None`: chosen later.
        trunk: `None`: chosen later.
        balancer: `None`: chosen later.
        width: of a token; `None`: chosen later.
        training: how it is learned.
        mute: codes of the report's checks that are not to be told.
        start: the folder of the run whose network the tasks were added to that were added last; they alone learn.
    """

    inputs: Mapping[str, InputConfig]
    tasks: Mapping[str, TaskConfig]
    data: DataConfig | None = None
    fusion: ComponentConfig | None = None
    trunk: ComponentConfig | None = None
    balancer: BalancerConfig | None = None
    width: int | None = None
    training: Training = field(default_factory=Training)
    mute: tuple[str, ...] = ()
    start: Path | None = None
