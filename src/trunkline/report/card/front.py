"""What a model hub reads of a card: YAML in front of the text, in Hugging Face's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import yaml

from trunkline.report.card.markdown import one_line
from trunkline.report.files import RunFiles

MOST = 60  # tasks with all their metrics; of more, the primary ones
TABULAR = ("number", "category", "vector")
# Names that hubs have for kinds of task, by what they read.
HUB = {
    "classify": {"image": "image-classification", "text": "text-classification", "audio": "audio-classification",
                 "graph": "graph-ml", "tabular": "tabular-classification"},
    "regress": {"tabular": "tabular-regression", "graph": "graph-ml"},
    "boxes": {"image": "object-detection"},
    "mask": {"image": "image-segmentation"},
    "tags": {"text": "token-classification"},
    "text": {"text": "text-generation", "image": "image-to-text", "audio": "automatic-speech-recognition"},
    "transcript": {"audio": "automatic-speech-recognition"},
    "speech": {"text": "text-to-speech"},
}  # fmt: skip
KIND = {"category": "classify", "binary": "classify", "labels": "classify", "number": "regress", "ordinal": "regress"}


def front_matter(run: RunFiles) -> str:
    """The YAML between two rules; what is not known has no key."""
    inputs = run.settings.get("inputs") or {}
    kinds = [_kind(one) for one in inputs.values()]
    tasks = {task: str(told["type"]) for task, told in run.tasks.items() if told["type"]}
    metrics = [str(told["metric"]) for told in run.tasks.values() if told["metric"]]
    several = ["multimodal"] * (len({_family(kind) for kind in kinds}) > 1) + ["multi-task"] * (len(run.tasks) > 1)
    front: dict[str, Any] = {
        "library_name": "trunkline",
        "tags": list(dict.fromkeys(["trunkline", *several, *map(_family, kinds)])),
    }
    if metrics:
        front["metrics"] = list(dict.fromkeys(metrics))
    if results := _results(run, inputs, tasks):
        front["model-index"] = [{"name": one_line(run.name), "results": results}]
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=10_000)}---\n"


def _results(run: RunFiles, inputs: Mapping[str, Any], tasks: Mapping[str, str]) -> list[dict[str, Any]]:
    """One a task that has scores on held-out rows."""
    tables = [PurePath(path).name for path in run.metrics.get("tables") or {}]
    told = ", ".join(one_line(name) for name in dict.fromkeys(tables)) or "rows given in Python"
    found = []
    for task, scores in run.scores.items():
        primary = run.tasks[task]["metric"]
        shown = {m: v for m, v in (scores or {}).items() if v is not None and (len(run.scores) <= MOST or m == primary)}
        if shown:
            metrics = [{"type": m, "value": v, "name": f"{one_line(task)}: {m}"} for m, v in shown.items()]
            kind = {"type": _hub_name(run, task, inputs, tasks.get(task, "")), "name": one_line(task)}
            data = {"type": "table", "name": told, "split": run.judged}
            found.append({"task": kind, "dataset": data, "metrics": metrics})
    return found


def _hub_name(run: RunFiles, task: str, inputs: Mapping[str, Any], kind: str) -> str:
    """By what the task reads; where hubs have no such name, trunkline's own."""
    told = (run.settings.get("tasks") or {}).get(task)
    bound = str(told.get("of", "")) if isinstance(told, Mapping) else ""
    read: Sequence[Any] = [inputs[bound]] if bound in inputs else list(inputs.values())
    families = {_family(_kind(one)) for one in read}
    named = HUB.get(KIND.get(kind, kind), {})
    return named.get(families.pop(), kind) if len(families) == 1 else kind or "other"


def _kind(given: Any) -> str:
    return str(given.get("type", "")) if isinstance(given, Mapping) else str(given)


def _family(kind: str) -> str:
    return "tabular" if kind in TABULAR else kind.rpartition(":")[2]
