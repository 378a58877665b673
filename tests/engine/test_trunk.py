"""Levels `trunk`, `trunk-lean` and a `sketch` that looks everywhere, against one backward a task, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.engine_oracles import F64, Fixed, Net, assert_equal, data, gradient, jacobian
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from trunkline.balancers import UPGrad
from trunkline.engine import Engine, Sketch
from trunkline.engine.graph import is_transpose
from trunkline.errors import ConfigError

torch.set_num_threads(1)
EXACT = {
    "trunk": {"level": "trunk"},
    "trunk-lean": {"level": "trunk-lean"},
    "sketch of share 1": {"level": "sketch", "sketch": Sketch(share=1.0)},
}
W = torch.tensor([0.3, -2.0, 5.0], dtype=F64)


def losses_of(views, scales=(1.0, 2.0, -1.0)):
    """Three tasks that read the same numbers in ways of their own; from taps of any shape."""
    flat = {t: torch.cat([v.flatten() for v in view]) for t, view in views.items()}
    generator = torch.Generator().manual_seed(7)
    return {
        t: (flat[t] * torch.randn(flat[t].shape, generator=generator, dtype=F64) * s).sin().sum()
        for t, s in zip("abc", scales)
    }


def assert_exact(trunk, x, way, atol=1e-10):
    """Gramian and shared gradients are those of one backward a task."""
    shared = [p for p in trunk.parameters() if p.requires_grad]
    balancer = Fixed(**dict(zip("abc", W.tolist())))
    torch.manual_seed(1)  # of dropout
    taps = trunk(x)
    taps = [taps] if isinstance(taps, Tensor) else list(taps)
    rows = jacobian(losses_of(dict.fromkeys("abc", taps)).values(), shared)
    torch.manual_seed(1)
    again = trunk(x)
    engine = Engine(balancer, list("abc"), **EXACT[way])
    engine.total(losses_of(engine.split([again] if isinstance(again, Tensor) else list(again)))).backward()
    scale = max(1.0, float((rows @ rows.T).abs().max()))
    assert_equal(balancer.seen / scale, rows @ rows.T / scale, atol)
    assert_equal(gradient(shared) / scale**0.5, W @ rows / scale**0.5, atol)


class Several(nn.Module):
    """A trunk written as a function of its modules."""

    def __init__(self, function, **modules):
        super().__init__()
        self.parts = nn.ModuleDict(modules)
        self.function = function

    def forward(self, x):
        return self.function(self.parts, x)


class Direct(nn.Module):
    """Parameters that enter operations directly, one of them as `x @ W`, one in two ways."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(4, 4))
        self.both = nn.Parameter(torch.randn(4, 4))
        self.scale = nn.Parameter(torch.randn(()))

    def forward(self, x):
        return ((x @ self.matrix).tanh() @ self.both * self.scale).tanh() @ self.both.T


class Twice(torch.autograd.Function):
    """Somebody's own, with an argument that is no tensor, one without gradient, and a second output nobody reads."""

    @staticmethod
    def forward(ctx, factor, x, constant, y):
        ctx.factor = factor
        return factor * x + y, x * y

    @staticmethod
    def backward(ctx, first, second):
        return None, ctx.factor * first + 0 * second, None, first


def unread_output(parts, x):
    h = parts["a"](x)
    return Twice.apply(3.0, h, torch.ones(4, dtype=F64), h.sin())[0].tanh()


def attention(parts, x):
    return parts["n"](parts["a"](x, x, x, need_weights=False)[0] + x)


def checkpointed(parts, x):
    return checkpoint(lambda z: parts["b"](parts["a"](z).tanh()), x, use_reentrant=False)


def rnn(cell):
    return Several(lambda parts, x: parts["r"](x)[0], r=cell)


def called_twice(parts, x):
    return parts["e"](x) * parts["e"](x.T).sum()


def tied(parts, x):
    """An embedding that is the output layer, too."""
    e = parts["e"]
    return F.linear(parts["l"](e(x)).tanh(), e.weight)


def both_outputs(parts, x):
    h = parts["a"](x)
    return list(Twice.apply(3.0, h, torch.ones(4, dtype=F64), h.sin()))


def spectrum(parts, x):
    """Real parameters, one of which complex numbers are multiplied with."""
    frequencies = torch.fft.rfft(parts["a"](x)) @ parts["b"].weight[:3].to(torch.complex128)
    return torch.view_as_real(frequencies).tanh()


def branches(parts, x):
    h = parts["a"](x).tanh()
    return [h, parts["b"](h) + h, parts["a"](h)]


L, A = nn.Linear, nn.MultiheadAttention
ROWS, TOKENS, PICTURE = torch.randn(5, 4), torch.randn(2, 3, 4), torch.randn(2, 4, 6, 6)
IDS = torch.tensor([[1, 2, 2], [0, 4, 1]])
TRUNKS = {
    "linear": (lambda: nn.Sequential(L(4, 6), nn.ReLU(), L(6, 3, bias=False)), ROWS),
    "linear on sequences": (lambda: nn.Sequential(L(4, 6), nn.GELU(), L(6, 3)), TOKENS),
    "a layer called twice": (lambda: Several(lambda p, x: p["a"](p["a"](x).tanh()), a=L(4, 4)), ROWS),
    "taps from one node": (
        lambda: Several(lambda p, x: list((p["b"](p["a"](x).tanh())).chunk(2, 1)), a=L(4, 5), b=L(5, 4)),
        ROWS,
    ),
    "a tap twice": (lambda: Several(lambda p, x: [p["a"](x).tanh()] * 2, a=L(4, 3)), ROWS),
    "both outputs of somebody's function": (lambda: Several(both_outputs, a=L(4, 4)), ROWS),
    "complex numbers inside": (lambda: Several(spectrum, a=L(4, 4), b=L(4, 4)), ROWS),
    "transposed in every way": (
        lambda: Several(
            lambda p, x: (x @ p["a"].weight.T).tanh() @ p["b"].weight.mT @ p["c"].weight.transpose(0, 1), 
            a=L(4, 4), b=L(4, 4), c=L(4, 3),
        ),
        ROWS,
    ),
    "embedding of one entry": (lambda: nn.Embedding(5, 4), IDS[0, 1]),
    "embedding of short integers": (lambda: nn.Embedding(5, 4), IDS.int()),
    "several taps, branches, reuse": (lambda: Several(branches, a=L(4, 4), b=L(4, 4)), ROWS),
    "embedding": (lambda: nn.Sequential(nn.Embedding(5, 4), L(4, 3)), IDS),
    "embedding with padding": (lambda: nn.Sequential(nn.Embedding(5, 4, padding_idx=2), L(4, 3)), IDS),
    "sparse embedding": (lambda: nn.Embedding(5, 4, sparse=True), IDS),
    "embedding by frequency": (lambda: nn.Embedding(5, 4, scale_grad_by_freq=True), IDS),
    "bag": (lambda: nn.EmbeddingBag(5, 4), IDS),
    "tied": (lambda: Several(tied, e=nn.Embedding(5, 4), l=L(4, 4)), IDS),
    "embedding called twice": (lambda: Several(called_twice, e=nn.Embedding(5, 4)), IDS),
    "layer norm": (lambda: nn.Sequential(L(4, 4), nn.LayerNorm(4), L(4, 2)), TOKENS),
    "batch norm": (lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), PICTURE),
    "group norm": (lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4)), PICTURE),
    "attention": (lambda: Several(attention, a=A(4, 2, batch_first=True), n=nn.LayerNorm(4)), TOKENS),
    "cross attention": (
        lambda: Several(lambda p, x: p["a"](x, x[:, :2], x[:, :2])[0], a=A(4, 2, batch_first=True)),
        TOKENS,
    ),
    "transformer": (lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), TOKENS),
    "rnn": (lambda: rnn(nn.RNN(4, 3, batch_first=True)), TOKENS),
    "lstm": (lambda: rnn(nn.LSTM(4, 3, bidirectional=True)), TOKENS),
    "gru": (lambda: rnn(nn.GRU(4, 3, num_layers=2)), TOKENS),
    "dropout": (lambda: nn.Sequential(L(4, 6), nn.Dropout(0.5), L(6, 3)), ROWS),
    "parameters used directly": (Direct, ROWS),
    "transposed convolution": (lambda: nn.ConvTranspose2d(4, 3, 3, stride=2, output_padding=1), PICTURE),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(L(4, 3)), ROWS),
    "somebody's own function": (lambda: Several(unread_output, a=L(4, 4)), ROWS),
}  # fmt: skip


@pytest.mark.parametrize("way", EXACT)
@pytest.mark.parametrize("name", TRUNKS)
def test_every_kind_of_layer(name, way):
    make, x = TRUNKS[name]
    torch.manual_seed(0)
    assert_exact(make().double(), x.double() if x.is_floating_point() else x, way)


@pytest.mark.parametrize("way", EXACT)
@given(
    dims=st.integers(1, 3), kernel=st.integers(1, 3), stride=st.integers(1, 2), padding=st.integers(0, 2),
    dilation=st.integers(1, 2), groups=st.sampled_from([1, 1, 2, 4]), bias=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_convolutions(way, dims, kernel, stride, padding, dilation, groups, bias, seed):
    torch.manual_seed(seed)
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "bias": bias}
    assert_exact(layer(4, 8, kernel, **options).double(), torch.randn(2, 4, *[6] * dims, dtype=F64), way)


@pytest.mark.parametrize("way", EXACT)
@given(
    widths=st.lists(st.integers(1, 24), min_size=1, max_size=4), rows=st.integers(1, 40), bias=st.booleans(),
    frozen=st.integers(0, 3), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_networks_of_any_width_with_frozen_parts(way, widths, rows, bias, frozen, seed):
    torch.manual_seed(seed)
    layers = [L(a, b, bias=bias) for a, b in zip([5, *widths], [*widths, 3])]
    if frozen < len(layers) - 1:
        layers[frozen].requires_grad_(False)
    trunk = nn.Sequential(*(part for layer in layers for part in (layer, nn.Tanh()))).double()
    assert_exact(trunk, torch.randn(rows, 5, dtype=F64), way)


@pytest.mark.parametrize("level", ["sketch", "trunk", "trunk-lean"])
def test_opposed_tasks_on_rows_of_their_own(level):
    """Which `features` cannot know."""
    torch.manual_seed(0)
    layer = L(3, 2).double()
    x = torch.randn(1, 3, dtype=F64).repeat(8, 1)
    engine = Engine(UPGrad(), ["a", "b"], level=level)
    views = engine.split(layer(x), labelled=torch.tensor([[1, 0]] * 4 + [[0, 1]] * 4).bool())
    engine.total({"a": views["a"][:4].sum(), "b": -views["b"][4:].sum()}).backward()
    report = engine.report()
    assert report["cosines"]["a"]["b"] == pytest.approx(-1.0)
    assert report["conflicts"] == 1.0
    assert layer.weight.grad.abs().max() < 1e-6


@pytest.mark.parametrize("level", ["sketch", "trunk", "trunk-lean"])
def test_autograd_adds_runs_hooks_and_takes_inputs_as_ever(level):
    """Whatever stands at a parameter: hooks once, what was there before, gradients asked for by name."""
    net, (x, y) = Net(), data()
    calls = []
    net.trunk[0].weight.register_post_accumulate_grad_hook(lambda p: calls.append(p.grad.clone()))
    engine = Engine(Fixed(a=2.0), list("abc"), level=level)
    engine.total(net.losses(engine.split(net.features(x)), y)).backward()
    once = gradient(net.shared())
    assert len(calls) == 1
    engine.total(net.losses(engine.split(net.features(x)), y)).backward()
    assert_equal(gradient(net.shared()), 2 * once)
    asked = torch.autograd.grad(engine.total(net.losses(engine.split(net.features(x)), y)), net.shared())
    assert_equal(torch.cat([g.flatten() for g in asked]), once)


@pytest.mark.parametrize("way", ["trunk", "sketch of share 1"])
def test_a_checkpointed_trunk(way):
    torch.manual_seed(0)
    assert_exact(Several(checkpointed, a=L(4, 4), b=L(4, 4)).double(), ROWS.double(), way)


@pytest.mark.parametrize("level", ["sketch", "trunk"])
def test_a_compiled_trunk_that_gave_its_buffers_away_is_refused_with_what_works(level):
    net, (x, y) = Net(), data()
    engine = Engine(UPGrad(), list("abc"), level=level)
    compiled = torch.compile(nn.Sequential(net.trunk, net.tail), backend="aot_eager", dynamic=True)
    views = engine.split(compiled(x))
    with pytest.raises(ConfigError, match=r"donated_buffer = False.*'features' or 'last'"):
        engine.total(net.losses(views, y)).backward()


def test_what_cannot_be_walked_node_by_node_is_refused_with_the_levels_that_work():
    def step(features):
        engine = Engine(UPGrad(), ["a", "b"], level="trunk-lean")
        engine.total({t: v.sum() for t, v in engine.split(features).items()}).backward()

    with pytest.raises(ConfigError, match=r"checkpoint cannot be walked .*'trunk' or 'sketch' takes"):
        step(Several(checkpointed, a=L(4, 4), b=L(4, 4))(ROWS))
    with pytest.raises(ConfigError, match=r"compiled, .*'trunk' or 'sketch' takes"):
        step(torch.compile(L(4, 4), backend="aot_eager")(ROWS))


@pytest.mark.parametrize("level", ["sketch", "trunk"])
def test_a_compiled_trunk(level):
    net, (x, y) = Net(), data()
    balancer = Fixed(a=2.0)
    engine = Engine(balancer, list("abc"), level=level)
    with torch._functorch.config.patch(donated_buffer=False):
        features = torch.compile(nn.Sequential(net.trunk, net.tail), backend="aot_eager", dynamic=True)(x)
        engine.total(net.losses(engine.split(features), y)).backward()
    rows = jacobian(net.losses(dict.fromkeys("abc", net.features(x)), y).values(), net.shared())
    assert_equal(balancer.seen, rows @ rows.T)
    assert_equal(gradient(net.shared()), torch.tensor([2.0, 1.0, 1.0], dtype=F64) @ rows)


@pytest.mark.parametrize("level", ["features", "last"])
def test_a_compiled_trunk_at_levels_of_one_pass(level):
    """With PyTorch's own settings: its buffers may be given away."""
    net, (x, y) = Net(), data()
    balancer = Fixed(a=2.0)
    engine = Engine(balancer, list("abc"), level=level, last_shared=[net.tail[1]])
    features = net.tail(torch.compile(net.trunk, backend="aot_eager", dynamic=True)(x))
    engine.total(net.losses(engine.split(features), y)).backward()
    rows = jacobian(net.losses(dict.fromkeys("abc", net.features(x)), y).values(), net.shared())
    assert_equal(gradient(net.shared()), torch.tensor([2.0, 1.0, 1.0], dtype=F64) @ rows)


@pytest.mark.parametrize("level", ["sketch", "trunk", "trunk-lean"])
def test_two_engines_on_one_trunk(level):
    """The first whose comparison runs does not free what the second needs."""
    torch.manual_seed(0)
    trunk, x = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double(), ROWS.double()
    rows = jacobian(losses_of({t: [trunk(x)] for t in "abc"}).values(), list(trunk.parameters()))
    features = trunk(x)
    engines = [Engine(Fixed(**dict(zip("abc", w.tolist()))), list("abc"), level=level) for w in (W, W.flip(0))]
    totals = [engine.total(losses_of({t: [v] for t, v in engine.split(features).items()})) for engine in engines]
    sum(totals).backward()
    assert_equal(gradient(trunk.parameters()), (W + W.flip(0)) @ rows, 1e-10)


def test_transposes_of_matrices_are_seen_through():
    weight = torch.randn(3, 4, requires_grad=True)
    for transposed in (weight.t(), weight.T, weight.mT, weight.transpose(1, 0), weight.permute(-1, 0)):
        assert is_transpose(transposed.grad_fn)
    for other in (weight.permute(0, 1), weight.unsqueeze(0).mT, weight.reshape(4, 3)):
        assert not is_transpose(other.grad_fn)
