"""A run folder → a predictor; a model → its config, and back.

Nothing pickled is read, and what is not as the run wrote it is told.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, load_model
from torch import Tensor

from trunkline.balancers import CATALOG as BALANCERS
from trunkline.balancers import Balancer
from trunkline.config import BalancerConfig, ComponentConfig, Config, InputConfig, TaskConfig, Training, load_config
from trunkline.config.objects import as_type_and_options
from trunkline.engine import Level
from trunkline.errors import RunError, brief
from trunkline.files import digest, is_plain_file, read_json, why_unread, write_json
from trunkline.fusion import CATALOG as FUSION
from trunkline.modalities import CATALOG as MODALITIES
from trunkline.model import MultiTaskModel, Network
from trunkline.predictor import Predictor
from trunkline.schema import InputColumn, Preprocessing, TaskColumn, faulty_states
from trunkline.tasks import CATALOG as TASKS
from trunkline.trunks import CATALOG as TRUNKS
from trunkline.types import State

WEIGHTS = "model.safetensors"
FILES = ("config.yaml", "preprocessing.json", WEIGHTS, "metrics.json")  # the last is written last
DIGESTS = "files.json"  # of those of them that predictions follow from
ROWS = "rows.yaml"  # of a single-task twin: the config whose rows it takes


def load(folder: str | Path, *, trust_code: bool = False) -> Predictor:
    """The predictor of a finished run.

    Args:
        folder: what `fit` wrote.
        trust_code: import classes of your own that the run's config names.

    Raises:
        RunError: it is no run folder, the run did not finish, a file of it was damaged, or weights and config do not
            belong together.
        ConfigError: its config is none.
    """
    folder = Path(folder)
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        what = "is not there" if not folder.exists() else f"has no {', '.join(missing)}"
        raise RunError(f"{folder} is no finished run: it {what}")
    config = load_config(folder / "config.yaml", columns=None, trust_code=trust_code)
    is_own = check_files(folder)
    network = _built(folder, config, is_own=is_own)
    try:
        load_model(network, str(folder / "model.safetensors"))
    except (SafetensorError, OSError) as error:
        raise RunError(f"{folder / 'model.safetensors'} is no whole file of weights: {error}") from error
    except RuntimeError as error:  # what PyTorch says of names and sizes that are others
        raise RunError(f"{folder}: its weights are not those of the network that its config describes; it was made by "
                       f"another trunkline, or a file was exchanged: {str(error)[:400]}") from None  # fmt: skip
    return Predictor(network)


def read_trained(folder: Path) -> tuple[State, dict[str, Tensor]]:
    """States and weights of a finished run, whose config is known already.

    Raises:
        RunError: they are not what the run wrote.
    """
    check_files(folder)
    path = folder / "model.safetensors"
    try:
        return read_json(folder / "preprocessing.json"), load_file(path)
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} holds no weights: {error}") from error


def _built(folder: Path, config: Config, *, is_own: bool) -> Network:
    """The network, without its weights; `is_own`: config and states are known to be what the run wrote."""
    path = folder / "preprocessing.json"
    states = read_json(path)
    if config.fusion is None or config.trunk is None or config.width is None:
        raise RunError(f"{folder / 'config.yaml'} is not resolved: fusion, trunk and width stand in what a run writes")
    model = as_model(config)
    schema = model.schema()
    if faults := list(faulty_states(schema, states)):
        raise RunError(f"{path} does not hold what the config beside it needs: {'; '.join(faults[:5])}")
    try:
        return model.build(Preprocessing(schema, states))
    # States are read where each kind of column needs them; what is not there, or is something else, shows so.
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError) as error:
        if is_own:  # then it is no damage
            raise
        raise RunError(f"{path} does not hold what the config beside it needs: "
                       f"{type(error).__name__} {str(error)[:200]}") from error  # fmt: skip


def write_digests(folder: Path) -> None:
    """Write down how the files are that predictions follow from; when they are whole, and before `metrics.json`."""
    write_json(folder / DIGESTS, {name: digest(folder / name) for name in FILES[:-1]})


def check_files(folder: Path) -> bool:
    """Whether all files that predictions follow from are as the run wrote them; one of an older trunkline does not say.

    A config that was changed is followed, with a warning: paths and names in it may have to be.

    Raises:
        RunError: one of the others is not.
    """
    if not (folder / DIGESTS).exists():
        return False
    if not is_plain_file(folder / DIGESTS):
        raise RunError(why_unread(folder / DIGESTS))
    told = read_json(folder / DIGESTS)
    if not isinstance(told, dict):
        raise RunError(f"{folder / DIGESTS} holds no digests: {brief(told)}")
    changed = [name for name in FILES[:-1] if told.get(name) != digest(folder / name)]
    if set(changed) - {"config.yaml"}:
        raise RunError(f"{folder}: {', '.join(changed)} is not what the run wrote: it was damaged or exchanged. Copy "
                       f"the run anew; without {DIGESTS} nothing is compared")  # fmt: skip
    if changed:
        warnings.warn(f"{folder}: config.yaml was changed since the run wrote it; what it says now is followed",
                      stacklevel=3)  # fmt: skip
    return not changed


def read_metrics(folder: str | Path) -> dict[str, Any]:
    """`metrics.json` of a finished run.

    Raises:
        RunError: it is no whole JSON.
    """
    metrics = read_json(Path(folder) / "metrics.json")
    if not isinstance(metrics, dict):
        raise RunError(f"{Path(folder) / 'metrics.json'} holds no metrics: {brief(metrics)}")
    return metrics


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
