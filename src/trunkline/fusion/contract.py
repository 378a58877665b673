"""What a fusion is. `trunkline.testing.check_fusion` holds any implementation to this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

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


class Fusion(ABC):
    """A way to bring inputs together. The constructor only stores; its signature is the config schema."""

    @abstractmethod
    def build(self, encoders: Sequence[str], keep: Sequence[str], width: int) -> nn.Module:
        """The layers: a `FusionModule`.

        Args:
            encoders: names of the encoders, in order.
            keep: names of the inputs whose spans some task reads.
            width: `D`.
        """
