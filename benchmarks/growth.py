"""What one network costs, and what its tasks score, as tasks are added to it.

    python -m benchmarks.growth recipes/three_fields.yaml KEY=VALUE … --tasks section,digit,boxes,… \\
        --counts 1,2,4,8,21 --out RUNS [--compare RUNS/comparison.json]

Trains the first so many tasks of the list together, each network in a process of its own on one thread, with as many
rows of each table a step as the network of all tasks has: its batches are a share of that one's. Prints a table and
draws `docs/growth.svg`; runs that are there already are not trained again. With a comparison of the same config, the
twins' mean scores stand beside, and what each cost: in the quickest seed, since others are at work on these cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from benchmarks.shard_memory import peak
from trunkline import fit
from trunkline.config import load_config, to_yaml
from trunkline.plan import draw_weights, make_plan
from trunkline.report.figures.svg import element, path, scale, short, ticks
from trunkline.sources import columns_of, read_splits

FILE = Path(__file__).parents[1] / "docs" / "growth.svg"
WIDE, HIGH, LEFT, HEAD, FOOT, GAP = 230, 150, 44, 40, 34, 16
STYLE = """
svg { --s0: #3f6fd8; --s1: #d9822b; --s2: #21966a; --s3: #b14fa6; --ink: #23272e; --quiet: #6b7280; --rule: #dfe3ea;
  --paper: #ffffff; font: 12px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { svg { --s0: #7ea2ff; --s1: #f0a35a; --s2: #4fc596; --s3: #d785ce;
  --ink: #e6e9ef; --quiet: #9aa3b2; --rule: #343a46; --paper: #16181d; } }
.paper { fill: var(--paper); } .frame { fill: none; stroke: var(--rule); } .title { fill: var(--ink); font-weight: 600; }
.tick { fill: var(--quiet); font-size: 10px; } .line { stroke-width: 1.5; stroke-linejoin: round; } .rule { stroke: var(--rule); }
"""  # noqa: E501
LINES = 4  # whose scores are drawn
LEAST = 0.02  # of the way from guessing to perfect, that a twin must have come to be a measure of others


@dataclass(frozen=True)
class Twin:
    """A network for one task: its score, seconds a step, and size."""

    score: float
    pace: float
    parameters: int


Panel = tuple[str, dict[str, list[tuple[float, float]]]]  # title, and by line its points


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--tasks", required=True, help="in the order in which they are added; all others come last")
    parser.add_argument("--counts", default="1,2,4,8")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--compare", type=Path, help="comparison.json of the same config: what the twins cost and score"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    said = parser.parse_args(arguments)
    if said.one:
        train(said.config, said.overrides, said.one.split(","), said.out)
        return
    config = load_config(said.config, overrides=said.overrides, columns=columns_of)
    named = said.tasks.split(",")
    order = [*named, *(name for name in config.tasks if name not in named)]
    found = []
    for count in (min(int(word), len(order)) for word in said.counts.split(",")):
        folder = said.out / f"tasks-{count}"
        if not (folder / "growth.json").exists():
            command = [sys.executable, "-m", "benchmarks.growth", str(said.config), *said.overrides]
            own = ["--tasks", said.tasks, "--one", ",".join(order[:count]), "--out", str(folder)]
            subprocess.run([*command, *own], check=True)
        found.append(json.loads((folder / "growth.json").read_text()))
    twins = read_twins(said.compare) if said.compare else None
    tell(found, named, twins)
    FILE.write_text(draw(panels(found, named, twins)))


def train(source: Path, overrides: list[str], tasks: list[str], folder: Path) -> None:
    """One network of these tasks; writes what it cost and scored into its folder."""
    whole = load_config(source, overrides=overrides, columns=columns_of)
    plan = make_plan(whole, read_splits(whole))
    rows, source_of = plan.splits.train, plan.source(plan.splits.train)
    labelled = source_of.labelled[rows.rows]
    drawn = draw_weights(plan.config.data, rows, labelled.any(1))
    here = labelled[:, [name in tasks for name in source_of.preprocessing.tasks]].any(1)
    size = plan.config.training.batch_size
    assert size is not None
    batch = max(1, round(size * float(drawn[here].sum() / drawn.sum())))
    others = [f"tasks.{name}=off" for name in whole.tasks if name not in tasks]
    others += [f"tasks.{n}.share=null" for n in tasks if whole.tasks[n].share not in (None, *tasks)]
    own = [*others, f"training.batch_size={batch}", "training.threads=1", "training.patience=1000"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    settled = folder.with_suffix(".yaml")  # every column of a pattern by its name
    settled.write_text(to_yaml(whole), encoding="utf-8")
    run = fit(settled, overrides=own, out=folder, report=False)
    primary = {name: column.task.primary for name, column in source_of.preprocessing.schema.tasks.items()}
    facts = {
        "tasks": tasks,
        "batch": batch,
        "parameters": run.metrics["parameters"],
        "steps": run.metrics["steps"],
        "seconds": run.metrics["training_seconds"],
        "peak_mb": peak() / 2**20,
        "scores": {name: scores[primary[name]] for name, scores in run.metrics["test"].items()},
        "guessing": {name: scores[primary[name]] for name, scores in run.metrics["majority"].items()},
        "best": {name: column.task.best for name, column in source_of.preprocessing.schema.tasks.items()},
    }
    (folder / "growth.json").write_text(json.dumps(facts, indent=1))


def read_twins(comparison: Path) -> dict[str, Twin]:
    """By task."""
    told = json.loads(comparison.read_text())
    found = {}
    for task, runs in told["alone"]["runs"].items():
        metrics = [json.loads((comparison.parent / run / "metrics.json").read_text()) for run in runs]
        quickest = min(metrics, key=lambda one: one["training_seconds"] / one["steps"])
        score = told["alone"]["scores"][task][told["tasks"][task]["primary"]]["mean"]
        pace = quickest["training_seconds"] / quickest["steps"]
        found[task] = Twin(float(score), pace, int(quickest["parameters"]))
    return found


def tell(found: Sequence[dict[str, Any]], named: Sequence[str], twins: dict[str, Twin] | None) -> None:
    """A Markdown table: a line a network."""
    shown = [name for name in named if any(name in each["tasks"] for each in found)]
    apart = twins is not None
    print("| tasks | rows a step | s a step |" + " apart |" * apart + " peak, MB | parameters |" + " apart |" * apart,
          " | ".join(shown), "|")  # fmt: skip
    print("|---" * (5 + 2 * apart + len(shown)) + "|")
    for each in found:
        scores = [f"{each['scores'][name]:.3f}" if name in each["scores"] else "" for name in shown]
        pace, size = f"{each['seconds'] / each['steps']:.2f}", f"{each['parameters'] / 1e6:.1f} M"
        if twins is not None:
            pace += f" | {sum(twins[task].pace for task in each['tasks']):.2f}"
            size += f" | {sum(twins[task].parameters for task in each['tasks']) / 1e6:.1f} M"
        print(f"| {len(each['tasks'])} | {each['batch']} | {pace} | {each['peak_mb']:.0f} | {size} |",
              " | ".join(scores), "|")  # fmt: skip
    if twins is not None:
        print("| each alone | | | | | | |", " | ".join(f"{twins[name].score:.3f}" for name in shown), "|")


def panels(found: Sequence[dict[str, Any]], named: Sequence[str], twins: dict[str, Twin] | None) -> list[Panel]:
    """Cost and scores over the number of tasks; scores as the way from guessing to perfect, alone at 1."""
    count = [float(len(each["tasks"])) for each in found]
    steps = {"one network": [each["seconds"] / each["steps"] for each in found]}
    size = {"one network": [each["parameters"] / 1e6 for each in found]}
    if twins is not None:
        steps["a network a task"] = [sum(twins[task].pace for task in each["tasks"]) for each in found]
        size["a network a task"] = [sum(twins[task].parameters for task in each["tasks"]) / 1e6 for each in found]

    def way(each: dict[str, Any], name: str) -> list[tuple[float, float]]:
        """A point; none where there is no score, or the twin itself is hardly above guessing."""
        guessing, best, score = each["guessing"].get(name), each["best"][name], each["scores"].get(name)
        whole = best if twins is None else twins[name].score
        if score is None or guessing is None or abs(whole - guessing) < LEAST * abs(best - guessing):
            return []
        return [(float(len(each["tasks"])), (score - guessing) / (whole - guessing))]

    drawn = {name: [point for each in found if name in each["scores"] for point in way(each, name)] for name in named}
    scores = {name: points for name, points in list(drawn.items())[:LINES] if points}
    over = {key: list(zip(count, values)) for key, values in steps.items()}
    of = {key: list(zip(count, values)) for key, values in size.items()}
    memory = {"one network": list(zip(count, [each["peak_mb"] / 1024 for each in found]))}
    reached = "from guessing (0) to " + ("perfect (1)" if twins is None else "its twin's score (1)")
    return [("seconds a step", over), ("parameters, M", of), ("memory, GB", memory), (reached, scores)]


def draw(shown: Sequence[Panel]) -> str:
    """A panel each, side by side, two in a row."""
    across, down = 2, -(-len(shown) // 2)
    width, height = across * (LEFT + WIDE + GAP) + GAP, down * (HEAD + HIGH + FOOT + GAP) + GAP
    parts = [element("style", Markup(STYLE)), element("rect", width="100%", height="100%", class_="paper")]
    for k, (title, lines) in enumerate(shown):
        left, top = GAP + k % across * (LEFT + WIDE + GAP), GAP + k // across * (HEAD + HIGH + FOOT + GAP)
        parts.append(element("g", *panel(title, lines), transform=f"translate({left},{top})"))
    label = "Seconds a step, parameters, memory and scores of one network over its number of tasks"
    return str(
        element("svg", *parts, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}", role="img",
                aria_label=label)
    ) + "\n"  # fmt: skip


def panel(title: str, lines: dict[str, list[tuple[float, float]]]) -> list[Markup]:
    """Lines over the number of tasks, each with its name."""
    points = [point for line in lines.values() for point in line]
    counts = sorted({x for x, _ in points})
    top = max(y for _, y in points) * 1.08
    x = scale([0, max(counts)], LEFT, LEFT + WIDE, margin=0.02)
    y = scale([0, top], HEAD + HIGH, HEAD, margin=0)
    parts = [
        element("text", title, x=0, y=14, class_="title"),
        element("rect", x=LEFT, y=HEAD, width=WIDE, height=HIGH, class_="frame"),
        element("text", "tasks", x=LEFT + WIDE, y=HEAD + HIGH + 28, class_="tick", text_anchor="end"),
        *[element("text", str(int(n)), x=x(n), y=HEAD + HIGH + 14, class_="tick", text_anchor="middle")
          for n in counts],
    ]  # fmt: skip
    for at in ticks(0, top, wanted=4):
        parts.append(element("line", x1=LEFT, x2=LEFT + WIDE, y1=y(at), y2=y(at), class_="rule"))
        parts.append(element("text", short(at), x=LEFT - 4, y=y(at) + 3, class_="tick", text_anchor="end"))
    for k, (name, line) in enumerate(lines.items()):
        colour = f"var(--s{k})"
        parts.append(path([(x(a), y(b)) for a, b in line], class_="line", style=f"stroke:{colour}"))
        parts += [element("circle", cx=x(a), cy=y(b), r=2.5, style=f"fill:{colour}") for a, b in line]
        where = {"x": LEFT + k % 2 * WIDE / 2, "y": 26 + k // 2 * 11}
        parts.append(element("text", name, **where, class_="tick", style=f"fill:{colour}"))
    return parts


if __name__ == "__main__":
    main()
