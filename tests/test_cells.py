"""Cells: what is read as a number, a name, and what a column's scale is."""

import numpy as np
import pytest

from trunkline.cells import alike, as_name, as_number, mean_and_scale, tell_odd_names
from trunkline.errors import DataError


@pytest.mark.parametrize(("cell", "name"), [
    (3, "3"), (3.0, "3"), ("3", "3"), ("3.0", "3"), ("-12.00", "-12"), ("-0.0", "0"), (-0.0, "0"), (np.float32(3), "3"),
    (True, "true"), (False, "false"), ("true", "true"), ("True", "true"), ("False", "false"), (np.bool_(True), "true"),
    ("007", "007"), ("007.0", "007.0"), ("1e3", "1e3"), ("+3.0", "+3.0"), ("TRUE", "TRUE"), ("3.50", "3.50"),
    ("3.", "3."), (2.5, "2.5"), (" 3.0", "3"), (" red ", "red"), ("", ""), ("v3.0", "v3.0"),
])  # fmt: skip
def test_a_name_is_the_same_however_it_was_written(cell, name):
    assert as_name(cell) == name
    assert as_name(name) == name


@pytest.mark.parametrize("cell", [10**400, -(10**400), "1_000", "nan", "inf", "1e400", None, "three", [1]])
def test_what_is_no_finite_number_is_a_data_error(cell):
    with pytest.raises(DataError):
        as_number(cell)


@pytest.mark.parametrize("value", [0.1, -0.1, 0.0, 1e-9, 1e300, 5e-324, 7.0])
def test_a_constant_column_has_scale_one(value):
    mean, scale = mean_and_scale([value] * 3)
    assert scale == 1.0
    assert mean == pytest.approx(value, rel=1e-12)


def test_a_narrow_column_keeps_its_scale():
    column = np.array([1e6, 1e6 + 1e-3, 1e6 - 1e-3])
    assert mean_and_scale(iter(column)) == pytest.approx((column.mean(), column.std()))
    assert mean_and_scale([1e-9, 3e-9]) == pytest.approx((2e-9, 1e-9))


@pytest.mark.parametrize("cell", ["\ud800", "red \udfff", "\ude00\ud83d"])
def test_half_a_surrogate_pair_is_no_name(cell):
    with pytest.raises(DataError, match=r"is not valid Unicode: \\ud[89a-f]"):
        as_name(cell)


def test_names_that_look_the_same_are_told():
    assert alike(["caf\xe9", "cafe\u0301", "cafe", "New York", "New\xa0York", "Red", "red"]) == [
        ["New York", "New\xa0York"],
        ["cafe\u0301", "caf\xe9"],
    ]
    assert tell_odd_names(["a", "b"]) is None
    assert tell_odd_names(["a b", "a  b", ""]) == (
        "'a  b' and 'a b' look the same, but are names of their own; write them alike in the table; "
        "the empty text '' is a name; `na: [\"\"]` under `data:` makes it absent"
    )
    many = tell_odd_names([name for i in range(7) for name in (f"{i} x", f"{i}  x")])
    assert many is not None and many.count(" and ") == 5 and ", 2 more look" in many
