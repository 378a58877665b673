"""A column read at once is what its cells are one by one."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trunkline.data import Table, read_table
from trunkline.errors import DataError
from trunkline.modalities import Category, Number, Text
from trunkline.schema.reading import AT_ONCE, read_column, read_values
from trunkline.tasks import Binary, Labels
from trunkline.tasks import Category as CategoryTask
from trunkline.tasks import Number as NumberTask

READERS = [
    Number(),
    Number(decimal=","),
    Category(),
    Text(),
    NumberTask(),
    NumberTask(decimal="."),
    CategoryTask(),
    Binary(),
    Labels(),
]

texts = st.sampled_from(
    [
        "1",
        "2.5",
        "-3e2",
        "+4",
        " 5 ",
        "1_0",
        "nan",
        "inf",
        "1e400",
        "0x1",
        "x",
        "a|b",
        "yes",
        "0",
        "007",
        "3.0",
        "1,5 kg",
        "[1",
        "true",
    ]
)
columns = st.one_of(
    st.lists(st.none() | texts, min_size=AT_ONCE, max_size=AT_ONCE + 20),
    st.lists(st.none() | st.floats(allow_nan=False), min_size=AT_ONCE, max_size=AT_ONCE + 20),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=AT_ONCE, max_size=AT_ONCE + 20),
    st.lists(st.none() | st.booleans(), min_size=AT_ONCE, max_size=AT_ONCE + 20),
    st.lists(
        st.none() | texts | st.integers() | st.booleans() | st.lists(texts), min_size=AT_ONCE, max_size=AT_ONCE + 20
    ),
)


def one_by_one(reader: Any, cells: list[Any]) -> tuple[list[tuple[int, Any]], dict[int, str]]:
    values, faults = [], {}
    for row, cell in enumerate(cells):
        try:
            if cell is not None:
                values.append((row, reader.read(cell)))
        except DataError as error:
            faults[row] = str(error)
    return values, faults


def tables(cells: list[Any]) -> list[Table]:
    """The same column as a list and, where Arrow takes it, in Arrow memory."""
    made = [read_table([{"a": cell, "b": 1} for cell in cells])]
    with contextlib.suppress(pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        made.append(read_table(pa.table({"a": pa.array(cells), "b": [1] * len(cells)})))
    return made


@pytest.mark.parametrize(
    "reader", READERS, ids=lambda reader: f"{type(reader).__module__.split('.')[1]}-{type(reader).__name__}"
)
@settings(max_examples=25, deadline=None)
@given(cells=columns)
@example(cells=[*map(str, range(AT_ONCE)), "nan"])
@example(cells=[*map(str, range(AT_ONCE)), "1e400", None])
@example(cells=[*map(str, range(AT_ONCE)), "+4", " 5 "])
@example(cells=[*map(str, range(AT_ONCE)), "x"])
@example(cells=[*map(float, range(AT_ONCE)), float("inf")])
@example(cells=[0.0, -0.0] * AT_ONCE)
@example(cells=[2**53 + 1, -(2**63), 7] * AT_ONCE)
@example(cells=[True, False, None] * AT_ONCE)
@example(cells=["yes", "a|b", "x"] * AT_ONCE)
def test_at_once_is_one_by_one(reader, cells):
    for table in tables(cells):
        values, faults = one_by_one(reader, table.column("a") if "a" in table.columns else [])
        if "a" not in table.columns:
            continue
        found = read_column(reader, table, "a", np.arange(len(table)))
        assert list(zip(found.rows.tolist(), found.values)) == values
        assert [repr(value) for value in found.values] == [repr(value) for _, value in values]
        assert dict(found.faults) == faults
        assert list(read_values(reader, table, "a", range(len(table)), skips=True)) == values
        if faults:
            with pytest.raises(DataError, match=f"row {min(faults) + 1}, column 'a'"):
                list(read_values(reader, table, "a", range(len(table))))


def test_rows_come_in_the_order_asked_for():
    table = read_table([{"a": i if i % 3 else None} for i in range(200)])
    wanted = list(range(199, -1, -1))
    assert [row for row, _ in read_values(Number(), table, "a", wanted)] == [row for row in wanted if row % 3]
