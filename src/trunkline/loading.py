"""A run folder → a predictor; a model → its config, and back. Nothing pickled is read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, load_model
from torch import Tensor

from trunkline.balancers import CATALOG as BALANCERS
from trunkline.balancers import Balancer
from trunkline.config import BalancerConfig, ComponentConfig, Config, InputConfig, TaskConfig, Training, load_config
from trunkline.config.objects import as_type_and_options
from trunkline.engine import Level
from trunkline.errors import RunError
from trunkline.fusion import CATALOG as FUSION
from trunkline.modalities import CATALOG as MODALITIES
from trunkline.model import MultiTaskModel
from trunkline.predictor import Predictor
from trunkline.schema import InputColumn, Preprocessing, TaskColumn
from trunkline.tasks import CATALOG as TASKS
from trunkline.trunks import CATALOG as TRUNKS
from trunkline.types import State

FILES = ("config.yaml", "preprocessing.json", "model.safetensors", "metrics.json")  # the last is written last
ROWS = "rows.yaml"  # of a single-task twin: the config whose rows it takes


def load(folder: str | Path, *, trust_code: bool = False) -> Predictor:
    """The predictor of a finished run.

    Args:
        folder: what `fit` wrote.
        trust_code: import classes of your own that the run's config names.

    Raises:
        RunError: it is no run folder, the run did not finish, or weights and config do not belong together.
    """
    folder = Path(folder)
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        what = "is not there" if not folder.exists() else f"has no {', '.join(missing)}"
        raise RunError(f"{folder} is no finished run: it {what}")
    config = load_config(folder / "config.yaml", columns=None, trust_code=trust_code)
    model = as_model(config)
    preprocessing = Preprocessing(
        model.schema(), json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
    )
    network = model.build(preprocessing)
    try:
        load_model(network, str(folder / "model.safetensors"))
    except RuntimeError as error:  # what PyTorch says of names and sizes that are others
        raise RunError(f"{folder}: its weights are not those of the network that its config describes; it was made by "
                       f"another trunkline, or a file was exchanged: {str(error)[:400]}") from None  # fmt: skip
    return Predictor(network)


def read_trained(folder: Path) -> tuple[State, dict[str, Tensor]]:
    """States and weights of a finished run, whose config is known already."""
    states = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
    return states, load_file(folder / "model.safetensors")


def read_metrics(folder: str | Path) -> dict[str, Any]:
    """`metrics.json` of a finished run."""
    return json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8"))


def as_model(config: Config) -> MultiTaskModel:
    """The model a resolved config describes."""
    assert config.fusion is not None and config.trunk is not None and config.width is not None, "not resolved"
    return MultiTaskModel(
        inputs={name: InputColumn(c.make(), c.column, c.share) for name, c in config.inputs.items()},
        tasks={n: TaskColumn(c.make(), c.column, c.of, c.weight, c.share, c.added) for n, c in config.tasks.items()},
        fusion=config.fusion.make(),
        trunk=config.trunk.make(),
        width=config.width,
        align=config.training.align or 0.0,
    )


def config_of(
    model: MultiTaskModel, balancer: Balancer | None, level: Level | None, training: Training, *, every: int = 1
) -> Config:
    """What a config would say to make this model."""
    schema = model.schema()
    chosen = None
    if balancer is not None:
        chosen = BalancerConfig(level=level, every=every, **as_type_and_options(balancer, BALANCERS))
    inputs = {
        name: InputConfig(column=c.column, share=c.share, **as_type_and_options(c.modality, MODALITIES))
        for name, c in schema.inputs.items()
    }
    tasks = {
        name: TaskConfig(column=c.column, of=c.of, weight=c.weight, share=c.share, **as_type_and_options(c.task, TASKS))
        for name, c in schema.tasks.items()
    }
    return Config(
        inputs=inputs,
        tasks=tasks,
        fusion=ComponentConfig(**as_type_and_options(model.fusion, FUSION)),
        trunk=ComponentConfig(**as_type_and_options(model.trunk, TRUNKS)),
        balancer=chosen,
        width=model.width,
        training=training if training.align is not None or not model.align else replace(training, align=model.align),
    )
