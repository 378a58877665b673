"""What is no number takes no part in its step: losses and gradients of one task that are infinite or undefined.

Shape legend: `T` tasks of the network, `G` of a head, `V` views (1 or `G`), `n` rows, `D` width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from trunkline.balancers import index_like
from trunkline.tasks import Head
from trunkline.types import Tokens

View = TypeVar("View", Tensor, Tokens)


class Watch:
    """Keeps one task's infinite loss or gradient from all others, and notes whose it was; nothing waits for the device.

    A loss that is not finite becomes 0 and weighs nothing, as that of a task without a label; of a step in parts, or
    over several processes, in that part. What its labels send back is then 0 times infinity: it is 0 where it enters
    the head's output, so that the other tasks of a stack learn as ever. What a head itself makes infinite on its way
    back is 0 in the rows of its view that have it; the gradients of its own parameters are mended after the backward
    pass (`HeadWatch.mend`).

    Args:
        tasks: `T`.
        device: of the network.
        mends: all gradients, not those of lost losses alone. A scaler that tries how large they may be must see them.

    Attributes:
        now: tasks that lost something in this step, `[T]` bool, on the device of the network.
        without_loss: those among them whose loss it was, `[T]`.
    """

    def __init__(self, tasks: int, device: torch.device, *, mends: bool = True) -> None:
        self.mends = mends
        self.now = torch.zeros(tasks, dtype=torch.bool, device=device)
        self.without_loss = self.now

    def begin(self) -> None:
        """A step begins."""
        self.now = self.without_loss = torch.zeros_like(self.now)


@dataclass(frozen=True)
class HeadWatch:
    """The same for the tasks of one head.

    Attributes:
        whole: of all tasks.
        places: of these among them, `G`.
    """

    whole: Watch
    places: Sequence[int]

    def losses(self, total: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """`(sum [G], weight [G])` where both are finite. Looks without gradients are not noted."""
        is_finite = torch.isfinite(total.detach()) & torch.isfinite(weight)
        if total.requires_grad:
            lost = ~is_finite.reshape(-1)
            self._note(lost)
            before = self.whole.without_loss
            self.whole.without_loss = before.index_put((self._index,), self._of(before) | lost)
        total, weight = (torch.where(is_finite, each, torch.zeros_like(each)) for each in (total, weight))
        return total, weight

    def view(self, view: View) -> View:
        """What the head reads, `[V, n, D]` or Tokens; what comes back through it has finite rows alone."""
        values = view if isinstance(view, Tensor) else view.values
        if not (self.whole.mends and values.requires_grad):
            return view
        own = values.view_as(values)  # a node of this head's: others may read the very same tensor
        rows = 2 if isinstance(view, Tensor) else 1  # dimensions in front

        def finite(gradient: Tensor) -> Tensor | None:
            if _is_seen_finite(gradient):
                return None
            here = torch.isfinite(torch.linalg.vector_norm(gradient.flatten(rows), torch.inf, dim=-1))  # [V, n] or [n]
            self._note_gradient(~here.reshape(len(here) if rows == 2 else 1, -1).all(1))
            return torch.where(here.view(*here.shape, *[1] * (gradient.dim() - rows)), gradient, 0)

        own.register_hook(finite)
        return own if isinstance(view, Tensor) else replace(view, values=own)

    def output(self, output: Any) -> Any:
        """What the head says, a tensor or several by name; what the loss sends back to it is finite."""
        if isinstance(output, Mapping):
            return {name: self.output(one) for name, one in output.items()}
        if not (isinstance(output, Tensor) and output.requires_grad):
            return output
        own = output.view_as(output)

        def finite(gradient: Tensor) -> Tensor | None:
            if _is_seen_finite(gradient):
                return None
            here, count = torch.isfinite(gradient), len(self.places)
            is_stack = gradient.dim() > 1 and gradient.shape[1] == count
            if not self.whole.mends:
                lost = self._of(self.whole.without_loss)
                shape = (1, count, *[1] * (gradient.dim() - 2)) if is_stack else [1] * gradient.dim()
                return torch.where(here | ~(lost if is_stack else lost.any()).view(shape), gradient, 0)
            of_each = here.transpose(0, 1).reshape(count, -1) if is_stack else here.reshape(1, -1)
            self._note_gradient(~of_each.all(1))
            return torch.where(here, gradient, 0)

        own.register_hook(finite)
        return own

    def mend(self, parameters: Iterable[Tensor]) -> None:
        """Put 0 where a gradient of the head's own is not finite."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if gradients:
            self._note_gradient(~torch.isfinite(get_total_norm(gradients, foreach=True)).reshape(1))
        for gradient in gradients:
            gradient.nan_to_num_(0.0, 0.0, 0.0)

    @property
    def _index(self) -> Tensor:
        return index_like(self.places, self.whole.now)

    def _of(self, flags: Tensor) -> Tensor:
        return flags[self._index]

    def _note_gradient(self, lost: Tensor) -> None:
        """Of each task, or of all together, `[G]` or `[1]`: then it is known whose it is if some loss was lost."""
        if len(lost) != len(self.places):
            lost = lost & ~self._of(self.whole.now).any()
        self._note(lost.expand(len(self.places)))

    def _note(self, lost: Tensor) -> None:
        self.whole.now = self.whole.now.index_put((self._index,), self._of(self.whole.now) | lost)


def answer(head: Head, view: Any, target: dict[str, Tensor], watch: HeadWatch | None) -> Any:
    """What a head says in training, watched where somebody watches."""
    if watch is None:
        return head.train_output(view, target)
    return watch.output(head.train_output(watch.view(view), target))


def _is_seen_finite(gradient: Tensor) -> bool:
    """On a CPU, where looking costs one pass and waits for nobody."""
    return gradient.device.type == "cpu" and bool(torch.isfinite(torch.linalg.vector_norm(gradient, torch.inf)))
