"""What `check` tells of a batch: rows that have something, not rows that are stored."""

from __future__ import annotations

from trunkline.data import Draw, read_table
from trunkline.modalities import Category, Number, Text
from trunkline.schema import InputColumn, Preprocessing, RowBatches, Schema, TaskColumn
from trunkline.tables import batch_lines
from trunkline.tasks import Binary


def test_rows_are_counted_that_have_something() -> None:
    rows = [
        {"size": 1.0, "shop": None, "note": None, "y": 1},
        {"size": None, "shop": "b", "note": "red", "y": None},
        {"size": None, "shop": None, "note": "blue", "y": 0},
        {"size": 2.0, "shop": "a", "note": "red", "y": None},
    ]
    inputs = {
        "size": InputColumn(Number(), "size"),
        "shop": InputColumn(Category(), "shop"),
        "note": InputColumn(Text(), "note"),
    }
    table = read_table(rows)
    states = Preprocessing.fit(Schema(inputs, {"y": TaskColumn(Binary(), "y")}), table, range(4))
    told = [line.split(";")[0] for line in batch_lines(RowBatches(states, table)[Draw((0, 1, 2, 3), None)], states)]
    assert sorted(told) == [
        "input note: 3 of 4 rows",
        "input size, shop: 3 of 4 rows",  # a block stores all rows, and flags say what is there
        "target y: 2 of 4 rows",
    ]
