"""The parts in which the weights of a network are gathered, one after the other; see `sharding`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from trunkline.errors import RunError
from trunkline.modalities import Encoder
from trunkline.model import Network
from trunkline.trunks import TrunkModule

T = TypeVar("T")


class Chain:
    """Scalars of nothing, a link for each part that is run or passed by, so that autograd finds all of them.

    Attributes:
        token: the last link.
    """

    def __init__(self, token: Tensor) -> None:
        self.token = token

    def through(self, part: ShardedPart, call: Callable[[], T] | None) -> T:
        """What `call` gives while the weights of this part are there; without it, the part is passed by."""
        said: list[T] = []
        part.is_open = True
        try:
            self.token = part(self.token, (lambda: None) if call is None else lambda: said.append(call()), call is None)
        finally:
            part.is_open = False
        return said[0] if said else cast(T, None)


class Root(nn.Module):
    """All parts, so that PyTorch lets them share what it needs, and gathers the next while one works."""

    def __init__(self, parts: Sequence[ShardedPart]) -> None:
        super().__init__()
        self.parts: Any = nn.ModuleList(parts)

    def forward(self, call: Callable[[], T]) -> T:
        return call()


class ShardedPart(nn.Module):
    """What is gathered at once: a component, or several that have weights in common, or one layer of it.

    It stands outside of the network: PyTorch finds the weights where they are, and its hooks are here.
    """

    def __init__(self, components: Sequence[nn.Module], chain: Chain, layers: Sequence[ShardedPart] = ()) -> None:
        super().__init__()
        self.components = nn.ModuleList(components)
        self.is_layer, self.is_open = False, False
        self.layers = tuple(layers)  # its own parts, which are run one after the other
        self.called: list[ShardedPart] = []
        self.chain = chain
        theirs = {id(p) for layer in layers for p in layer.parameters()}
        places = {
            id(p): (module, name)
            for module in self.components.modules()
            for name, p in module.named_parameters(recurse=False)
            if id(p) not in theirs and _can_be_divided(p)
        }
        self.places = list(places.values())
        self.used = [False] * len(places)

    def parameters_of(self) -> list[nn.Parameter]:
        """As they are now: shares, or whole while it runs."""
        return [cast(nn.Parameter, module._parameters[name]) for module, name in self.places]

    def not_its(self) -> Iterable[nn.Parameter]:
        """What its components hold that is divided elsewhere, or not at all."""
        own = {id(p) for p in self.parameters_of()}
        return [p for p in self.parameters() if id(p) not in own]

    def forward(self, token: Tensor, call: Callable[[], object], is_passed: bool) -> Tensor:
        """The chain's next link: the first node that is made here is the last on the way back, and so on."""
        chain = self.chain
        chain.token = cast(Tensor, First.apply(token, self))
        self.called = []
        if is_passed:
            for layer in self.layers:
                chain.through(layer, None)
        else:
            call()
            if self.called and self.called != list(self.layers):
                raise RunError("training.shard: the layers of a pretrained network do not run one after the other, "
                               "each once; leave training.shard out, or take another encoder")  # fmt: skip
        return chain.token + 0

    def complete(self) -> None:
        """Before gradients are summed over processes: note what was used here; the rest has a gradient of zeros."""
        for number, p in enumerate(self.parameters_of()):
            if p.requires_grad:
                self.used[number] |= p.grad is not None
                if p.grad is None:
                    p.grad = torch.zeros_like(p)


class First(torch.autograd.Function):
    """Nothing, on the way forward; on the way back, the end of a part."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, part: ShardedPart) -> Tensor:
        ctx.part = part
        return token.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ctx.part.complete()
        return gradients[0], None


def parts_of(network: Network, chain: Chain) -> list[ShardedPart]:
    """Layers before what they are in, as PyTorch wants it."""
    found = []
    for group in _groups([*network.encoders, network.fusion, network.trunk, *network.heads, *network.first_heads]):
        layers = [_layer(one, chain) for one in _layers(group)]
        part = ShardedPart(group, chain, layers)
        for layer, module in zip(layers, _layers(group)):
            _route(layer, module, part, chain)
        found += [*layers, part]
    return found


def _layers(group: Sequence[nn.Module]) -> list[nn.Module]:
    (first, *others) = group
    if others or not isinstance(first, Encoder | TrunkModule):
        return []
    return [layer for layer in first.layers_in_turn() if any(map(_can_be_divided, layer.parameters()))]


def _layer(module: nn.Module, chain: Chain) -> ShardedPart:
    part = ShardedPart([module], chain)
    part.is_layer = True
    return part


def _route(layer: ShardedPart, module: nn.Module, whole: ShardedPart, chain: Chain) -> None:
    """Whoever calls this layer calls its part."""
    plain = module.forward

    def forward(*args: Any, **options: Any) -> Any:
        whole.called.append(layer)
        return chain.through(layer, lambda: plain(*args, **options))

    vars(module)["forward"] = forward


def _groups(components: Sequence[nn.Module]) -> list[list[nn.Module]]:
    """Components with weights; those that have some in common together."""
    groups: list[tuple[list[nn.Module], Collection[int]]] = []
    for one in dict.fromkeys(components):
        own = {id(p) for p in one.parameters() if _can_be_divided(p)}
        if not own:
            continue
        related = [group for group in groups if not own.isdisjoint(group[1])]
        merged = [module for modules, _ in related for module in modules] + [one]
        weights = own.union(*(ids for _, ids in related))
        groups = [group for group in groups if group not in related] + [(merged, weights)]
    return [modules for modules, _ in groups]


def _can_be_divided(parameter: Tensor) -> bool:
    """PyTorch divides neither single numbers nor what holds none."""
    return parameter.dim() > 0 and parameter.numel() > 0
