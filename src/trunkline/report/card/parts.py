"""What the network reads and answers, what it learned from, and how."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from trunkline.report import words
from trunkline.report.card.markdown import block, inert, name, names, one_line, table
from trunkline.report.files import RunFiles

MOST = 40  # columns with a line of their own
CELLS = {
    "image": "the path of a picture",
    "audio": "the path of a sound",
    "text": "a string",
    "number": "a number",
    "category": "a name",
    "vector": "a list of numbers",
    "graph": "a SMILES string, or nodes and edges",
}
ANSWERS = {
    "category": "one of its classes, with the probability of each",
    "binary": "yes or no, with the probability of yes",
    "labels": "any of its names, with the probability of each",
    "number": "a number, in the column's own units",
    "ordinal": "one of its levels, which are in order, with the probability of each",
    "tags": "one of its tags for each word or node",
    "boxes": "boxes in the picture's own pixels, each with one of its classes and a score",
    "mask": "a class for each pixel",
    "dense": "numbers for each pixel, in the units of the maps that it learned from",
    "text": "a text",
    "transcript": "what is said in the sound, as text",
    "speech": "the text said aloud, as a sound",
}
CLASSED = ("category", "labels", "ordinal", "tags", "boxes")
SAMPLES: dict[str, Any] = {"image": "picture.png", "audio": "sound.wav", "text": "some words", "number": 1.0,
                           "category": "some name", "graph": "CCO"}  # fmt: skip


def details(run: RunFiles) -> str:
    """Inputs, tasks, and what the answers look like."""
    facts = run.facts["data"]
    inputs, tasks = facts.get("inputs", []), facts.get("tasks", [])
    if not inputs:
        kinds = [(task, str(told["type"] or "–")) for task, told in run.tasks.items()]
        return table(["task", "kind"], [(name(task), inert(kind)) for task, kind in kinds[:MOST]]) if kinds else ""
    read = [(name(one["name"]), inert(one["type"]), CELLS.get(one["type"], "–")) for one in inputs[:MOST]]
    said = [_task(one) for one in tasks[:MOST]]
    parts = [
        "It reads, of each row, any of these inputs (one at least; the others may be absent):",
        table(["input", "kind", "a cell is"], read) + _more(inputs, "inputs"),
        "It answers:",
        table(["task", "kind", "answer"], said) + _more(tasks, "tasks"),
    ]
    return "\n\n".join(parts)


def _task(told: Mapping[str, Any]) -> tuple[str, str, str]:
    answer = ANSWERS.get(told["type"], "–")
    known = told.get("names") or []
    if known and told["type"] in CLASSED:
        answer += f" ({len(known)}: {names(known)})"
    if (values := told.get("values")) and values["kind"] == "numbers" and told["type"] == "number":
        low, middle, high = (words.figure(values[key]) for key in ("min", "median", "max"))
        answer += f"; in training from {low} to {high}, median {middle}"
    of = f", about {name(told['of'])}" if told.get("of") else ""
    return name(told["name"]), inert(told["type"]), f"{answer}{of}"


def _more(several: Sequence[Any], noun: str) -> str:
    return f"\n\n… and {len(several) - MOST} more {noun}; `config.yaml` has all." if len(several) > MOST else ""


def start(run: RunFiles) -> str:
    """Python and command line; the folder is called by its name."""
    folder = one_line(run.name)
    quoted = shlex.quote(folder)
    row = {one["name"]: SAMPLES[one["type"]] for one in run.facts["data"].get("inputs", [])
           if one["type"] in SAMPLES}  # fmt: skip
    row = dict(list(row.items())[:8])
    trust = any(":" in str(one["type"]) for one in [*run.facts["data"].get("inputs", []), *run.tasks.values()])
    option = ", trust_code=True" if trust else ""
    python = f"from trunkline import load\n\nload({folder!r}{option}).predict([{row!r}])"
    flag = " --trust-code" if trust else ""
    shell = (
        f"trunkline predict {quoted} rows.csv --out answers.jsonl{flag}\n"
        f"trunkline evaluate {quoted} rows.csv{flag}\n"
        f"trunkline export {quoted}{flag}\n"
        f"trunkline serve {quoted}{flag}"
    )
    said = "One dict a row, one answer a task; inputs that a row lacks are left out of it." if row else ""
    parts = [block("python", python) if row else "", said, block("sh", shell)]
    return "\n\n".join(part for part in parts if part)


def training_data(run: RunFiles) -> str:
    """Source, rows, and how full each column is."""
    facts, data = run.facts["data"], run.settings.get("data")
    parts = [_sources(run, data if isinstance(data, Mapping) else {})]
    if rows := facts.get("splits"):
        parts.append(f"Rows: {', '.join(f'{words.count(count)} {split}' for split, count in rows.items())}.")
        heads = [f"{split} rows" for split in rows]
        columns = [(one, one["present"]) for one in facts["inputs"]], [(one, one["labelled"]) for one in facts["tasks"]]
        for noun, there, several in zip(("input", "task"), ("present in", "labelled in"), columns):
            lines = [(name(one["name"]), *(_share(full[split], count) for split, count in rows.items()))
                     for one, full in several[:MOST]]  # fmt: skip
            heading = [noun, *(f"{there} {head}" for head in heads)]
            parts.append(table(heading, lines, right=range(1, len(heading))) + _more(several, f"{noun}s"))
    if skipped := len({(fault["source"], fault["row"]) for fault in run.skipped}):
        parts.append(
            f"{words.plural(skipped, 'row')} could not be used and {'was' if skipped == 1 else 'were'} left out."
        )
    return "\n\n".join(part for part in parts if part)


def _share(there: int, rows: int) -> str:
    return f"{words.percent(there / rows)} ({words.count(there)})" if rows else "–"


def _sources(run: RunFiles, data: Mapping[str, Any]) -> str:
    """Files by name and checksum; what the config tells of them."""
    lines = [f"- {name(PurePath(path).name)}, SHA-256 `{one_line(digest)}`"
             for path, digest in (run.metrics.get("tables") or {}).items()]  # fmt: skip
    tables = data.get("tables")
    told = [("", data), *(tables.items() if isinstance(tables, Mapping) else ())]
    for table_name, one in told:
        whose = f" of {name(table_name)}" if table_name else ""
        for key in ("description", "licence"):
            if isinstance(one, Mapping) and one.get(key):
                lines.append(f"- {key}{whose}: {inert(one[key])}")
    if not any(isinstance(one, Mapping) and one.get("licence") for _, one in told):
        lines.append("- licence: not told (`data.licence` in the config is the place for it)")
    return "\n".join(lines)


def procedure(run: RunFiles) -> str:
    """Network, balancer, optimiser, time."""
    settings, metrics = run.settings, run.metrics
    training = settings.get("training") or {}
    frozen = run.facts["model"].get("frozen") or 0
    held = f", {words.count(frozen)} of them not trained" if frozen else ""
    lines = [f"- network: {words.count(metrics['parameters'])} parameters{held}", *_started(run)]
    for key in ("fusion", "trunk", "balancer"):
        if settings.get(key):
            lines.append(f"- {key}: {_component(settings[key])}")
    steps = (
        f"{words.count(metrics['steps'])} of AdamW; the weights after step {words.count(metrics['best_step'])} are kept"
    )
    lines.append(f"- steps: {steps}")
    wanted = {"lr": "peak learning rate", "batch_size": "rows a step", "accumulate": "parts of a step",
              "weight_decay": "weight decay", "warmup": "warm-up (share of the steps)", "clip": "largest gradient norm",
              "ema": "average of the weights", "precision": "precision",
              "input_dropout": "inputs hidden at random (share)"}  # fmt: skip
    lines += [f"- {said}: {inert(training[key])}" for key, said in wanted.items() if training.get(key) is not None]
    lines.append(f"- seed: {inert(metrics['seed'])}")
    return "\n".join([*lines, "", "`config.yaml` has every setting, and gives the same training again."])


def _started(run: RunFiles) -> list[str]:
    """Of a run that added tasks to another: what it took over."""
    start = run.metrics.get("start")
    if not start:
        return []
    new = [task for task in run.scores or run.tasks if task not in start["kept"]]
    whose = f"{name(PurePath(start['run']).name)} (weights SHA-256 `{one_line(start['weights'])}`)"
    return [
        f"- start: taken over from the run {whose}, and not trained further, but for what serves {names(new)} alone; "
        f"what {names(start['kept'])} learned from, that run's own card tells"
    ]


def _component(given: Any) -> str:
    """A type, with its options."""
    if not isinstance(given, Mapping):
        return name(given)
    options = ", ".join(f"{key} {value}" for key, value in given.items() if key != "type")
    return name(given.get("type", "")) + (f" ({inert(options)})" if options else "")


def impact(run: RunFiles) -> str:
    """Device seconds: the one cost that a run measures."""
    system, training = run.facts["system"], run.settings.get("training") or {}
    devices = training.get("devices")
    seconds = run.metrics["training_seconds"]
    where = f" on {inert(system['device'])} ({inert(system['machine'])})" if system else ""
    if isinstance(devices, int) and devices > 1:
        spent = f"{words.seconds(seconds)} on each of {devices} devices, {words.seconds(seconds * devices)} in all"
    else:
        spent = words.seconds(seconds)
    return f"Training took {spent}{where}. Energy was not measured."


def versions(run: RunFiles) -> str:
    """Software, and the machine."""
    system = run.facts["system"]
    if not system:
        known = run.metrics.get("versions") or {}
        return ", ".join(f"{inert(package)} {inert(version)}" for package, version in known.items())
    packages = ", ".join(f"{inert(package)} {inert(version)}" for package, version in system["packages"].items())
    cores, threads = words.plural(system["cores"], "core"), words.plural(system["threads"], "thread")
    return f"Python {inert(system['python'])}, {packages}.\n\n{inert(system['machine'])}; {cores}, {threads}."
