"""Level `last`: gradients compared at the weights of the last shared layers.

Shape legend: `T` tasks, `N` tokens that go through a layer in one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from trunkline.engine.distributed import num_ranks, sum_over_ranks
from trunkline.engine.levels import Comparison, Gradients
from trunkline.engine.products import add_products, nothing_yet, room_on, side_by_side
from trunkline.errors import ConfigError

FORMS = 4  # times more room for forms: the products that make them are slow when narrow


class Call(NamedTuple):
    """One call of a shared layer in a forward pass: its input `[…, in]`, and where its output stands in the graph."""

    layer: nn.Linear
    inputs: Tensor
    output: GradientEdge


class CallRecorder:
    """Writes down the calls of the last shared layers while gradients are recorded."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self.layers = tuple(layers)
        self._calls: list[Call] = []
        for layer in self.layers:
            layer.register_forward_hook(self._write)

    def _write(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        if torch.is_grad_enabled() and output.requires_grad:
            self._calls.append(Call(layer, inputs[0].detach(), get_gradient_edge(output)))

    def take(self) -> list[Call]:
        """The calls since the last time, which are then forgotten: they hold on to the graph."""
        calls, self._calls = self._calls, []
        return calls


class Last(Comparison):
    """Gradients at the weights and biases of the last shared layers, exact. All tasks meet there.

    Task `k`'s gradient at a layer `x ↦ W x + b` is `δₖᵀ a`, with its gradient `δₖ [N, out]` at the layer's output and
    the layer's input `a [N, in]`; a bias has as input a one. `δₖ` takes a backward pass of its own only through what
    lies between the layer and the taps.

    Args:
        layers: the last shared layers.
        calls: their calls in this forward pass.
        taps: where the taps stand in the graph.
    """

    def __init__(self, layers: Sequence[nn.Linear], calls: Sequence[Call], taps: Sequence[Tensor]) -> None:
        self.layers = layers
        self.called = [call.layer for call in calls]
        self.outputs = [call.output for call in calls]
        self.kept = tuple(call.inputs for call in calls)
        self.taps = [get_gradient_edge(tap) for tap in taps]

    def gramian(
        self, gradients: Sequence[Gradients], tasks: Sequence[int], kept: Sequence[Tensor], blank: Tensor
    ) -> Tensor:
        """Linear forms, summed over ranks before products are taken."""
        deltas = [self._at_outputs(task) for task in gradients]
        # A layer may have been called where no task looks, also in a pass before this one.
        read = [c for c in range(len(self.called)) if any(task[c] is not None for task in deltas)]
        if num_ranks() == 1 and not read:
            raise ConfigError("level 'last': nothing that the tasks read depends on the layers given as last_shared")
        gramian, zero = nothing_yet(len(blank), blank), blank.new_zeros(())
        for layer in self.layers:
            own = [c for c in read if self.called[c] is layer]
            inputs = [kept[c].reshape(-1, layer.in_features).to(blank.dtype) for c in own]
            outputs = [_outputs(layer, [task[c] for c in own], inputs, zero) for task in deltas]
            gramian += layer_gramian(outputs, _joined(inputs, layer.in_features, blank), layer.bias is not None)
        return (gramian + gramian.T) / 2

    def _at_outputs(self, gradients: Gradients) -> Gradients:
        """One task's gradients at the layers' outputs."""
        read = [(tap, gradient) for tap, gradient in zip(self.taps, gradients) if gradient is not None]
        if not read or not self.outputs:
            return [None] * len(self.outputs)
        taps, own = zip(*read)
        return torch.autograd.grad(taps, self.outputs, own, retain_graph=True, allow_unused=True)


def layer_gramian(deltas: Sequence[Tensor], inputs: Tensor, has_bias: bool) -> Tensor:
    """`⟨δᵢᵀa, δⱼᵀa⟩ [T, T]` from `T` times `δ [N, out]` and `a [N, in]`, whichever way is cheaper.

    A bias is as one more input that is always one.
    """
    return _from_pairs(deltas, inputs, has_bias) if _has_few_rows(inputs) else _from_forms(deltas, inputs, has_bias)


def _has_few_rows(inputs: Tensor) -> bool:
    """Linear forms are summed over ranks before products are taken, pairs of rows cannot be."""
    return num_ranks() == 1 and inputs.shape[0] < inputs.shape[1]


def _from_pairs(deltas: Sequence[Tensor], inputs: Tensor, has_bias: bool) -> Tensor:
    """`⟨δᵢ, a aᵀ δⱼ⟩`."""
    gramian = nothing_yet(len(deltas), inputs)
    pairs = inputs @ inputs.T + float(has_bias)
    room = room_on(inputs.device) // 4  # of this there are two, and so many rows lie far apart
    for piece in side_by_side(deltas, inputs.dtype, dim=1, room=room):  # [T, N, outs]
        add_products(gramian, piece.flatten(1), (pairs @ piece).flatten(1))
    return gramian


def _from_forms(deltas: Sequence[Tensor], inputs: Tensor, has_bias: bool) -> Tensor:
    """`δᵀa`, for some of the layer's outputs at a time."""
    gramian = nothing_yet(len(deltas), inputs)
    outs = max(1, FORMS * room_on(inputs.device) // (len(deltas) * inputs.shape[1]))  # the same on all ranks
    for pieces in zip(*(delta.split(outs, 1) for delta in deltas)):
        columns = torch.cat(pieces, 1).to(inputs.dtype)  # [N, T · outs]
        forms = [columns.T @ inputs, *([columns.sum(0).unsqueeze(1)] if has_bias else [])]  # [T · outs, in or 1]
        for form in forms:
            flat = sum_over_ranks(form).view(len(deltas), -1) / num_ranks()
            add_products(gramian, flat, flat)
    return gramian


def _outputs(layer: nn.Linear, deltas: Gradients, inputs: Sequence[Tensor], blank: Tensor) -> Tensor:
    """One task's gradients at a layer's outputs over all its calls, `[N, out]`; zeros where it does not read one."""
    width = layer.out_features
    shapes = [(len(rows), width) for rows in inputs]
    rows = [blank.expand(s) if d is None else d.reshape(s) for d, s in zip(deltas, shapes)]
    return _joined(rows, width, blank)


def _joined(rows: Sequence[Tensor], width: int, blank: Tensor) -> Tensor:
    """`[N, width]` of all calls; the usual single call is not copied."""
    return rows[0] if len(rows) == 1 else torch.cat([blank.new_zeros(0, width), *rows])
