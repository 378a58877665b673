"""Predictions as files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from trunkline.data import PIECE, WHOSE, Table, write_rows
from trunkline.files import bare_name
from trunkline.predictor import Prediction, Predictor
from trunkline.schema import RowBatches
from trunkline.sounds import Sound

LOOKED_AT = 20_000  # rows of a split whose predictions are kept for the report, evenly spaced


def predict_split(
    predictor: Predictor, source: RowBatches, rows: np.ndarray, out: Path, *, is_joint: bool = False
) -> dict[int, Prediction]:
    """Predict rows and write all their predictions, piece by piece. Returns those that are looked at, by place.

    Of several tables each row is asked for the tasks of its own: a description is not read aloud because digits are.

    Args:
        predictor: trained.
        source: of the rows.
        rows: the row numbers.
        out: a `.jsonl` file.
        is_joint: the rows are of several tables.
    """
    kept: dict[int, Prediction] = {}
    cut: Counter[str] = Counter()
    places = np.arange(len(rows)) if len(rows) <= LOOKED_AT else np.linspace(0, len(rows) - 1, LOOKED_AT).astype(int)
    wanted = set(places.tolist())
    asked = tasks_of_tables(source.table, source.preprocessing.tasks, source.labelled) if is_joint else {}

    def said() -> Iterator[Prediction]:
        for start in range(0, len(rows), PIECE):
            answers, left_out = answers_of(predictor, source, rows[start : start + PIECE], asked)
            cut.update(left_out)
            for place, answer in enumerate(answers, start=start):
                if place in wanted:
                    kept[place] = answer
                yield answer

    write_predictions(out, said())
    predictor.warn_cut(cut, len(rows), stacklevel=3)
    return kept


def tasks_of_tables(table: Table, tasks: Sequence[str], labelled: np.ndarray) -> dict[str, frozenset[str]]:
    """By table, the tasks that any of its rows is labelled for.

    Args:
        table: of several.
        tasks: names.
        labelled: `[rows, tasks]`.
    """
    whose, names = np.asarray(table.column(WHOSE), dtype=object), np.array(tasks, dtype=object)
    return {name: frozenset(names[labelled[whose == name].any(0)].tolist()) for name in dict.fromkeys(whose.tolist())}


def answers_of(
    predictor: Predictor, source: RowBatches, rows: np.ndarray, asked: Mapping[str, frozenset[str]]
) -> tuple[list[Prediction], Counter[str]]:
    """What is said of rows, those of each table asked for its tasks; without `asked` all for all.

    Returns:
        One dict a row; and by input, how many of them were not read to their end.
    """
    if not asked:
        answers, cut = predictor.answers(source, rows.tolist())
        return answers, Counter(cut)
    whose = np.asarray(source.table.column(WHOSE), dtype=object)[rows]
    said: list[Prediction] = [{}] * len(rows)
    left_out: Counter[str] = Counter()
    for name, tasks in asked.items():
        here = np.flatnonzero(whose == name)
        answers, cut = predictor.answers(source, rows[here].tolist(), tasks)
        left_out.update(cut)
        for place, answer in zip(here.tolist(), answers):
            said[place] = answer
    return said, left_out


def write_predictions(out: Path, predictions: Iterable[Mapping[str, Any]]) -> None:
    """JSONL in full, else one value a task.

    Beside the table a mask becomes a PNG of class indices, a map an `.npy`, a sound a WAV of 16 bits.
    """
    is_full = ".jsonl" in out.suffixes
    folder = out.with_name(f"{bare_name(out)}_files")

    def as_row(number: int, prediction: Mapping[str, Any]) -> dict[str, Any]:
        row = {}
        for place, (task, said) in enumerate(prediction.items()):
            value = said["value"] if isinstance(said, dict) and not is_full else said
            is_file = isinstance(value, np.ndarray | Sound)
            row[task] = _write_file(value, folder, f"{place}-{number:06d}") if is_file else value
        return row

    write_rows(out, (as_row(number, prediction) for number, prediction in enumerate(predictions)))


def _write_file(value: np.ndarray | Sound, folder: Path, name: str) -> str:
    """Where it was written, relative to the table beside the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(value, Sound):
        path = folder / f"{name}.wav"
        soundfile.write(path, value.wave, value.rate)
    elif value.dtype.kind == "f":
        path = folder / f"{name}.npy"
        np.save(path, value, allow_pickle=False)
    else:
        path = folder / f"{name}.png"
        Image.fromarray(value).save(path)
    return f"{folder.name}/{path.name}"
