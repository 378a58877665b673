"""Which tasks help which: one run of the config, with looks ahead on the way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.config import load_config
from trunkline.errors import ConfigError, RunError
from trunkline.run.fitting import Run, fit
from trunkline.run.resuming import CONFIG
from trunkline.sources import columns_of

EVERY = 10  # steps; as in the paper


@dataclass(frozen=True)
class Affinity:
    """What was found.

    Attributes:
        run: that it was measured in, finished.
        found: what `report/affinity.json` says; see `trunkline.run.facts.affinity`.
    """

    run: Run
    found: dict[str, Any]


def affinity(
    source: str | Path | Mapping[str, Any],
    *,
    overrides: Iterable[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    trust_code: bool = False,
    show_progress: bool | None = None,
) -> Affinity:
    """Train the config's network and measure on the way which task's steps let which other task's loss fall.

    A look every 10 steps, or as `training.affinity` has it, costs a gradient and a forward pass for each task. The run
    is what it would have been without, bit for bit.

    Args:
        source: path of a config, or what it would hold.
        overrides: `key=value`.
        out: the run folder; by default a new one under `runs/`.
        resume: go on with the run in `out` that was interrupted.
        trust_code: import classes of your own that the config names.
        show_progress: a bar on the terminal; by default where there is one.

    Raises:
        ConfigError: the config cannot work, has fewer than two tasks, or trains in several processes.
        DataError: the rows cannot be used.
        RunError: `out` holds something already, training has diverged, or it was too short for a look.
    """
    changes = list(overrides)
    config = load_config(source, columns=columns_of, overrides=changes, trust_code=trust_code)
    if len(config.tasks) < 2:
        raise ConfigError("tasks: one task alone has no other to help; give 2 or more")
    if config.training.affinity is None and not (resume and out is not None and (Path(out) / CONFIG).exists()):
        changes.append(f"training.affinity={EVERY}")
    run = fit(source, overrides=changes, out=out, resume=resume, trust_code=trust_code, show_progress=show_progress)
    path = run.folder / "report" / "affinity.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if "tasks" not in found:
        every, steps = run.config.training.affinity, run.metrics["steps"]
        raise RunError(f"{run.folder}: {steps} steps, a look every {every}: nothing was measured; take more steps")
    return Affinity(run, found)
