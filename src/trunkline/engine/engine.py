"""The engine: from the tasks' losses to one update of what they share.

Shape legend: `T'` tasks present in a step, `B` rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

import torch
from torch import Tensor, nn

from trunkline.balancers import Balancer, GramianBalancer, LossBalancer, numbers_like
from trunkline.engine.boundary import Crossing, cross
from trunkline.engine.direct import Given, balanced_tensors, pass_once
from trunkline.engine.distributed import num_ranks
from trunkline.engine.last import CallRecorder
from trunkline.engine.learning import Learning, Steps
from trunkline.engine.levels import Level
from trunkline.engine.refusals import check_real
from trunkline.engine.report import Record
from trunkline.engine.reuse import Reuse
from trunkline.engine.settings import (
    checked_direct,
    checked_every,
    checked_level,
    checked_rates,
    mean_one,
)
from trunkline.engine.sketch import Sketch
from trunkline.engine.step import Step, Whole, as_sums, check_scalars
from trunkline.engine.verdict import Verdict
from trunkline.engine.weighing import Weighing
from trunkline.errors import ConfigError, check_names


class Engine(nn.Module):
    """Combines the tasks of a step as a balancer says.

    With a loss balancer the total is differentiated as it stands. With a Gramian balancer a boundary between the
    shared part and the heads scales each task's gradient by its weight during the one ordinary backward pass: the
    shared part gets `Σ wₖ gₖ`, each head its own task's plain gradient.

    Args:
        balancer: what decides.
        tasks: every task's name; their order is the order of all counts.
        level: where gradients are compared: `losses` (not at all), `features` (at the boundary: sees only rows that
            two tasks share), `last` (at the weights of `last_shared`: sees all pairs), `sketch` (at all that is shared,
            estimated), `trunk` (the same, exactly) or `trunk-lean` (with less memory and one pass more). By default
            where the balancer's paper compares them, if it says so and the engine can, or the cheapest that works.
        preferences: weights by task that multiply the balancer's, scaled to mean 1. A task left out counts 1.
        rates: share of rows that carry a label, for the tasks whose losses are divided by the label weight expected
            in a step instead of the step's own (see `expected_rates`).
        last_shared: the last shared layers, for level `last`.
        shared: parameters among which are all that the tasks share, in the same order on all ranks: for the levels
            `sketch`, `trunk` and `trunk-lean` with several processes. One process finds them by itself.
        sketch: how gradients are estimated, for level `sketch`.
        every: steps that the weights of one comparison serve, while the same tasks take part. Steps between cost no
            more than with equal weights. Of a step in parts with the same tasks all are compared, or none.

    Raises:
        ConfigError: the parts do not fit.

    Example:
        >>> from trunkline.balancers import UPGrad
        >>> trunk, heads = nn.Linear(3, 4), {"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)}
        >>> engine = Engine(UPGrad(), ["a", "b"])
        >>> views = engine.split(trunk(torch.randn(8, 3)))
        >>> engine.total({task: head(views[task]).square().mean() for task, head in heads.items()}).backward()
        >>> list(engine.report()["weights"])
        ['a', 'b']
    """

    def __init__(
        self,
        balancer: Balancer,
        tasks: Sequence[str],
        *,
        level: Level | None = None,
        preferences: Mapping[str, float] | None = None,
        rates: Mapping[str, float] | None = None,
        last_shared: Sequence[nn.Linear] = (),
        shared: Iterable[Tensor] = (),
        sketch: Sketch | None = None,
        every: int = 1,
    ) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.level = checked_level(level, balancer, last_shared)
        self.preferences = mean_one(preferences or {}, self.tasks)
        self.rates = checked_rates(rates or {}, self.tasks)
        self.balancer = balancer
        self.balancer.start(self.tasks)
        self._steps = Steps()
        self._learning = Learning(balancer, self._steps) if isinstance(balancer, LossBalancer) else None
        self.sketch = (sketch or Sketch()) if self.level == "sketch" else None
        self.reuse = Reuse(every, self._steps) if checked_every(every, self.level) > 1 else None
        self._recorder = CallRecorder(last_shared if self.level == "last" else ())
        held = self._recorder, tuple(shared), self.sketch, self.reuse
        self._weighing: Weighing | None = None
        if isinstance(balancer, GramianBalancer):
            self._weighing = Weighing(balancer, self.preferences, self._steps, self.level, *held)
        self._step: Step | None = None
        self._anchor: Tensor | None = None
        self._record: Record | None = None
        self._pending: Record | None = None  # of a forward pass that has no losses yet

    def expect_steps(self, steps: int) -> None:
        """Tell the balancer how many steps there will be, before the first one: some plan by it (STCH's warm-up)."""
        if isinstance(self.balancer, LossBalancer):
            self.balancer.expect_steps(steps)

    def begin(
        self, counts: Mapping[str, int] | Sequence[int], size: int, whole: Whole | None = None
    ) -> tuple[str, ...]:
        """Start a step, before its forward pass, and agree with all ranks on the tasks that are present in it.

        Args:
            counts: labelled rows of each task on this rank, by name or in task order.
            size: rows on this rank.
            whole: of a step in parts, each with passes of its own: what is known of all. A loss balancer's gradients
                then add up to those of one pass; a Gramian balancer weighs each part's, and learns once a step.

        Returns:
            The tasks with a labelled row on any rank, in task order.
        """
        if isinstance(counts, Mapping):
            check_names(counts, self.tasks)
            counts = [counts.get(task, 0) for task in self.tasks]
        self._recorder.take()
        self._anchor = self._record = self._pending = None
        self._steps.begin(whole)
        self._step = Step.of(self.tasks, counts, size, whole)
        return self._step.present

    @overload
    def split(
        self, taps: Tensor, present: Sequence[str] | None = None, labelled: Tensor | None = None
    ) -> dict[str, Tensor]: ...

    @overload
    def split(
        self, taps: Sequence[Tensor], present: Sequence[str] | None = None, labelled: Tensor | None = None
    ) -> dict[str, tuple[Tensor, ...]]: ...

    def split(
        self, taps: Tensor | Sequence[Tensor], present: Sequence[str] | None = None, labelled: Tensor | None = None
    ) -> dict[str, Tensor] | dict[str, tuple[Tensor, ...]]:
        """The boundary: a copy of every tap for each task. A loss balancer's tasks get the taps themselves.

        Once a step; everything the tasks share must lie before it.

        Args:
            taps: every tensor through which the tasks read the shared part, of any shape with rows first; or one
                tensor alone.
            present: whose copies are wanted, as `begin` returned them; by default all tasks (one that turns out to
                have no loss takes no part).
            labelled: `[B, T']` bool in the order of `present`, which row has a label for which task; by default
                seen from the gradients.

        Returns:
            By task, as many tensors as went in.
        """
        tasks = self.tasks if present is None else tuple(present)
        check_names(tasks, self.tasks)
        if isinstance(taps, Tensor):
            return {task: copies[0] for task, copies in self._split((taps,), tasks, labelled).items()}
        return self._split(tuple(taps), tasks, labelled)

    def combine(self, sums: Tensor, weights: Tensor, present: Sequence[str]) -> Tensor:
        """One total to call `.backward()` on.

        Under torch.distributed every rank's gradients, averaged over ranks, are those of one process with all rows.
        A task whose weight is 0 on all ranks takes no part. Without any task the total is a zero that moves nothing.

        Args:
            sums: `[T']`, each task's summed loss over what is labelled on this rank; 0 where nothing is.
            weights: `[T']`, how much is labelled (rows, words, pixels, as the task counts); 0 where nothing is.
            present: names, in the order of both: what `begin` returned.

        Raises:
            ValueError: `begin` was not called for this step, or said otherwise.
        """
        step, self._step = self._step, None
        if step is None or step.present != tuple(present):
            raise ValueError(f"combine() got tasks {tuple(present)}; begin() said {step and step.present}")
        losses, weighs = step.losses(sums, weights, self.rates)
        record, self._pending = self._pending or Record(), None
        record.tasks, record.losses, record.weighs = step.present, losses.detach(), weighs
        record.parts, record.here = step.parts, step.here
        record.weighs_here = weighs if step.parts == 1 or self._weighing is None else step.weighs_here(weights)
        self._record = record
        total = self._total(losses, record, step)
        total = total if step.parts == 1 else total / step.parts  # the mean over parts, as over ranks
        anchor, self._anchor = self._anchor, None
        return total if anchor is None else total + anchor.to(total)

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """One total to call `.backward()` on, from mean losses: the plain way to `combine`.

        Args:
            losses: by task, scalars. A task with nothing labelled has no key.

        Raises:
            ValueError: a task is unknown, none has a loss, a loss is not a scalar, or `begin` is missing though some
                task is divided by its expected weight.
        """
        check_scalars(losses, self.tasks)
        if self._step is None:
            if self.rates:
                raise ValueError("rates are given, so begin(counts, size) must be called before each step")
            self._step = Step.agreed(self.tasks, [int(task in losses) for task in self.tasks], 1)
            self._steps.begin(None)
        present = self._step.present
        if not present:
            raise ValueError("no task has a loss in this step")
        nothing = torch.zeros(()) if self._anchor is None else self._anchor.detach()
        return self.combine(*as_sums(losses, present, nothing), present)

    @property
    def needs_losses_after_step(self) -> bool:
        """Whether the balancer looks at the losses again: `combine_after_step` or `after_step` must be called."""
        return self._learning is not None and self._learning.balancer.needs_losses_after_step

    @property
    def waits_for_losses(self) -> bool:
        """Whether it looks at the losses of the last step again; not if that showed it nothing."""
        return self._learning is not None and self._learning.waits

    def combine_after_step(self, sums: Tensor, weights: Tensor) -> None:
        """Show the balancer the losses of the same rows after the optimiser's step (see `needs_losses_after_step`).

        Args:
            sums: `[T]`, every task's summed loss on this rank, in all parts of the step.
            weights: `[T]`, how much is labelled.

        Raises:
            ValueError: no step waits for it, or a task of the step is missing.
        """
        if self._learning is None:
            raise ValueError(f"{type(self.balancer).__name__} reads gradients, not losses after a step")
        self._learning.after_step(sums, weights, self.tasks, self.rates)

    def after_step(self, losses: Mapping[str, Tensor] | None) -> None:
        """The plain way to `combine_after_step`, from mean losses by task; `None` if the step was not taken after all.

        Raises:
            ValueError: a task is unknown or missing, or no step waits for it.
        """
        if losses is None:
            if self._learning is not None:
                self._learning.forget()
            return
        check_names(losses, self.tasks)
        nothing = torch.zeros((), device=next((loss.device for loss in losses.values()), None))
        self.combine_after_step(*as_sums({t: loss.detach() for t, loss in losses.items()}, self.tasks, nothing))

    def backward(
        self,
        losses: Mapping[str, Tensor] | Sequence[Tensor],
        *,
        features: Tensor | Sequence[Tensor] | None = None,
        shared: Iterable[Tensor] | None = None,
    ) -> None:
        """Instead of `split` and `total`: one call on losses that stand, in a loop of one process.

        What is shared gets `Σ wₖ gₖ` added to its `.grad`, everything else its plain gradient; hooks on parameters
        do not run. Give one of both. From `features` the losses' own parts are passed once, and the shared part as the
        level wants; with `shared` every task's pass goes down to these parameters, as level `trunk` wants it.

        Args:
            losses: by task, or in task order; scalars. A task with nothing labelled has no key.
            features: through which alone the losses depend on what is shared, with rows first.
            shared: parameters that are balanced.

        Raises:
            ConfigError: it cannot be done at this level, or in several processes.
        """
        if self._pending is not None:
            raise ConfigError("backward(): these losses went through `split`, which balances in `total(…).backward()`")
        named = dict(losses) if isinstance(losses, Mapping) else dict(zip(self.tasks, losses, strict=True))
        total = self.total(named)
        if self._weighing is None:
            total.backward()
            return
        at = balanced_tensors(features, shared)
        checked_direct(self.level, self.rates, features is None, at)
        comparison = Given(at) if features is None else self._weighing.comparison(at, None)
        assert self._record is not None
        pass_once(named, at, comparison, self._weighing.of(comparison, at, self._record))

    def report(self) -> dict[str, Any]:
        """What the last step did, for the log: to be called after `backward`. Only this waits for the device.

        Returns:
            `level`; `losses` and `weights` by task; `norms` of the gradients that were compared; `cosines` by task
            and task, `None` for a pair that cannot be compared at this level; `conflicts`, the share of the known pairs
            with a negative cosine. The last three are `None` for a loss balancer, a weight is `None` where the task has
            no gradient in the shared part, loss and weight where its labels weigh nothing. Between the comparisons of
            `every`, norms, cosines and conflicts are those of the last one. Empty before the first step.
        """
        return {} if self._record is None else {"level": self.level, **self._record.describe()}

    def extra_repr(self) -> str:
        """Shown in the model's print-out."""
        return f"tasks={list(self.tasks)}, level={self.level!r}"

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        if self._learning is not None:  # what is loaded lies between steps
            self._learning.forget()

    def _split(
        self, taps: tuple[Tensor, ...], tasks: tuple[str, ...], labelled: Tensor | None
    ) -> dict[str, tuple[Tensor, ...]]:
        # What depends on no shared parameter needs no boundary, and must not count in the Gramian.
        shared = [tap for tap in taps if tap.requires_grad] if torch.is_grad_enabled() else []
        is_whole = num_ranks() == 1 and (self._step is None or self._step.parts == 1)
        if not shared or (self._weighing is None and is_whole):
            return dict.fromkeys(tasks, taps)
        if (
            self._weighing is None
        ):  # of a step's rows those here may have no label: the total has a gradient all the same
            self._anchor, _ = cross(Crossing((), lambda gradients, kept, factor: Verdict({})), shared)
            return dict.fromkeys(tasks, taps)
        check_real(shared)
        comparison = self._weighing.comparison(shared, labelled)
        self._pending = Record()
        weigh = self._weighing.of(comparison, shared, self._pending)
        crossed = [tap.detach() for tap in shared] if comparison.leaves else shared
        self._anchor, copies = cross(Crossing(tasks, weigh, comparison.kept, comparison.leaves), crossed)
        own = {task: iter(its) for task, its in copies.items()}
        return {task: tuple(next(own[task]) if tap.requires_grad else tap for tap in taps) for task in tasks}

    def _total(self, losses: Tensor, record: Record, step: Step) -> Tensor:
        if not record.tasks:  # a leaf: `backward` takes it and reaches nobody
            if self._learning is not None:
                self._learning.show_nothing(step)
            return losses.new_zeros((), requires_grad=torch.is_grad_enabled())
        if self._learning is None:
            return losses.sum()  # the weights act at the boundary
        preferences = numbers_like(self._preferences_of(record.tasks), losses)
        terms, weights = self._learning.terms(losses, record.weighs, step)
        record.weights = weights * preferences
        # Selected, not multiplied: what a balancer makes of a zero may be infinite.
        return torch.where(record.weighs, terms * preferences, torch.zeros_like(terms)).sum()

    def _preferences_of(self, tasks: Sequence[str]) -> list[float]:
        return [self.preferences[task] for task in tasks]
