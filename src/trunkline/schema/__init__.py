"""Binds columns to modalities and tasks, and turns rows into batches."""

from trunkline.schema.batches import RowBatches
from trunkline.schema.columns import InputColumn, Schema, TaskColumn, can_read, had_by
from trunkline.schema.dropping import drop_inputs
from trunkline.schema.fault import Fault, tell_faults
from trunkline.schema.faults import bad_cells, find_faults
from trunkline.schema.learned import learned_from
from trunkline.schema.mosaics import kept_shares
from trunkline.schema.preprocessing import (
    EncoderUnit,
    HeadUnit,
    Preprocessing,
    evenly_spaced,
    label_flags,
    rows_with,
    sampled,
)
from trunkline.schema.states import faulty_states
from trunkline.schema.unseen import Unseen, unseen_labels

__all__ = [
    "EncoderUnit",
    "Fault",
    "HeadUnit",
    "InputColumn",
    "Preprocessing",
    "RowBatches",
    "Schema",
    "TaskColumn",
    "Unseen",
    "bad_cells",
    "can_read",
    "drop_inputs",
    "evenly_spaced",
    "faulty_states",
    "find_faults",
    "had_by",
    "kept_shares",
    "label_flags",
    "learned_from",
    "rows_with",
    "sampled",
    "tell_faults",
    "unseen_labels",
]
