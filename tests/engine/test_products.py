"""Inner products piece by piece, against one matrix product."""

import subprocess
import sys

import pytest
import torch
from tests.engine.engine_oracles import F64, assert_equal

from trunkline.balancers import UPGrad
from trunkline.balancers.nash_mtl import nash_mtl_weights
from trunkline.engine import Engine, last, products
from trunkline.engine.products import gram, in_memory_order, side_by_side
from trunkline.gramian import cosines

torch.set_num_threads(1)


@pytest.fixture(params=[1, 100, 2**18])
def room(request, monkeypatch):
    """From one number at a time to everything at once."""
    monkeypatch.setattr(products, "IN_CACHE", request.param)
    return request.param


def drawn(*shape, tasks=4):
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=F64) for _ in range(tasks)]


@pytest.mark.parametrize("shape", [(), (7,), (5, 6), (3, 4, 5, 2), (0, 3)])
def test_gram_is_the_product_of_everything(room, shape):
    tensors = drawn(*shape)
    rows = torch.stack([tensor.flatten() for tensor in tensors])
    assert_equal(gram(tensors, F64), rows @ rows.T)


def test_pieces_are_no_larger_than_the_room_and_miss_nothing():
    tensors = drawn(10, 8)
    pieces = list(side_by_side(tensors, F64, dim=1, room=120))
    assert [tuple(piece.shape) for piece in pieces] == [(4, 10, 3), (4, 10, 3), (4, 10, 2)]
    assert torch.equal(torch.cat(pieces, 2), torch.stack(tensors))
    assert torch.equal(torch.cat(list(side_by_side(tensors, F64, room=1)), 1), torch.stack(tensors))


def test_half_precision_is_multiplied_in_the_precision_asked_for():
    tensors = [tensor.bfloat16() for tensor in drawn(50)]
    rows = torch.stack(tensors).double()
    assert_equal(gram(tensors, F64), rows @ rows.T)


def test_tensors_that_lie_alike_are_read_as_they_lie():
    alike = [t.to(memory_format=torch.channels_last) for t in drawn(2, 3, 4, 5)]
    assert all(t.flatten().data_ptr() == own.data_ptr() for t, own in zip(in_memory_order(alike), alike))
    rows = [t.flatten(1) for t in in_memory_order(alike, keep=1)]
    assert all(row.data_ptr() == own.data_ptr() for row, own in zip(rows, alike))
    assert_equal(torch.stack(rows).square().sum(2), torch.stack(alike).square().sum((2, 3, 4)))


def test_tensors_that_lie_otherwise_are_multiplied_number_by_number():
    straight, turned = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5)
    turned[1] = turned[1].to(memory_format=torch.channels_last)
    turned[2] = turned[2][:1].expand(2, 3, 4, 5)
    straight[2] = turned[2].clone()
    assert_equal(gram(turned, F64), gram(straight, F64))
    first = [t[..., :1].expand(2, 3, 4, 5) for t in straight]
    assert_equal(gram(first, F64), gram([t.clone() for t in first], F64))


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("rows", [3, 50])  # fewer and more than the layer is wide: both ways of taking products
def test_layer_gramian_is_that_of_its_weight_gradients(room, rows, has_bias):
    layer, blank = torch.nn.Linear(9, 6, bias=has_bias), torch.zeros(4, dtype=F64)
    calls, forms = [], torch.zeros(4, 6 * (9 + has_bias), dtype=F64)
    for call, reads in enumerate(([True] * 4, [True, False, True, False], [False, False, True, True])):
        deltas, inputs = [delta.roll(call, 0) for delta in drawn(rows, 6)], drawn(rows, 9, tasks=1)[0] + call
        own = [delta if read else None for delta, read in zip(deltas, reads)]
        calls.append(last.Read.of(layer, inputs, own))
        widened = torch.cat([inputs, torch.ones(rows, int(has_bias), dtype=F64)], 1)
        forms += torch.stack([(delta.T @ widened).flatten() * read for delta, read in zip(deltas, reads)])
    torch.testing.assert_close(last.layer_gramian(calls, layer, blank), forms @ forms.T)
    assert not last.layer_gramian([], layer, blank).any()


@pytest.mark.parametrize("kind", ["positive", "one large", "nearly constant"])
@pytest.mark.parametrize("numbers", [2**14, 2**17])
def test_long_sums_in_float32_are_good_to_what_balancers_take_for_rounding(kind, numbers):
    """Of gradients opposed but for a thousandth: their weights follow from the seventh digit of a cosine."""
    generator = torch.Generator().manual_seed(numbers)
    first = torch.rand(numbers, generator=generator)
    if kind == "one large":
        first[7] = 300.0
    elif kind == "nearly constant":
        first = 1 + 1e-3 * first
    for step in (1e-2, 1e-3, 1e-4):
        noise = first.norm() * torch.nn.functional.normalize(torch.randn(numbers, generator=generator), dim=0)
        rows = torch.stack([first, -first - step * noise])
        gramian, exact = products.gram(list(rows), torch.float32), rows.double() @ rows.double().T
        assert (cosines(gramian) - cosines(exact)).abs().max() < 5e-7
        weights = nash_mtl_weights(gramian.float()).double()
        assert (weights @ exact @ weights).sqrt() <= 2**0.5 * (1 + 1e-5)


def test_a_tap_without_numbers_takes_no_part():
    engine, x = Engine(UPGrad(), ["a", "b"]), torch.ones(3, 2, requires_grad=True)
    views = engine.split([x, x[:, :0]])
    engine.total({task: own[0].mean() + own[1].sum() for task, own in views.items()}).backward()
    assert engine.report()["cosines"]["a"]["b"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("setting", "rounds"),
    [
        ("pass", False),
        ("torch.set_float32_matmul_precision('high')", True),
        ("torch.backends.cuda.matmul.allow_tf32 = True", True),
        ("torch.backends.cuda.matmul.fp32_precision = 'tf32'", True),
        ("torch.backends.fp32_precision = 'tf32'", True),
    ],
)
def test_it_is_known_whether_cuda_rounds_what_it_multiplies(setting, rounds):
    """However the user has said so; PyTorch refuses to answer the old question where the new way was taken."""
    asked = f"import torch; {setting}; from trunkline.engine.products import rounds_factors; print(rounds_factors())"
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(rounds)
