"""The files of a run, as the page needs them. Without some of them the sections they feed are left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import jinja2
import yaml

from trunkline.errors import RunError, brief
from trunkline.files import read_json
from trunkline.report import words


class _Plain(yaml.SafeLoader):
    """What a run writes has no aliases, which can make much of a little."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("no run writes an alias")
        return super().compose_node(parent, index)


VERSION = 1  # of the files in `report/`
SECTIONS = ("inputs", "tasks", "training")  # of a config, each a mapping of its own
FACTS = ("data", "model", "choices", "system", "quality", "absence", "affinity", "gallery", "calibration")


@dataclass(frozen=True)
class RunFiles:
    """What a run folder says.

    Attributes:
        folder: of the run.
        name: what it is called on the page.
        metrics: of `metrics.json`.
        log: lines of `log.jsonl`.
        skipped: lines of `skipped.jsonl`: rows that could not be used.
        config: text of `config.yaml`.
        facts: files of `report/` by name.
        twins: scores of single-task twins, by task.
    """

    folder: Path
    name: str
    metrics: Mapping[str, Any]
    log: list[dict[str, Any]]
    skipped: list[dict[str, Any]]
    config: str
    facts: Mapping[str, Mapping[str, Any]]
    twins: Mapping[str, Mapping[str, Any]]

    @property
    def judged(self) -> str | None:
        """The split that the run is judged by."""
        return next((name for name in ("test", "validation") if self.metrics.get(name) is not None), None)

    @property
    def scores(self) -> Mapping[str, Any]:
        """Of every task on those rows; empty where nothing was held out."""
        return self.metrics[self.judged] if self.judged else {}

    @property
    def majority(self) -> Mapping[str, Any]:
        """Of guessing on the same rows."""
        return self.metrics.get("majority") or {}

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """What the config says.

        Raises:
            RunError: it is none.
        """
        path = self.folder / "config.yaml"
        try:
            told = yaml.load(self.config, _Plain) or {}
        except (yaml.YAMLError, ValueError, RecursionError, LookupError, AttributeError, TypeError) as error:
            raise RunError(f"{path} is no config: {error}") from None
        if not isinstance(told, Mapping):
            raise RunError(f"{path} is no config: it holds {brief(told)}")
        for section in SECTIONS:
            if not isinstance(told.get(section) or {}, Mapping):
                raise RunError(f"{path}: {section} holds {brief(told[section])}; it is a mapping in what a run writes")
        return told

    @cached_property
    def muted(self) -> frozenset[str]:
        """Codes of checks that the config in the run folder does not want to hear of. It may be edited there."""
        told = self.settings.get("mute") or []
        if not isinstance(told, list):
            raise RunError(f"{self.folder / 'config.yaml'}: mute is a list of codes, not {told!r}")
        return frozenset(map(str, told))

    @cached_property
    def tasks(self) -> dict[str, Mapping[str, Any]]:
        """What `quality.json` says of each task; of a run without that file, what follows from the scores."""
        told = self.facts["quality"].get("tasks")
        return dict(told) if told is not None else {name: _guessed(scores) for name, scores in self.scores.items()}


def read_run(folder: Path) -> RunFiles:
    """Read a run folder.

    Raises:
        RunError: it is no finished run, or its report files are of a later version.
    """
    if not (folder / "metrics.json").is_file():
        what = "is not there" if not folder.exists() else "has no metrics.json"
        raise RunError(f"{folder} is no finished run: it {what}")
    return RunFiles(
        folder=folder,
        name=folder.absolute().name,
        metrics=read_json(folder / "metrics.json"),
        log=_lines(folder / "log.jsonl"),
        skipped=_lines(folder / "skipped.jsonl"),
        config=_text(folder / "config.yaml"),
        facts={name: _facts(folder / "report" / f"{name}.json") for name in FACTS},
        twins=_twins(folder),
    )


@contextmanager
def telling_damage(folders: Sequence[Path]) -> Iterator[None]:
    """What a run writes has a form that page and card know; what shows inside to have another was changed since.

    Raises:
        RunError: instead of what that shows as.
    """
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, OSError, RecursionError,
            jinja2.UndefinedError) as error:  # fmt: skip
        told = f"{type(error).__name__} {str(error)[:200]}"
        raise RunError(f"{', '.join(map(str, folders))}: some file does not hold what a run writes: {told}") from error


def _facts(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    facts = read_json(path)
    if facts.get("version") != VERSION:
        raise RunError(f"{path} is of version {facts.get('version')}; this trunkline reads version {VERSION}")
    return facts


def mean_loads(log: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """By task and expert, how much a task took of it: the mean over the last third of the steps that tell."""
    lines = [line["experts"] for line in log if "experts" in line]
    found: dict[str, dict[str, list[float]]] = {}
    for line in lines[-max(1, len(lines) // 3) :]:
        for task, loads in line.items():
            for expert, load in loads.items():
                found.setdefault(task, {}).setdefault(expert, []).append(load)
    return {task: {expert: fmean(seen) for expert, seen in experts.items()} for task, experts in found.items()}


def _lines(path: Path) -> list[dict[str, Any]]:
    lines = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        try:
            lines += [json.loads(line)] if line.strip() else []
        except (ValueError, RecursionError) as error:
            raise RunError(f"{path}, line {number} is no JSON: {error}") from error
    return lines


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except (UnicodeDecodeError, OSError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def _twins(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Scores of each task alone: of the comparison that the run is part of, else of runs in `RUN-twins/`."""
    comparison = folder.parent / "comparison.json"
    if comparison.is_file():
        return _twins_in(read_json(comparison), folder.name)
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted(folder.with_name(f"{folder.name}-twins").glob("*/metrics.json")):
        metrics = read_json(path)
        found |= {task: scores for task, scores in (metrics["test"] or metrics["validation"] or {}).items() if scores}
    return found


def _twins_in(comparison: Mapping[str, Any], run: str) -> dict[str, Mapping[str, Any]]:
    """Of the same seed."""
    for model in comparison["models"].values():
        if run in model["runs"]:
            seed = model["runs"].index(run)
            scores = comparison["alone"]["scores"]
            return {task: {m: one["values"][seed] for m, one in found.items()} for task, found in scores.items()}
    return {}


def _guessed(scores: Mapping[str, Any] | None) -> dict[str, Any]:
    metric = next(iter(scores or {}), None)
    is_error = metric in (*words.IN_UNITS, *words.ERRORS)
    return {
        "type": "",
        "metric": metric,
        "best": 0.0 if is_error else 100.0 if metric in words.OUT_OF_100 else 1.0,
        "lower_is_better": is_error,
        "rows": None,
    }
