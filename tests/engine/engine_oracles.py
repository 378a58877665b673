"""Small networks, and what the engine must give on them by plain autograd."""

import pytest
import torch
from torch import Tensor, nn

from trunkline.balancers import GramianBalancer

F64 = torch.float64


class Fixed(GramianBalancer):
    """Weights that the test chose; keeps the Gramian that it saw."""

    def __init__(self, **weights: float) -> None:
        super().__init__()
        self.weights = weights
        self.seen: Tensor | None = None
        self.seen_tasks: tuple[str, ...] = ()

    def weigh(self, gramian, tasks):
        self.seen, self.seen_tasks = gramian, tuple(tasks)
        return torch.tensor([self.weights.get(t, 1.0) for t in tasks], dtype=F64)


class Net(nn.Module):
    """A trunk of two linear layers, a tail, and one head a task."""

    def __init__(self, tasks="abc", seed=0, dtype=F64) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.trunk = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6))
        self.tail = nn.Sequential(nn.Tanh(), nn.Linear(6, 4, bias=False), nn.Tanh())
        self.heads = nn.ModuleDict({t: nn.Linear(4, 1) for t in "abcdefgh"[: len(tasks)]})
        self.to(dtype)

    def features(self, x):
        return self.tail(self.trunk(x))

    def shared(self):
        return [*self.trunk.parameters(), *self.tail.parameters()]

    def losses(self, views, y):
        return {t: (head(views[t]) - y[t]).square().mean() for t, head in self.heads.items()}


def data(tasks="abc", rows=8, seed=0, dtype=F64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 5, generator=generator, dtype=dtype)
    return x, {t: 2 * torch.randn(rows, 1, generator=generator, dtype=dtype) for t in tasks}


def jacobian(losses, parameters) -> Tensor:
    """`[T, P]`, one backward a task."""
    rows = [torch.autograd.grad(v, parameters, retain_graph=True, allow_unused=True) for v in losses]
    return torch.stack([torch.cat([dense(g, p).flatten() for g, p in zip(row, parameters)]) for row in rows])


def gradient(parameters) -> Tensor:
    return torch.cat([dense(p.grad, p).flatten() for p in parameters])


def dense(gradient, like) -> Tensor:
    if gradient is None:
        return torch.zeros_like(like)
    return gradient.to_dense() if gradient.is_sparse else gradient


def assert_equal(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def approximately(report):
    """To be compared with another report, whose numbers may have been summed in another order."""
    if isinstance(report, dict):
        return {key: approximately(value) for key, value in report.items()}
    return pytest.approx(report, rel=1e-12) if isinstance(report, float) else report
