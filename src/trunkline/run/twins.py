"""Single-task twins: the same network once for each task alone, to see whether learning together helped."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from trunkline.config import Config, load_config, to_yaml
from trunkline.model import TaskScores
from trunkline.plan import make_plan, read_splits
from trunkline.run.fitting import new_folder, train_plan


@contextmanager
def single_task_twins(config: Config, steps: int, folder: Path) -> Iterator[dict[str, Future[TaskScores]]]:
    """Train every twin in processes of one thread each, as many at a time as there are cores.

    A twin has the same rows, inputs, network, seed and number of steps; only the other tasks are gone.

    Args:
        config: with `data`; what it leaves open is chosen for each twin as for any run.
        steps: optimiser steps of each.
        folder: of their run folders.

    Yields:
        By task, the test scores to come.
    """
    tasks = {name: folder / f"twin-{number}" for number, name in enumerate(config.tasks)}
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(min(len(tasks), cores), multiprocessing.get_context("spawn")) as pool:
        yield {name: pool.submit(_train_twin, to_yaml(config), name, steps, str(out)) for name, out in tasks.items()}


def _train_twin(config_yaml: str, task: str, steps: int, out: str) -> TaskScores:
    torch.set_num_threads(1)
    path = new_folder(out, task)
    path.mkdir(parents=True, exist_ok=True)
    written = path.parent / f"{path.name}.yaml"
    written.write_text(config_yaml, encoding="utf-8")
    config = load_config(written, columns=None)
    alone = replace(
        config,
        tasks={task: config.tasks[task]},
        training=replace(config.training, steps=steps, threads=1, devices=1),
    )
    run = train_plan(make_plan(alone, read_splits(alone)), path, show_progress=False)
    return run.metrics["test"] or run.metrics["validation"]
