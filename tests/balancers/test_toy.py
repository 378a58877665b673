"""The 2-D toy of multi-task optimisation as a regression test of whole trajectories."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from balancers import toy
from balancers.toy_rows import EITHER, ROWS, STEPS, WITHOUT_ROW, Ends, Row, equal, of, stch
from trunkline.balancers import CATALOG, STCH, FAMOLagged, Uncertainty, UPGrad
from trunkline.balancers.uncertainty import uncertainty_terms

F64 = torch.float64
VALLEYS, THOUSANDS = (0, 2), 6  # starts that pass one, and the tolerance of their first steps on the Pareto set


def torch_losses(x: Tensor) -> Tensor:
    """`[S, T]` at `x [S, P]`, as the papers write them."""
    a, b = x.T
    lower = torch.tensor(toy.LOWER, dtype=F64)
    f1 = torch.log(torch.maximum((0.5 * (-a - 7) - torch.tanh(-b)).abs(), lower)) + 6
    f2 = torch.log(torch.maximum((0.5 * (-a + 3) + torch.tanh(-b) + 2).abs(), lower)) + 6
    zero = torch.zeros((), dtype=F64)
    c1, c2 = (torch.where(side >= 0, torch.tanh(side / 2), zero) for side in (b, -b))
    q1 = ((-a + 7) ** 2 + 0.1 * (-b - 8) ** 2) / 10 - 20
    q2 = ((-a - 7) ** 2 + 0.1 * (-b - 8) ** 2) / 10 - 20
    return torch.stack([toy.SCALE * (f1 * c1 + q1 * c2), f2 * c1 + q2 * c2], 1)


def plain_run(gradient: Callable[[Tensor, Tensor], Tensor], steps: int, clip: float) -> np.ndarray:
    """Ends `[S, P]` by autograd and torch's Adam, whose numbers are all independent of each other."""
    x = torch.tensor(toy.STARTS, requires_grad=True)
    adam = torch.optim.Adam([x], lr=toy.LR)
    for _ in range(steps):
        found = gradient(x, torch_losses(x))
        x.grad = found / (found.norm(dim=1, keepdim=True) / clip).clamp(min=1)
        adam.step()
    return x.detach().numpy()


def test_closed_form_is_autograds():
    points = np.concatenate([toy.STARTS, np.random.default_rng(0).uniform(-10, 10, (200, 2))])
    losses, jacobian = toy.losses_and_jacobian(points)
    x = torch.tensor(points, requires_grad=True)
    expected = torch_losses(x)
    np.testing.assert_allclose(losses, expected.detach().numpy(), rtol=1e-12)
    for task in range(2):
        (derivatives,) = torch.autograd.grad(expected[:, task].sum(), x, retain_graph=True)
        np.testing.assert_allclose(jacobian[:, task], derivatives.numpy(), rtol=1e-9, atol=1e-9)


def test_the_balanced_point_and_the_ends_of_the_front():
    losses, jacobian = toy.losses_and_jacobian(np.array([[0.0, toy.FRONT], [7.0, -8.355], [-7.0, -8.355]]))
    np.testing.assert_allclose(losses[0], [-1.51, -15.10], atol=0.01)
    a, b = jacobian[0]
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) < -0.999  # what helps one there hurts the other
    assert (losses > toy.IDEALS).all()


def of_sum(x: Tensor, losses: Tensor) -> Tensor:
    return torch.autograd.grad(losses.sum(), x)[0]


def of_projections(x: Tensor, losses: Tensor) -> Tensor:
    """The mean of both gradients, each without what lies against the other."""
    a, b = (torch.autograd.grad(losses[:, k].sum(), x, retain_graph=True)[0] for k in range(2))
    product = (a * b).sum(1, keepdim=True).clamp(max=0)
    squares = (each.square().sum(1, keepdim=True) for each in (b, a))
    return sum(one - product / square * other for one, other, square in zip((a, b), (b, a), squares)) / 2


class OfFamo:
    """Algorithm 1, its logits moved by torch's Adam from the losses of the step before."""

    def __init__(self) -> None:
        self.logits = torch.zeros(len(toy.STARTS), 2, dtype=F64, requires_grad=True)
        self.adam = torch.optim.Adam([self.logits], lr=toy.METHOD_LR)
        self.before: Tensor | None = None

    def __call__(self, x: Tensor, losses: Tensor) -> Tensor:
        gaps = losses - torch.from_numpy(toy.IDEALS)
        if self.before is not None:
            progress = self.before.log() - gaps.detach().log()
            (self.logits.grad,) = torch.autograd.grad(self.logits.softmax(1), self.logits, progress)
            self.adam.step()
        self.before = gaps.detach()
        shares = self.logits.detach().softmax(1)
        return of_sum(x, shares * gaps.log() / (shares / gaps.detach()).sum(1, keepdim=True))


def of_stch(x: Tensor, losses: Tensor) -> Tensor:
    preferences = torch.tensor([1 / toy.SCALE, 1.0], dtype=F64)
    return of_sum(x, (preferences * (losses - torch.from_numpy(toy.IDEALS))).exp().sum(1).log())


@pytest.mark.parametrize(
    ("make", "gradient", "clip"),
    [
        (equal, lambda: of_sum, np.inf),
        (equal, lambda: of_sum, 1.0),
        (toy.Famo, OfFamo, np.inf),
        (stch, lambda: of_stch, np.inf),
        (of("upgrad"), lambda: of_projections, 1.0),
    ],
    ids=["equal", "equal clipped", "famo", "stch", "upgrad clipped"],
)
def test_first_steps_are_those_of_autograd_and_torchs_adam(make, gradient, clip):
    (path,) = toy.run(make(), 2000, clips=(clip,))
    np.testing.assert_allclose(path.ends, plain_run(gradient(), 2000, clip), atol=1e-4)


def uncertainty_weights(steps: int) -> np.ndarray:
    """Weights `[steps, S, T]` of the balancer itself, its log variances learned by torch's Adam."""
    balancers = [toy.started(Uncertainty()) for _ in toy.STARTS]
    adam = torch.optim.Adam([p for balancer in balancers for p in balancer.parameters()], lr=toy.METHOD_LR)
    losses, _ = toy.losses_and_jacobian(toy.STARTS)
    seen = []
    for _ in range(steps):
        adam.zero_grad()
        both = [b.weigh(row, toy.TASKS) for b, row in zip(balancers, torch.from_numpy(losses), strict=True)]
        torch.stack([terms.sum() for terms, _ in both]).sum().backward()
        adam.step()
        seen.append(torch.stack([weights for _, weights in both]).numpy())
    return np.stack(seen)


def test_learned_weights_are_the_balancers():
    losses, jacobian = toy.losses_and_jacobian(toy.STARTS)
    learned = toy.Learned(uncertainty_terms)
    np.testing.assert_allclose([learned(losses, jacobian) for _ in range(50)], uncertainty_weights(50), rtol=1e-9)


@pytest.mark.parametrize(
    ("function", "balancer"),
    [
        (toy.Famo, lambda: FAMOLagged(0.0, minima=dict(zip(toy.TASKS, toy.IDEALS.tolist(), strict=True)))),
        (
            lambda: toy.OfLosses(lambda gaps: 2 * (gaps.log() / 0.5).softmax(-1) / gaps, above=toy.IDEALS),
            lambda: STCH(
                0.5,
                ideals=dict(zip(toy.TASKS, toy.IDEALS.tolist(), strict=True)),
                nadirs=dict(zip(toy.TASKS, (toy.IDEALS + 1).tolist(), strict=True)),
            ),
        ),
    ],
    ids=["famo", "stch"],
)
def test_functions_of_all_starts_are_the_balancers(function, balancer):
    (all_at_once,), (by_balancer,) = (toy.run(m, 200, every=200) for m in (function(), toy.OfBalancer(balancer)))
    np.testing.assert_allclose(all_at_once.ends, by_balancer.ends, atol=1e-9)


def test_upgrad_from_the_catalogue_is_upgrad():
    one, other = (toy.run(make(), 100)[0].ends for make in (of("upgrad"), lambda: toy.OfGramian(UPGrad)))
    np.testing.assert_array_equal(one, other)


def test_every_balancer_has_a_row_or_is_named():
    assert {row.balancer for row in ROWS}.isdisjoint(WITHOUT_ROW)
    assert {row.balancer for row in ROWS} | set(WITHOUT_ROW) == set(CATALOG)


def asked(expected: Ends) -> list[tuple[int, float | None]]:
    """Of which start what is expected."""
    return [(k, place) for k, place in enumerate(expected) if place is not EITHER]


def assert_ends(path: toy.Path, ends: Ends, row: Row) -> None:
    """Each start on the Pareto set at its place, or not on it."""
    there = toy.on_front(path.ends)
    for k, expected in asked(ends):
        assert there[k] == (expected is not None), f"start {k} ended at {path.ends[k]}"
        tolerance = row.valleys if k in VALLEYS else row.tolerance
        assert expected is None or abs(path.ends[k, 0] - expected) <= tolerance, f"start {k} ended at {path.ends[k]}"


def assert_hits(path: toy.Path, hits: Ends, thousands: float) -> None:
    """The first step on the Pareto set."""
    for k, expected in asked(hits):
        assert (path.hits[k] > 0) == (expected is not None), f"start {k} met it at {path.hits[k]}"
        tolerance = THOUSANDS if k in VALLEYS else thousands
        assert expected is None or abs(path.hits[k] / 1000 - expected) <= tolerance, f"start {k}: {path.hits[k]}"


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_table(row: Row):
    clips = (np.inf,) if row.clipped is None else (np.inf, 1.0)
    plain, *clipped = toy.run(row.make(), STEPS, clips=clips)
    assert_ends(plain, row.ends, row)
    assert_hits(plain, row.hits, row.thousands)
    if row.clipped is not None:
        assert_ends(clipped[0], row.clipped, row)
