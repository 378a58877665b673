from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from trunkline.config.annotations import MisfitError, as_annotated


@pytest.mark.parametrize(
    ("value", "hint", "fitted"),
    [
        (3, int, 3),
        (1e3, int, 1000),
        (3, float, 3.0),
        (True, bool, True),
        (None, int | None, None),
        (3, float | int, 3),
        ("x", int | str, "x"),
        ([1, 2], tuple[int, int], (1, 2)),
        ([1, 2, 3], tuple[int, ...], (1, 2, 3)),
        ((1, 2), list[float], [1.0, 2.0]),
        (["a"], Sequence[str], ["a"]),
        ([1], list, [1]),
        ({"a": 1}, Mapping[str, float], {"a": 1.0}),
        ({"a": 1}, dict, {"a": 1}),
        ("a", Literal["a", "b"], "a"),
        (32, Literal["32", "64"], "32"),
        (object, Any, object),
    ],
)
def test_fits(value, hint, fitted):
    got = as_annotated(value, hint)
    assert got == fitted
    assert type(got) is type(fitted)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (True, int, "True is not a whole number."),
        (2.5, int, "2.5 is not a whole number."),
        (float("inf"), int, "inf is not a whole number."),
        (float("nan"), int, "nan is not a whole number."),
        (True, float, "True is not a number."),
        ("1", float, "'1' is not a number."),
        (1, bool, "1 is not true or false."),
        (3, str, "3 is not text. Put it in quotes."),
        (None, int, "None is not a whole number."),
        ("x", int | None, "'x' is not a whole number."),
        ([1, 2, 3], tuple[int, int], "[1, 2, 3] is not a list of 2 whole numbers."),
        ("ab", list[str], "'ab' is not a list of texts."),
        (["a", 1], list[str], "['a', 1] is not a list of texts."),
        ([1], dict[str, int], "[1] is not a mapping."),
        ("c", Literal["alpha", "beta"], "'c' is not known here. Known: alpha, beta."),
        (True, Literal[1], "True is not known here. Known: 1."),
    ],
)
def test_misfits(value, hint, message):
    with pytest.raises(MisfitError) as caught:
        as_annotated(value, hint)
    assert str(caught.value) == message
