"""The network as a LightningModule: automatic optimisation, whatever the balancer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from trunkline.engine import Engine
from trunkline.model import Evaluation, Network, TaskScores
from trunkline.training.processes import gather_ranks
from trunkline.types import Batch

UNDECAYED = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)


class TrainingModule(L.LightningModule):
    """What Lightning trains.

    Args:
        network: the layers.
        engine: balances the tasks on the way back.
        lr: peak learning rate.
        weight_decay: for the parameters that `decayed` names.
        warmup: share of the steps in which the rate rises linearly; it then falls as a cosine to zero.
        steps: how many in all.
        on_scores: called after each validation with the step and its scores.
    """

    def __init__(
        self,
        network: Network,
        engine: Engine,
        *,
        lr: float,
        weight_decay: float,
        warmup: float,
        steps: int,
        on_scores: Callable[[int, TaskScores], None],
    ) -> None:
        super().__init__()
        self.network = network
        self.engine = engine
        self.evaluation = Evaluation(network.preprocessing, gather_ranks)
        self.lr, self.weight_decay, self.warmup, self.steps = lr, weight_decay, warmup, steps
        self.on_scores = on_scores

    def training_step(self, batch: Batch, number: int) -> Tensor:
        """The balanced total of this batch."""
        return self.network.training_loss(batch, self.engine)

    def validation_step(self, batch: Batch, number: int) -> None:
        """Count this batch's predictions."""
        if batch.size > 0:  # else no row was left for this rank
            self.evaluation.update(self.network, self.network.share(batch), batch)

    def on_validation_epoch_end(self) -> None:
        """Hand the scores on and start anew."""
        self.on_scores(self.global_step, self.evaluation.compute())
        self.evaluation.reset()

    def configure_optimizers(self) -> Any:
        """AdamW, stepped by warm-up and cosine."""
        names = {f"network.{name}" for name in decayed(self.network)}
        parameters = [(name in names, p) for name, p in self.named_parameters() if p.requires_grad]
        groups = [
            {"params": [p for is_decayed, p in parameters if is_decayed], "weight_decay": self.weight_decay},
            {"params": [p for is_decayed, p in parameters if not is_decayed], "weight_decay": 0.0},
        ]
        optimizer: Optimizer = torch.optim.AdamW(groups, lr=self.lr)
        schedule = LambdaLR(optimizer, lambda step: warmup_cosine(step, self.steps, self.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


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


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """Share of the peak rate at `step` of `steps`: a line up over `warmup · steps`, then half a cosine down to 0."""
    rise = max(1, round(steps * warmup))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))
