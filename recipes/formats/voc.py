"""Pascal VOC: trunkline reads such folders as they are; here with what follows from the boxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from formats.boxes import names_of, with_box_columns
from formats.paths import relative, require
from trunkline.data import read_table


def read_voc(folder: Path, base: Path) -> Iterator[dict[str, Any]]:
    """A row for each picture: `picture`, `boxes`, what follows from them, and `split` where the set has one.

    Args:
        folder: of the set.
        base: of the table to come.

    Raises:
        DataError: a file is missing, or is not as VOC says; it is named with its line.
    """
    require(folder / "Annotations", "VOC's annotations")
    require(folder / "JPEGImages", "VOC's pictures")
    table = read_table(folder)
    rows = [table.row(number) for number in range(len(table))]
    for row in rows:
        row["picture"] = relative(require(Path(row["picture"]), "a picture"), base)
    return with_box_columns(rows, names_of(row["boxes"] for row in rows if row["boxes"]))
