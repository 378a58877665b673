"""Rows to look at and to listen to: the best, the worst, and some drawn at random."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.run.facts.attention import attention_facts
from trunkline.run.facts.figures import hexadecimal
from trunkline.run.facts.subject import Subject, sampled
from trunkline.schema.reading import read_cell
from trunkline.showing import Answer, Shown, colour_of

ROWS, FILE_ROWS = 1_000, 200  # candidates: of plain answers, of answers that are pictures
TASKS, INPUTS = 12, 12  # that are shown of each row
RANDOM, BEST, WORST = 8, 3, 5
BYTES = 1_400_000  # of pictures and sounds in all; what comes later is told, not shown


def gallery_facts(subject: Subject) -> dict[str, Any]:
    """Some rows with their inputs and answers.

    Schema: `split`; `inputs`, `tasks` (names that are shown) and `more {inputs, tasks}` (how many are not); `random
    [place]`; `ends {task: {best [place], worst [place]}}`, places in `rows [{row, inputs {name: shown}, answers
    {task: {said, true, confidence, error, scores, attention}}}]`; a row's number counts from 1. What is shown is
    `{kind, text, file, drawing, tags, spans}`, with `file`, and the `drawing` of a sound, in `gallery/`. `scores` are
    of the row alone; `attention` is what was read for a text (see `attention_facts`), of rows that are shown for its
    task. `texts` are the inputs that are texts, `kinds {task: [[name, colour]]}` the tags in these rows, or the kinds
    of their spans.
    """
    schema = subject.preprocessing.schema
    tasks, inputs = list(subject.focus)[:TASKS], list(schema.inputs)[:INPUTS]
    folder = subject.folder / "report" / "gallery"
    shutil.rmtree(folder, ignore_errors=True)
    if subject.judged is None:
        return {"split": None, "inputs": [], "tasks": [], "rows": [], "random": [], "ends": {}, "more": {}}
    answers = {task: _answers(subject, task) for task in tasks}
    ends = {task: _ends(found, len(tasks)) for task, found in answers.items()}
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.permutation(subject.places)[:RANDOM]).tolist()
    places = list(dict.fromkeys([*drawn, *(p for both in ends.values() for part in both.values() for p in part)]))
    files = _Files(folder)
    read = {task: _read(subject, task, drawn, ends[task]) for task in tasks}
    rows = [_row(subject, place, inputs, tasks, answers, read, files) for place in places]
    at = {place: number for number, place in enumerate(places)}
    return {
        "split": subject.judged,
        "inputs": inputs,
        "texts": [name for name in inputs if schema.inputs[name].modality.axis == "words"],
        "tasks": tasks,
        "kinds": {task: found for task in tasks if (found := _kinds(subject, task, rows))},
        "more": {"inputs": len(schema.inputs) - len(inputs), "tasks": len(schema.tasks) - len(tasks)},
        "random": [at[place] for place in drawn],
        "ends": {t: {end: [at[p] for p in part] for end, part in both.items()} for t, both in ends.items()},
        "rows": rows,
    }


def _answers(subject: Subject, task: str) -> dict[int, Answer]:
    """Of some labelled rows, by place in the split."""
    assert subject.judged is not None
    column = subject.preprocessing.schema.tasks[task]
    labels, said = subject.labels(task), subject.said[subject.judged]
    wanted = sampled(np.array(sorted(labels)), FILE_ROWS if column.task.reads_files else ROWS).tolist()
    return {p: _answer(subject, task, p, labels[p]) for p in wanted if said[p][task] is not None}


def _answer(subject: Subject, task: str, place: int, true: Any) -> Answer:
    assert subject.judged is not None
    column = subject.preprocessing.schema.tasks[task]
    state = subject.preprocessing.states["tasks"][task]
    of = None if column.of is None else _value(subject, column.of, place)
    return column.task.show(subject.said[subject.judged][place][task], true, state, of)


def _read(subject: Subject, task: str, drawn: Sequence[int], ends: Mapping[str, Sequence[int]]) -> dict[int, Any]:
    """What a task that writes read, by place: of the rows that are drawn, and of its own best and worst."""
    if not subject.preprocessing.schema.tasks[task].task.attends:
        return {}
    places = dict.fromkeys([*drawn, *(place for part in ends.values() for place in part)])
    return attention_facts(subject, task, list(places))


def _kinds(subject: Subject, task: str, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The tags in these rows, or the kinds of their spans; colours are numbered among them, so that few are alike."""
    answers = [row["answers"][task] for row in rows if task in row["answers"]]
    shown = [one for answer in answers for one in (answer["said"], answer["true"]) if one and one["kind"] == "tags"]
    tags = {tag for one in shown if one["spans"] is None for _, tag in one["tags"]}
    told = tags | {kind for one in shown for _, _, kind in one["spans"] or ()}
    legend = subject.preprocessing.schema.tasks[task].task.legend(subject.preprocessing.states["tasks"][task])
    return [(n, hexadecimal(colour_of(i))) for i, n in enumerate(name for name, _ in legend if name in told)]


def _value(subject: Subject, name: str, place: int) -> Any:
    """One input of one row, decoded; `None` where it is absent."""
    column, row = subject.preprocessing.schema.inputs[name], int(subject.split.rows[place])
    table = subject.split.table
    cell = table.cell(row, column.column) if column.column in table.columns else None
    return None if cell is None else read_cell(column.modality, table, column.column, row, cell)


def _ends(answers: Mapping[int, Answer], tasks: int) -> dict[str, list[int]]:
    """Best and worst of one task; fewer where there are many tasks."""
    ranked = sorted((p for p, a in answers.items() if a.error is not None), key=lambda p: (answers[p].error, p))
    best, worst = (BEST, WORST) if tasks <= 6 else (2, 3)
    worst_rows = ranked[::-1][:worst]
    return {"best": [p for p in ranked[:best] if p not in worst_rows], "worst": worst_rows}


def _row(
    subject: Subject,
    place: int,
    inputs: Sequence[str],
    tasks: Sequence[str],
    answers: Mapping[str, Mapping[int, Answer]],
    read: Mapping[str, Mapping[int, Any]],
    files: _Files,
) -> dict[str, Any]:
    assert subject.judged is not None
    values = {name: _value(subject, name, place) for name in inputs}
    modalities = {name: subject.preprocessing.schema.inputs[name].modality for name in inputs}
    shown = {
        n: None if v is None else files.keep(modalities[n].show(v), f"{place}-{inputs.index(n)}")
        for n, v in values.items()
    }
    told = {}
    for number, task in enumerate(tasks):
        if subject.said[subject.judged][place][task] is not None:
            answer = answers[task].get(place) or _answer(subject, task, place, subject.labels(task).get(place))
            told[task] = {
                "said": files.keep(answer.said, f"{place}-said-{number}"),
                "true": None if answer.true is None else files.keep(answer.true, f"{place}-true-{number}"),
                "confidence": answer.confidence,
                "error": answer.error,
                "scores": dict(answer.scores),
                "attention": read[task].get(place),
            }
    return {"row": int(subject.split.rows[place]) + 1, "inputs": shown, "answers": told}


class _Files:
    """Pictures and sounds, as long as there is room."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.room = folder, BYTES

    def keep(self, shown: Shown, name: str) -> dict[str, Any]:
        """What the JSON says of it; its content becomes a file."""
        file = self._kept(shown.data, f"{name}{shown.suffix}")
        return {
            "kind": shown.kind,
            "text": shown.text,
            "tags": [list(pair) for pair in shown.tags],
            "spans": None if shown.spans is None else [list(span) for span in shown.spans],
            "file": file,
            "drawing": file and self._kept(shown.drawing, f"{name}.png"),
        }

    def _kept(self, content: bytes, name: str) -> str | None:
        if not content or len(content) > self.room:
            return None
        self.room -= len(content)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(content)
        return f"gallery/{name}"
