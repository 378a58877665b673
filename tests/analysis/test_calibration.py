from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error

from trunkline.analysis import calibration_error, reliability


def test_the_error_is_that_of_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    confidence, right = rng.random(500), (rng.random(500) < 0.6).astype(float)
    theirs = binary_calibration_error(torch.tensor(confidence), torch.tensor(right).long(), n_bins=10)
    assert calibration_error(reliability(confidence, right)) == pytest.approx(float(theirs), abs=1e-6)


def test_who_is_right_as_often_as_said_has_no_error() -> None:
    assert calibration_error(reliability([0.5] * 4 + [1.0], [1, 0, 1, 0, 1])) == 0.0


def test_without_answers_there_is_none() -> None:
    assert reliability([], []) == []
    assert calibration_error([]) is None


def test_every_answer_is_in_one_bin() -> None:
    bins = reliability([0.0, 0.1, 0.5, 0.999, 1.0], [0, 0, 1, 1, 1])
    assert sum(b.count for b in bins) == 5
    assert all(b.low <= b.confidence <= b.high for b in bins)
