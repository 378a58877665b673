"""One optimiser step: forward, backward, clip, step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from trunkline.engine import Engine, Whole
from trunkline.model import HeadWatch, Network, Watch
from trunkline.training.average import Average
from trunkline.training.faults import Faults
from trunkline.training.optimiser import clip_gradients, make_optimiser, norm_of
from trunkline.training.settings import Settings
from trunkline.types import Batch

if TYPE_CHECKING:
    from trunkline.training.sharding import Sharding


class Part:
    """What goes through the network at a time. No dataclass: Lightning would look into it, and cast what it finds."""

    def __init__(self, batch: Batch, whole: Whole | None) -> None:
        self.batch, self.whole = batch, whole


class Objective(nn.Module):
    """What is differentiated: the balanced total of a part. It holds all that learns, for data parallelism."""

    def __init__(self, network: Network, engine: Engine) -> None:
        super().__init__()
        self.network, self.engine = network, engine

    def forward(self, part: Part) -> Tensor:
        """A scalar."""
        return self.network.training_loss(part.batch, self.engine, part.whole)


class Stepper:
    """Takes steps.

    Args:
        fabric: launched.
        network: moved to its device; or divided among processes, where `settings.shard` says so, a copy of it.
        engine: likewise.
        settings: how.

    Attributes:
        network: the one that learns.
        parameters: what of it this process moves, in the order of the optimiser.
    """

    def __init__(self, fabric: Fabric, network: Network, engine: Engine, settings: Settings) -> None:
        self.fabric, self.engine, self.settings = fabric, engine, settings
        self.sharding = _sharding(fabric, network, engine) if settings.shard else None
        own: Callable[[Tensor], Tensor] = _itself
        if self.sharding is not None:
            network, own = self.sharding.network, self.sharding.own
        self.network = network
        self.optimiser = make_optimiser(network, engine, settings, own)
        if self.sharding is None:
            self.module, self._wrapped = fabric.setup(Objective(network, engine), self.optimiser)
        self.parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        self.faults = Faults(network.preprocessing.tasks, fabric.device)
        self._is_scaled = settings.precision == "16-mixed"  # its scaler leaves steps out by itself, now and then
        self.watch = network.watch = Watch(len(self.faults.tasks), fabric.device, mends=not self._is_scaled)
        self._heads = [(watch, list(map(own, parameters))) for watch, parameters in _watched_heads(network, self.watch)]
        self.waits = fabric.device.type == "cpu"  # whether to look at a number costs nothing
        self.average = None if settings.ema is None else Average(network, settings.ema, own)
        self.lr = 0.0

    def step(self, batches: Sequence[Batch], rate: float) -> None:
        """One step on the rows of all these batches together.

        What is no number takes no part: see `Watch`; where the gradient is none after all, no step is taken.

        Args:
            batches: the parts of the step.
            rate: share of the peak learning rate.
        """
        self.set_rate(rate)
        self.watch.begin()
        self.optimiser.zero_grad()
        numbers = self._random_state() if self.engine.needs_losses_after_step else None
        parts = [batch if self.fabric.device.type == "cpu" else batch.to(self.fabric.device, True) for batch in batches]
        if self.sharding is not None:
            self._backward_sharded(parts, self.sharding)
        elif len(parts) == 1:
            self.fabric.backward(self.module(Part(parts[0], None)))
        else:
            self._backward_in_parts(parts)
        is_lost = self._take()
        self._count(parts, is_lost)
        if self.waits and bool(is_lost) and self.engine.needs_losses_after_step:
            self.engine.after_step(None)
        elif self.engine.waits_for_losses:
            self.network.watch = None  # the balancer is to see a loss that is no number
            whole = self._look(parts, numbers)
            self.network.watch = self.watch
            self.engine.combine_after_step(whole.sums, whole.weights)
        if self.average is not None:
            self.average.update()

    def _take(self) -> Tensor:
        """Clip, and take the step where the gradient is finite. A GPU finds that out by itself; nobody waits for it.

        Returns:
            Whether it was not taken, a bool scalar; steps that a scaler leaves out are not known here.
        """
        clip = self.settings.clip
        if self._is_scaled:
            if clip is not None:
                self.fabric.strategy.precision.unscale_gradients(self.optimiser)
                clip_gradients(self.parameters, clip, norm_of(self.parameters))
            self._wrapped.step()
            return torch.zeros((), dtype=torch.bool, device=self.fabric.device)
        if not self.waits:
            self._mend()
        norm = self._norm()
        if self.waits and not bool(torch.isfinite(norm)):
            self._mend()
            norm = self._norm()
        is_lost = ~torch.isfinite(norm)
        if self.waits and bool(is_lost):
            return is_lost
        if clip is not None:
            clip_gradients(self.parameters, clip, norm)
        if not self.waits:
            vars(self.optimiser)["found_inf"] = is_lost.float()  # the fused step looks at it, as a scaler's
        (self.optimiser if self.sharding is not None else self._wrapped).step()
        return is_lost

    def _norm(self) -> Tensor:
        return norm_of(self.parameters) if self.sharding is None else self.sharding.norm()

    def _mend(self) -> None:
        for watch, parameters in self._heads:
            watch.mend(parameters)

    def _count(self, parts: Sequence[Batch], is_lost: Tensor) -> None:
        """Of all processes alike: what one of them lost, the step lost."""
        counts = torch.tensor([sum(each) for each in zip(*(batch.counts for batch in parts))])
        present = (counts > 0).to(self.fabric.device, non_blocking=True)
        flags = torch.cat([self.watch.now, present, is_lost.reshape(1)]).to(torch.uint8)
        if self.fabric.world_size > 1:
            torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
        lost, present, is_lost = flags.bool().split([len(counts), len(counts), 1])
        self.faults.count(lost, present, is_lost)

    # --- whole, for a checkpoint, and back ---

    def whole_states(self, *, stays: bool) -> tuple[dict[str, Tensor], dict[int, dict[str, Tensor]], dict[str, Tensor]]:
        """Of the network, by name; of the optimiser, by parameter; of the average, by name. To be called by all.

        Args:
            stays: this process wants them; else what others keep is not kept here.
        """
        optimiser = self.optimiser.state_dict()["state"]
        average = {} if self.average is None else self.average.state()
        if self.sharding is None:
            return self.network.state_dict(), optimiser, average
        whole = self.sharding.whole
        found: dict[int, dict[str, Tensor]] = {}
        for number, own in enumerate(self.parameters):
            for name, value in optimiser.get(number, {}).items():
                one = whole(value, own)
                if stays:
                    found.setdefault(number, {})[name] = one.to("cpu", copy=True)
        named = {} if self.average is None else dict(zip(self.average.names, self.average.parameters))
        averages = {name: whole(value, named[name]).to("cpu") for name, value in average.items()}
        return self.sharding.weights(everywhere=False), found, averages if stays else {}

    def load_network(self, weights: dict[str, Tensor]) -> None:
        """From whole weights.

        Raises:
            RuntimeError: they are of another network.
        """
        if self.sharding is None:
            self.network.load_state_dict(weights)
        else:
            self.sharding.load(weights)

    def shares(self, number: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of what the optimiser keeps of a parameter."""
        if self.sharding is None:
            return state
        return {name: self.sharding.share(value, self.parameters[number]) for name, value in state.items()}

    def average_shares(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of the average."""
        if self.sharding is None or self.average is None:
            return state
        named = zip(self.average.names, self.average.parameters)
        return {name: self.sharding.share(state[name], own) for name, own in named}

    def set_rate(self, rate: float) -> None:
        """Of the step that comes: this share of the peak learning rate, of each group its own."""
        self.lr = self.settings.lr * rate
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr * group["lr_factor"]

    def _backward_in_parts(self, parts: Sequence[Batch]) -> None:
        whole = self._look(parts)
        for number, batch in enumerate(parts):
            is_last = number == len(parts) - 1
            with self.fabric.no_backward_sync(self.module, enabled=self.fabric.world_size > 1 and not is_last):
                self.fabric.backward(self.module(Part(batch, whole)))

    def _backward_sharded(self, parts: Sequence[Batch], sharding: Sharding) -> None:
        """Gradients are summed over processes part by part: whole ones would have to be kept."""
        whole = None if len(parts) == 1 else self._look(parts)
        sharding.begin()
        for batch in parts:
            with self.fabric.autocast():
                total = sharding.total(partial(self.network.training_loss, batch, self.engine, whole))
            self.fabric.backward(total)
        sharding.finish()

    def _look(self, parts: Sequence[Batch], numbers: Sequence[Tensor] | None = None) -> Whole:
        """What is known of the step whose parts these are, with its losses; see `losses`."""
        sums, weights = self.losses(parts, numbers)
        counts = [sum(each) for each in zip(*(batch.counts for batch in parts))]
        return Whole(counts, sum(batch.size for batch in parts), len(parts), sums, weights)

    def losses(self, parts: Sequence[Batch], numbers: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """`(sum [T], weight [T])` of the tasks' losses, without gradients: one pass more, that leaves no trace.

        Args:
            parts: of the step.
            numbers: the random state to begin with; the present one by default. With that from before the step, dropout
                is the same.
        """
        with torch.no_grad(), self.fabric.autocast(), self.undisturbed():
            if numbers is not None:
                self._set_random_state(numbers)
            found = [self.network.losses(batch, self.network.share(batch)) for batch in parts]
        sums, weights = (torch.stack(each).sum(0) for each in zip(*found))
        return sums, weights

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Passes in here move no random number and no running statistic."""
        statistics = [(buffer, buffer.clone()) for buffer in self.network.buffers()]
        try:
            with torch.random.fork_rng(self._cuda):
                yield
        finally:
            for buffer, before in statistics:
                buffer.copy_(before)

    @property
    def _cuda(self) -> list[torch.device]:
        return [self.fabric.device] if self.fabric.device.type == "cuda" else []

    def _random_state(self) -> list[Tensor]:
        return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in self._cuda)]

    def _set_random_state(self, numbers: Sequence[Tensor]) -> None:
        torch.set_rng_state(numbers[0])
        for device, state in zip(self._cuda, numbers[1:], strict=True):
            torch.cuda.set_rng_state(state, device)


def _itself(parameter: Tensor) -> Tensor:
    return parameter


def _sharding(fabric: Fabric, network: Network, engine: Engine) -> Sharding:
    from trunkline.training.sharding import Sharding  # takes a second to import

    return Sharding(fabric, network, engine)


def _watched_heads(network: Network, watch: Watch) -> list[tuple[HeadWatch, list[nn.Parameter]]]:
    """The parameters of each head, with whoever notes what they lose."""
    own = [HeadWatch(watch, network.preprocessing.places(unit.tasks)) for unit in network.preprocessing.heads]
    heads = (*zip(own, network.heads), *zip(own, network.first_heads))
    return [(one, list(head.parameters())) for one, head in heads]
