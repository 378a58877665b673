"""What a fusion is. `trunkline.testing.check_fusion` holds any implementation to this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from trunkline.types import Tokens


class FusionModule(nn.Module, ABC):
    """Tokens of every encoder → one Tokens with a row token first."""

    @abstractmethod
    def forward(self, tokens: dict[str, Tokens], present: dict[str, Tensor]) -> Tokens:
        """Fuse.

        Args:
            tokens: by encoder name, `[B, L_i, D]`, every row filled: a row without the input holds one learned
                token and masks the rest.
            present: by encoder name, `[B]` bool.

        Returns:
            Tokens whose first span is the row token (`Span(None, 0, 1, "set", (1,))`), followed by the spans of
            the inputs named in `keep`.
        """


class LateModule(FusionModule):
    """Tokens of every encoder → one row token for each expert, which never meet: the tasks join what is said of them.

    There is one expert for each encoder, in order, and with `joint` a last one that sees all of them.

    `forward` returns `E · B` rows of one row token, `[E · B, 1, D]`: all rows of the first expert, of the second, …
    What stands in the rows of an expert that does not speak is finite and is never looked at.

    Attributes:
        experts: `E`.
        joint: whether the last one sees all inputs.
        alone: the share of the training loss that each expert must answer for by itself (see `Late`).
        modulation: how much experts that are ahead of the others are slowed down; 0: not at all.
        blending: whether `alone` is but how it begins, see `Late`.
        noise: whether gradients of the experts of one input get noise, too.
    """

    experts: int
    joint: bool
    alone: float
    modulation: float = 0.0
    noise: bool = False
    blending: bool = False

    @abstractmethod
    def speaking(self, present: Tensor) -> Tensor:
        """Which encoder has something in which row `[encoders, B]` → which expert speaks `[E, B]`, one at least."""


class Fusion(ABC):
    """A way to bring inputs together. The constructor only stores; its signature is the config schema.

    Attributes:
        is_late: it builds a `LateModule`.
    """

    is_late: ClassVar[bool] = False

    @abstractmethod
    def build(self, encoders: Sequence[str], keep: Sequence[str], width: int) -> nn.Module:
        """The layers: a `FusionModule`, which gives one Tokens; or a `LateModule`, which gives one an expert.

        Args:
            encoders: names of the encoders, in order.
            keep: names of the inputs whose spans some task reads.
            width: `D`.
        """
