"""A network that is divided among the processes of a run: weights, gradients, and what the optimiser keeps of them.

PyTorch's FSDP2 (`fully_shard`; Zhao et al., "PyTorch FSDP: experiences on scaling fully sharded data parallel", VLDB
2023) gathers the weights of a part before it runs, frees them after, and once more in the backward pass, where it sums
gradients over processes and leaves to each its share. All of that is collective: a part that one process leaves out,
since none of its rows has that input or label, would leave the others waiting. So a process goes by a part that it does
not run, with the same collectives, and a chain of scalars, one link a part, is what autograd passes on the way back:
it runs nodes in the reverse order of their making, so the order of parts is the same everywhere.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

from trunkline.engine import Engine
from trunkline.model import Holder, Network
from trunkline.training.sharded_parts import Chain, Root, parts_of

T = TypeVar("T")
HELD: list[int] = []  # processes of the groups that PyTorch goes on to hold for networks that were divided


class Sharding(Holder):
    """Divides a copy of a network, and steps with it.

    Where AdamW, clipping and the average of the weights work on numbers one by one, they work on each process's share
    (`own`), as on any tensors. What belongs to no part (learned tokens, what a balancer learns) is whole in each.

    Args:
        fabric: launched, with several processes.
        network: as it was built, on the host; its weights are set aside until `give_back`.
        engine: balances.

    Attributes:
        network: the one that learns.
    """

    def __init__(self, fabric: Fabric, network: Network, engine: Engine) -> None:
        self.fabric, self.plain, self.engine = fabric, network, engine
        HELD.append(fabric.world_size)
        for tensor in [*network.parameters(), *network.buffers(), *engine.parameters(), *engine.buffers()]:
            self._broadcast(tensor.data)
        self.network = _twin(network)
        self.chain = Chain(torch.zeros((), device=fabric.device))
        self.root = Root(parts_of(self.network, self.chain))
        mesh = init_device_mesh(fabric.device.type, (fabric.world_size,))
        for part in self.root.parts:
            fully_shard(
                part,
                mesh=mesh,
                reshard_after_forward=True,
                ignored_params=cast(Any, set(part.not_its())),
            )
        fully_shard(self.root, mesh=mesh)
        self.network.to(fabric.device)
        engine.to(fabric.device)
        self.parts = {id(one): part for part in self.root.parts for one in part.components}
        self._start()
        self.network.holder = self
        self.network.in_lots = False  # all processes go through the trunk as often

    def _start(self) -> None:
        """Go through all once, so that PyTorch makes its buffers; note which tensor is whose share."""
        with torch.no_grad():
            self.root(lambda: [self.chain.through(part, None) for part in self.root.parts if not part.is_layer])
            self.shares = {id(p): p.to_local() for part in self.root.parts for p in part.parameters_of()}
        self.whole_of = {id(self.shares[id(p)]): p for part in self.root.parts for p in part.parameters_of()}
        learned = [*self.network.parameters(), *self.engine.parameters()]
        self.rest = [p for p in learned if id(p) not in self.shares and p.requires_grad]
        self.set_aside()

    # --- in the network ---

    def use(self, component: nn.Module, call: Callable[[], T]) -> T:
        part = self.parts.get(id(component))
        return call() if part is None or part.is_open else self.chain.through(part, call)

    def pass_by(self, *components: nn.Module) -> None:
        for component in components:
            if (part := self.parts.get(id(component))) is not None:
                self.chain.through(part, None)

    # --- a step ---

    def begin(self) -> None:
        """Of a step, before its forward pass: nothing has a gradient, running statistics are the first process's."""
        for part in self.root.parts:
            part.used = [False] * len(part.places)
            for p in part.parameters_of():
                p.grad = None
        for p in [*self.shares.values(), *self.rest]:
            p.grad = None
        buffers = [*self.network.buffers(), *self.engine.buffers()]
        for kind in sorted({str(b.dtype) for b in buffers}):
            alike = [b for b in buffers if str(b.dtype) == kind and b.numel() > 0]
            if alike:
                together = torch.cat([b.detach().flatten() for b in alike])
                dist.broadcast(together, 0)
                for buffer, value in zip(alike, together.split([b.numel() for b in alike])):
                    buffer.copy_(value.view_as(buffer))

    def total(self, call: Callable[[], Tensor]) -> Tensor:
        """What `call` gives, a scalar to differentiate; its backward pass goes through every part."""
        self.chain.token = torch.zeros((), device=self.fabric.device, requires_grad=True)
        total: Tensor = self.root(lambda: self._chained(call()))
        self.chain.token = torch.zeros((), device=self.fabric.device)
        return total

    def _chained(self, total: Tensor) -> Tensor:
        return total + self.chain.token.to(total)

    @torch.no_grad()
    def finish(self) -> None:
        """After the backward passes: each share has its gradient, the mean over processes, and what no process has used
        has none.
        """
        parts = list(self.root.parts)
        flags = [used for part in parts for used in part.used] + [p.grad is not None for p in self.rest]
        used = torch.tensor(flags, dtype=torch.uint8, device=self.fabric.device)
        dist.all_reduce(used, dist.ReduceOp.MAX)
        are_used = iter(used.tolist())
        for part in parts:
            for p in part.parameters_of():
                is_used, gradient = next(are_used), cast(DTensor | None, p.grad)
                self.shares[id(p)].grad = gradient.to_local() if is_used and gradient is not None else None
        some = [p for p in self.rest if next(are_used)]
        if some:
            together = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten().float() for p in some])
            dist.all_reduce(together)
            together /= self.fabric.world_size
            for p, gradient in zip(some, together.split([p.numel() for p in some])):
                p.grad = gradient.view_as(p).to(p)

    def norm(self) -> Tensor:
        """Of the whole gradient, a scalar; the same in all processes."""
        divided = get_total_norm([share.grad for share in self.shares.values() if share.grad is not None])
        square = divided.to(self.fabric.device, torch.float64).square()
        dist.all_reduce(square)
        whole = get_total_norm([p.grad for p in self.rest if p.grad is not None]).to(square)
        return (square + whole.square()).sqrt().float()

    # --- shares and wholes ---

    def own(self, parameter: Tensor) -> Tensor:
        """Of a parameter of the network what this process keeps, in memory that the network reads."""
        return self.shares.get(id(parameter), parameter)

    def whole(self, value: Tensor, own: Tensor) -> Tensor:
        """What all processes keep of something that lies beside a parameter; to be called by all of them.

        Args:
            value: what this one keeps.
            own: of the parameter.
        """
        like = self.whole_of.get(id(own))
        if like is None or value.shape != own.shape:
            return value
        place = {"run_check": False, "shape": like.shape, "stride": like.stride()}
        return DTensor.from_local(value.contiguous(), like.device_mesh, like.placements, **place).full_tensor()

    def share(self, value: Tensor, own: Tensor) -> Tensor:
        """The other way: this process's share of a whole."""
        like = self.whole_of.get(id(own))
        if like is None or value.shape != like.shape or value.dim() == 0:
            return value
        shares = value.chunk(self.fabric.world_size)
        rank = self.fabric.global_rank
        return shares[rank] if rank < len(shares) else value[:0]

    @torch.no_grad()
    def weights(self, *, everywhere: bool) -> dict[str, Tensor]:
        """All weights and buffers by name, on the host; to be called by all, and empty but in the first, if not
        `everywhere`.
        """
        found = {}
        for name, value in self.network.state_dict().items():
            whole = value.full_tensor() if isinstance(value, DTensor) else value
            if everywhere or self.fabric.global_rank == 0:
                found[name] = whole.to("cpu", copy=True)
        return found

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor]) -> None:
        """Take shares of whole weights.

        Raises:
            RuntimeError: they are of another network.
        """
        there = self.network.state_dict()
        if there.keys() != weights.keys() or any(there[name].shape != weights[name].shape for name in there):
            raise RuntimeError("its weights are of another network")
        own = self.network.state_dict(keep_vars=True)
        for name, value in weights.items():
            share = self.own(own[name])
            share.copy_(self.share(value, share))

    def give_back(self, *, everywhere: bool = True) -> Network:
        """The network as it was built, with the weights of now; to be called by all.

        Args:
            everywhere: else in the first process alone.
        """
        own = self.plain.state_dict(keep_vars=True)
        for name, value in self.weights(everywhere=everywhere).items():
            if isinstance(own[name], nn.Parameter):
                own[name].data = value
            else:
                own[name].copy_(value)
        return self.plain

    def set_aside(self) -> None:
        """The network as it was built takes no memory for its weights."""
        for p in self.plain.parameters():
            p.data = p.data.new_empty(0)

    def _broadcast(self, value: Tensor) -> None:
        there = value.to(self.fabric.device)
        dist.broadcast(there, 0)
        value.copy_(there)


def _twin(network: Network) -> Network:
    """A copy of all but the weights themselves, which both hold."""
    memo: dict[int, Any] = {id(p): nn.Parameter(p.data, p.requires_grad) for p in network.parameters()}
    memo[id(network.preprocessing)] = network.preprocessing
    return copy.deepcopy(network, memo)
