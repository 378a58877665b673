"""Whatever stands in a table's cells or in its file's bytes is read, is absent, or is a `DataError` with its place."""

from __future__ import annotations

import io
import json
import os
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

from formats.arff import read_arff
from fuzzing import anything, damaged, examples, mutated, tally, texts
from trunkline.data import Draw, Table, read_table
from trunkline.errors import DataError
from trunkline.modalities import Graph, Number, Vector
from trunkline.schema import InputColumn, Preprocessing, RowBatches, Schema, TaskColumn, find_faults
from trunkline.tasks import Boxes, Ordinal, Transcript
from worlds import inputs, tasks, world

ROWS = 12
Cells = dict[str, list[Any]]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """A table with every kind of column, and beside it what no picture or sound is."""
    folder = tmp_path_factory.mktemp("world")
    found = world(folder, ROWS, holes=0.0)
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "text.png").write_text("no picture")
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    cells = {name: found.column(name) for name in found.columns}
    cells["cost"] = [f"{i},50 €" for i in range(ROWS)]
    cells["parts"] = [[i, i % 3] for i in range(ROWS)]
    cells["bonds"] = [{"nodes": [["C", 1.0], ["O", 2.0]], "edges": [[0, 1]], "edge_features": [[1.0]]}] * ROWS
    cells["rank"] = [i % 3 for i in range(ROWS)]
    cells["things"] = [[{"box": [1, 2, 9, 12], "label": "ab"[i % 2]}] for i in range(ROWS)]
    cells["said"] = cells["note"]
    return Table("rows.jsonl", cells, folder)


@pytest.fixture(scope="module")
def states(good: Table) -> Preprocessing:
    read = {**inputs(), "cost": Number(decimal=","), "parts": Vector(length=2), "bonds": Graph()}
    learned = {
        **tasks(),
        "rank": Ordinal(),
        "things": TaskColumn(Boxes(), "things", of="photo"),
        "said": TaskColumn(Transcript(), "said", of="sound"),
    }
    schema = Schema({name: InputColumn(kind, name) for name, kind in read.items()}, learned)
    return Preprocessing.fit(schema, good, range(ROWS))


PATHS = st.sampled_from(
    (
        "pipe",
        "folder",
        "text.png",
        "objects.npy",
        "../../../../etc/passwd",
        "/etc/passwd",
        "/dev/zero",
        "/dev/null",
        "a\x00b",
        "",
        " ",
        "0.png/x",
        "0.wav",
        "0.png",
        "file:///etc/passwd",
        "http://127.0.0.1:9/x.png",
        "~/x",
        "n" * 5_000,
        "x" * 255 + "/y",
        "\ud800.png",
        "rows.jsonl",
    )
)
FILES = st.fixed_dictionaries(
    {"bytes": st.none() | st.binary(max_size=20) | anything, "path": st.none() | PATHS | anything}
)
ARRAYS = st.sampled_from(
    (
        np.zeros((2, 2)),
        np.zeros(0),
        np.array(3),
        np.full(2, np.nan),
        np.zeros((2, 3, 5), np.uint8),
        np.array(["a"], object),
        np.zeros(2, complex),
        np.zeros((3, 3), bool),
        np.array([1, 2], np.int64),
        np.float32("nan"),
        np.int8(3),
        np.str_("a"),
        np.datetime64("2020-01-01"),
    )
)
OTHERS = st.sampled_from(
    (b"", b"bytes", (), (1, 2), {1, 2}, 1j, object, range(3), float, Ellipsis, ([0.0] * 9, 8000), ([0.0], float("nan")))
)


@st.composite
def odd_cells(draw: st.DrawFn, good: Any) -> Any:
    """Anything at all, what a kind of column may be asked to take, or what it takes, changed."""
    cell = draw(
        st.one_of(anything, PATHS, FILES, ARRAYS, OTHERS, mutated(good) if isinstance(good, list | dict) else texts)
    )
    how = draw(st.sampled_from(("as it is", "as it is", "as JSON", "in a list")))
    if how == "as JSON":
        try:
            return json.dumps(cell)
        except (TypeError, ValueError):
            return str(cell)[:200]
    return [cell, cell] if how == "in a list" else cell


def place_is_told(error: DataError, column: str, row: int) -> None:
    assert f"row {row + 1}" in str(error) and repr(column) in str(error), error


def read_through(
    states: Preprocessing, table: Table, row: int, column: str, target: str, *, is_fitted: bool = False
) -> None:
    """From faults to batches, plain and of training, and to states."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        faults = find_faults(states.schema, table)
        for fault in faults:
            assert fault.row == row and (
                fault.column in (column, None)
                or {fault.column, column} <= {"note", "slots", "photo", "area", "height", "things"}
            )
            assert f"row {row + 1}" in fault.tell() and len(fault.tell()) < 20_000, fault.tell()[:200]
        if faults:
            table = table.without({fault.column: {row} for fault in faults if fault.column is not None})
            tally(target, "a fault with its place")
        try:
            batches = RowBatches(states, table)
            for draw in (Draw((row, 0), None), Draw((row, 1), 3)):
                batches[draw]
            if is_fitted:  # it takes long
                Preprocessing.fit(states.schema, table, range(len(table)))
        except DataError as error:
            place_is_told(error, column, row) if "column" in str(error) else None
            tally(target, "an error later on")
        else:
            if not faults:
                tally(target, "absent" if table.cell(row, column) is None else "read")


@examples(120)
@given(st.data())
def test_cells_of_every_column(good: Table, states: Preprocessing, data: st.DataObject) -> None:
    column = data.draw(st.sampled_from([*states.schema.inputs, *states.schema.tasks]))
    row = data.draw(st.integers(0, 1))
    cell = data.draw(odd_cells(good.cell(row, column)))
    is_fitted = data.draw(st.integers(0, 39)) == 0
    rows = [dict(good.row(number)) for number in range(ROWS if is_fitted else 2)]
    rows[row][column] = cell
    read = read_table(rows)
    read_through(states, Table("rows", read.cells, good.base), row, column, "cells: in memory", is_fitted=is_fitted)


def read_or_refused(source: Path, target: str, name: str = "") -> Any:
    """What a file, or a folder with a file of that name, holds; `None` where it is refused, by its name."""
    try:
        read = read_arff(source)[1] if source.suffix == ".arff" else read_table(source)
    except DataError as error:
        told = str(error)
    else:
        tally(target, "read")
        return read if isinstance(read, Table) else None
    assert source.name in told or (source.is_dir() and name in told), told
    tally(target, "refused")
    return None


@examples(60)
@given(st.data())
def test_cells_through_files(
    good: Table, states: Preprocessing, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """JSONL, CSV and Parquet: the file is refused, with the row or the line, or its cells are as any others."""
    column = data.draw(st.sampled_from([*states.schema.inputs, *states.schema.tasks]))
    kind = data.draw(st.sampled_from(("jsonl", "csv", "parquet")))
    row, cell = data.draw(st.integers(0, 1)), data.draw(anything | PATHS | st.binary(max_size=12))
    cells = {name: good.column(name)[:2] for name in good.columns}
    cells[column] = [cell if number == row else other for number, other in enumerate(cells[column])]
    path = tmp_path_factory.getbasetemp() / f"cells.{kind}"
    if not _written(path, cells, kind):
        return
    read = read_or_refused(path, f"cells through {kind}")
    if read is None:
        return
    read_through(states, Table(read.source, read.cells, good.base), row, column, f"cells through {kind}")


def _written(path: Path, cells: Cells, kind: str) -> bool:
    names = list(cells)
    try:
        if kind == "parquet":
            columns = {name: _as_arrow(column) for name, column in cells.items()}
            pyarrow.parquet.write_table(pa.table(columns), path)
        elif kind == "jsonl":
            lines = [json.dumps(dict(zip(names, row))) for row in zip(*cells.values())]
            path.write_text("\n".join(lines), encoding="utf-8")
        else:
            lines = [",".join(_in_quotes(cell) for cell in row) for row in zip(*cells.values())]
            path.write_bytes("\n".join([",".join(names), *lines]).encode("utf-8", "surrogatepass"))
    except (TypeError, ValueError, OverflowError, pa.ArrowException):
        return False
    return True


def _as_arrow(column: list[Any]) -> pa.Array:
    """Of one type, or all of it as text; beside bytes Arrow makes bytes of texts."""
    try:
        if not any(isinstance(cell, bytes) for cell in column):
            return pa.array(column)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        pass
    return pa.array(
        [cell if cell is None or isinstance(cell, str) else json.dumps(cell, default=str) for cell in column]
    )


def _in_quotes(cell: Any) -> str:
    text = json.dumps(cell) if isinstance(cell, list | dict) else str(cell)
    return '"' + text.replace('"', '""') + '"'


PLAIN = {
    "note": ["a red", 'b "blue"', None],
    "size": [1.5, 2.0, None],
    "kind": ["x", "y", "x"],
    "marks": ["[1, 2]", "3|4", ""],
}


def _parquet(**options: Any) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(
        pa.table({**PLAIN, "lists": [[1], [], None], "when": pa.array([1, 2, 3], pa.timestamp("s"))}), out, **options
    )
    return out.getvalue()


def _gzip(content: bytes) -> bytes:
    import gzip

    return gzip.compress(content, mtime=0)


CSV = b'note,size,kind,marks\na red,1.5,x,"[1, 2]"\n"b ""blue""",2.0,y,3|4\n,,x,\n'
JSONL = b'{"note": "a red", "size": 1.5}\n{"note": "b", "size": null, "marks": [1, 2]}\n\n{"kind": "x"}\n'
ARFF = b"""@relation r
@attribute a numeric
@attribute 'b c' {x, y}
@attribute s string
@data
1,x,'q, r'
?,y,"z"
{0 3, 2 w}
"""
COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "0.png", "width": 16, "height": 16}, {"id": "b", "file_name": "1.png"}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 0}],
    }
).encode()
VOC = (
    b"<annotation><object><name>a</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>"
    b"</object></annotation>"
)


def _arrow() -> bytes:
    out, table = io.BytesIO(), pyarrow.parquet.read_table(io.BytesIO(_parquet()))
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as shard:
        for name, content in (("0.png", b"x" * 600), ("0.json", b'{"a": 1}'), ("1.cls", b"cat")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    return out.getvalue()


FILES_OF_TABLES = {
    "a.arrow": _arrow(),
    "a.tar": _tar(),
    "a.csv": CSV,
    "a.tsv": CSV.replace(b",", b"\t"),
    "utf16.csv": CSV.decode().encode("utf-16"),
    "a.csv.gz": _gzip(CSV),
    "a.jsonl": JSONL,
    "a.jsonl.gz": _gzip(JSONL),
    "a.parquet": _parquet(),
    "dictionary.parquet": _parquet(compression="gzip", version="1.0"),
    "a.json": COCO,
    "a.arff": ARFF,
    "voc/Annotations/0.xml": VOC,
    "images/metadata.csv": b"file_name,kind\n0.png,x\n1.png,y\n",
}


@pytest.mark.parametrize("name", [name for name in FILES_OF_TABLES if "/" not in name and name != "a.json"])
def test_files_are_read_before_they_are_damaged(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES_OF_TABLES[name])
    read = read_arff(tmp_path / name)[1] if name.endswith("arff") else read_table(tmp_path / name)
    assert len(read) >= 2


@pytest.mark.parametrize("name", FILES_OF_TABLES)
def test_bytes_of_tables(good: Table, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """A damaged file is refused with its name, or its cells can be looked at."""
    folder = tmp_path_factory.mktemp("files")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (folder / "voc" / "JPEGImages").mkdir(parents=True, exist_ok=True)
    for number in (0, 1):
        Picture.new("L", (16, 16)).save(path.parent / f"{number}.png")

    @examples(12, share=0.5)
    @given(damaged(FILES_OF_TABLES[name]) | st.binary(max_size=40))
    def read(content: bytes) -> None:
        path.write_bytes(content)
        source = path.parent if name.startswith("images") else path.parent.parent if name.startswith("voc") else path
        table = read_or_refused(source, f"bytes: {name}", Path(name).name)
        for number in range(len(table or ())):
            table.row(number)

    read()


def _pictures() -> Iterator[tuple[str, bytes]]:
    pixels = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        out = io.BytesIO()
        Picture.fromarray(pixels).save(out, kind)
        yield kind, out.getvalue()


def _masks() -> Iterator[tuple[str, bytes]]:
    out = io.BytesIO()
    Picture.fromarray(np.eye(16, dtype=np.uint8)).save(out, "PNG")
    yield "PNG", out.getvalue()


def _sounds() -> Iterator[tuple[str, bytes]]:
    wave = 0.3 * np.sin(np.arange(900) / 9)
    for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF"):
        out = io.BytesIO()
        soundfile.write(out, wave, 8000, format=kind)
        yield kind, out.getvalue()


def _arrays() -> Iterator[tuple[str, bytes]]:
    out = io.BytesIO()
    np.save(out, np.ones((16, 16), np.float32))
    yield "npy", out.getvalue()


BINARY = {
    "photo": dict(_pictures()),
    "sound": dict(_sounds()),
    "height": dict(_arrays()),
    "area": dict(_masks()),
}


@pytest.mark.parametrize("column", BINARY)
def test_bytes_of_pictures_and_sounds(good: Table, states: Preprocessing, column: str) -> None:
    @examples(40)
    @given(
        st.sampled_from(list(BINARY[column])).flatmap(
            lambda kind: st.tuples(st.just(kind), damaged(BINARY[column][kind]))
        )
    )
    def read(found: tuple[str, bytes]) -> None:
        kind, content = found
        rows = [dict(good.row(number)) for number in range(2)]
        assert good.base is not None
        name = f"damaged.{kind.lower()}"
        (good.base / name).write_bytes(content)
        rows[1][column] = name if kind == "npy" else {"bytes": content, "path": None}
        read_through(states, Table("rows", read_table(rows).cells, good.base), 1, column, f"bytes: {column}")

    read()
