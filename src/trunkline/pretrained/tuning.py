"""How a network that others have trained goes on learning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from trunkline.errors import ConfigError
from trunkline.pretrained.adapters import add_adapters, without_adapters
from trunkline.pretrained.layer_rates import layer_of, layer_rates


@dataclass(frozen=True)
class Tuning:
    """How a pretrained network goes on learning.

    Attributes:
        freeze: not at all.
        rate: of its last layer, as a share of everything else's learning rate.
        layer_decay: of each layer below, as a share of the rate of the one above (`layer_rates`).
        lora: rank of the adapters that learn in its place; 0 for none.
    """

    freeze: bool
    rate: float
    layer_decay: float = 1.0
    lora: int = 0

    @property
    def is_still(self) -> bool:
        """Whether what it says of a row is always the same."""
        return self.freeze and self.lora == 0

    def check(self) -> None:
        """Raises:
        ConfigError: it is to learn, and to have adapters because it does not.
        """
        if self.lora < 0 or (self.lora > 0 and not self.freeze):
            raise ConfigError(f"lora: {self.lora} is the rank of adapters of a network that does not learn itself; "
                              "give 0 or more, and leave `freeze` as it is")  # fmt: skip

    def apply(self, network: nn.Module) -> None:
        """Freeze the network, in place, or put adapters into it."""
        network.requires_grad_(not self.freeze)
        if self.lora > 0:
            add_adapters(network, self.lora)

    def load(self, network: nn.Module, weights: Callable[[nn.Module], None]) -> None:
        """Let `weights` fill the network's own layers, without its adapters."""
        with without_adapters(network):
            weights(network)

    def rates(self, network: nn.Module) -> list[tuple[nn.Parameter, float]]:
        """Its parameters, each with its share of the learning rate; adapters are new, and learn as all else does."""
        if self.lora > 0:
            return []
        named = dict(network.named_parameters())
        if self.layer_decay < 1 and not any(map(layer_of, named)):
            warnings.warn("layer_decay: no layer of this network has a number in its name; all learn alike",
                          stacklevel=3)  # fmt: skip
        rates = layer_rates(list(named), top=self.rate, decay=self.layer_decay)
        return [(parameter, rates[name]) for name, parameter in named.items()]
