"""Groups of rows that stay together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from trunkline.data.table import Table
from trunkline.errors import DataError


def group_names(table: Table, column: str) -> list[Hashable]:
    """The group of each row; a row whose cell is absent is a group of its own.

    Raises:
        DataError: there is no such column, or fewer than two groups.
    """
    names: list[Hashable] = [
        ("row", row) if cell is None else str(cell).strip() for row, cell in enumerate(table.column(column))
    ]
    if len(set(names)) < 2:
        raise DataError(f"{table.source}, column {column!r}: all rows are one group, which cannot be split")
    return names


def draw_groups(
    rows: np.ndarray,
    count: int,
    groups: Sequence[Hashable],
    labels: Sequence[Hashable] | None,
    keep: Sequence[int],
    rng: np.random.Generator,
) -> np.ndarray:
    """About `count` of `rows`, whole groups only, classes as nearly in proportion as that allows.

    Greedy: groups come in random order, large ones first, and one is taken when that brings the classes' counts
    nearer to what is wanted.

    Args:
        rows: to draw from.
        count: wanted.
        groups: a group a row of the table.
        labels: a class a row of the table.
        keep: rows whose groups are left, as far as the others are enough.
        rng: where the order comes from.

    Returns:
        Rows, ascending.

    Raises:
        DataError: all of the rows are one group.
    """
    members: dict[Hashable, list[int]] = {}
    for row in rows.tolist():
        members.setdefault(groups[row], []).append(row)
    if len(members) < 2:
        raise DataError(f"{len(rows)} rows of one group cannot be split")
    kept = {groups[row] for row in keep}
    free = [group for group in members if group not in kept]
    candidates = free if sum(len(members[g]) for g in free) >= count else list(members)
    order = [candidates[int(i)] for i in rng.permutation(len(candidates))]
    order.sort(key=lambda group: -len(members[group]))
    counts = _class_counts(members, labels)
    wanted = sum(counts.values()) * (count / len(rows))
    have, drawn = np.zeros_like(wanted), []
    for group in order[: len(members) - 1] if len(order) == len(members) else order:
        with_it = have + counts[group]
        if np.square(with_it - wanted).sum() < np.square(have - wanted).sum():
            have = with_it
            drawn.append(group)
    drawn = drawn or [min(order, key=lambda group: len(members[group]))]
    return np.array(sorted(row for group in drawn for row in members[group]))


def _class_counts(members: dict[Hashable, list[int]], labels: Sequence[Hashable] | None) -> dict[Hashable, np.ndarray]:
    """Rows of each class in each group, `[classes]`; without classes all rows are one."""
    of = labels or [None] * (1 + max(row for rows in members.values() for row in rows))
    places: dict[Hashable, int] = {}
    for rows in members.values():
        for row in rows:
            places.setdefault(of[row], len(places))
    counts = {}
    for group, rows in members.items():
        counts[group] = np.bincount([places[of[row]] for row in rows], minlength=len(places)).astype(float)
    return counts
