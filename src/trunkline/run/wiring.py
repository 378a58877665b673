"""A plan, as the training room takes it."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from trunkline.config import DataConfig, Training
from trunkline.data import Split
from trunkline.plan import Plan
from trunkline.training import Joint, Rows, Settings


def rows_of(plan: Plan, split: Split) -> Rows:
    """A split's rows, and where their batches come from, with the labels that are learned."""
    return Rows(plan.taught(split), split.rows)


def validation_of(plan: Plan) -> Rows | None:
    """The rows to choose weights by, where there are any."""
    return None if plan.splits.validation is None else rows_of(plan, plan.splits.validation)


def settings_of(training: Training, data: DataConfig | None = None) -> Settings:
    """The resolved section, under the names of the training room; of `data` how several tables are drawn."""
    names = {field.name for field in fields(Settings)}
    given: dict[str, Any] = {k: None if v == "off" else v for k, v in asdict(training).items() if k in names}
    given["shuffle"] = None if training.shuffle == "all" else training.shuffle
    given["accelerator"] = training.accelerator or "auto"  # these two follow from the machine, and from no data
    given["workers"] = training.workers or 0
    joint = None
    if data is not None and data.tables:
        joint = Joint(data.sampling, data.batches == "mixed", data.is_drawn_whole)
    return Settings(**given, joint=joint)
