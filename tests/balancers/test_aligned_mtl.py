"""Aligned-MTL: the Gramian of its gradients, its modes, what it does with dependent gradients."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torchjd.aggregation import AlignedMTLWeighting

from balancers.gradients import conflicting_rows, gramian_of, jacobians, pair, random_rows
from trunkline.balancers import AlignedMTL
from trunkline.balancers.aligned_mtl import SCALES, aligned_mtl_weights
from trunkline.errors import ConfigError


def aligned_rows(rows: torch.Tensor, scale: str = "min") -> torch.Tensor:
    """The aligned gradients `B J` with `B = √σ V Λ^(-1/2) Vᵀ`, by a singular value decomposition of the gradients."""
    left, singular, right = torch.linalg.svd(rows, full_matrices=False)
    kept = singular > singular[0] * 1e-7
    sigma = float(SCALES[scale](singular[kept].square().numpy())) ** 0.5
    return sigma * left[:, kept] @ right[kept]


@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 40, 100])
def test_gramian_of_the_aligned_gradients(tasks):
    """It is `λ_min I`, and the update is their mean."""
    rows = random_rows(0, tasks, 3 * tasks)
    aligned, smallest = aligned_rows(rows), torch.linalg.eigvalsh(gramian_of(rows))[0]
    torch.testing.assert_close(gramian_of(aligned) / smallest, torch.eye(tasks, dtype=torch.float64))
    torch.testing.assert_close(aligned_mtl_weights(gramian_of(rows)) @ rows, aligned.mean(0), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("ratio", [1e-3, 1.0, 1e3])
def test_nearly_opposed_pair(ratio):
    rows = pair(-0.99, ratio)
    update, aligned = aligned_mtl_weights(gramian_of(rows)) @ rows, aligned_rows(rows)
    assert (update - aligned.mean(0)).norm() < 1e-6 * update.norm()


@given(jacobians(independent=True, ratio=10.0))
@settings(max_examples=60, deadline=None)
def test_update_is_the_mean_of_the_aligned_gradients(rows):
    update, aligned = aligned_mtl_weights(gramian_of(rows)) @ rows, aligned_rows(rows).mean(0)
    assert (update - aligned).norm() < 1e-6 * aligned.norm()


@pytest.mark.parametrize("scale", SCALES)
def test_equals_torchjd(scale):
    for tasks, width in ((1, 3), (2, 5), (7, 12), (9, 4)):
        gramian = gramian_of(random_rows(0, tasks, width))
        theirs = AlignedMTLWeighting(scale_mode=scale)(gramian)
        torch.testing.assert_close(aligned_mtl_weights(gramian, scale=scale), theirs, rtol=1e-8, atol=1e-10)


def test_dependent_gradients_are_aligned_within_their_span():
    rows = random_rows(0, 6, 3)
    update = aligned_mtl_weights(gramian_of(rows)) @ rows
    torch.testing.assert_close(update, aligned_rows(rows).mean(0), rtol=1e-8, atol=1e-10)


def test_orthogonal_gradients_of_one_length_are_left_as_they_are():
    rows = 3 * torch.eye(4, 7, dtype=torch.float64)
    torch.testing.assert_close(aligned_mtl_weights(gramian_of(rows)), torch.full((4,), 0.25, dtype=torch.float64))


def test_zero_gradients():
    assert aligned_mtl_weights(torch.zeros(4, 4, dtype=torch.float64)).tolist() == [0.25] * 4
    rows = torch.cat([random_rows(0, 3), torch.zeros(1, 11, dtype=torch.float64)])
    weights = aligned_mtl_weights(gramian_of(rows))
    torch.testing.assert_close(weights[:3] * 4 / 3, aligned_mtl_weights(gramian_of(rows[:3])))


def test_multiplying_a_loss_changes_the_direction():
    rows = conflicting_rows(1, 3)
    scaled = torch.tensor([[10.0], [1.0], [1.0]], dtype=torch.float64) * rows
    one, other = (aligned_mtl_weights(gramian_of(r)) @ r for r in (rows, scaled))
    assert torch.cosine_similarity(one, other, dim=0) < 0.999


@pytest.mark.parametrize("factor", [1e-15, 1e6])
def test_scaling_all_gradients_changes_no_weight(factor):
    rows = random_rows(0)
    torch.testing.assert_close(aligned_mtl_weights(gramian_of(factor * rows)), aligned_mtl_weights(gramian_of(rows)))


def test_class_is_the_function():
    gramian = gramian_of(random_rows(4))
    assert torch.equal(AlignedMTL("rmse").weigh(gramian, list("abcde")), aligned_mtl_weights(gramian, scale="rmse"))
    as_yaml: dict[str, Any] = {"scale": "medium"}
    with pytest.raises(ConfigError, match=r"balancer.scale: there is no 'medium'. Did you mean 'median'"):
        AlignedMTL(**as_yaml).start(["a"])
