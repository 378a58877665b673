"""Where a component's weights are while it is used.

Where a network is divided among processes, its weights are brought together for each component when its turn comes. All
processes must meet for that, so each says of every component in the same order that it uses it, or passes it by: it has
no row with that input, or no label of that task, and another process may.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

T = TypeVar("T")


class Holder:
    """Sees to it that weights are there. Here they always are."""

    def use(self, component: nn.Module, call: Callable[[], T]) -> T:
        """What `call` gives, which uses this component's weights and no other's.

        Args:
            component: an encoder, the fusion, the trunk or a head.
            call: what is done with it.
        """
        return call()

    def pass_by(self, *components: nn.Module) -> None:
        """This process has no use for them now, where others may have one."""
