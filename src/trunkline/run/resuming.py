"""What a run folder holds before the first step, and going on with a run that was interrupted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trunkline.config import Config, load_config, to_yaml
from trunkline.config.dump import as_plain
from trunkline.errors import RunError
from trunkline.files import read_json, replacing, write_json
from trunkline.plan import Plan
from trunkline.sources import fingerprints, trained_from
from trunkline.training import BEST_BEFORE, LAST, checkpoints

CONFIG, STATES, METRICS = "config.yaml", "preprocessing.json", "metrics.json"
TABLES = LAST.with_name("tables.json")
TURNED = ("epochs", "minutes")  # into steps, which are what counts then


def begin(plan: Plan, folder: Path) -> None:
    """Write down what the run is to be, so that it can go on whenever it is interrupted.

    Raises:
        RunError: it has begun already, with other rows.
    """
    if not (folder / CONFIG).exists():
        write_json(folder / TABLES, _read_from(plan.config))
        write_json(folder / STATES, plan.network.preprocessing.states)
        with replacing(folder / CONFIG) as unfinished:  # last: with it, the others are there
            unfinished.write_text(to_yaml(plan.config, reasons=plan.reasons), encoding="utf-8")
        return
    _check_rows(folder, plan)


def go_on(folder: Path, given: Config, *, trust_code: bool) -> Config:
    """The config of the run in this folder; the one that is given where no run has begun there.

    Raises:
        RunError: the run has finished, or the given config says otherwise than it.
    """
    if (folder / METRICS).exists():
        raise RunError(f"{folder}: this run has finished; there is nothing to go on with")
    if not (folder / CONFIG).exists():
        return given
    resolved = load_config(folder / CONFIG, columns=None, trust_code=trust_code)
    if differing := _differing(as_plain(given), as_plain(resolved)):
        raise RunError(f"{folder}: a run goes on as it began, but {'; '.join(differing)}")
    return replace(resolved, mute=given.mute)


def end(folder: Path) -> None:
    """What only an interrupted run needs."""
    for path in (*checkpoints(folder), folder / BEST_BEFORE, folder / TABLES):
        path.unlink(missing_ok=True)


def _differing(given: Any, resolved: Any, path: str = "") -> list[str]:
    """Where the given config says otherwise than the resolved one. What it leaves out says nothing."""
    if not (isinstance(given, Mapping) or isinstance(resolved, Mapping)):
        return [] if given == resolved else [f"{path} was {resolved!r} and now is {given!r}"]
    ours, theirs = (each if isinstance(each, Mapping) else {"type": each} for each in (given, resolved))
    keys = [key for key in ours if not (path == "training" and key in TURNED) and (path or key != "mute")]
    return [
        line for key in keys for line in _differing(ours[key], theirs.get(key), f"{path}.{key}" if path else str(key))
    ]


def _read_from(config: Config) -> dict[str, str]:
    """Checksums of all that a run begins with: tables, and weights of another."""
    return fingerprints(config) | trained_from(config)


def _check_rows(folder: Path, plan: Plan) -> None:
    before = read_json(folder / TABLES)
    now = _read_from(plan.config)
    if changed := [path for path, digest in now.items() if not isinstance(before, dict) or before.get(path) != digest]:
        raise RunError(f"{', '.join(changed)} changed since the run in {folder} began: it cannot go on")
    states = read_json(folder / STATES)
    if states != json.loads(json.dumps(plan.network.preprocessing.states)):
        raise RunError(f"{folder}: the run began with other rows: it cannot go on")
