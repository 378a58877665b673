"""Δm against the rows that papers print."""

from __future__ import annotations

import pytest

from trunkline.analysis import delta_m, mean_over_tasks, relative_change

# NYUv2, three tasks: mIoU, pixel accuracy; absolute and relative error; mean, median and three shares of angles.
METRICS = {
    "segmentation": [("miou", False), ("accuracy", False)],
    "depth": [("absolute", True), ("relative", True)],
    "normals": [("mean", True), ("median", True), ("11.25", False), ("22.5", False), ("30", False)],
}
ROWS = {
    "single": [38.30, 63.76, 0.6754, 0.2780, 25.01, 19.21, 30.14, 57.20, 69.15],
    "linear": [39.29, 65.33, 0.5493, 0.2263, 28.15, 23.96, 22.09, 47.50, 61.08],
    "nash": [40.13, 65.93, 0.5261, 0.2171, 25.26, 20.08, 28.40, 55.47, 68.15],
    "fairgrad": [39.74, 66.01, 0.5377, 0.2236, 24.84, 19.60, 29.26, 56.58, 69.16],
}


def changes(row: str) -> dict[str, dict[str, float | None]]:
    pairs = iter(zip(ROWS[row], ROWS["single"], strict=True))
    return {
        task: {name: relative_change(*next(pairs), lower_is_better=lower) for name, lower in metrics}
        for task, metrics in METRICS.items()
    }


@pytest.mark.parametrize(
    ("row", "per_metric", "per_task"),
    [("linear", 5.59, -0.88), ("nash", -4.04, -7.65), ("fairgrad", -4.66, None), ("single", 0.0, 0.0)],
)
def test_the_rows_of_the_papers(row: str, per_metric: float, per_task: float | None) -> None:
    assert delta_m(changes(row)) == pytest.approx(per_metric, abs=0.01)
    if per_task is not None:
        assert mean_over_tasks(changes(row)) == pytest.approx(per_task, abs=0.01)


def test_signs() -> None:
    """Negative is better, whichever way the metric goes and whatever its sign."""
    assert relative_change(0.6, 0.5, lower_is_better=False) == pytest.approx(-20)
    assert relative_change(0.6, 0.5, lower_is_better=True) == pytest.approx(20)
    assert relative_change(-0.1, -0.2, lower_is_better=False) == pytest.approx(-50)


def test_what_is_not_defined_is_left_out() -> None:
    assert relative_change(0.5, 0.0, lower_is_better=False) is None
    assert delta_m({"a": {"x": None, "y": 3.0}, "b": {"x": None}}) == 3.0
    assert mean_over_tasks({"a": {"x": None, "y": 3.0}, "b": {"x": None}}) == 3.0
    assert delta_m({"a": {"x": None}}) is None
