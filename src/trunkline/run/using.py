"""Use a trained run: evaluate, predict, export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.config import Config, DataConfig, load_config
from trunkline.data import Split, Splits
from trunkline.errors import RunError
from trunkline.export import Exported, Quantized, check_precision, export_onnx, quantize
from trunkline.loading import ROWS, load, read_metrics
from trunkline.predictor import Predictor
from trunkline.run.all_right import all_right
from trunkline.run.coco import write_coco
from trunkline.run.predictions import write_predictions
from trunkline.run.slices import sliced
from trunkline.sources import as_schema, fingerprints, predictable, read_more, read_part, read_splits, screen, usable


def evaluate(run: str | Path | Predictor, rows: Any = None, *, trust_code: bool = False) -> dict[str, Any]:
    """Scores of a trained run.

    Args:
        run: its folder; or a predictor, with `rows`.
        rows: a table with target columns; by default the run's own test split, or its validation split without one.
        trust_code: import classes of your own that the run's config names.

    Returns:
        `{"judged", "scores", "majority"}`: by which rows (`test`, `validation`, or a `table` that was given), and
        scores by task, the network's and those of guessing; `None` for a task without labels. Of several tasks whose
        answers are right or wrong also `{"all_right": {"tasks", "rows", "share"}}`: rows in which all of them are
        right (see `run.all_right`). Where the run has `data.slices` that the table has, too, `{"slices": …}` of them
        (see `run.slices`).

    Raises:
        RunError: it is no finished run.
        DataError: the rows cannot be used.
    """
    predictor, data = _open(run, trust_code)
    schema = predictor.preprocessing.schema
    if rows is None:
        splits = _own_splits(run, trust_code)
        split, judged = _judging(run, splits), "validation" if splits.test is None else "test"
    else:
        split, judged = usable(schema, read_more(data, rows), _on_bad_row(data)), "table"
    slices = () if data is None else data.slices
    scores, majority, told = sliced(predictor, split.table, split.table, split.rows, slices, ())
    whole = all_right(predictor, split.table, split.rows.tolist())
    found = {"judged": judged, "scores": scores, "majority": majority, **told}
    return found if whole is None else {**found, "all_right": whole}


def export(
    run: str | Path,
    out: str | Path | None = None,
    *,
    rows: Any = None,
    tasks: Sequence[str] | None = None,
    precision: str | None = None,
    trust_code: bool = False,
) -> tuple[Exported, Quantized | None]:
    """A trained run in ONNX, compared with the original.

    Args:
        run: its folder.
        out: of the file; by default `model.onnx` in the folder.
        rows: a table to trace and to compare with; by default the run's own.
        tasks: only these.
        precision: `int8` or `bf16` writes the graph with such weights, too, and judges both by the rows that the run
            is judged by, or by all of `rows`.
        trust_code: import classes of your own that the run's config names.

    Returns:
        What was written; and what `precision` costs, where it was asked for.

    Raises:
        ConfigError: another precision, and why it does not work.
    """
    check_precision(precision)
    predictor, data = _open(run, trust_code)
    if rows is None:
        splits = _own_splits(run, trust_code)
        split = _judging(run, splits)
        others = [part.rows for part in (splits.validation, splits.train) if part and part.table is split.table]
        numbers = list(dict.fromkeys(np.concatenate([split.rows, *others]).tolist()))  # some inputs may be rare
    else:
        look = predictable if precision is None else usable
        split = look(predictor.preprocessing.schema, read_more(data, rows), _on_bad_row(data))
        numbers = split.rows.tolist()
    written = export_onnx(predictor, split.table, out or Path(run) / "model.onnx", numbers=numbers, tasks=tasks)
    if precision is None:
        return written, None
    return written, quantize(predictor, written.path, split.table, split.rows.tolist(), precision)


def _judging(run: str | Path | Predictor, splits: Splits) -> Split:
    """The rows a run is judged by: its test split, or its validation split without one."""
    split = splits.test or splits.validation
    if split is None:
        raise RunError(f"{run} has neither test nor validation rows: give a table")
    return split


def _own_splits(run: str | Path | Predictor, trust_code: bool) -> Splits:
    """A run's rows, without those that cannot be used."""
    if isinstance(run, Predictor):
        raise RunError("a predictor has no rows of its own: give a table")
    config = load_config(Path(run) / "config.yaml", columns=None, trust_code=trust_code)
    if config.data is None:
        raise RunError(f"{run} was trained on rows given in Python: give a table")
    _check_unchanged(Path(run), config)
    if (whole := Path(run) / ROWS).is_file():
        return read_part(config, load_config(whole, columns=None, trust_code=trust_code))
    return screen(as_schema(config), read_splits(config), config.data.on_bad_row)[0]


def predict(run: str | Path | Predictor, rows: Any, out: str | Path | None = None, *, trust_code: bool = False) -> Any:
    """Predictions for rows with any inputs missing; target columns are not needed.

    Args:
        run: folder, or a predictor.
        rows: a path, a data frame, a list of dicts, …
        out: where to write them: `.jsonl` in full; `.csv`, `.tsv` or `.parquet` with one column a task. Boxes are
            written in COCO's form besides, as `NAME.coco.json`, with their labels in `NAME.truth.coco.json`.
        trust_code: import classes of your own that the run's config names.

    Returns:
        One dict a row, in the order of the rows, by task; `None` where the input a task is bound to is absent, or all
        that it was learned from: for every task of a row without any input. Where the run's config skips bad rows, a
        cell that cannot be read is absent.

    Raises:
        RunError: it is no finished run.
        DataError: a cell cannot be read.
    """
    predictor, data = _open(run, trust_code)
    table = read_more(data, rows)
    split = predictable(predictor.preprocessing.schema, table, _on_bad_row(data))
    answers, cut = predictor.answers(split.table, split.rows.tolist())
    predictor.warn_cut(cut, len(answers), stacklevel=3)
    said = iter(answers)
    there = set(split.rows.tolist())
    nothing = dict.fromkeys(predictor.preprocessing.schema.tasks)
    predictions = [next(said) if row in there else dict(nothing) for row in range(len(table))]
    if out is not None:
        write_predictions(Path(out), predictions)
        write_coco(Path(out), predictor, split.table, rows, predictions)
    return predictions


def _open(run: str | Path | Predictor, trust_code: bool) -> tuple[Predictor, DataConfig | None]:
    """The predictor, and how its run read its tables."""
    if isinstance(run, Predictor):
        return run, None
    predictor = load(run, trust_code=trust_code)
    return predictor, load_config(Path(run) / "config.yaml", columns=None, trust_code=trust_code).data


def _on_bad_row(data: DataConfig | None) -> str:
    return "error" if data is None else data.on_bad_row


def _check_unchanged(run: Path, config: Config) -> None:
    """A table that has changed would be split anew, and rows that were trained on would be judged by.

    Raises:
        RunError: names the tables that are not as they were.
    """
    before = read_metrics(run).get("tables")
    if not isinstance(before, dict):
        raise RunError(f"{run / 'metrics.json'} does not say which tables the run was trained on: give a table")
    now = fingerprints(config)
    if changed := [path for path, digest in before.items() if now.get(path) != digest]:
        raise RunError(f"{', '.join(changed)} changed since {run} was trained: give a table")
