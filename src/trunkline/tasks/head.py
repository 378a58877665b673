"""What a head is: the layers of a task, and the loss of what they say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from trunkline.errors import ConfigError

Target = dict[str, Tensor]
Output = Any  # whatever the head says: a tensor, or a dict of tensors, first dimension rows


class Head(nn.Module, ABC):
    """One task's view → its output, and the loss of that output. It sees labelled rows only.

    What it is given depends on the task's `reads`: a row head gets `x [V, n, D]`, where `V` is 1 when all its tasks
    share one view and else `G`; any other head gets Tokens.
    """

    @abstractmethod
    def predict_output(self, view: Any) -> Output:
        """What the task says without looking at the target."""

    def train_output(self, view: Any, target: Target) -> Output:
        """What the loss takes; teacher forcing and alignment go here."""
        return self.predict_output(view)

    @abstractmethod
    def loss(self, output: Output, target: Target) -> tuple[Tensor, Tensor]:
        """`(sum [G], weight [G])` over what is labelled: the task says whether that counts rows, words or pixels.

        The engine divides. Whatever stands behind a `False` in `target["flags"]` must not be read.
        """

    def finish(self, output: Output) -> Output:
        """What only answers for people need beside `predict_output`, and scores do not. Nothing by default."""
        return output

    def load_pretrained(self) -> None:
        """Weights that others have trained, if it has such: called once, before training."""
        return

    def pretrained_parameters(self) -> Iterable[tuple[nn.Parameter, float]]:
        """Parameters that others have trained, each with its share of everything else's learning rate."""
        return ()

    def expect_experts(self, number: int, *, joint: bool = False) -> None:
        """Told once, before training, that so many experts will speak each for itself. Nothing by default.

        Args:
            number: of experts: one an encoder, and the joint one.
            joint: the last of them sees all inputs.
        """
        return

    def heed_absence(self, output: Output, is_whole: Tensor) -> Output:
        """The output, where it matters which rows have all inputs, `[n]` bool; not for training."""
        return output

    def combine(self, outputs: Output, present: Tensor) -> Output:
        """What several experts say, each for itself → one output a row. For kinds whose `can_combine` is true.

        Of one expert that speaks it is what it says.

        Args:
            outputs: `[E, n, …]`, finite.
            present: `[E, n]` bool, which of them speak; the others must not be read. Of each row one speaks at least.
        """
        raise ConfigError(f"{type(self).__name__} cannot join what several inputs say")
