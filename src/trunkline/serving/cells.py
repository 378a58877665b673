"""What a request says of a row → cells of a table. A file is sent, never named: no path of the server is opened."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.errors import DataError, suggest
from trunkline.schema import Preprocessing

DATA_URL = re.compile(r"data:[^,]*;base64,")


def rows_of(body: Any, preprocessing: Preprocessing, most: int) -> list[dict[str, Any]]:
    """The rows of a JSON request, `{"rows": [{COLUMN: VALUE}]}`.

    Args:
        body: decoded.
        preprocessing: of the run.
        most: rows.

    Raises:
        DataError: it is none, or a cell of a file is no file.
    """
    if not isinstance(body, dict) or not isinstance(rows := body.get("rows"), list):
        raise DataError(
            'a request is {"rows": [{COLUMN: VALUE, …}, …], "tasks": [NAME, …]}, and `tasks` may be left out'
        )
    if not 1 <= len(rows) <= most:
        raise DataError(f"a request has 1 to {most} rows, this one {len(rows)}")
    return [row_of(row, preprocessing, f"row {number}") for number, row in enumerate(rows, 1)]


def row_of(row: Any, preprocessing: Preprocessing, where: str) -> dict[str, Any]:
    """One row with the columns of the run's inputs; what it does not say is absent.

    Raises:
        DataError: it names what is no input, has none, or a cell of a file is no file.
    """
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: is no object of columns and values")
    files = file_columns(preprocessing)
    known = {column.column for column in preprocessing.schema.inputs.values()}
    if unknown := [name for name in row if name not in known]:
        raise DataError(f"{where}: there is no input {unknown[0]!r}.{suggest(unknown[0], known)}")
    cells = {name: row.get(name) for name in known}
    if all(cell is None for cell in cells.values()):
        raise DataError(f"{where}: has none of the inputs {', '.join(map(repr, sorted(known)))}")
    return {name: _as_file(cell, f"{where}, {name!r}") if name in files else cell for name, cell in cells.items()}


def file_columns(preprocessing: Preprocessing) -> set[str]:
    """Columns whose cells are files."""
    return {column.column for column in preprocessing.schema.inputs.values() if column.modality.reads_files}


def tasks_of(wanted: Any, preprocessing: Preprocessing) -> Sequence[str]:
    """The tasks that are asked for; all by default.

    Raises:
        DataError: there is no such task.
    """
    known = list(preprocessing.schema.tasks)
    if wanted is None:
        return known
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
        raise DataError("`tasks` is a list of names")
    for name in (name for name in wanted if name not in known):
        raise DataError(f"there is no task {name!r}.{suggest(name, known)}")
    return wanted


def _as_file(cell: Any, where: str) -> Any:
    """`None`, bytes, or a text of base64 → as the schema takes a file in a cell."""
    if cell is None:
        return None
    if isinstance(cell, bytes):
        return {"bytes": cell, "path": None}
    if not isinstance(cell, str):
        raise DataError(f"{where}: a file is sent as base64, or uploaded as multipart/form-data")
    head = DATA_URL.match(cell)
    try:
        return {"bytes": base64.b64decode(cell[head.end() if head else 0 :], validate=True), "path": None}
    except (binascii.Error, ValueError):
        raise DataError(f"{where}: is not base64; a file's content is sent, not its name") from None
