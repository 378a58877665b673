"""Play a demo: make its table, train on it together and alone, compare."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from trunkline.config import load_config
from trunkline.errors import ConfigError, suggest
from trunkline.run import Metrics, Run, fit, report, single_task_twins
from trunkline.training import OnValidation


@dataclass(frozen=True)
class TaskRow:
    """One task's primary metric on the test rows."""

    task: str
    metric: str
    majority: float | None
    alone: float | None
    together: float | None

    @property
    def difference(self) -> float | None:
        """Together − alone."""
        return None if self.together is None or self.alone is None else self.together - self.alone


@dataclass(frozen=True)
class Shown:
    """What a demo has to show: a table, and what it means in plain words."""

    title: str
    rows: list[TaskRow]
    closing: str
    run: Run


def play(
    demo: ModuleType,
    *,
    keep: Path | None = None,
    folder: Path | None = None,
    say: Callable[[str], None],
    overrides: Mapping[str, Any] | None = None,
    on_validation: OnValidation | None = None,
) -> Shown:
    """Make the table (or find it in the cache), train the multi-task network and its single-task twins.

    Args:
        demo: a module of the catalog.
        keep: leave the table and its config here.
        folder: of the run; a temporary one if not given.
        say: told what happens.
        overrides: of the demo's config, for tests.
        on_validation: told of each look at the validation rows, of the network of all tasks.
    """
    start = time.perf_counter()
    say((demo.__doc__ or "").splitlines()[0])
    path = demo.cached(keep=keep)
    say(f"Table and config: {path.parent} ({time.perf_counter() - start:.0f} s)")
    folder = folder or Path(tempfile.mkdtemp(prefix="trunkline-demo-")) / "run"
    config = load_config(path, columns=None, overrides=[f"{k}={v}" for k, v in (overrides or {}).items()])
    steps = config.training.steps
    if steps is None:
        raise ConfigError(f"{path}: a demo says `training.steps`, so that its twins can take as many")
    with single_task_twins(config, steps, folder.with_name(f"{folder.name}-twins")) as twins:
        say(f"Training {len(config.tasks)} tasks together, and each alone: {steps} steps a network")
        changed = [f"{k}={v}" for k, v in (overrides or {}).items()]
        run = fit(path, out=folder, overrides=changed, on_validation=on_validation)
        say("The network of all tasks is trained; waiting for those of one")
        rows = _compare(run, twins)
    report(run.folder)  # once more, now beside the twins
    return Shown(f"{len(run.predictor.preprocessing.tasks)} tasks, test rows", rows, _closing(rows, run, start), run)


def find(catalog: Mapping[str, ModuleType], name: str) -> ModuleType:
    """A demo by name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in catalog:
        raise ConfigError(f"{name!r} is not a demo.{suggest(name, catalog)}")
    return catalog[name]


def _compare(run: Run, twins: Mapping[str, Future[Metrics]]) -> list[TaskRow]:
    rows = []
    for task, twin in twins.items():
        metric = run.predictor.preprocessing.schema.tasks[task].task.primary
        together, majority, alone = (
            run.metrics["test"][task],
            run.metrics["majority"][task],
            twin.result()["test"][task],
        )
        rows.append(TaskRow(task, metric, majority[metric], (alone or {}).get(metric), together[metric]))
    return rows


def _closing(rows: list[TaskRow], run: Run, start: float) -> str:
    better = [row.task for row in rows if (row.difference or 0) > 0]
    worse = [row.task for row in rows if (row.difference or 0) < 0]
    return (
        f"Higher together: {', '.join(better) or 'none'}; higher alone: {', '.join(worse) or 'none'}.\n"
        "One seed, so nothing tells this from chance; several: trunkline compare.\n"
        f"{time.perf_counter() - start:.0f} s in all. Run folder: {run.folder}"
    )
