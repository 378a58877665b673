"""Single-task twins: the same network once for each task alone, to see whether learning together helped."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from trunkline.config import Config
from trunkline.plan import make_plan
from trunkline.run.fitting import Metrics
from trunkline.run.many import Job, alone, inputs_of_twins, running
from trunkline.sources import read_splits, read_usable


@contextmanager
def single_task_twins(config: Config, steps: int, folder: Path) -> Iterator[dict[str, Future[Metrics]]]:
    """Train every twin in processes of one thread each, as many at a time as there are cores.

    Args:
        config: with `data`, whose rows every twin takes. Of what it leaves open, inputs, fusion, trunk and width are
            chosen once, for the whole: the twins have its network. Training is chosen for each as for any run.
        steps: optimiser steps of each.
        folder: of their run folders.

    Yields:
        By task, the metrics to come.
    """
    config = replace(config, training=replace(config.training, steps=steps))
    settled = make_plan(config, read_splits(config)).config
    twin = replace(config, inputs=settled.inputs, fusion=settled.fusion, trunk=settled.trunk, width=settled.width)
    inputs = inputs_of_twins(twin, read_usable(twin))
    jobs = {t: Job(alone(twin, t, inputs[t]), folder / f"twin-{n}", whole=config) for n, t in enumerate(config.tasks)}
    with running(jobs) as twins:
        yield twins
