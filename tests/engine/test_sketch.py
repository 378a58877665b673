"""The sketched Gramian: right on average, near in a single step, the same again, and cheap where it says so."""

import copy
from itertools import pairwise

import pytest
import torch
from benchmarks.memory import peak_memory
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.engine_oracles import F64, Fixed, assert_equal, jacobian
from torch import nn
from torch.utils.checkpoint import checkpoint

from trunkline.balancers.upgrad import upgrad_weights
from trunkline.engine import Engine, Sketch
from trunkline.engine.graph import Graph
from trunkline.engine.measures import measures_of
from trunkline.engine.measures.basis import basis
from trunkline.engine.measures.conv import Convolved
from trunkline.engine.measures.embedding import LookedUp
from trunkline.engine.measures.exact import Exact
from trunkline.engine.measures.linear import ByRows, Projected
from trunkline.errors import ConfigError

torch.set_num_threads(1)
ROWS = 2048
TASKS = list("abc")


def losses_of(views):
    """One conflict among three tasks."""
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(2, *views["a"].shape, generator=generator, dtype=F64)
    return {
        "a": (views["a"] * weights[0]).sin().mean(),
        "b": (views["b"] * (weights[1] - weights[0])).sin().mean(),
        "c": (views["c"] * weights[1]).tanh().mean(),
    }


def sketched(trunk, x, sketch):
    engine = Engine(Fixed(), TASKS, level="sketch", sketch=sketch)
    engine.total(losses_of(engine.split(trunk(x)))).backward()
    return engine.balancer.seen


def exact(trunk, x):
    losses = losses_of(dict.fromkeys(TASKS, trunk(x))).values()
    rows = jacobian(losses, [p for p in trunk.parameters() if p.requires_grad])
    return rows @ rows.T


def trunks():
    torch.manual_seed(0)
    yield nn.Sequential(nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh()).double(), torch.randn(50, 12)
    convolutions = nn.Conv2d(8, 8, 3, stride=2), nn.Tanh(), nn.Conv2d(8, 6, 3, padding=1)
    yield nn.Sequential(*convolutions).double(), torch.randn(3, 8, 9, 9)
    twice = nn.Linear(10, 10)
    yield nn.Sequential(twice, nn.Tanh(), twice, nn.Tanh(), nn.Linear(10, 4)).double(), torch.randn(50, 10)


@pytest.mark.parametrize("which", range(3))
def test_right_on_average(which):
    """The mean over 600 seeds is within 4 standard errors of the exact Gramian, each of which is under 4 %."""
    trunk, x = list(trunks())[which]
    seen = torch.stack([sketched(trunk, x.double(), Sketch(share=0.1, least=3, seed=seed)) for seed in range(600)])
    expected = exact(trunk, x.double())
    error = seen.std(0) / len(seen) ** 0.5
    assert (seen.std(0) > 1e-4 * expected.diagonal().max()).all()  # it is an estimate indeed
    assert (error < 0.04 * expected.diagonal().max()).all()
    assert ((seen.mean(0) - expected).abs() < 4 * error).all()


@given(width=st.integers(2, 30), columns=st.integers(2, 30), rank=st.integers(1, 30), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_basis_keeps_the_image_and_all_where_it_is_whole(width, columns, rank, seed):
    """Its first columns are an orthonormal basis of the image; `S Sᵀ = I` where `c = in`."""
    columns = min(width, columns)
    kept = columns // 2
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(width, min(rank, width), generator=generator, dtype=F64)
    image = image @ torch.randn(image.shape[1], kept, generator=generator, dtype=F64)
    directions = basis(image, torch.randn(width, columns - kept, generator=generator, dtype=F64))
    first = directions[:, :kept]
    assert_equal(first.T @ first, torch.eye(kept, dtype=F64), 1e-9)
    assert_equal(first @ (first.T @ image), image, 1e-8)
    if columns == width:
        assert_equal(directions @ directions.T, torch.eye(width, dtype=F64), 1e-9)


def test_input_of_low_rank_is_exact():
    """What the first columns hold is not estimated: three directions of sixteen."""
    torch.manual_seed(0)
    layer = nn.Linear(16, 5, bias=False).double()
    x = torch.randn(60, 3, dtype=F64) @ torch.randn(3, 16, dtype=F64)
    assert_equal(sketched(layer, x, Sketch(share=0.1, least=6)), exact(layer, x), 1e-12)


def deep():
    yield "mlp", nn.Sequential(*(p for _ in range(3) for p in (nn.Linear(256, 256), nn.ReLU()))), torch.randn(300, 256)
    widths = [3, 32, 64, 64]
    layers = [nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in pairwise(widths)]
    yield "convolutions", nn.Sequential(*layers), torch.randn(16, 3, 16, 16)
    layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, batch_first=True)
    yield "transformer", nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), torch.randn(8, 40, 64)


@pytest.mark.parametrize("which", range(3))
def test_near_in_a_single_step_at_the_default(which):
    """UPGrad's weights within 5 % (networks of linear layers, of convolutions) and 10 % (Transformer), ten seeds."""
    torch.manual_seed(0)
    name, trunk, x = list(deep())[which]
    trunk, x = trunk.double(), x.double()
    wanted = upgrad_weights(exact(trunk, x))
    for seed in range(10):
        weights = upgrad_weights(sketched(trunk, x, Sketch(seed=seed)))
        assert (weights - wanted).norm() < (0.1 if name == "transformer" else 0.05) * wanted.norm()


def chosen(trunk, x, **options):
    graph = Graph([torch.autograd.graph.get_gradient_edge(trunk(x))])
    measures = measures_of(
        list(trunk.parameters()), graph, columns=Sketch(**options).columns, generator=torch.Generator(),
        blank=torch.zeros(()),
    )  # fmt: skip
    return {name: measure for (name, _), measure in zip(trunk.named_parameters(), measures)}


def test_measures_follow_from_layers_and_rows():
    """Large layers keep a sixteenth of a weight gradient a task, few rows their pairs, small and unknown ones all."""
    linear = chosen(nn.Linear(512, 300), torch.randn(200, 512))
    assert isinstance(linear["weight"], Projected)
    assert isinstance(linear["bias"], Exact)
    assert linear["weight"].size() == 300 * 32
    assert isinstance(chosen(nn.Linear(512, 300), torch.randn(50, 512))["weight"], ByRows)
    assert isinstance(chosen(nn.Linear(16, 300), torch.randn(200, 16))["weight"], Exact)
    convolution = chosen(nn.Conv2d(64, 32, 3), torch.randn(2, 64, 9, 9))["weight"]
    assert isinstance(convolution, Convolved)
    assert convolution.size() == 32 * 16 * 9
    assert isinstance(chosen(nn.Conv2d(64, 64, 3, groups=2), torch.randn(2, 64, 9, 9))["weight"], Exact)
    assert isinstance(chosen(nn.ConvTranspose2d(64, 64, 3), torch.randn(2, 64, 9, 9))["weight"], Exact)
    embedding = chosen(nn.Embedding(1000, 8), torch.tensor([5, 7, 5]))["weight"]
    assert isinstance(embedding, LookedUp)
    assert embedding.size() == 3 * 8


def test_directions_are_fresh_in_each_step_and_go_on_from_a_checkpoint():
    trunk, x = next(trunks())
    x = x.double()

    def seen(engine):
        engine.total(losses_of(engine.split(trunk(x)))).backward()
        return engine.balancer.seen

    def made():
        return Engine(Fixed(), TASKS, level="sketch", sketch=Sketch(least=3))

    engine = made()
    first, state = seen(engine), copy.deepcopy(engine.state_dict())
    second = seen(engine)
    assert not torch.equal(first, second)
    assert torch.equal(seen(made()), first)
    resumed = made()
    resumed.load_state_dict(state)
    assert torch.equal(seen(resumed), second)
    other = Engine(Fixed(), TASKS, level="sketch", sketch=Sketch(least=3, seed=1))
    assert not torch.equal(seen(other), first)


@pytest.mark.parametrize(("options", "message"), [({"share": 0.0}, "no share"), ({"least": 1}, "too few")])
def test_settings_that_cannot_work(options, message):
    with pytest.raises(ConfigError, match=message):
        Sketch(**options)


def test_bf16_autocast_is_projected_and_near():
    """Casts and transposes hide no layer: its weight is projected, in float32."""
    torch.manual_seed(0)
    trunk, x = nn.Sequential(nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 128)), torch.randn(400, 128)
    gramians = []
    for level in ("sketch", "trunk"):
        engine = Engine(Fixed(), TASKS, level=level)
        with torch.autocast("cpu", torch.bfloat16):
            features = trunk(x)
            measures = measures_of(
                [trunk[0].weight], Graph([torch.autograd.graph.get_gradient_edge(features)]),
                columns=Sketch().columns, generator=torch.Generator(), blank=torch.zeros(()),
            )  # fmt: skip
            views = engine.split(features)
            engine.total(
                {t: (view.float().roll(k, 1) * view).mean() for k, (t, view) in enumerate(views.items())}
            ).backward()
        assert isinstance(measures[0], Projected)
        gramians.append(engine.balancer.seen)
    assert (gramians[0] - gramians[1]).norm() < 0.1 * gramians[1].norm()


def compared(taps, parameters, *, tolerance=1e-11, losses_of=None):
    """The sketch of share 1/16 where nothing may be estimated, against one backward a task."""
    losses = losses_of or (
        lambda v: {"a": sum(x.sin().sum() for x in v["a"]), "b": sum(x.square().sum() for x in v["b"])}
    )
    rows = jacobian(losses(dict.fromkeys("ab", taps())).values(), parameters)
    engine = Engine(Fixed(a=2.0), ["a", "b"], level="sketch")
    engine.total(losses(engine.split(taps()))).backward()
    assert_equal(engine.balancer.seen / (scale := rows.square().sum()), rows @ rows.T / scale, tolerance)
    assert_equal(torch.cat([p.grad.flatten() for p in parameters]), 2 * rows[0] + rows[1], 1e-9)


@pytest.mark.parametrize("tap_of", [lambda w: w, lambda w: w.t(), lambda w: w.t().t()])
def test_a_parameter_that_is_a_tap_beside_its_use_in_a_layer(tap_of):
    """Few rows: the layer alone would be exact by pairs of rows."""
    torch.manual_seed(0)
    layer = nn.Linear(40, 30, bias=False).double()
    x = torch.randn(4, 40, dtype=F64)
    compared(lambda: [layer(x), tap_of(layer.weight)], [layer.weight])


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (nn.Linear(64, 64), torch.randn(200, 64)),
        (nn.Linear(64, 64), torch.randn(5, 64)),
        (nn.Conv2d(64, 8, 3), torch.randn(4, 64, 5, 5)),
        (nn.Embedding(9, 8), torch.tensor([[1, 2, 1]])),
    ],
)
def test_wide_layers_in_a_checkpoint_are_exact(layer, x):
    """What they have saved can be had once a pass, so it is left to the pass."""
    torch.manual_seed(0)
    layer = layer.double()
    x = x.double() if x.is_floating_point() else x

    def trunk(z):
        return layer(z).tanh()

    compared(lambda: [checkpoint(trunk, x, use_reentrant=False)], list(layer.parameters()))


def test_layers_whose_saved_tensors_wait_elsewhere_are_projected_all_the_same():
    layer = nn.Linear(512, 300)
    with torch.autograd.graph.save_on_cpu():
        assert isinstance(chosen(layer, torch.randn(200, 512))["weight"], Projected)


@pytest.mark.parametrize("sparse", [torch.Tensor.to_sparse, torch.Tensor.to_sparse_csr])
@pytest.mark.parametrize("rows", [5, 200])
@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_layers_of_sparse_inputs_are_exact(sparse, rows):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(64, 8, dtype=F64))
    x = sparse(torch.randn(rows, 64, dtype=F64).relu())
    compared(lambda: [x @ weight], [weight])


def test_no_gradient_of_an_activation_is_kept_where_the_pass_goes_on():
    """What a step holds at once beyond its graph does not grow with the depth of the network."""

    def held(depth):
        torch.manual_seed(0)
        trunk = nn.Sequential(*(part for _ in range(depth) for part in (nn.Linear(64, 64), nn.Tanh())))
        engine = Engine(Fixed(a=2.0), ["a", "b"], level="sketch")
        views = engine.split(trunk(torch.randn(ROWS, 64)))
        total = engine.total({"a": views["a"].sin().sum(), "b": views["b"].square().sum()})
        return peak_memory(lambda: total.backward())

    assert held(16) - held(4) < 5 * ROWS * 64 * 4  # of 12 layers, with a quarter of an activation kept of each
