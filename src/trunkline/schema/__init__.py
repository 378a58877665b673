"""Binds columns to modalities and tasks, and turns rows into batches."""

from trunkline.schema.batches import RowBatches, drop_inputs
from trunkline.schema.columns import InputColumn, Schema, TaskColumn
from trunkline.schema.preprocessing import EncoderUnit, HeadUnit, Preprocessing, evenly_spaced, rows_with

__all__ = [
    "EncoderUnit",
    "HeadUnit",
    "InputColumn",
    "Preprocessing",
    "RowBatches",
    "Schema",
    "TaskColumn",
    "drop_inputs",
    "evenly_spaced",
    "rows_with",
]
