"""Which rows train, which validate, which test."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from trunkline.data.table import Table
from trunkline.errors import DataError

SPLIT_NAMES = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True, eq=False)
class Split:
    """Some rows of a table: row numbers, ascending."""

    table: Table
    rows: np.ndarray

    @classmethod
    def whole(cls, table: Table) -> Split:
        """Every row."""
        return cls(table, np.arange(len(table)))

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Splits:
    """The rows to learn from, to choose by, and to be judged by. `None` where there are none."""

    train: Split
    validation: Split | None = None
    test: Split | None = None


def make_splits(
    train: Table,
    *,
    validation: Table | float | None = None,
    test: Table | float | None = None,
    split: str | None = None,
    stratify: Sequence[str] = (),
    keep: Sequence[int] = (),
    seed: int = 0,
) -> Splits:
    """Splits from what a config says.

    Args:
        train: the table to learn from, or all of it where `split` or a share divides it.
        validation: another table, or a share of `train`'s rows.
        test: likewise.
        split: the column that says which split a row belongs to.
        stratify: target columns, the first category-like one of which keeps its shares of classes in a split by share.
        keep: rows that a split by share does not hold out, as far as others are enough.
        seed: of the split by share.

    Raises:
        DataError: the rows cannot be split like that.
    """
    if split is not None:
        return split_by_column(train, split)
    shares = [held if isinstance(held, float) else 0.0 for held in (validation, test)]
    labels = stratify_labels(train, stratify)
    rest, by_share = split_by_share(len(train), shares, labels=labels, keep=keep, seed=seed)

    def held(given: Table | float | None, rows: np.ndarray) -> Split | None:
        if isinstance(given, Table):
            return Split.whole(given)
        return None if given is None else Split(train, rows)

    return Splits(Split(train, rest), held(validation, by_share[0]), held(test, by_share[1]))


def split_by_column(table: Table, column: str) -> Splits:
    """Splits named by a column: `train`, `val` or `validation`, `test`, in any case.

    Raises:
        DataError: there are other values (it lists them), or no row to train on.
    """
    given = ["" if cell is None else str(cell).strip().lower() for cell in table.column(column)]
    strange = Counter(name for name in given if name not in SPLIT_NAMES)
    if strange:
        listed = ", ".join(f"{name!r} ({count} rows)" for name, count in strange.most_common(10))
        raise DataError(
            f"{table.source}, column {column!r}: a split is 'train', 'val' or 'validation', or 'test'; "
            f"there are {listed}"
        )
    names = np.array([SPLIT_NAMES[name] for name in given])
    rows = {name: np.flatnonzero(names == name) for name in ("train", "validation", "test")}
    if len(rows["train"]) == 0:
        raise DataError(f"{table.source}, column {column!r}: no row is 'train'")
    validation, test = (Split(table, rows[n]) if len(rows[n]) else None for n in ("validation", "test"))
    return Splits(Split(table, rows["train"]), validation, test)


def split_by_share(
    num_rows: int,
    shares: Sequence[float],
    *,
    labels: Sequence[Hashable] | None = None,
    keep: Sequence[int] = (),
    seed: int = 0,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Hold out shares of the rows.

    One row of each class is never held out; of their other rows, all classes give the same share, within one row.

    Args:
        num_rows: rows there are.
        shares: of all rows, one a held-out part; a part with share 0 is empty, any other has at least one row.
        labels: a class a row (absent is a class); `None` to draw without regard to classes.
        keep: rows not to hold out, as far as the others are enough.
        seed: the same seed gives the same parts.

    Returns:
        The rows that are left, and the rows of each part, ascending.

    Raises:
        ValueError: shares are negative, or leave nothing.
        DataError: there are too few rows.
    """
    if min(shares, default=0) < 0 or sum(shares) >= 1:
        raise ValueError(f"shares must be positive and sum to less than 1, not {list(shares)}")
    left, parts = np.arange(num_rows), []
    for number, share in reversed(list(enumerate(shares))):
        count = max(1, round(num_rows * share)) if share else 0
        if count >= len(left):
            raise DataError(f"{num_rows} rows are too few to hold out {list(shares)} of them")
        others = np.setdiff1d(left, keep)
        drawn_from = others if len(others) >= count else left
        held = _draw_stratified(drawn_from, count, labels, np.random.default_rng([seed, number]))
        left = np.setdiff1d(left, held, assume_unique=True)
        parts.append(held)
    return left, parts[::-1]


def stratify_labels(table: Table, columns: Sequence[str]) -> list[str] | None:
    """Classes of the first of these columns that looks like categories: few values, each on many rows.

    Absent is a class of its own. `None` when there is no such column.
    """
    for column in columns:
        labels = [str(cell) for cell in table.column(column)]
        if 2 <= len(set(labels)) <= math.sqrt(len(labels)) + 1:
            return labels
    return None


def _draw_stratified(
    rows: np.ndarray, count: int, labels: Sequence[Hashable] | None, rng: np.random.Generator
) -> np.ndarray:
    """`count` of `rows`, every class in proportion."""
    order = rng.permutation(rows)
    if labels is not None:
        order = _by_class(order, labels, count)
    # Every (len / count)-th row of a sequence sorted by class: exact in total, within one row in each class.
    places = (np.arange(count) * len(order) + rng.integers(len(order))) // max(count, 1)
    return np.sort(order[places])


def _by_class(order: np.ndarray, labels: Sequence[Hashable], count: int) -> np.ndarray:
    """Rows sorted by class, without the first of each class: it is not for holding out."""
    classes: dict[Hashable, list[int]] = {}
    for row in order.tolist():
        classes.setdefault(labels[row], []).append(row)
    spare = [row for members in classes.values() for row in members[1:]]
    return np.array(spare) if len(spare) >= count else order
