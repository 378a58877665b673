"""How well each expert of late fusion does on rows that it learns from and on others, look by look."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightning.fabric import Fabric
from torch import Tensor

from trunkline.data import Draw
from trunkline.errors import ConfigError
from trunkline.model import Blending, Network, losses_of_experts
from trunkline.training.judge import some_rows
from trunkline.training.loaders import validation_batches
from trunkline.training.processes import from_all_processes
from trunkline.training.settings import Rows, Settings
from trunkline.types import Batch


def check_blending(network: Network, validation: object) -> None:
    """Are there rows to weigh experts by, where that is wanted?

    Raises:
        ConfigError: there are none.
    """
    if network.blending is not None and validation is None:
        raise ConfigError("fusion.blending: asks how well what is learned carries over, and there are no validation "
                          "rows; give some (`data.validation`), or leave it out")  # fmt: skip


def make_blender(
    fabric: Fabric, network: Network, training: Rows, validation: Rows | None, settings: Settings
) -> Blender | None:
    """Who weighs the experts anew, where the fusion asks for it.

    Raises:
        ConfigError: see `check_blending`.
    """
    check_blending(network, validation)
    if network.blending is None or validation is None:
        return None
    return Blender(fabric, network, network.blending, (training, validation), settings)


class Blender:
    """Losses of every expert, on validation rows and as many training rows at most; nothing is augmented or left out.

    Args:
        fabric: launched.
        network: as it learns.
        blending: what it is weighed by.
        both: rows to learn from, and validation rows.
        settings: how.
    """

    def __init__(
        self, fabric: Fabric, network: Network, blending: Blending, both: tuple[Rows, Rows], settings: Settings
    ) -> None:
        self.fabric, self.network, self.blending = fabric, network, blending
        rank, world = fabric.global_rank, fabric.world_size
        learned, validation = both
        some = learned.at_most(len(validation.rows), settings.seed), validation
        self.spare = learned.batches[Draw((int(learned.rows[0]),), None)]
        self.batches = [validation_batches(rows, settings, rank=rank, world=world) for rows in some]

    def look(self) -> None:
        """Weigh anew. The network goes on training after."""
        self.network.eval()
        with torch.no_grad(), self.fabric.autocast():
            losses = torch.stack([self._losses(batches) for batches in self.batches])
        self.network.train()
        self.blending.see(losses)

    def _losses(self, batches: Iterable[list[Batch]]) -> Tensor:
        """Means over the labelled rows of all processes, `[T, E + 1]`; not a number where there are none."""
        total = torch.zeros(2, *self.blending.weights.shape)
        for (batch,) in batches:
            there = some_rows(batch, self.spare).to(self.fabric.device)
            found = torch.stack(losses_of_experts(self.network, there)).cpu()
            if batch.size > 0:
                total += torch.where(torch.isfinite(found).all(0), found, 0)
        sums, weights = torch.stack(from_all_processes(total)).sum(0)
        return sums / weights  # 0 / 0 is no number
