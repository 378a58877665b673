"""Level `trunk-lean`: exact in pieces of any size, with the memory that it promises."""

import pytest
import torch
from benchmarks.memory import peak_memory
from tests.engine.engine_oracles import F64, Fixed, assert_equal, jacobian
from tests.engine.test_trunk import TRUNKS, assert_exact
from torch import nn

from trunkline.engine import Engine, pieces
from trunkline.engine.graph import Graph

torch.set_num_threads(1)


@pytest.mark.parametrize("name", TRUNKS)
def test_every_kind_of_layer_in_small_pieces(name, monkeypatch):
    """A third of each parameter at a time."""
    monkeypatch.setattr(pieces, "AT_ONCE", 1)
    make, x = TRUNKS[name]
    torch.manual_seed(0)
    assert_exact(make().double(), x.double() if x.is_floating_point() else x, "trunk-lean")


@pytest.mark.parametrize("shape", [(), (7,), (5, 3), (1, 40), (40, 1), (0, 3), (6, 2, 3)])
@pytest.mark.parametrize("tasks", [1, 3, 50])
def test_pieces_are_all_rows_once_and_no_more_numbers_than_promised(shape, tasks, monkeypatch):
    monkeypatch.setattr(pieces, "AT_ONCE", 10)
    leaf = torch.zeros(shape)
    length, width = pieces.rows_of(leaf)
    found = list(pieces.pieces_of(leaf, tasks))
    assert [row for start, stop in found for row in range(start, stop)] == list(range(length))
    most = max(10, leaf.numel(), tasks * width)  # a row at least
    assert all((stop - start) * width * tasks <= most for start, stop in found)


def test_weight_gradients_of_known_layers_are_not_kept_for_every_task():
    """Sixteen tasks, small activations: under three weights more than the step itself, where all would be sixteen."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 512))
    x, weight = torch.randn(4, 512), 4 * 512 * 512
    tasks = [str(k) for k in range(16)]

    def step(level):
        engine = Engine(Fixed(), tasks, level=level)
        views = engine.split(trunk(x))
        engine.total({t: (view * k).sin().sum() for k, (t, view) in enumerate(views.items())}).backward()
        trunk.zero_grad()

    features, lean = (peak_memory(lambda level=level: step(level)) for level in ("features", "trunk-lean"))
    assert lean < features + 3 * weight


def test_layers_that_are_found():
    """Used once, with weights of their own; a layer called twice and a tap are autograd's."""
    once, twice, tapped = (nn.Linear(3, 3) for _ in range(3))
    features = tapped(twice(twice(once(torch.randn(2, 3)))))
    edges = [torch.autograd.graph.get_gradient_edge(t) for t in (features, tapped.weight)]
    found = pieces.layers_of(Graph(edges))
    assert [leaf for leaf, _ in found.values()] == [once.weight]


def test_a_scaled_product_is_exact():
    """`addmm` with factors of its own."""
    torch.manual_seed(0)
    a, b = nn.Parameter(torch.randn(4, 3, dtype=F64)), nn.Parameter(torch.randn(5, 3, dtype=F64))
    w, x = nn.Parameter(torch.randn(4, 3, dtype=F64)), torch.randn(5, 4, dtype=F64)
    features = lambda: torch.addmm(b, torch.addmm(b, x, w, beta=3.0) @ w.T, a, beta=2.0)  # noqa: E731
    losses = lambda views: {t: (view * k).sin().sum() for k, (t, view) in enumerate(views.items(), 1)}  # noqa: E731
    rows = jacobian(losses(dict.fromkeys("ab", features())).values(), [a, b, w])
    engine = Engine(Fixed(), ["a", "b"], level="trunk-lean")
    engine.total(losses(engine.split(features()))).backward()
    assert_equal(engine.balancer.seen, rows @ rows.T, 1e-9)


@pytest.mark.parametrize("level", ["trunk", "trunk-lean"])
def test_bf16_autocast_is_that_of_one_backward_a_task(level):
    torch.manual_seed(0)
    trunk, x = nn.Sequential(nn.Conv1d(4, 6, 3), nn.Flatten(), nn.Linear(36, 24), nn.GELU()), torch.randn(9, 4, 8)

    def losses(views):
        return {t: (view.float().roll(k, 1) * view).mean() for k, (t, view) in enumerate(views.items())}

    with torch.autocast("cpu", torch.bfloat16):
        rows = jacobian(losses(dict.fromkeys("abc", trunk(x))).values(), list(trunk.parameters()))
        engine = Engine(Fixed(), list("abc"), level=level)
        engine.total(losses(engine.split(trunk(x)))).backward()
    expected = rows @ rows.T
    assert (engine.balancer.seen - expected).norm() < 1e-3 * expected.norm()
