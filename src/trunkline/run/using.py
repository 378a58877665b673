"""Use a trained run: evaluate, predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trunkline.config import load_config
from trunkline.data import read_table, write_rows
from trunkline.errors import RunError
from trunkline.loading import load
from trunkline.model import TaskScores
from trunkline.plan import read_splits
from trunkline.predictor import Predictor


def evaluate(run: str | Path | Predictor, rows: Any = None, *, trust_code: bool = False) -> dict[str, TaskScores]:
    """Scores of a trained run.

    Args:
        run: its folder; or a predictor, with `rows`.
        rows: a table with target columns; by default the run's own test split, or its validation split without one.
        trust_code: import classes of your own that the run's config names.

    Returns:
        `{"scores": …, "majority": …}`, each by task; `None` for a task without labels.

    Raises:
        RunError: it is no finished run.
        DataError: the rows cannot be used.
    """
    predictor = run if isinstance(run, Predictor) else load(run, trust_code=trust_code)
    if rows is not None:
        table, numbers = read_table(rows), None
    else:
        if isinstance(run, Predictor):
            raise RunError("a predictor has no rows of its own: give a table")
        config = load_config(Path(run) / "config.yaml", columns=None, trust_code=trust_code)
        if config.data is None:
            raise RunError(f"{run} was trained on rows given in Python: give a table to evaluate")
        splits = read_splits(config)
        split = splits.test or splits.validation
        if split is None:
            raise RunError(f"{run} has neither test nor validation rows: give a table to evaluate")
        table, numbers = split.table, split.rows.tolist()
    scores, majority = predictor.evaluate(table, numbers)
    return {"scores": scores, "majority": majority}


def predict(run: str | Path | Predictor, rows: Any, out: str | Path | None = None, *, trust_code: bool = False) -> Any:
    """Predictions for rows with any inputs missing; target columns are not needed.

    Args:
        run: folder, or a predictor.
        rows: a path, a data frame, a list of dicts, …
        out: where to write them: `.jsonl` in full; `.csv`, `.tsv` or `.parquet` with one column a task.
        trust_code: import classes of your own that the run's config names.

    Returns:
        One dict a row, by task; `None` where the input a task is bound to is absent.
    """
    predictor = run if isinstance(run, Predictor) else load(run, trust_code=trust_code)
    predictions = predictor.predict(read_table(rows))
    if out is not None:
        _write_predictions(Path(out), predictions)
    return predictions


def _write_predictions(out: Path, predictions: Sequence[Mapping[str, Any]]) -> None:
    """JSONL in full, else one value a task; a mask becomes a PNG of class indices beside the table."""
    is_full = ".jsonl" in out.suffixes
    pictures = out.with_name(f"{out.name.partition('.')[0]}_files")
    rows = []
    for number, prediction in enumerate(predictions):
        row = {}
        for place, (task, said) in enumerate(prediction.items()):
            value = said["value"] if isinstance(said, dict) and not is_full else said
            row[task] = _write_array(value, pictures, f"{place}-{number:06d}.png") if _is_array(value) else value
        rows.append(row)
    write_rows(out, rows)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _write_array(value: np.ndarray, folder: Path, name: str) -> str:
    """Where it was written, relative to the table beside the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(value).save(folder / name)
    return f"{folder.name}/{name}"
