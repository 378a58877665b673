"""What `metrics.json` and `comparison.json` say, as a person reads it on a terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from trunkline.config import Config, setting
from trunkline.demos.play import Shown
from trunkline.errors import counted
from trunkline.listing import Option
from trunkline.run.looking import Look
from trunkline.schema import Preprocessing
from trunkline.showing import certainty
from trunkline.sounds import Sound
from trunkline.types import Batch


def scores_table(title: str, scores: Mapping[str, Any], majority: Mapping[str, Any]) -> Table:
    """Every metric of every task, beside guessing."""
    table = Table(title=title, title_justify="left")
    for heading in ("task", "metric", "model", "guessing"):
        table.add_column(heading, justify="left" if heading in ("task", "metric") else "right")
    for task, found in scores.items():
        if found is None:
            table.add_row(task, "no labelled row", "", "")
            continue
        known = majority.get(task) or {}
        for number, (metric, value) in enumerate(found.items()):
            table.add_row("" if number else task, metric, _number(value), _number(known.get(metric)))
    return table


def all_right_line(whole: Mapping[str, Any]) -> str:
    """Rows in which all tasks whose answers are right or wrong are right; a line for each set of such tasks."""
    return "\n".join(map(_all_right_line, [whole, *whole.get("others", ())]))


def _all_right_line(whole: Mapping[str, Any]) -> str:
    tasks = whole["tasks"]
    named = ", ".join(tasks) if len(tasks) <= 4 else f"{', '.join(tasks[:3])} and {len(tasks) - 3} more"
    return f"all right at once ({named}): {whole['share']:.3f} of the {whole['rows']} rows that have all these labels"


MANY, TOO_MANY, FEW = 1e4, 1e15, 0.00995  # from which, and to which, numbers are whole; under which digits count
SHOWN = 20  # rows whose answers are shown
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
WIDE = 12  # tasks that have a column on a terminal; all are in the report


def answers_shown(rows: Sequence[Mapping[str, Any]]) -> Iterator[Table | str]:
    """What is said about the first rows, and how many there are more."""
    yield from (_answers_table(number, answers) for number, answers in enumerate(rows[:SHOWN], 1))
    if len(rows) > SHOWN:
        yield f"{len(rows) - SHOWN} more rows: --out FILE writes all of them"


def _answers_table(number: int, answers: Mapping[str, Any]) -> Table:
    """Tasks, answers, and how sure they are where they say it."""
    table = Table(title=f"row {number}", title_justify="left", box=None, show_header=False, padding=(0, 2, 0, 0))
    for task, said in answers.items():
        value = said["value"] if isinstance(said, dict) else said
        sure = certainty(said)
        table.add_row(task, _answer(value), "" if sure is None else f"{sure:.0%}")
    return table


def _answer(value: Any) -> str:
    if value is None:
        return "(absent: so is its input)"
    if isinstance(value, Sound):
        return f"{value.samples / value.rate:.2f} s of sound: --out FILE writes it"
    if hasattr(value, "shape"):
        return f"{' × '.join(map(str, value.shape))} numbers"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return _printable(" ".join(value))
    if not isinstance(value, float):
        return _printable(str(value))
    return f"{value:,.0f}" if MANY <= abs(value) < TOO_MANY else f"{value:.4g}"


def _printable(text: str) -> str:
    """Control characters as they are written in Python: none of a text that is copied commands the terminal."""
    return CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


def demo_table(shown: Shown) -> Table:
    """Each task of a demo, together and alone."""
    table = Table(title=shown.title, title_justify="left")
    for heading in ("task", "metric", "guessing", "alone", "together", "together − alone"):
        table.add_column(heading, justify="left" if heading in ("task", "metric") else "right")
    for row in shown.rows:
        difference = "–" if row.difference is None else f"{row.difference:+.3f}"
        table.add_row(row.task, row.metric, *map(_number, (row.majority, row.alone, row.together)), difference)
    return table


def types_table(section: str, types: Sequence[tuple[str, str]]) -> Table:
    """The types of a section of a config."""
    table = Table(title=section, title_justify="left", show_header=False, box=None, padding=(0, 2))
    for row in types:
        table.add_row(*row)
    return table


def options_table(title: str, about: str, options: Sequence[Option]) -> Table | str:
    """All options of one type, or that it has none."""
    heading = f"{title}: {about}"
    if not options:
        return f"{heading} It has no options of its own."
    table = Table(title=heading, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    for column in ("option", "default", "what it does"):
        table.add_column(column)
    for option in options:
        table.add_row(option.name, option.default, option.about)
    return table


def comparison_table(name: str, result: Mapping[str, Any]) -> Table:
    """One model against the single-task twins: the primary metric of each task; all others are in the file.

    Of one seed there is neither interval nor verdict, and no column for them.
    """
    model, sure = result["models"][name], len(result["seeds"]) > 1
    table = Table(title=f"together ({name}) against alone, {result['judged']} rows", title_justify="left",
                  box=SIMPLE_HEAD, padding=(0, 1))  # fmt: skip
    for heading in ("task", "metric", "guessing", "alone", "together", "difference", "interval", "together is")[
        : None if sure else -2
    ]:
        table.add_column(heading, justify="left" if heading in ("task", "metric", "together is") else "right")
    for task, about in result["tasks"].items():
        metric = about["primary"]
        scores = (result["majority"][task].get(metric), result["alone"]["scores"][task].get(metric),
                  model["scores"][task].get(metric))  # fmt: skip
        said = model["differences"][task].get(metric)
        difference, between = ("–", "–") if said is None else (f"{said['mean']:+.3f}", _between(said))
        majority = _number(scores[0] and scores[0]["mean"])
        figures = [_with_spread(spread) for spread in scores[1:]]
        verdict = (between, said["verdict"] if said else "no data") if sure else ()
        table.add_row(task, metric, majority, *figures, difference, *verdict)
    return table


def _cost(cost: Mapping[str, Any]) -> str:
    size = f" ({cost['bytes'] / 1e6:.1f} MB)" if "bytes" in cost else ""  # comparisons of before do not say
    return (
        f"{cost['parameters']:,} parameters{size}, {cost['training_seconds']:.0f} s to train, "
        f"{cost['predict_ms_a_row']:.2f} ms a row"
    )


def comparison_lines(result: Mapping[str, Any]) -> list[str]:
    """What no column of a table says: Δm, costs, and how much it can be believed."""
    lines = []
    for name, model in result["models"].items():
        for key, over in (("per_metric", "metrics"), ("per_task", "tasks")):
            if (said := model["delta_m"][key]) is not None:
                lines.append(f"Δm of {name} over {over}: {_with_spread(said, '+.2f')} % (negative is better), "
                             f"{_between(said, '+.2f')}: {said['verdict']}")  # fmt: skip
    if len(result["models"]) > 1 and "mean_rank" in result["alone"]:
        lines.append(f"Mean rank over tasks (1 is best): {_ranked(result)}")
    costs = result["costs"]
    lines += [f"{n}: {_cost(costs[n])}; all twins together: {_cost(costs['alone'])}" for n in result["models"]]
    if tuned := result.get("tuned"):
        weights = ", ".join(f"{task} {weight:.3g}" for task, weight in tuned["weights"].items())
        lines.append(f"tuned: weights {weights}; the best of {len(tuned['trials'])} on the validation rows, "
                     f"{tuned['training_seconds']:.0f} s to find")  # fmt: skip
    seeds = len(result["seeds"])
    told = "; of 20 such intervals one misses by chance" if seeds > 1 else ": nothing can be said of chance"
    lines.append(f"{seeds} seed{'s' * (seeds > 1)} ({result['confidence']:.0%} intervals over seeds{told}), "
                 f"{result['steps']} steps a network{_with_labels(result)}")  # fmt: skip
    if result["judged"] == "validation":
        lines.append("There is no test split: weights were chosen by the same validation rows.")
    return lines


def _with_labels(result: Mapping[str, Any]) -> str:
    return ", as many labels of a task in a step alone as together" if result.get("same_labels") else ""


def _ranked(result: Mapping[str, Any]) -> str:
    """All models and the twins, the best first."""
    ranks = {name: model["mean_rank"]["per_task"] for name, model in result["models"].items()}
    ranks["alone"] = result["alone"]["mean_rank"]["per_task"]
    known = sorted((rank, name) for name, rank in ranks.items() if rank is not None)
    return ", ".join(f"{name} {rank:.2f}" for rank, name in known) or "nothing to rank by"


def affinity_table(found: Mapping[str, Any]) -> Table:
    """What a step on the task of the row does to the loss of that of the column, in per cent."""
    tasks = found["tasks"]
    title = f"{counted(found['looks'], 'look')}: % off the losses by a step on one task (~: about 0)"
    table = Table(title=title, title_justify="left")
    table.add_column("a step on")
    for task in tasks[:WIDE]:
        table.add_column(task, justify="right")
    for one, row in zip(tasks, found["affinity"], strict=True):
        table.add_row(one, *("·" if one == other else _percent(h) for other, h in zip(tasks[:WIDE], row)))
    return table


def _percent(helping: Mapping[str, Any]) -> str:
    if helping["mean"] is None:
        return "–"
    return f"{100 * helping['mean']:+.3f}" if helping["is_clear"] else "~"


def groupings_table(found: Mapping[str, Any]) -> Table:
    """Which tasks should share a network, for one network, two, …."""
    table = Table(title="which tasks should share a network", title_justify="left")
    table.add_column("networks", justify="right")
    table.add_column("tasks")
    table.add_column("score", justify="right")
    for one in found["groupings"]:
        shared = " | ".join(", ".join(group) for group in one["groups"])
        table.add_row(str(len(one["groups"])), shared, f"{100 * one['score']:+.3f}")
    return table


def choices_table(config: Config, reasons: Mapping[str, str]) -> Table:
    """What was left open, what was chosen, and why."""
    table = Table(title="chosen", title_justify="left")
    for heading in ("setting", "value", "because"):
        table.add_column(heading)
    for path, why in reasons.items():
        table.add_row(path, str(setting(config, path)), why)
    return table


def columns_table(title: str, configs: Mapping[str, Any], share: str, shares: Mapping[str, float]) -> Table:
    """Inputs or tasks, their columns, and how often they are there."""
    table = Table(title=title, title_justify="left")
    for heading in ("name", "type", "column", share):
        table.add_column(heading, justify="right" if heading == share else "left")
    for name, config in list(configs.items())[:40]:
        table.add_row(name, config.type, config.column, f"{shares[name]:.0%}")
    if len(configs) > 40:
        table.add_row(f"… and {len(configs) - 40} more", "", "", "")
    return table


def batch_lines(batch: Batch, preprocessing: Preprocessing) -> list[str]:
    """What a batch holds, a line for each encoder and each head."""
    members = {unit.name: unit.inputs for unit in preprocessing.encoders}
    tasks = {unit.name: unit.tasks for unit in preprocessing.heads}
    lines = []
    for title, parts, names in (("input", batch.inputs, members), ("target", batch.targets, tasks)):
        for name, part in parts.items():
            flags = part.flags if title == "input" else part.values.get("flags")  # those of a block are of single cells
            rows = (batch.size if part.rows is None else len(part.rows)) if flags is None else int(flags.any(1).sum())
            shapes = ", ".join(f"{key} {list(value.shape)}" for key, value in part.values.items())
            lines.append(f"{title} {_listed(names[name])}: {rows} of {batch.size} rows; {shapes}")
    return lines


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _between(said: Mapping[str, Any], form: str = "+.3f") -> str:
    return "–" if said["low"] is None else f"{said['low']:{form}} … {said['high']:{form}}"


def _with_spread(spread: Mapping[str, Any] | None, form: str = ".3f") -> str:
    if spread is None or spread["mean"] is None:
        return "–"
    mean = format(spread["mean"], form)
    return mean if spread["std"] is None else f"{mean} ± {format(spread['std'], form.lstrip('+'))}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    if MANY <= abs(value) < TOO_MANY:
        return f"{value:,.0f}"
    return f"{value:.3g}" if 0 < abs(value) < FEW or TOO_MANY <= abs(value) < math.inf else f"{value:.3f}"


def look_table(source: str, look: Look) -> Table:
    """What each column of a table holds, and what is proposed for it."""
    shown = Table(title=f"{source}: {len(look.table)} rows", title_justify="left")
    for heading in ("column", "holds", "absent", "different", "becomes", "because"):
        shown.add_column(heading, justify="right" if heading in ("absent", "different") else "left")
    for name, found in look.columns.items():
        kind = look.inputs.get(name) or look.tasks.get(name)
        becomes = "–" if kind is None else f"{'task' if name in look.tasks else 'input'}: {kind.type}"
        notes = [look.left_out.get(name, found.reason if kind is None else kind.reason), *found.mess]
        row = (name, found.kind, f"{found.absent:.0%}", str(found.distinct or "–"))
        shown.add_row(*row, "split" if name == look.split else becomes, "; ".join(notes))
    return shown
