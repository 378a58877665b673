"""Kinds of task, one file each. To add one: a file here, and a line in `CATALOG`."""

from trunkline.tasks.binary import Binary
from trunkline.tasks.boxes import Boxes
from trunkline.tasks.category import Category
from trunkline.tasks.contract import Head, Task
from trunkline.tasks.dense import Dense
from trunkline.tasks.labels import Labels
from trunkline.tasks.mask import Mask
from trunkline.tasks.number import Number
from trunkline.tasks.ordinal import Ordinal
from trunkline.tasks.speech import Speech
from trunkline.tasks.tags import Tags
from trunkline.tasks.text import Text
from trunkline.tasks.transcript import Transcript

CATALOG: dict[str, type[Task]] = {
    "category": Category,
    "binary": Binary,
    "labels": Labels,
    "number": Number,
    "ordinal": Ordinal,
    "mask": Mask,
    "dense": Dense,
    "boxes": Boxes,
    "tags": Tags,
    "text": Text,
    "transcript": Transcript,
    "speech": Speech,
}

__all__ = [
    "CATALOG",
    "Binary",
    "Boxes",
    "Category",
    "Dense",
    "Head",
    "Labels",
    "Mask",
    "Number",
    "Ordinal",
    "Speech",
    "Tags",
    "Task",
    "Text",
    "Transcript",
]
