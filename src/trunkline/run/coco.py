"""Boxes in COCO's form: what is said, and what is true, so that its evaluator says what `evaluate` says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trunkline.cells import as_file
from trunkline.data import CocoNumbers, Table, coco_numbers
from trunkline.files import bare_name, is_json, write_json
from trunkline.predictor import Prediction, Predictor
from trunkline.schema import InputColumn, TaskColumn
from trunkline.tasks import Boxes
from trunkline.tasks.box_cells import Box, is_crowd
from trunkline.tasks.box_metric import coco_entry

WANTED = ("image_id", "category_id", "bbox", "score")  # of COCO's results


def write_coco(out: Path, predictor: Predictor, table: Table, source: Any, predictions: Sequence[Prediction]) -> None:
    """Beside a file of predictions, of each task that says boxes: `NAME.coco.json`, and `NAME.truth.coco.json`.

    The first is what `loadRes` of COCO's tools reads. Of rows from a file of COCO's it has that file's numbers of
    pictures and categories; else the first row is picture 1, and the first class is category 1. The second is written
    of such other rows, where all pictures are labelled. Of several such tasks, NAME ends in the task's.

    Args:
        out: the file of predictions.
        predictor: that made them.
        table: the rows.
        source: what they were read from.
        predictions: one a row.
    """
    schema = predictor.preprocessing.schema
    tasks = {name: column for name, column in schema.tasks.items() if isinstance(column.task, Boxes)}
    is_coco = isinstance(source, str | Path) and is_json(Path(source))
    for name, column in tasks.items():
        assert column.of is not None, "boxes are bound to a picture"
        of, stem = schema.inputs[column.of], bare_name(out)
        start = stem if len(tasks) == 1 else f"{stem}.{quote(name, safe=' ')}"
        labels = {} if is_coco else labels_of_all(column, of, table)
        unseen = {entry["label"] for value in labels.values() for entry in value}
        known = coco_numbers(Path(source)) if is_coco else CocoNumbers(tuple(range(1, len(table) + 1)), {})
        numbers = numbered(known, [*predictor.preprocessing.states["tasks"][name]["classes"], *sorted(unseen)])
        write_json(out.with_name(f"{start}.coco.json"), results([row[name] for row in predictions], numbers))
        if labels:
            pictures = {row: picture_entry(of, table, row) for row in labels}
            write_json(out.with_name(f"{start}.truth.coco.json"), truth(labels, pictures, numbers))


def numbered(known: CocoNumbers, classes: Sequence[str]) -> CocoNumbers:
    """The same with numbers for all of these classes, after those that have one.

    Example:
        >>> numbered(CocoNumbers((7,), {"dog": 3}), ["cat", "dog"]).classes
        {'dog': 3, 'cat': 4}
    """
    numbers = dict(known.classes)
    for name in classes:
        numbers.setdefault(name, max(numbers.values(), default=0) + 1)
    return CocoNumbers(known.pictures, numbers)


def results(said: Sequence[Sequence[Mapping[str, Any]] | None], numbers: CocoNumbers) -> list[dict[str, Any]]:
    """Boxes of all rows in COCO's form of results; a row without a picture has none."""
    entries = []
    for picture, boxes in zip(numbers.pictures, said):
        for one in boxes or ():
            entry = coco_entry(0, picture, numbers.classes[one["label"]], one["box"]) | {"score": one["score"]}
            entries.append({key: entry[key] for key in WANTED})
    return entries


def truth(
    labels: Mapping[int, Sequence[Box]], pictures: Mapping[int, Mapping[str, Any]], numbers: CocoNumbers
) -> dict[str, Any]:
    """Labels in COCO's form; by row, its boxes and what is said of its picture."""
    pairs = [(row, entry) for row, boxes in labels.items() for entry in boxes]
    return {
        "images": [{"id": numbers.pictures[row], **pictures[row]} for row in labels],
        "annotations": [
            coco_entry(place, numbers.pictures[row], numbers.classes[entry["label"]], entry["box"])
            | {"iscrowd": int(is_crowd(entry))}
            for place, (row, entry) in enumerate(pairs, start=1)
        ],
        "categories": [{"id": number, "name": name} for name, number in numbers.classes.items()],
    }


def labels_of_all(column: TaskColumn, of: InputColumn, table: Table) -> dict[int, list[Box]]:
    """The boxes of every row that has a picture; none of any where one has no label that can be read."""
    rows = table.present(of.column).nonzero()[0].tolist()
    found = dict(column.readable(table, rows))
    return found if len(found) == len(rows) else {}


def picture_entry(of: InputColumn, table: Table, row: int) -> dict[str, Any]:
    """Where a picture lies and how large it is."""
    cell = table.cell(row, of.column)
    size = of.modality.measure(as_file(cell, table.base))
    name = {"file_name": cell} if isinstance(cell, str) else {}
    return name if size is None else {**name, "width": size[1], "height": size[0]}
