"""What a trunk is: the shared part, and how tasks read it.

A trunk knows nothing of balancers. It says which tensors the tasks read (`share` → taps) and how one task makes its
view of them (`view`); the model puts the boundary in between. `trunkline.testing.check_trunk` holds any
implementation to this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from trunkline.types import Tokens

Taps = tuple[Tokens, ...]


class TrunkModule(nn.Module, ABC):
    """Shared layers and the private layers of each task's view.

    Attributes:
        one_view: every task sees the same view and no private layer takes part (hard sharing), so the model may
            make it once for all.
        members: row tokens that its taps and views begin with, if they have any: one for each member of an ensemble,
            whose answers are averaged.
        has_penalty: tasks pay for how they read, beside their loss.
        first_weight: weight in each task's loss of that of a first answer, which a second head makes of `first_view`; 0
            where there is none.
        closed: why no task can be added once these layers are trained, as a sentence without its subject; empty: one
            can, and `private` says what is its own.
    """

    one_view: ClassVar[bool] = False
    has_penalty: ClassVar[bool] = False
    members: int = 1
    first_weight: float = 0.0
    closed: str = ""

    @abstractmethod
    def share(self, tokens: Tokens) -> Taps:
        """Everything shared: fused tokens → every tensor through which a task reads the shared part.

        That includes what only steers a private part, such as the input of a task's gate.
        """

    @abstractmethod
    def view(self, task: str, taps: Taps) -> Tokens:
        """Everything private to one task: (its copies of) the taps → its tokens `[B, L, D]`."""

    def first_view(self, task: str, taps: Taps) -> Tokens:
        """What a task's first answer is made of, as `view` is of its last; asked for in training alone."""
        return self.view(task, taps)

    def penalty(self, task: str, taps: Taps) -> Tensor:
        """What one task pays for how it reads (its copies of) the taps, `[B]`, on the scale of its loss.

        Its mean over the rows that the task is labelled in is a part of the task's loss, for every balancer. Nothing by
        default, and not asked for where the trunk does not say that it `has_penalty`.
        """
        return taps[0].values.new_zeros(len(taps[0].values))

    def private(self, task: str) -> Sequence[nn.Module]:
        """The layers that no other task's loss reaches, and without which all other tasks' views are what they are.

        They alone learn where a task is added to a trained network. Modules of a list in the order of the tasks, so
        that those that were there before keep their places. Nothing by default.
        """
        return ()

    def layers_in_turn(self) -> Sequence[nn.Module]:
        """Layers that `share` calls one after the other in this order, each once, and `view` not at all.

        Where weights are divided among processes, each of these is gathered by itself. Nothing by default: then the
        whole trunk is gathered at once.
        """
        return ()

    def loads(self) -> dict[str, dict[str, float]]:
        """By task and expert, how much of its view the task takes from it: the mean over the rows it has learned from.

        All rows since `forget_loads`, in this process. Sums to 1 for each task; a task that had no rows has no key.
        Waits for the device. Nothing where a trunk has no experts.
        """
        return {}

    def forget_loads(self) -> None:
        """Begin to count anew, as a step begins."""

    @abstractmethod
    def last_shared(self) -> Sequence[nn.Linear]:
        """The last shared layers, for engine levels that look at their weights."""


class Trunk(ABC):
    """A sharing architecture. The constructor only stores; its signature is the config schema.

    Attributes:
        wants_tokens: it has use for the tokens of every input, not only for the row and for what some task reads; the
            fusion keeps them all.
        meets_at_taps: what two tasks learn in the same shared layers shows in the same taps. Otherwise gradients are
            not compared there, unless somebody asks for it.
    """

    wants_tokens: ClassVar[bool] = False
    meets_at_taps: ClassVar[bool] = True

    @abstractmethod
    def build(self, tasks: Sequence[str], width: int) -> TrunkModule:
        """The layers, for these tasks, on tokens of this width."""
