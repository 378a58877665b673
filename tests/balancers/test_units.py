"""A Gramian taken apart into norms and cosines."""

import numpy as np
import pytest
import torch

from balancers.gradients import conflicting_rows, gramian_of, random_rows
from trunkline.balancers.units import TOLERANCE, as_array, as_units, as_weights, strictly_convex


@pytest.mark.parametrize("scale", [1e-150, 1e-15, 1.0, 1e150])
def test_units_are_norms_and_cosines(scale):
    rows = conflicting_rows(0, 4, ratio=1e3)
    units = as_units(gramian_of(scale * rows).numpy())
    unit = rows / rows.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(units.norms, scale * rows.norm(dim=1).numpy(), rtol=1e-12)
    np.testing.assert_allclose(units.cosines, gramian_of(unit).numpy(), atol=1e-12)
    assert units.active.tolist() == [0, 1, 2, 3]


def test_zero_gradients_are_left_out_and_put_back():
    rows = random_rows(0, 4) * torch.tensor([[1.0], [0.0], [1.0], [0.0]], dtype=torch.float64)
    units = as_units(gramian_of(rows).numpy())
    assert units.active.tolist() == [0, 2] and units.cosines.shape == (2, 2)
    assert units.spread(np.array([5.0, 7.0]), rest=1.0).tolist() == [5, 1, 7, 1]
    assert as_units(np.zeros((3, 3))).spread(np.zeros(0)).tolist() == [0, 0, 0]


def test_rounding_below_zero_on_the_diagonal_is_zero():
    assert as_units(np.array([[-1e-20, 0.0], [0.0, 4.0]])).active.tolist() == [1]


def test_well_conditioned_cosines_are_left_as_they_are():
    cosines = as_units(gramian_of(random_rows(0)).numpy()).cosines
    assert strictly_convex(cosines) is cosines


def test_others_become_positive_definite_by_little():
    rows = random_rows(0, 8, 3)
    rounded = gramian_of(rows.float()).double().numpy()
    for gramian in (gramian_of(rows).numpy(), rounded):
        cosines = as_units(gramian).cosines
        changed = strictly_convex(cosines)
        assert np.linalg.eigvalsh(changed)[0] > TOLERANCE / 2
        assert np.abs(changed - cosines).max() < 2 * abs(np.linalg.eigvalsh(cosines)[0]) + 2 * TOLERANCE


def test_weights_come_back_as_the_gramian_is():
    gramian = gramian_of(random_rows(0)).float()
    assert as_array(gramian).dtype == np.float64
    assert as_weights(np.ones(5), gramian).dtype == torch.float32
