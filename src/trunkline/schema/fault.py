"""One thing that is wrong with a table, and how all of them are told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from trunkline.data import Table
from trunkline.errors import DataError

TOLD = 20
NAMED = 4  # rows that have one fault in common


@dataclass(frozen=True)
class Fault:
    """Something in a row that cannot be used.

    Attributes:
        source: the table, or the one of several that the row is from.
        row: its number, from 0.
        column: `None` where the row as a whole is at fault.
        reason: what is wrong.
        text: of the cell, where it is one.
        before: rows of other tables before those of this source.
    """

    source: str
    row: int
    column: str | None
    reason: str
    text: str | None = None
    before: int = 0

    @classmethod
    def at(cls, table: Table, row: int, column: str | None, reason: str, text: str | None = None) -> Fault:
        """In a row of a table."""
        source, number = table.place(row)
        return cls(source, row, column, reason, text, row + 1 - number)

    @property
    def number(self) -> int:
        """Of the row in its own source, from 1."""
        return self.row - self.before + 1

    def tell(self) -> str:
        """In one line, rows counted from 1."""
        if self.column is None:
            return f"{self.source}, row {self.number}: {self.reason}"
        return str(DataError(self.reason).at(self.source, self.number, self.column))

    def tell_all(self, rows: Sequence[int]) -> str:
        """The same of all rows that have it; where they are several, with what would make such cells absent."""
        if len(rows) == 1:
            return self.tell()
        first = ", ".join(str(row - self.before + 1) for row in rows[:NAMED])
        where = f"{self.source}, {len(rows)} rows ({first}{', …' if len(rows) > NAMED else ''})"
        if self.column is None:
            return f"{where}: {self.reason}"
        text = json.dumps(self.text, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
        hint = "" if self.text is None else f"; `na: [{text}]` makes them absent"
        return f"{where}, column {self.column!r}: {self.reason}{hint}"

    def as_plain(self) -> dict[str, Any]:
        """As a line of `skipped.jsonl`; rows counted from 1."""
        return {"source": self.source, "row": self.number, "column": self.column, "reason": self.reason}


def tell_faults(faults: Sequence[Fault], at_most: int = TOLD) -> str:
    """One line for all rows with the same fault, and how many more faults there are.

    Of a column with more than 20 cells that are each wrong in their own way, one line: it may be of another kind.
    """
    alike: dict[Fault, list[int]] = {}
    for fault in faults:
        alike.setdefault(replace(fault, row=0), []).append(fault.row)
    odd = Counter((f.source, f.column) for f, rows in alike.items() if f.text is not None and len(rows) == 1)
    told: dict[Any, tuple[Fault, list[int]]] = {}  # by fault; of odd columns by place, all rows
    for fault, rows in alike.items():
        place = fault.source, fault.column
        is_odd = odd[place] > TOLD and fault.text is not None and len(rows) == 1
        told.setdefault(place if is_odd else fault, (fault, []))[1].extend(rows)
    lines, more = [], len(faults)
    for key, (fault, rows) in list(told.items())[:at_most]:
        if key == replace(fault, row=0):
            lines.append(replace(fault, row=rows[0]).tell_all(rows))
        else:
            numbers = ", ".join(str(row - fault.before + 1) for row in rows[1 : NAMED + 1])
            others = f"{len(rows) - 1} other cells of the column are not, in rows {numbers}, …"
            lines.append(f"{replace(fault, row=rows[0]).tell()}; and {others}: if most are so, another `type` is meant")
        more -= len(rows)
    return "\n".join([*lines, f"… and {more} more"] if more else lines)
