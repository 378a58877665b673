"""Rows → a file, all of it or nothing."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet

from trunkline.errors import DataError
from trunkline.files import replacing

Row = Mapping[str, Any]


def write_rows(path: str | Path, rows: Iterable[Row]) -> None:
    """Write a table that `read_table` reads back: `.csv`, `.tsv`, `.parquet` or `.jsonl`, each also `.gz`.

    JSONL is written as the rows come.

    The file appears under its name when it is complete; missing folders are made. In CSV and TSV lists and objects
    become JSON text, and an empty text is absent.

    Raises:
        DataError: the ending is not one of these, or Parquet cannot hold a column's mixture of types.
    """
    path = Path(path)
    kind = next((s.lower() for s in reversed(path.suffixes) if s.lower() != ".gz"), "")
    if kind not in _WRITERS:
        raise DataError(f"{path}: rows are written as {', '.join(_WRITERS)}, each also with .gz")
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        _write_to(file, path.suffix.lower() == ".gz", _WRITERS[kind], rows)


def _write_to(
    file: IO[bytes], is_gzip: bool, writer: Callable[[IO[bytes], Iterable[Row]], None], rows: Iterable[Row]
) -> None:
    if not is_gzip:
        writer(file, rows)
    else:
        with gzip.GzipFile(fileobj=file, mode="wb") as packed:
            writer(cast(IO[bytes], packed), rows)
    file.flush()


def _write_jsonl(file: IO[bytes], rows: Iterable[Row]) -> None:
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _write_csv(file: IO[bytes], rows: Iterable[Row], delimiter: str = ",") -> None:
    rows = list(rows)  # the header names what any of them has
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n")  # or a lone \r would stay bare
    names = _columns(rows)
    writer.writerow(names)
    writer.writerows([_as_text(row.get(name)) for name in names] for row in rows)
    text.detach()


def _write_tsv(file: IO[bytes], rows: Iterable[Row]) -> None:
    _write_csv(file, rows, delimiter="\t")


def _write_parquet(file: IO[bytes], rows: Iterable[Row]) -> None:
    rows = list(rows)
    try:
        table = pa.table({name: [row.get(name) for row in rows] for name in _columns(rows)})
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"Parquet cannot hold these rows, JSONL can: {error}") from error
    pyarrow.parquet.write_table(table, file)


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _as_text(cell: Any) -> str:
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)


_WRITERS: dict[str, Callable[[IO[bytes], Iterable[Row]], None]] = {
    ".csv": _write_csv,
    ".tsv": _write_tsv,
    ".parquet": _write_parquet,
    ".jsonl": _write_jsonl,
}
