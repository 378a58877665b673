"""Labels of held-out rows that name classes which training never saw: counted, so that they can be told."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from trunkline.data import Table
from trunkline.schema.preprocessing import Preprocessing
from trunkline.tasks import Task

SHOWN = 5  # names in a sentence


@dataclass(frozen=True)
class Unseen:
    """What one task's labels name that training never saw.

    Attributes:
        labels: names in all labels of these rows (one a row for a category, one a word for tags).
        names: those unseen, with how often each occurs, the most frequent first.
        near: a known name that looks like the first of them.
        consequence: what becomes of them.
    """

    labels: int
    names: dict[str, int]
    near: str | None
    consequence: str

    def tell(self, where: str, task: str) -> str:
        """One sentence.

        Args:
            where: what the rows are called.
            task: its name.
        """
        count, shown = len(self.names), ", ".join(map(repr, list(self.names)[:SHOWN]))
        shown += f" and {count - SHOWN} more" if count > SHOWN else ""
        what = f"{sum(self.names.values())} of {self.labels} labels of {task!r}"
        classes = "a class" if count == 1 else f"{count} classes"
        hint = f" (is the first one {self.near!r}?)" if self.near is not None else ""
        return f"{where}: {what} name {classes} that training never saw: {shown}; {self.consequence}{hint}"


def unseen_labels(preprocessing: Preprocessing, table: Table, rows: Iterable[int]) -> dict[str, Unseen]:
    """By task, what the labels of these rows name that training never saw; a task without any has no key."""
    rows, found = list(rows), {}
    for name, column in preprocessing.schema.tasks.items():
        if type(column.task).names is Task.names:
            continue
        known = set(column.task.known_names(preprocessing.states["tasks"][name]))
        counts = Counter(label for _, value in column.values(table, rows) for label in column.task.names(value))
        if unseen := {label: count for label, count in counts.most_common() if label not in known}:
            near = difflib.get_close_matches(next(iter(unseen)), known, n=1, cutoff=0.8)
            found[name] = Unseen(counts.total(), unseen, near[0] if near else None, column.task.unseen_names)
    return found
