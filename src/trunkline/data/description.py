"""What a column holds, as `describe` says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "number", "ordinal", "binary", "category", "text", "image", "audio", "vector", "labels", "tags", "date", "boxes",
    "graph", "identifier", "constant", "empty", "unknown",
]  # fmt: skip


@dataclass(frozen=True)
class Description:
    """What a column holds.

    Attributes:
        kind: what its cells are; `unknown` where they are nothing that has a name here.
        reason: why.
        rows: of the table.
        present: cells that are there.
        distinct: values that differ; `None` where they were not counted (lists, objects, pictures in memory).
        common: the most frequent values, as text.
        low: the least number; `None` where the cells are no numbers.
        high: the greatest.
        na: texts that seem to mean "absent".
        mess: what is wrong with some of the cells, each in a few words.
        options: what a reader of the column must be told, such as `separator`.
    """

    kind: Kind
    reason: str
    rows: int = 0
    present: int = 0
    distinct: int | None = None
    common: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    na: tuple[str, ...] = ()
    mess: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def absent(self) -> float:
        """Share of absent cells."""
        return 1 - self.present / max(self.rows, 1)
