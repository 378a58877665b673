"""A Gramian taken apart into norms and cosines."""

import numpy as np
import pytest
import torch

from balancers.gradients import conflicting_rows, gramian_of, random_rows
from trunkline.balancers.units import TOLERANCE, as_array, as_units, as_weights, strictly_convex


@pytest.mark.parametrize("scale", [1e-150, 1e-15, 1.0, 1e150])
def test_units_are_norms_and_cosines(scale):
    rows = conflicting_rows(0, 4, ratio=1e3)
    units = as_units(gramian_of(scale * rows))
    unit = rows / rows.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(units.norms, scale * rows.norm(dim=1).numpy(), rtol=1e-12)
    np.testing.assert_allclose(units.cosines, gramian_of(unit).numpy(), atol=1e-12)
    assert units.active.tolist() == [0, 1, 2, 3]


def test_zero_gradients_are_left_out_and_put_back():
    rows = random_rows(0, 4) * torch.tensor([[1.0], [0.0], [1.0], [0.0]], dtype=torch.float64)
    units = as_units(gramian_of(rows))
    assert units.active.tolist() == [0, 2] and units.cosines.shape == (2, 2)
    assert units.spread(np.array([5.0, 7.0]), rest=1.0).tolist() == [5, 1, 7, 1]
    assert as_units(torch.zeros(3, 3).double()).spread(np.zeros(0)).tolist() == [0, 0, 0]


def test_rounding_below_zero_on_the_diagonal_is_zero():
    assert as_units(torch.tensor([[-1e-20, 0.0], [0.0, 4.0]], dtype=torch.float64)).active.tolist() == [1]


def test_well_conditioned_cosines_are_left_as_they_are():
    units = as_units(gramian_of(random_rows(0)))
    assert strictly_convex(units) is units.cosines


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_others_become_positive_definite_by_little(dtype):
    units = as_units(gramian_of(random_rows(0, 8, 3).to(dtype)))
    changed = strictly_convex(units)
    assert np.linalg.eigvalsh(changed)[0] > TOLERANCE / 2
    below = abs(min(0.0, np.linalg.eigvalsh(units.cosines)[0]))
    assert np.abs(changed - units.cosines).max() <= 1.01 * (units.noise + below)


def test_a_ridge_of_the_rounding_makes_no_gradient_shorter():
    """`C + ρ I` of float32 products is above the exact cosines, so no length is taken for less than it is."""
    for seed in range(20):
        rows = random_rows(seed, 40, 5).float()
        lifted, exact = as_units(gramian_of(rows)).lifted, as_units(gramian_of(rows.double())).cosines
        assert np.linalg.eigvalsh(lifted - exact)[0] > 0


def test_weights_come_back_as_the_gramian_is():
    gramian = gramian_of(random_rows(0)).float()
    assert as_array(gramian).dtype == np.float64
    assert as_weights(np.ones(5), gramian).dtype == torch.float32
