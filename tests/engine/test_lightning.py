"""The engine in Lightning's own Trainer: automatic optimisation is enough, whatever the balancer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from trunkline import Engine, UPGrad
from trunkline.balancers import Equal

STEPS, CLIP, LR = 4, 0.05, 0.1


class Module(L.LightningModule):
    def __init__(self, balancer: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Linear(6, 5)
        self.heads = nn.ModuleDict({task: nn.Linear(5, 1) for task in "ab"})
        self.engine = Engine(balancer, list("ab"))

    def training_step(self, x: Tensor, number: int = 0) -> Tensor:
        views = self.engine.split(self.shared(x).relu())
        target = {"a": x[:, :1], "b": -x[:, :1]}
        return self.engine.total({t: (head(views[t]) - target[t]).square().mean() for t, head in self.heads.items()})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), LR)


@pytest.mark.parametrize("balancer", [Equal, UPGrad])
def test_the_trainer_steps_as_a_bare_loop(tmp_path: Path, balancer: Any) -> None:
    """Clipped, to the bit."""
    rows = torch.randn(STEPS * 8, 6)
    ours, theirs = Module(balancer()), Module(balancer())
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", gradient_clip_val=CLIP, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(ours, DataLoader(rows, batch_size=8))
    optimiser = theirs.configure_optimizers()
    for x in rows.split(8):
        optimiser.zero_grad()
        theirs.training_step(x).backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), CLIP)
        optimiser.step()
    for mine, other in zip(ours.parameters(), theirs.parameters()):
        assert torch.equal(mine, other)
    assert trainer.global_step == STEPS
