"""Which rows train, which validate, which test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from trunkline.data.groups import draw_groups, group_names
from trunkline.data.strata import stratify_labels
from trunkline.data.table import Table
from trunkline.errors import DataError

SPLIT_NAMES = {
    "train": "train", "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test",
}  # fmt: skip


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
    """The rows to learn from, to choose by, and to be judged by. `None` where there are none.

    Attributes:
        train: to learn from.
        validation: to choose by.
        test: to be judged by.
        share: of the training rows that validation was drawn by, where nothing else was said.
    """

    train: Split
    validation: Split | None = None
    test: Split | None = None
    share: float | None = None


def make_splits(
    train: Table,
    *,
    validation: Table | float | None = None,
    test: Table | float | None = None,
    split: str | None = None,
    default: float | None = None,
    stratify: Sequence[str] = (),
    keep: Sequence[int] = (),
    group: str | None = None,
    seed: int = 0,
) -> Splits:
    """Splits from what a config says.

    Args:
        train: the table to learn from, or all of it where `split` or a share divides it.
        validation: another table, or a share of `train`'s rows.
        test: likewise.
        split: the column that says which split a row belongs to.
        default: the share of training rows for validation where nothing says which rows those are.
        stratify: target columns; a split by share keeps the shares of classes (or of ranges of numbers) of one.
        keep: rows that a split by share does not hold out, as far as others are enough.
        group: the column whose rows with one value stay together in a split by share.
        seed: of the split by share.

    Raises:
        DataError: the rows cannot be split like that.
    """
    splits = Splits(Split.whole(train)) if split is None else split_by_column(train, split)
    if splits.validation is not None and validation is not None:
        raise DataError(f"{train.source}, column {split!r} names validation rows: leave `validation` out")
    share = default if splits.validation is None and validation is None else None
    held = [validation if share is None else share, test]
    rows = splits.train.rows
    labels, groups = stratify_labels(train, stratify), None if group is None else group_names(train, group)
    rest, by_share = split_by_share(
        len(rows),
        [part if isinstance(part, float) else 0.0 for part in held],
        labels=None if labels is None else [labels[row] for row in rows.tolist()],
        keep=np.flatnonzero(np.isin(rows, list(keep))).tolist(),
        groups=None if groups is None else [groups[row] for row in rows.tolist()],
        seed=seed,
    )

    def part(given: Table | float | None, drawn: np.ndarray, named: Split | None) -> Split | None:
        if isinstance(given, Table):
            return Split.whole(given)
        return named if given is None else Split(train, rows[drawn])

    return Splits(
        Split(train, rows[rest]),
        part(held[0], by_share[0], splits.validation),
        part(held[1], by_share[1], splits.test),
        share,
    )


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
            f"{table.source}, column {column!r}: a split is 'train', 'val' (also 'validation', 'dev') or 'test'; "
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
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Hold out shares of the rows.

    One row of each class is never held out; of their other rows, all classes give the same share, within one row.

    Args:
        num_rows: rows there are.
        shares: of all rows, one a held-out part; a part with share 0 is empty, any other has at least one row.
        labels: a class a row (absent is a class); `None` to draw without regard to classes.
        keep: rows not to hold out, as far as the others are enough.
        groups: a group a row; a group is held out whole or not at all, so shares hold as nearly as groups allow.
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
        if not share:
            parts.append(left[:0])
            continue
        count = max(1, round(num_rows * share))
        if count >= len(left):
            raise DataError(f"{num_rows} rows are too few to hold out {list(shares)} of them")
        rng = np.random.default_rng([seed, number])
        if groups is not None:
            held = draw_groups(left, count, groups, labels, keep, rng)
        else:
            others = np.setdiff1d(left, keep)
            held = _draw_stratified(others if len(others) >= count else left, count, labels, rng)
        left = np.setdiff1d(left, held, assume_unique=True)
        parts.append(held)
    return left, parts[::-1]


def _draw_stratified(
    rows: np.ndarray, count: int, labels: Sequence[Hashable] | None, rng: np.random.Generator
) -> np.ndarray:
    """`count` of `rows`, every class in proportion."""
    order = rng.permutation(rows)
    if labels is not None:
        order = _by_class(order, labels, count)
    # Every (len / count)-th row of a sequence sorted by class: exact in total, within one row in each class.
    places = (np.arange(count) * len(order) + rng.integers(len(order))) // count
    return np.sort(order[places])


def _by_class(order: np.ndarray, labels: Sequence[Hashable], count: int) -> np.ndarray:
    """Rows sorted by class, without the first of each class: it is not for holding out."""
    classes: dict[Hashable, list[int]] = {}
    for row in order.tolist():
        classes.setdefault(labels[row], []).append(row)
    spare = [row for members in classes.values() for row in members[1:]]
    return np.array(spare) if len(spare) >= count else order
