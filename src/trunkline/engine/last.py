"""Level `last`: gradients compared at the weights of the last shared layers.

Shape legend: `T` tasks, `N` tokens that go through a layer in one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from trunkline.balancers import index_like
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
        gramian = nothing_yet(len(blank), blank)
        for layer in self.layers:
            own = [
                Read.of(layer, kept[c].to(blank.dtype), [task[c] for task in deltas])
                for c in read
                if self.called[c] is layer
            ]
            gramian += layer_gramian(own, layer, blank)
        return (gramian + gramian.T) / 2

    def _at_outputs(self, gradients: Gradients) -> Gradients:
        """One task's gradients at the layers' outputs."""
        read = [(tap, gradient) for tap, gradient in zip(self.taps, gradients) if gradient is not None]
        if not read or not self.outputs:
            return [None] * len(self.outputs)
        taps, own = zip(*read)
        return torch.autograd.grad(taps, self.outputs, own, retain_graph=True, allow_unused=True)


class Read(NamedTuple):
    """One call of a layer as the tasks' gradients see it.

    Attributes:
        inputs: `[N, in]`.
        readers: tasks that read what was said.
        deltas: their gradients at the output, `[N, out]` each.
    """

    inputs: Tensor
    readers: list[int]
    deltas: list[Tensor]

    @classmethod
    def of(cls, layer: nn.Linear, inputs: Tensor, deltas: Gradients) -> Read:
        """Of inputs and gradients of any shape; `None` where a task does not read what was said."""
        own = {k: delta.reshape(-1, layer.out_features) for k, delta in enumerate(deltas) if delta is not None}
        return cls(inputs.reshape(-1, layer.in_features), list(own), list(own.values()))

    def spread(self, like: Tensor) -> Tensor:
        """Every task's gradient, zeros where it reads nothing: `[T, N, out]` for a `like` of `[T]`."""
        spread = like.new_zeros(len(like), len(self.inputs), self.deltas[0].shape[1])
        return spread.index_copy(0, index_like(self.readers, like), torch.stack(self.deltas).to(like.dtype))


def layer_gramian(calls: Sequence[Read], layer: nn.Linear, blank: Tensor) -> Tensor:
    """`⟨δᵢᵀa, δⱼᵀa⟩ [T, T]` over all calls of a layer, whichever way is cheaper.

    A bias is as one more input that is always one.

    Args:
        calls: of the layer, which may be none.
        layer: the layer.
        blank: `[T]`, in the precision that is wanted.
    """
    return _from_pairs(calls, layer, blank) if _has_few_rows(calls, layer) else _from_forms(calls, layer, blank)


def _has_few_rows(calls: Sequence[Read], layer: nn.Linear) -> bool:
    """Linear forms are summed over ranks before products are taken, pairs of rows cannot be."""
    return num_ranks() == 1 and sum(len(call.inputs) for call in calls) < layer.in_features


def _from_pairs(calls: Sequence[Read], layer: nn.Linear, blank: Tensor) -> Tensor:
    """`⟨δᵢ, a aᵀ δⱼ⟩`, rows of all calls below each other."""
    gramian = nothing_yet(len(blank), blank)
    if not calls:
        return gramian
    inputs = torch.cat([call.inputs for call in calls])
    deltas = torch.cat([call.spread(blank) for call in calls], 1)  # [T, N, out]
    pairs = inputs @ inputs.T + float(layer.bias is not None)
    room = room_on(inputs.device) // 4  # of this there are two, and so many rows lie far apart
    for piece in side_by_side(deltas.unbind(), inputs.dtype, dim=1, room=room):  # [T, N, outs]
        add_products(gramian, piece.flatten(1), (pairs @ piece).flatten(1))
    return gramian


def _from_forms(calls: Sequence[Read], layer: nn.Linear, blank: Tensor) -> Tensor:
    """`δᵀa` summed over the calls that each task reads, for some of the layer's outputs at a time."""
    gramian = nothing_yet(len(blank), blank)
    outs = max(1, FORMS * room_on(blank.device) // (len(blank) * layer.in_features))  # the same on all ranks
    for start in range(0, layer.out_features, outs):
        stop = min(start + outs, layer.out_features)
        forms = blank.new_zeros(len(blank), (stop - start) * layer.in_features)
        sums = blank.new_zeros(len(blank), stop - start)
        for call in calls:
            own = [delta[:, start:stop] for delta in call.deltas]
            columns = torch.cat(own, 1).to(blank.dtype)  # [N, readers · outs]
            readers = index_like(call.readers, blank)
            forms.index_add_(0, readers, (columns.T @ call.inputs).view(len(readers), -1))
            sums.index_add_(0, readers, columns.sum(0).view(len(readers), -1))
        for form in (forms, sums) if layer.bias is not None else (forms,):
            flat = sum_over_ranks(form) / num_ranks()
            add_products(gramian, flat, flat)
    return gramian
