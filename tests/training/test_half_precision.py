"""bfloat16 where it is good enough: every kind of input and task, every balancer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from training.small_runs import write_small_world
from training.test_training import plan_of
from trunkline.balancers import CATALOG, GramianBalancer
from trunkline.data import Draw
from trunkline.engine import Engine
from trunkline.model import MultiTaskModel
from trunkline.run.wiring import settings_of
from trunkline.schema import Preprocessing, RowBatches
from trunkline.training.judge import Judge
from trunkline.training.loop import make_fabric
from trunkline.training.settings import Rows
from trunkline.training.stepper import Stepper
from worlds import schema, world

LEVELS = [
    (name, level)
    for name, balancer in CATALOG.items()
    for level in (("features", "last") if issubclass(balancer, GramianBalancer) else ("losses",))
]


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> RowBatches:
    torch.set_num_threads(1)
    table = world(tmp_path_factory.mktemp("all"), 24)
    return RowBatches(Preprocessing.fit(schema(), table, range(24)), table)


@pytest.mark.parametrize(("balancer", "level"), LEVELS)
def test_it_steps_and_judges(tmp_path: Path, batches: RowBatches, balancer: str, level: Any) -> None:
    """Weights stay float32; gradients are near those of float32."""
    settings = settings_of(plan_of(write_small_world(tmp_path), precision="bf16-mixed", clip=1e4).config.training)
    found = {}
    for precision in ("32-true", "bf16-mixed"):
        torch.manual_seed(0)
        columns = batches.preprocessing.schema
        network = MultiTaskModel(columns.inputs, columns.tasks, width=16).build(batches.preprocessing).eval()
        shared = network.trunk.last_shared() if level == "last" else ()
        engine = Engine(CATALOG[balancer](), batches.preprocessing.tasks, level=level, last_shared=shared)
        fabric = make_fabric(type(settings)(**{**vars(settings), "precision": precision}))
        stepper = Stepper(fabric, network, engine, settings)
        stepper.step([batches[Draw(tuple(range(16)), None)]], 1.0)
        grads = [p.grad for p in stepper.parameters if p.grad is not None]
        assert all(p.dtype == torch.float32 and p.isfinite().all() for p in stepper.parameters)
        found[precision] = torch.cat([g.flatten() for g in grads])
        judge = Judge(fabric, network, Rows(batches, torch.arange(16, 24).numpy()), settings)
        score, _ = judge.look()
        assert score is not None
    cosine = torch.cosine_similarity(found["32-true"], found["bf16-mixed"], dim=0)
    assert cosine > 0.98
