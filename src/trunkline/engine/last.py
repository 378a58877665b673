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
from trunkline.errors import ConfigError


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
    the layer's input with a one appended, `a [N, in + 1]`. `δₖ` takes a backward pass of its own only through what
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
        if num_ranks() == 1 and all(delta is None for task in deltas for delta in task):
            raise ConfigError("level 'last': nothing that the tasks read depends on the layers given as last_shared")
        gramian = blank.clone()
        for layer in self.layers:
            own = [c for c, called in enumerate(self.called) if called is layer]
            inputs = _inputs(layer, [kept[c] for c in own], blank)
            lengths = [kept[c].shape[:-1].numel() for c in own]
            outputs = [_outputs(layer, [task[c] for c in own], lengths, blank) for task in deltas]
            gramian += _layer_gramian(torch.stack(outputs), inputs)
        return (gramian + gramian.T) / 2

    def _at_outputs(self, gradients: Gradients) -> Gradients:
        """One task's gradients at the layers' outputs."""
        read = [(tap, gradient) for tap, gradient in zip(self.taps, gradients) if gradient is not None]
        if not read or not self.outputs:
            return [None] * len(self.outputs)
        taps, own = zip(*read)
        return torch.autograd.grad(taps, self.outputs, own, retain_graph=True, allow_unused=True)


def _layer_gramian(deltas: Tensor, inputs: Tensor) -> Tensor:
    """`⟨δᵢᵀa, δⱼᵀa⟩ [T, T]` from `deltas [T, N, out]` and `inputs [N, in]`, whichever way is cheaper."""
    if num_ranks() == 1 and inputs.shape[0] < inputs.shape[1]:
        mixed = inputs @ inputs.T @ deltas  # ⟨δᵢ, a aᵀ δⱼ⟩
        return deltas.flatten(1) @ mixed.flatten(1).T
    # Linear in the rows, so they are summed over ranks before products are taken.
    forms = sum_over_ranks(deltas.transpose(1, 2) @ inputs).flatten(1) / num_ranks()
    return forms @ forms.T


def _inputs(layer: nn.Linear, inputs: Sequence[Tensor], blank: Tensor) -> Tensor:
    """What went into a layer over all its calls, `[N, in]`; with a one appended where the layer has a bias."""
    rows = [i.reshape(-1, layer.in_features).to(blank.dtype) for i in inputs]
    joined = torch.cat([blank.new_zeros(0, layer.in_features), *rows])
    return joined if layer.bias is None else nn.functional.pad(joined, (0, 1), value=1.0)


def _outputs(layer: nn.Linear, deltas: Gradients, lengths: Sequence[int], blank: Tensor) -> Tensor:
    """One task's gradients at a layer's outputs over all its calls, `[N, out]`."""
    width = layer.out_features
    rows = [blank.new_zeros(n, width) if d is None else d.reshape(n, width) for d, n in zip(deltas, lengths)]
    return torch.cat([blank.new_zeros(0, width), *(row.to(blank.dtype) for row in rows)])
