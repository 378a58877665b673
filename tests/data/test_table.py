import gzip
import json
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.data import Table, read_table, write_rows
from trunkline.errors import DataError

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)
# Names are read without white space around them, and a delimiter in a name may be taken for one between names.
heads = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0;|\t"), min_size=1).map(str.strip)
names = st.lists(heads.filter(bool), min_size=1, max_size=4, unique=True)


@st.composite
def tables_of(draw, cells):
    columns = draw(names)
    rows = draw(st.lists(st.fixed_dictionaries({name: st.none() | cells for name in columns}), min_size=1, max_size=5))
    return rows


def write(path, data: bytes):
    (gzip.open if path.suffix == ".gz" else open)(path, "wb").write(data)
    return path


def rows_of(table: Table):
    return [table.row(i) for i in range(len(table))]


# --- what is written is read back


@pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz"])
@settings(max_examples=40, deadline=None)
@given(rows=tables_of(texts))
def test_csv_round_trip(tmp_path_factory, ending, rows):
    path = tmp_path_factory.mktemp("t") / f"t.{ending}"
    write_rows(path, rows)
    assert rows_of(read_table(path)) == rows


plain = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
@settings(max_examples=40, deadline=None)
@given(rows=tables_of(plain))
def test_jsonl_round_trip(tmp_path_factory, ending, rows):
    path = tmp_path_factory.mktemp("t") / f"t.{ending}"
    write_rows(path, rows)
    assert rows_of(read_table(path)) == rows


@pytest.mark.parametrize("ending", ["parquet", "parquet.gz"])
@pytest.mark.parametrize(
    "cells",
    [st.text(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.booleans(), st.lists(st.text())],
)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_parquet_round_trip(tmp_path_factory, ending, cells, data):
    rows = data.draw(tables_of(cells))
    path = tmp_path_factory.mktemp("t") / f"t.{ending}"
    write_rows(path, rows)
    assert rows_of(read_table(path)) == rows


def test_column_cell_and_row_agree(tmp_path):
    rows = [{"a": "1", "b": None}, {"a": None, "b": "x"}]
    write_rows(tmp_path / "t.csv", rows)
    for table in (read_table(rows), read_table(tmp_path / "t.csv")):
        assert len(table) == 2
        assert table.columns == ("a", "b")
        for name in table.columns:
            assert table.column(name) == [table.cell(i, name) for i in range(2)] == [row[name] for row in rows]


def test_tables_survive_pickling(tmp_path):
    table = read_table(write(tmp_path / "t.csv", b"a,b\n1,\n"))
    assert rows_of(pickle.loads(pickle.dumps(table))) == [{"a": "1", "b": None}]


# --- CSV


def test_csv_cells_stay_text(tmp_path):
    table = read_table(write(tmp_path / "t.csv", b'id,n,flag,list\n007,1.50,true,"[1, 2]"\n'))
    assert table.row(0) == {"id": "007", "n": "1.50", "flag": "true", "list": "[1, 2]"}


def test_csv_has_a_base_and_a_source(tmp_path):
    table = read_table(write(tmp_path / "t.csv", b"a\n1\n"))
    assert (table.source, table.base) == ("t.csv", tmp_path)


def test_csv_with_bom_and_quoted_newlines(tmp_path):
    table = read_table(write(tmp_path / "t.csv", b'\xef\xbb\xbfa,b\r\n"x\r\ny","say ""hi"""\r\n,""\r\n'))
    assert rows_of(table) == [{"a": "x\r\ny", "b": 'say "hi"'}, {"a": None, "b": None}]


def test_csv_with_a_long_last_cell_of_several_lines(tmp_path):
    cell = "word\n" * 100_000
    assert read_table(write(tmp_path / "t.csv", f'a,b\n1,"{cell}"\n'.encode())).cell(0, "b") == cell


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b\n1,2\n\n3\n4,5\n", r"t\.csv.*, line 4: 1 cells where the header has 2 columns"),
        (b'a,b\n"x\ny",2\n3,4,5\n', r"line 4: 3 cells where the header has 2 columns.*double quotes"),
        (b"a,b,a\n1,2,3\n", r"more than one column named 'a'"),
        (b",b\n1,2\n", r"column 1 has no name"),
        (b"", r"is empty: the first line must name the columns"),
        (b"a,b\n", r"holds no rows"),
        ("a,b\nä,1\n".encode("latin-1"), r"is not UTF-8"),
        (b"a,b\nx,1\n\xe4,1\n", r"t\.csv.*, line 3 is not UTF-8 \(byte 0xe4\).*say `encoding: latin-1` under `data:`"),
        (b"a,b\nx,1\n\x80,1\n", r"say `encoding: cp1252`"),
        ("a,b\nä,1\n".encode() + b"\xe4,2\n", r"line 3 is not UTF-8 .*, but line 2 is: the file mixes encodings"),
        ("ä,b\n1,1\n".encode("latin-1"), r"is not UTF-8"),
        (b'a,b\n1,2\n3,"x\n4,5\n6,7\n', "line 3: a double quote opens a cell that nothing closes"),
    ],
)
def test_csv_that_cannot_be_read_says_why(tmp_path, ending, data, message):
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path / f"t.{ending}", data))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(
    ("ending", "text"), [("csv", "x,y\nä,1\n"), ("tsv.gz", "x\ty\nä\t1\n"), ("jsonl", '{"x": "ä", "y": "1"}')]
)
def test_encodings_that_the_first_bytes_tell(tmp_path, encoding, ending, text):
    data = text.encode(encoding)
    path = write(tmp_path / f"t.{ending}", data)
    assert rows_of(read_table(path)) == [{"x": "ä", "y": "1"}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "x\nGröße\n".encode("latin-1"),
            r"line 2 .*\(byte 0xf6\).*latin-1` under `data:`, which reads it as 'Größe'$",
        ),
        ("x\n“so”\n".encode("cp1252"), r"say `encoding: cp1252` under `data:`, which reads it as '“so”'$"),
        ("x\nПривет\n".encode("cp1251"), r"; or the encoding it was written in, such as cp1251, shift_jis"),
        (
            "x\n日本語の文\n".encode("shift_jis"),
            r"; or the encoding it was written in, such as cp1251, shift_jis",
        ),
        (b"x\n\xed\xa0\x80\n", r"line 2 is not UTF-8 \(byte 0xed\): half a surrogate pair, or half a letter"),
        ("x\nä\n中".encode()[:-1], r"line 3 is not UTF-8 \(byte 0xe4\): half a surrogate pair, or half a letter"),
    ],
)
def test_bytes_are_shown_as_the_guess_reads_them(tmp_path, data, message):
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path / "t.csv", data))


def test_texts_of_arrow_that_are_no_utf8(tmp_path):
    bad = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xe4b")]
    )
    table = pa.table({"x": bad})
    pq.write_table(table, tmp_path / "t.parquet")
    for source, name in ((tmp_path / "t.parquet", "t.parquet"), (table, "Arrow table")):
        with pytest.raises(
            DataError, match=rf"^{name}, row 2, column 'x': the text is not UTF-8 \(byte 0xe4 of b'.xe4b'\)"
        ):
            read_table(source)


ODD = [f"a{c}b" for c in ["\x00", "\r", "\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\t", '"']]
ODD += ['"', "\ufeffa", "\U0001f469\u200d\U0001f680", "e\u0301", "\u202eab\u05d0", " a "]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet", "csv.gz", "jsonl.gz"])
def test_control_characters_come_back(tmp_path, ending):
    rows = [{"x": text, "y": "1"} for text in ODD]
    write_rows(tmp_path / f"t.{ending}", rows)
    assert rows_of(read_table(tmp_path / f"t.{ending}")) == rows


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_broken_gzip(tmp_path, ending):
    path = tmp_path / f"t.{ending}.gz"
    write_rows(path, [{"a": str(i) * 50} for i in range(100)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"is not a"):
        read_table(path)


# --- JSONL


def test_jsonl_columns_are_the_union_in_order(tmp_path):
    table = read_table(write(tmp_path / "t.jsonl", b'{"b": 1}\n\n{"a": [], "b": null}\n{"c": NaN, "a": 2}\n'))
    assert table.columns == ("b", "a", "c")
    assert rows_of(table) == [
        {"b": 1, "a": None, "c": None},
        {"b": None, "a": [], "c": None},
        {"b": None, "a": 2, "c": None},
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1}\n{"a": \n', r"t\.jsonl, line 2 is not JSON"),
        (b'{"a": 1}\n\n[1]\n', r"t\.jsonl, line 3: \[1\] is no row"),
        (b'{"a": "\xff"}\n', r"t\.jsonl, line 1 is not UTF-8"),
        (b"", r"holds no rows"),
    ],
)
def test_jsonl_that_cannot_be_read_says_why(tmp_path, data, message):
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path / "t.jsonl", data))


# --- Parquet, Arrow, rows, frames


def test_arrow_types_become_plain_values():
    table = read_table(
        pa.table(
            {
                "nan": pa.array([1.5, float("nan"), None]),
                "int": pa.array([2**53 + 1, None, 3]),
                "name": pa.array(["a", None, "a"]).dictionary_encode(),
                "price": pa.array(["1.5", None, "2.5"]).cast(pa.decimal128(4, 1)),
                "boxes": pa.array([[{"x": 1}], None, []]),
            }
        )
    )
    assert table.column("nan") == [1.5, None, None]
    assert table.column("int") == [2**53 + 1, None, 3]
    assert table.column("name") == ["a", None, "a"]
    assert table.column("price") == [1.5, None, 2.5]
    assert table.column("boxes") == [[{"x": 1}], None, []]


def test_parquet_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"t\.parquet is not a Parquet file"):
        read_table(write(tmp_path / "t.parquet", b"a,b\n"))


def test_parquet_with_a_column_twice(tmp_path):
    column = pa.array([1])
    pq.write_table(pa.Table.from_arrays([column, column], names=["a", "a"]), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"more than one column named 'a'"):
        read_table(tmp_path / "t.parquet")


class Series(list):
    def to_list(self):
        return list(self)

    def isna(self):
        return [value is None or value != value for value in self]


class Frame:
    def __init__(self, **columns):
        self.columns = list(columns)
        self._cells = columns

    def __getitem__(self, name):
        return self._cells[name]


@pytest.mark.parametrize("series", [list, Series])
def test_frames(series):
    table = read_table(Frame(a=series([1.0, float("nan")]), b=series(["x", None])))
    assert rows_of(table) == [{"a": 1.0, "b": "x"}, {"a": None, "b": None}]


def test_a_table_stays_as_it_is():
    table = read_table([{"a": 1}])
    assert read_table(table) is table


@pytest.mark.parametrize("bad", [[], [3], {"a": [1]}, 3])
def test_what_is_no_table(bad):
    with pytest.raises(DataError, match=r"no rows|is no row|is not a table"):
        read_table(bad)


def test_missing_file_unknown_ending_and_unknown_column(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"Known: \.csv, \.tsv, \.parquet, \.jsonl"):
        read_table(tmp_path / "t.xlsx")
    with pytest.raises(DataError, match=r"rows has no column 'kin'. Did you mean 'kind'\?"):
        read_table([{"kind": 1}]).column("kin")


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_na_means_absent_only_where_asked(tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    write_rows(path, [{"a": "?"}, {"a": "NA"}, {"a": "x"}])
    assert read_table(path).column("a") == ["?", "NA", "x"]
    assert read_table(path, na=["?", "NA"]).column("a") == [None, None, "x"]


def test_na_of_numbers():
    assert read_table([{"a": -999}, {"a": 1}, {"a": True}, {"a": [1]}], na=[-999, 1]).column("a") == [
        None,
        None,
        True,
        [1],
    ]


# --- writing


def test_csv_writes_lists_as_json(tmp_path):
    write_rows(tmp_path / "t.csv", [{"a": ["x", "ü"], "b": True, "c": 1.5}])
    row = read_table(tmp_path / "t.csv").row(0)
    assert json.loads(row["a"]) == ["x", "ü"]
    assert (row["b"], row["c"]) == ("true", "1.5")


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "t.jsonl"
    write_rows(path, [{"a": 1}])
    with pytest.raises(TypeError):
        write_rows(path, [{"a": 2}, {"a": object()}])
    assert read_table(path).column("a") == [1]
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match=r"written as \.csv"):
        write_rows(tmp_path / "t.xlsx", [])
    with pytest.raises(DataError, match="JSONL can"):
        write_rows(tmp_path / "t.parquet", [{"a": 1}, {"a": "x"}])
