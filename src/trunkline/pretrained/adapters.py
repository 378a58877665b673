"""Low-rank adapters: a pretrained network stays as it is, and each of its linear layers learns a small correction.

The layers are those of Hugging Face's `peft`, which comes with the extra `lora` and is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from torch import nn

from trunkline.arrays.extras import need
from trunkline.errors import ConfigError


@runtime_checkable
class WithEmbeddings(Protocol):
    """A network of Transformers that may write words."""

    def get_output_embeddings(self) -> nn.Module | None: ...


def add_adapters(network: nn.Module, rank: int) -> None:
    """`W x → W x + 2 B A x` in every linear layer, in place; `B` is 0 at first, and `W` is no longer learned.

    Hu et al., "LoRA: low-rank adaptation of large language models" (2021), equation 3, with `α = 2 r`.

    Args:
        network: to be adapted.
        rank: `r`, rows of `A` and columns of `B`.

    Raises:
        ConfigError: `peft` is not installed, or there is no linear layer.
    """
    what = f"lora: {type(network).__name__}"
    peft = need("peft", "lora", what)
    names = linear_layers(network)
    if not names:
        raise ConfigError(f"{what} has no linear layer to adapt; `freeze: false` lets all of it learn")
    peft.inject_adapter_in_model(peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names), network)


def linear_layers(network: nn.Module) -> list[str]:
    """Their names.

    Without those inside of PyTorch's attention, which reads their weights past them, and without the one that tells
    words apart.
    """
    attentions = [name for name, module in network.named_modules() if isinstance(module, nn.MultiheadAttention)]
    telling = network.get_output_embeddings() if isinstance(network, WithEmbeddings) else None
    linear = [name for name, m in network.named_modules() if isinstance(m, nn.Linear) and m is not telling]
    return [name for name in linear if not any(name.startswith(f"{outer}.") for outer in attentions)]


@contextmanager
def without_adapters(network: nn.Module) -> Iterator[None]:
    """Meanwhile the network has its own layers, under their own names."""
    found = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if name != "base_layer" and isinstance(getattr(child, "base_layer", None), nn.Module)
    ]
    for parent, name, child in found:
        setattr(parent, name, child.base_layer)
    try:
        yield
    finally:
        for parent, name, child in found:
            setattr(parent, name, child)
