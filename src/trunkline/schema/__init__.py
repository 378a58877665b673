"""Binds columns to modalities and tasks, and turns rows into batches."""

from trunkline.schema.batches import RowBatches, drop_inputs
from trunkline.schema.columns import InputColumn, Schema, TaskColumn
from trunkline.schema.preprocessing import EncoderUnit, HeadUnit, Preprocessing, label_flags, rows_with, sampled
from trunkline.schema.unseen import Unseen, unseen_labels

__all__ = [
    "EncoderUnit",
    "HeadUnit",
    "InputColumn",
    "Preprocessing",
    "RowBatches",
    "Schema",
    "TaskColumn",
    "Unseen",
    "drop_inputs",
    "label_flags",
    "rows_with",
    "sampled",
    "unseen_labels",
]
