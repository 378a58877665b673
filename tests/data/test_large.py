"""Tables larger than memory: the same cells as when they are held, whatever they are read by."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from trunkline.data import Table, describe, make_splits, mapped, read_table, table, write_rows
from trunkline.data import csv_files as csv_module
from trunkline.data import jsonl as jsonl_module
from trunkline.data.json_cells import JsonCells
from trunkline.data.sampling import BLOCKS, EpochSampler
from trunkline.data.table import LazyCells
from trunkline.errors import DataError
from trunkline.modalities import Number
from trunkline.schema.reading import read_values

ROWS: list[dict[str, Any]] = [
    {
        "text": None if n % 5 == 0 else f"höre {n}",
        "whole": n if n % 3 else None,
        "part": n / 7 if n % 4 else None,
        "is": n % 2 == 0,
        "either": n if n % 2 else n / 2,
        "parts": [n, "b"] if n % 3 else None,
        "code": "007" if n % 2 else "?",
        "huge": 2**70 if n == 11 else n,
        "half": "\ud83d" if n == 13 else "a",
        **({"late": n} if n > 30 else {}),
    }
    for n in range(40)
]
PLAIN = ("text", "whole", "part", "is", "code", "late")  # columns that have one Arrow type


@pytest.fixture(autouse=True)
def small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven rows at a time, and every file is a large one unless a test says otherwise."""
    monkeypatch.setenv("TRUNKLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mapped, "BIG", 0)
    for module in (jsonl_module, table, mapped):
        monkeypatch.setattr(module, "PIECE", 7)
    monkeypatch.setattr(csv_module, "BLOCK_BYTES", 200)


def held(path: Path, monkeypatch: pytest.MonkeyPatch, **how: Any) -> Table:
    """The same as it is when it is no large file."""
    with monkeypatch.context() as patch:
        patch.setattr(mapped, "BIG", 2**40)
        return read_table(path, **how)


def copies(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "tables").glob("*.arrow"))


def as_read(one: Table) -> list[str]:
    return [repr(one.row(row)) for row in range(len(one))]  # 1 and 1.0 differ


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "t.csv", "t.csv.gz", "t.tsv", "t.parquet", "t.feather"])
def test_cells_are_those_of_a_table_that_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / name
    rows = ROWS if "jsonl" in name else [{k: row.get(k) for k in PLAIN} for row in ROWS]
    if name.endswith("feather"):
        with pa.ipc.new_file(str(path), pa.Table.from_pylist(rows).schema) as writer:
            writer.write_table(pa.Table.from_pylist(rows))
    else:
        write_rows(path, rows) if "jsonl" not in name else _write_json(path, rows)
    ours, theirs = read_table(path, na=["?"]), held(path, monkeypatch, na=["?"])
    assert as_read(ours) == as_read(theirs)
    assert ours.columns == theirs.columns
    for column in ours.columns:
        assert ours.present(column).tolist() == theirs.present(column).tolist()
        assert [repr(c) for c in ours.column(column)] == [repr(c) for c in theirs.column(column)]
        assert ours.letters(column).tolist() == theirs.letters(column).tolist()
        some = np.array([0, 3, 4, 19, 39])
        assert [repr(c) for c in Table("", {"a": ours.take(column, some)}).column("a")] == [
            repr(theirs.cell(int(row), column)) for row in some
        ]
    assert len(copies(tmp_path)) == 1
    assert not list((tmp_path / "cache").rglob("*.unfinished"))


def _write_json(path: Path, rows: list[dict[str, Any]]) -> None:
    import gzip

    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def test_columns_of_one_kind_are_arrows_others_lie_as_json(tmp_path: Path) -> None:
    _write_json(tmp_path / "t.jsonl", ROWS)
    cells = read_table(tmp_path / "t.jsonl").cells
    assert {name for name, column in cells.items() if isinstance(column, JsonCells)} == {
        "either", "parts", "huge", "half",
    }  # fmt: skip
    emptied = read_table(tmp_path / "t.jsonl").without({"parts": [1], "text": [1, 2]})
    assert emptied.cell(1, "parts") is None
    assert emptied.cell(2, "parts") == [2, "b"]
    assert emptied.present("text")[:4].tolist() == [False, False, False, True]


def test_a_copy_is_made_once_and_anew_for_another_file_or_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.jsonl"
    _write_json(path, ROWS)
    first = as_read(read_table(path))
    with monkeypatch.context() as patch:
        patch.setattr(jsonl_module, "_typed", None)  # nobody reads the file again
        assert as_read(read_table(path)) == first
    read_table(path, na=["?"])
    assert len(copies(tmp_path)) == 2
    _write_json(path, ROWS[:5])
    assert len(read_table(path)) == 5
    assert len(copies(tmp_path)) == 3
    text, stat = path.read_text(), path.stat()
    path.write_text(text.replace("007", "008"))  # of the same size, a moment later
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert read_table(path).column("code") == [code and code.replace("007", "008") for code in [
        row["code"] for row in ROWS[:5]
    ]]  # fmt: skip


def test_nan_is_absent_and_a_wrong_byte_told_by_its_row(tmp_path: Path) -> None:
    numbers = pa.array([1.0, float("nan"), None, *range(20)], pa.float64())
    pyarrow.parquet.write_table(pa.table({"a": numbers}), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").column("a")[:4] == [1.0, None, None, 0.0]
    cells = [b"fine"] * 17 + [b"\xff\xfe"] + [b"fine"] * 5
    wrong = pa.table({"a": pa.array(cells, pa.binary()).view(pa.string())})
    pyarrow.parquet.write_table(wrong, tmp_path / "w.parquet")
    with pytest.raises(DataError, match=r"w\.parquet, row 18, column 'a': the text is not UTF-8"):
        read_table(tmp_path / "w.parquet")
    assert len(copies(tmp_path)) == 1  # of the good one


def test_what_is_wrong_in_a_large_file_of_text_is_told_as_in_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text, says in [
        ("t.csv", "a,b\n" + "1,2\n" * 90 + "1,2,3\n", r"t\.csv, line 92: 3 cells"),
        ("q.csv", "a,b\n" + "1,2\n" * 90 + '1,"2\n' + "1,2\n" * 5, r"q\.csv, line 92: a double quote opens"),
        ("t.jsonl", '{"a": 1}\n' * 90 + '{"a": \n', r"t\.jsonl, line 91 is not JSON"),
        ("r.jsonl", '{"a": 1}\n' * 90 + "[1]\n", r"r\.jsonl, line 91: \[1\] is no row"),
    ]:
        path = tmp_path / name
        path.write_text(text)
        for read in (read_table, lambda p: held(p, monkeypatch)):
            with pytest.raises(DataError, match=says):
                read(path)
    assert copies(tmp_path) == []


def test_a_folder_for_copies_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    _write_json(tmp_path / "t.jsonl", ROWS)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match=r"cannot be written to .*cache.*TRUNKLINE_CACHE"):
        read_table(tmp_path / "t.jsonl")


def test_lines_without_a_cell_are_rows_in_pieces_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, Any]] = [{"a": 1}] * 7 + [{}] * 7 + [{"a": 2}] * 3
    _write_json(tmp_path / "t.jsonl", rows)
    ours = read_table(tmp_path / "t.jsonl")
    assert as_read(ours) == as_read(held(tmp_path / "t.jsonl", monkeypatch))
    assert len(ours) == 17


def test_a_clean_arrow_file_is_mapped_as_it_lies(tmp_path: Path) -> None:
    clean = pa.table({"a": [1, None, 3] * 5, "b": ["x", "y", None] * 5, "c": [0.5, None, 1.0] * 5})
    for name, table_ in {"clean": clean, "nan": clean.append_column("d", pa.array([float("nan")] * 15))}.items():
        with pa.ipc.new_file(str(tmp_path / f"{name}.arrow"), table_.schema) as writer:
            writer.write_table(table_, max_chunksize=4)
    assert read_table(tmp_path / "clean.arrow").column("b") == ["x", "y", None] * 5
    assert copies(tmp_path) == []
    assert read_table(tmp_path / "nan.arrow").column("d") == [None] * 15
    assert len(copies(tmp_path)) == 1


def test_parquet_is_large_by_what_it_decodes_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "BIG", 50_000)
    pyarrow.parquet.write_table(pa.table({"a": ["the same words again and again"] * 5_000}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 5_000
    assert read_table(tmp_path / "t.parquet").cell(4_999, "a") == "the same words again and again"
    assert len(copies(tmp_path)) == 1


def test_empty_and_damaged_files_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    for name, text in {"t.jsonl": "\n\n", "t.csv": "a,b\n"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=r"holds no rows"):
            read_table(tmp_path / name)
    pyarrow.parquet.write_table(pa.table({"a": [*map(str, range(20_000))]}), tmp_path / "p.parquet", compression="zstd")
    whole = (tmp_path / "p.parquet").read_bytes()
    (tmp_path / "p.parquet").write_bytes(whole[:20_000] + b"\xff" * 20_000 + whole[40_000:])
    with pytest.raises(DataError, match=r"p\.parquet") as told:
        read_table(tmp_path / "p.parquet")
    assert "Make room" not in str(told.value)
    assert copies(tmp_path) == []


def test_only_the_chunks_with_an_emptied_cell_are_made_anew(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"a": [*map(str, range(40))]}), tmp_path / "t.parquet")
    whole = read_table(tmp_path / "t.parquet")
    less = whole.without({"a": [3, 20]})
    assert less.column("a") == [None if n in (3, 20) else str(n) for n in range(40)]
    before, after = whole.cells["a"].chunks, less.cells["a"].chunks
    same = [one.buffers()[2].address == other.buffers()[2].address for one, other in zip(before, after)]
    assert same == [False, True, False, True, True, True]


# --- shards


def test_shards_by_pattern_by_folder_and_by_list_are_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    parts = [ROWS[:9], ROWS[9:20], ROWS[20:]]
    for number, part in enumerate(parts):
        rows = [{k: row.get(k) for k in PLAIN} for row in part]
        if number == 1:
            rows = [{k: v for k, v in row.items() if k != "code"} for row in rows]  # a column that a shard lacks
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), folder / f"part-{number}.parquet")
    (folder / "_SUCCESS").write_text("")
    whole = read_table(folder)
    assert as_read(read_table(folder / "part-*.parquet")) == as_read(whole)
    assert as_read(read_table([folder / f"part-{n}.parquet" for n in range(3)])) == as_read(whole)
    assert whole.column("text") == [row["text"] for row in ROWS]
    assert whole.column("late") == [row.get("late") for row in ROWS]  # of the type that one shard knows
    assert whole.column("code") == [None if 9 <= n < 20 else row["code"] for n, row in enumerate(ROWS)]
    assert all(isinstance(column, pa.ChunkedArray) for column in whole.cells.values())
    assert whole.place(10) == ("part-1.parquet", 2)
    with pytest.raises(DataError, match=r"nothing-\*\.parquet: no file is called so"):
        read_table(folder / "nothing-*.parquet")


def test_shards_of_two_types_of_number_stay_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.data.concat.PIECE", 7)
    pyarrow.parquet.write_table(pa.table({"a": [1, 2, None] * 3}), tmp_path / "0.parquet")
    pyarrow.parquet.write_table(pa.table({"a": [1.5, None] * 3}), tmp_path / "1.parquet")
    both = read_table(tmp_path / "*.parquet")
    assert [repr(cell) for cell in both.column("a")] == ["1", "2", "None"] * 3 + ["1.5", "None"] * 3
    assert isinstance(both.cells["a"], LazyCells)
    assert both.nbytes > 0
    assert describe(both)["a"].kind == describe(Table("", {"a": both.column("a")}))["a"].kind
    rows = [{"a": cell} for cell in both.column("a")]
    assert Number().fit(v for _, v in read_values(Number(), both, "a", range(15))) == Number().fit(
        v for _, v in read_values(Number(), read_table(rows), "a", range(15))
    )


def test_a_table_that_describes_pictures_is_no_shard(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    (folder / "metadata.csv").write_text("file_name,kind\na.png,x\n")
    assert read_table(folder).columns == ("image", "kind")


def tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as shard:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            shard.addfile(info, io.BytesIO(content))
    return path


def picture(colour: tuple[int, int, int]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


def test_a_shard_of_tar_is_a_table_and_nothing_is_unpacked(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", {
        "x/0.png": picture((255, 0, 0)), "x/0.json": b'{"kind": "red", "n": 3}', "x/0.cls": b"7\n",
        "x/1.json": b'{"kind": null}', "x/1.mask.png": picture((1, 1, 1)),
        "x/2.png": picture((0, 0, 255)), "x/2.txt": "blå".encode(),
    })  # fmt: skip
    shard = read_table(path)
    assert set(shard.columns) == {"png", "mask.png", "kind", "n", "cls", "txt"}
    assert shard.column("kind") == ["red", None, None]
    assert shard.column("txt") == [None, None, "blå"]
    assert shard.present("png").tolist() == [True, False, True]
    assert shard.cell(2, "png") == {"path": "x/2.png", "bytes": picture((0, 0, 255))}
    assert shard.cell(1, "png") is None
    assert shard.without({"png": [0]}).present("png").tolist() == [False, False, True]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar"]
    both = read_table([path, tar(tmp_path / "b.tar", {"3.png": picture((9, 9, 9))})])
    assert both.present("png").tolist() == [True, False, True, True]
    assert both.cell(3, "png")["bytes"] == picture((9, 9, 9))
    assert both.cell(3, "kind") is None
    assert both.without({"png": [3]}).present("png").tolist() == [True, False, True, False]
    assert [cell and cell["path"] for cell in both.take("png", np.array([1, 2, 3]))] == [None, "x/2.png", "3.png"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"0.json": b"[1]"}, r"0\.json holds no object"),
        ({"0.json": b"{"}, r"0\.json is not JSON"),
        ({"0.txt": b"\xff"}, r"0\.txt is not UTF-8"),
        ({"0.cls": b"1", "0.json": b'{"cls": 2}'}, r"0\.json gives 'cls' a second time"),
        ({"README": b"nothing"}, r"a\.tar holds no rows"),
    ],
)
def test_what_is_wrong_in_a_shard_is_named(tmp_path: Path, files: dict[str, bytes], says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_table(tar(tmp_path / "a.tar", files))


def test_a_packed_or_cut_shard_and_a_file_twice(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", {"0.png": picture((1, 2, 3)), "1.png": picture((1, 2, 3))})
    (tmp_path / "a.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"write it as a plain \.tar"):
        read_table(tmp_path / "a.tar.gz")
    (tmp_path / "n.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(DataError, match=r"n\.tar is not a plain tar file"):
        read_table(tmp_path / "n.tar")
    shard = read_table(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match=r"1\.png ends early"):
        shard.cell(1, "png")
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as sparse:
        hole = tarfile.TarInfo("0.bin")
        hole.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,0",
                            "GNU.sparse.size": "5000", "GNU.sparse.name": "0.bin"}  # fmt: skip
        sparse.addfile(hole, io.BytesIO())
    with pytest.raises(DataError, match=r"0\.bin is a sparse file"):
        read_table(path)
    with tarfile.open(path, "w") as again:
        for _ in range(2):
            info = tarfile.TarInfo("0.png")
            again.addfile(info, io.BytesIO())
    with pytest.raises(DataError, match=r"0\.png is there twice"):
        read_table(path)


# --- the order of rows


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("window", [1, 16, 50, 1000])
def test_no_row_is_lost_or_comes_twice_in_a_window(world: int, window: int) -> None:
    rows = np.arange(5, 205)
    samplers = [EpochSampler(rows, 7, seed=3, window=window, rank=r, world=world) for r in range(world)]
    for epoch in range(2):
        drawn = []
        for sampler in samplers:
            sampler.set_epoch(epoch)
            drawn += [row for draw in sampler for row in draw.rows]
        assert len(drawn) == len(set(drawn))
        assert len(rows) - len(drawn) < world
        assert set(drawn) <= set(rows.tolist())


def test_a_window_reads_neighbours_together_and_each_epoch_otherwise() -> None:
    sampler = EpochSampler(np.arange(4096), 64, seed=0, window=256)
    first = [row for draw in sampler for row in draw.rows]
    assert first == [row for draw in sampler for row in draw.rows]
    for start in range(0, 4096, 256):
        blocks = {row // (256 // BLOCKS) for row in first[start : start + 256]}
        assert len(blocks) == BLOCKS
    together = sorted({row // 16 for row in first[:256]})
    assert together != list(range(together[0], together[0] + BLOCKS)), "blocks are of all over the table"
    assert first[:16] != sorted(first[:16]), "within a window rows are mixed"
    sampler.set_epoch(1)
    assert [row for draw in sampler for row in draw.rows] != first


def test_a_split_by_column_and_by_share_of_a_mapped_table_is_that_of_a_held_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"a": n, "kind": "xyz"[n % 3], "split": ("train", "val", "test")[n % 3]} for n in range(60)]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    for how in ({"split": "split"}, {"validation": 0.2, "test": 0.1, "stratify": ["kind"]}):
        ours = make_splits(read_table(tmp_path / "t.parquet"), **how)
        theirs = make_splits(held(tmp_path / "t.parquet", monkeypatch), **how)
        for name in ("train", "validation", "test"):
            assert getattr(ours, name).rows.tolist() == getattr(theirs, name).rows.tolist()
