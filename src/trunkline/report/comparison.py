"""A folder of runs that were compared: together against each task alone, over several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trunkline.errors import RunError
from trunkline.files import is_inside, read_json
from trunkline.report import words

FILE = "comparison.json"
VERSION = 1
TONES = {"better": "good", "worse": "bad", "no difference seen": "none"}


def runs_in(folder: Path) -> list[Path]:
    """The runs that a page about this folder tells of: the folder itself, or of a comparison one a model.

    Raises:
        RunError: the comparison is of a later version.
    """
    if not (folder / FILE).is_file():
        return [folder]
    result = _read(folder)
    runs = [folder / model["runs"][0] for model in result["models"].values()]
    if outside := [run for run in runs if not is_inside(run, folder)]:
        raise RunError(f"{folder / FILE} names {outside[0]}, which lies elsewhere")
    return runs


def comparison(folder: Path) -> dict[str, Any] | None:
    """What the page shows of a comparison: each task alone and together, Δm, costs; `None` where it is none."""
    if not (folder / FILE).is_file():
        return None
    result = _read(folder)
    return {
        "name": folder.absolute().name,
        "judged": result["judged"],
        "seeds": result["seeds"],
        "steps": result["steps"],
        "same_labels": result.get("same_labels", False),
        "models": list(result["models"]),
        "rows": [_row(result, task, told) for task, told in result["tasks"].items()],
        "delta_m": [_delta_m(model["delta_m"]["per_task"]) for model in result["models"].values()],
        "ranks": _ranks(result),
        "costs": [("alone, all together", result["costs"]["alone"])]
        + [(name, result["costs"][name]) for name in result["models"]],
        "tuned": _tuned(result),
        "lead": _leads(result),
    }


def _read(folder: Path) -> Mapping[str, Any]:
    result = read_json(folder / FILE)
    if result.get("version") != VERSION:
        raise RunError(f"{folder / FILE} is of version {result.get('version')}; this trunkline reads version {VERSION}")
    return result


def _row(result: Mapping[str, Any], task: str, told: Mapping[str, Any]) -> dict[str, Any]:
    metric = told["primary"]
    return {
        "task": task,
        "kind": told["kind"],
        "metric": metric,
        "labels": told["labels"],
        "majority": _spread(result["majority"][task].get(metric)),
        "alone": _spread(result["alone"]["scores"][task].get(metric)),
        "together": [
            (_spread(model["scores"][task].get(metric)), _difference(model["differences"][task].get(metric)))
            for model in result["models"].values()
        ],
    }


def _spread(found: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return {"mean": None, "std": None} if found is None else found


def _difference(found: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """With the tone of its verdict; one seed claims nothing."""
    found = found or {"mean": None, "low": None, "high": None, "verdict": None}
    return {**found, "tone": TONES.get(found["verdict"] or "", "none")}


def _delta_m(found: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return _difference(found)


def _ranks(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Mean ranks over tasks, of the twins and of each model; of one model the differences say it."""
    alone = result["alone"].get("mean_rank")
    if alone is None or len(result["models"]) < 2:
        return None
    together = [model["mean_rank"]["per_task"] for model in result["models"].values()]
    return {"alone": alone["per_task"], "together": together}


def _tuned(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """The weights that were tried, the best first; `None` where nobody searched."""
    tuned = result.get("tuned")
    if tuned is None:
        return None
    ranked = sorted(tuned["trials"], key=lambda trial: -trial["score"])
    tasks = list(tuned["weights"])
    rows = [([trial["weights"][task] for task in tasks], trial["score"]) for trial in ranked]
    return {"tasks": tasks, "rows": rows, "seconds": tuned["training_seconds"]}


def _leads(result: Mapping[str, Any]) -> list[str]:
    """One sentence for all models of which the same is to be said."""
    said: dict[str, list[str]] = {}
    for name, model in result["models"].items():
        said.setdefault(_lead(result, model), []).append(name)
    if len(result["models"]) == 1:
        return [f"Together: {told}." for told in said]
    return [f"Together with {words.listed(names)}: {told}." for told, names in said.items()]


def _lead(result: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    verdicts = {
        task: (model["differences"][task].get(told["primary"]) or {}).get("verdict")
        for task, told in result["tasks"].items()
    }
    if not any(verdicts.values()):
        return f"with {words.plural(len(result['seeds']), 'seed')} nothing is claimed"
    return "; ".join(part for verdict in TONES if (part := _of(verdicts, verdict)))


def _of(verdicts: Mapping[str, Any], verdict: str) -> str:
    tasks: Sequence[str] = [task for task, found in verdicts.items() if found == verdict]
    return f"{verdict} for {words.listed(tasks)}" if tasks else ""
