"""What a measure is. Shape legend: `T` tasks, `F` numbers of a task's form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor
from torch.autograd.graph import GradientEdge

from trunkline.engine.levels import Gradients
from trunkline.engine.trunk import products


class Measure(ABC):
    """Takes each task's gradients at a parameter's operations, and gives the inner products at the parameter.

    It keeps a form of each task: linear in the task's gradient, and such that the inner products of forms are those
    of the gradients, or are so on average. Being linear, forms can be summed over ranks.

    Attributes:
        edges: where it wants each task's gradients.
    """

    edges: Sequence[GradientEdge | Tensor]

    def __init__(self) -> None:
        self.forms: list[Tensor | None] = []

    def take(self, gradients: Gradients) -> None:
        """The next task's gradients at `edges`."""
        self.forms.append(None if all(g is None for g in gradients) else self.form(gradients))

    @abstractmethod
    def form(self, gradients: Gradients) -> Tensor:
        """Of one task that has a gradient here."""

    @abstractmethod
    def size(self) -> int:
        """`F`, the same on all ranks."""

    def gramian(self, blank: Tensor) -> Tensor:
        """`[T, T]` of all tasks taken; it keeps nothing."""
        forms, self.forms = self.forms, []
        return products(self.size(), forms, blank)
