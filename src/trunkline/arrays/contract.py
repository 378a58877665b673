"""What kinds of cells and of answers are, without PyTorch; and how they are written into the description of a graph.

Shape legend: `n` rows, `G` tasks of one head.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from trunkline.contexts import Context

State = dict[str, Any]  # of one input or task: plain JSON
Arrays = dict[str, np.ndarray]

# Where each kind is, by the name that a description has.
KINDS = {
    "NumberCells": "table",
    "NameCells": "table",
    "VectorCells": "vectors",
    "TextCells": "texts",
    "SubwordCells": "subwords",
    "PictureCells": "seeing",
    "SoundCells": "hearing",
    "WaveCells": "hearing",
    "GraphCells": "nodes",
    "YesNoAnswers": "answers",
    "NameAnswers": "answers",
    "LabelAnswers": "answers",
    "NumberAnswers": "answers",
    "LevelAnswers": "answers",
    "TagAnswers": "tags",
    "BoxAnswers": "boxes",
    "MaskAnswers": "maps",
    "MapAnswers": "maps",
    "TextAnswers": "written",
    "TranscriptAnswers": "written",
    "SpeechAnswers": "spoken",
}


@dataclass(frozen=True)
class Cells(ABC):
    """How the cells of one input are read and prepared; a block packs what several of them give. Fields are plain JSON.

    Attributes:
        reads_files: cells are paths, or hold a file's bytes (see `cells.as_file`).
    """

    reads_files: ClassVar[bool] = False

    @abstractmethod
    def read(self, cell: Any) -> Any:
        """One cell, decoded.

        Raises:
            DataError: it cannot be used; the message says why.
        """

    @abstractmethod
    def prepare(self, value: Any, state: State) -> tuple[Any, Context | None]:
        """One value → what `collate` takes, and what was done to it."""


@dataclass(frozen=True)
class ArrayCells(Cells):
    """Those of an input that has an encoder, and so arrays, of its own."""

    @abstractmethod
    def collate(self, items: Sequence[Any]) -> Arrays:
        """Prepared items of `n` rows → `{name: [n, …]}`."""


@dataclass(frozen=True)
class Answers(ABC):
    """How outputs of one head become answers. Fields are plain JSON."""

    @abstractmethod
    def decode(
        self, output: Any, states: Sequence[State], contexts: Sequence[Context | None]
    ) -> Sequence[Sequence[Any]]:
        """Outputs of `n` rows, one state a task and one context a row → answers `[G][n]`."""


def told(kind: Cells | Answers) -> dict[str, Any]:
    """As plain JSON: `{"kind", "options"}`."""
    return {"kind": type(kind).__name__, "options": asdict(kind)}


def made(description: Mapping[str, Any]) -> Any:
    """The opposite of `told`.

    Raises:
        ValueError: no such kind is known here.
    """
    kind = description["kind"]
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is not known here; this description was written by another version of trunkline")
    return getattr(import_module(f"trunkline.arrays.{KINDS[kind]}"), kind)(**description["options"])


def padded(items: Sequence[np.ndarray], value: Any = 0, dtype: Any = None) -> np.ndarray:
    """Arrays that differ in their first dimension → `[n, longest, …]`, of their type, with `value` behind them."""
    longest = max(map(len, items))
    whole = np.full((len(items), longest, *items[0].shape[1:]), value, dtype or items[0].dtype)
    for row, item in zip(whole, items):
        row[: len(item)] = item
    return whole


def lengths_mask(lengths: Sequence[int]) -> np.ndarray:
    """Which places are no padding, `[n, longest]` bool."""
    return np.arange(max(lengths)) < np.asarray(lengths)[:, None]
