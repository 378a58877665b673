"""Kinds of input, one file each. To add one: a file here, and a line in `CATALOG`."""

from trunkline.arrays.pictures import open_picture
from trunkline.modalities.audio import Audio
from trunkline.modalities.category import Category
from trunkline.modalities.contract import Block, Choices, Encoder, Modality
from trunkline.modalities.graph import Graph
from trunkline.modalities.image import Image
from trunkline.modalities.number import Number
from trunkline.modalities.text import Text
from trunkline.modalities.vector import Vector

CATALOG: dict[str, type[Modality]] = {
    "image": Image,
    "audio": Audio,
    "text": Text,
    "number": Number,
    "category": Category,
    "vector": Vector,
    "graph": Graph,
}

__all__ = [
    "CATALOG",
    "Audio",
    "Block",
    "Category",
    "Choices",
    "Encoder",
    "Graph",
    "Image",
    "Modality",
    "Number",
    "Text",
    "Vector",
    "open_picture",
]
