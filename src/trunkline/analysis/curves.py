"""ROC and precision-recall curves of yes-or-no answers, thinned for drawing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Points = list[tuple[float, float]]


def roc_curve(scores: Sequence[float], truth: Sequence[bool], *, points: int = 120) -> Points:
    """`(false positive rate, true positive rate)` from `(0, 0)` to `(1, 1)`; empty with one class only."""
    hits, alarms = _cumulated(scores, truth)
    if hits[-1] == 0 or alarms[-1] == 0:
        return []
    return [(0.0, 0.0), *_thinned(alarms / alarms[-1], hits / hits[-1], points)]


def precision_recall_curve(scores: Sequence[float], truth: Sequence[bool], *, points: int = 120) -> Points:
    """`(recall, precision)` from the surest answer on; empty without a yes."""
    hits, alarms = _cumulated(scores, truth)
    if hits[-1] == 0:
        return []
    return _thinned(hits / hits[-1], hits / (hits + alarms), points)


def _cumulated(scores: Sequence[float], truth: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Yes and no above each threshold, one threshold a different score."""
    given, yes = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=bool)
    order = np.argsort(-given, kind="stable")
    given, yes = given[order], yes[order]
    ends = np.append(given[1:] != given[:-1], True)
    return np.cumsum(yes)[ends], np.cumsum(~yes)[ends]


def _thinned(x: np.ndarray, y: np.ndarray, points: int) -> Points:
    """Evenly spaced along the curve, both ends kept."""
    if len(x) <= points:
        return list(zip(x.tolist(), y.tolist()))
    length = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    wanted = np.linspace(0, length[-1], points)
    places = np.unique(np.minimum(np.searchsorted(length, wanted), len(x) - 1))
    return [(float(x[i]), float(y[i])) for i in places]
