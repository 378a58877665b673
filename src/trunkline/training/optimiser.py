"""AdamW, and which parameters it decays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from trunkline.modalities import Encoder
from trunkline.tasks import Head
from trunkline.training.settings import Settings

UNDECAYED = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)


def make_optimiser(
    network: nn.Module, engine: nn.Module, settings: Settings, own: Callable[[Tensor], Tensor] = lambda p: p
) -> torch.optim.AdamW:
    """AdamW on the network, and on what the balancer learns, in two groups: decayed and not. What others have trained
    is in more, two for each share of the rate that its layers have (`lr_factor`).

    Fused: one call for all parameters, where small networks would spend most of a step in Python. Not with float16,
    whose scaler would then refuse to clip.

    Args:
        network: what learns.
        engine: likewise.
        settings: how.
        own: of a parameter, what this process keeps of it.
    """
    names = decayed(network)
    trained = [module for module in network.modules() if isinstance(module, Encoder | Head)]
    factors = {id(p): share for module in trained for p, share in module.pretrained_parameters()}
    named = [((name in names, factors.get(id(p), 1.0)), p) for name, p in network.named_parameters() if p.requires_grad]
    named += [((False, 1.0), p) for p in engine.parameters() if p.requires_grad]
    groups = [
        {
            "params": [own(p) for key, p in named if key == (is_decayed, factor)],
            "weight_decay": settings.weight_decay if is_decayed else 0.0,
            "lr_factor": factor,
        }
        for factor in sorted({1.0, *(factor for (_, factor), _ in named)}, reverse=True)
        for is_decayed in (True, False)
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, fused=settings.precision != "16-mixed")


def decayed(network: nn.Module) -> set[str]:
    """The parameters with weight decay: what multiplies, in layers whose output grows with it.

    That is every matrix that is called a weight, but for those of embeddings (also where a layer shares one) and
    normalisations. Biases, learned tokens and places have none, whatever their shape: a stack of heads keeps its
    biases, which hold the priors of the classes, as rows of a matrix.
    """
    spared = {id(p) for m in network.modules() if isinstance(m, UNDECAYED) for p in m.parameters(recurse=False)}
    return {
        name
        for name, p in network.named_parameters()
        if name.rpartition(".")[2].endswith("weight") and p.ndim > 1 and id(p) not in spared
    }


def norm_of(parameters: Sequence[Tensor]) -> Tensor:
    """The norm of all their gradients together, a scalar; nothing waits for the device."""
    return get_total_norm([p.grad for p in parameters if p.grad is not None], foreach=True)


def clip_gradients(parameters: Sequence[Tensor], largest: float, norm: Tensor) -> None:
    """Scale all gradients together so that their norm, which is given, is `largest` at most."""
    clip_grads_with_norm_(parameters, largest, norm, foreach=True)
