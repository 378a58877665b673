"""ARFF as Weka writes it, and as Mulan uses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from formats.arff import read_arff, read_label_names, read_labels, read_targets, split_cells
from trunkline.errors import DataError

HEADER = r"""% A comment
@RELATION 'a relation, with a comma'

@attribute "'quoted'" NUMERIC
@attribute 'it\'s' {a, 'b c', "d,e"} % a comment
@ATTRIBUTE note string
@attribute size	real
@attribute flag {0,1}

@DATA
"""


@pytest.fixture
def arff(tmp_path: Path):
    def write(rows: str, header: str = HEADER) -> Path:
        (tmp_path / "t.arff").write_text(header + rows)
        return tmp_path / "t.arff"

    return write


def test_dense_rows(arff) -> None:
    attributes, rows = read_arff(
        arff("1,a,'say \\'x\\', y',2.50, 0\n% between\n\n?, 'b c' ,?,?,1\n-1e3,\"d,e\",word,7,?\n")
    )
    assert [a.name for a in attributes] == ["'quoted'", "it's", "note", "size", "flag"]
    assert rows == [
        {"'quoted'": 1, "it's": "a", "note": "say 'x', y", "size": 2.5, "flag": "0"},
        {"'quoted'": None, "it's": "b c", "note": None, "size": None, "flag": "1"},
        {"'quoted'": -1000, "it's": "d,e", "note": "word", "size": 7, "flag": None},
    ]


def test_sparse_rows_mean_zero_or_the_first_value(arff) -> None:
    _, rows = read_arff(arff("{0 3, 1 'b c', 4 1}\n{}\n{ 3 ? }\n"))
    assert rows == [
        {"'quoted'": 3, "it's": "b c", "note": None, "size": 0, "flag": "1"},
        {"'quoted'": 0, "it's": "a", "note": None, "size": 0, "flag": "0"},
        {"'quoted'": 0, "it's": "a", "note": None, "size": None, "flag": "0"},
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,a,x,2\n", r"t\.arff, line 11: 4 cells for 5 attributes"),
        ("1,a,x,2,0\n1,z,x,2,0\n", r"line 12: \"it's\" is one of a, b c, d,e, not 'z'"),
        ("one,a,x,2,0\n", "line 11: \"'quoted'\" is a number, not 'one'"),
        ("1,a,'x,2,0\n", "line 11: a quote is not closed"),
        ("{0 3\n", "a sparse row ends with a brace"),
        ("{9 3}\n", "'9' is not the number of an attribute; there are 5"),
        ("", "has no rows"),
    ],
)
def test_rows_that_cannot_be_read(arff, rows: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_arff(arff(rows))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("@relation r\n@attribute a relational\n@data\n", r"line 2: 'relational' is not a kind that can be read"),
        ("@relation r\n@attribute a\n@data\n", "line 2: an attribute has a name and a kind"),
        ("@relation r\n@attribute a numeric\n", "has no line @data"),
        ("a,b\n1,2\n", "line 1: @relation, @attribute or @data is wanted here, not 'a,b'"),
        ("@attribute a numeric\n@attribute a numeric\n@data\n1,2\n", "more than one attribute named 'a'"),
    ],
)
def test_headers_that_cannot_be_read(arff, header: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_arff(arff("", header))


def test_the_last_columns_are_targets(arff) -> None:
    path = arff("1,2,3\n4,?,6\n", "@relation r\n@attribute a numeric\n@attribute b real\n@attribute c real\n@data\n")
    assert list(read_targets(path, 2)) == [{"x.a": 1, "y.b": 2, "y.c": 3}, {"x.a": 4, "y.b": None, "y.c": 6}]
    with pytest.raises(DataError, match="has 3 columns: 3 of them cannot be the targets"):
        list(read_targets(path, 3))


LABELS = """<?xml version="1.0" encoding="utf-8"?>
<labels xmlns="http://mulan.sourceforge.net/labels">
<label name="sad"><label name="very sad"></label></label>
<label name="calm"></label>
</labels>
"""


def test_columns_that_xml_names_are_labels(arff, tmp_path: Path) -> None:
    (tmp_path / "t.xml").write_text(LABELS)
    header = "@relation r\n@attribute tempo numeric\n@attribute sad {0,1}\n@attribute 'very sad' {0,1}\n"
    path = arff("3,1,0,1\n{0 5}\n", header + "@attribute calm numeric\n@data\n")
    assert read_label_names(tmp_path / "t.xml") == ["sad", "very sad", "calm"]
    assert list(read_labels(path, tmp_path / "t.xml")) == [
        {"x.tempo": 3, "labels": ["sad", "calm"]},
        {"x.tempo": 5, "labels": []},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<labels>\n<label name='a'>\n</labels>", r"t\.xml, line 3 is not XML"),
        ("<labels/>", "names no label"),
        ("<labels><label name='b'/></labels>", "has no column 'b'"),
    ],
)
def test_lists_of_labels_that_do_not_fit(arff, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.xml").write_text(text)
    with pytest.raises(DataError, match=message):
        list(read_labels(arff("1\n", "@relation r\n@attribute a numeric\n@data\n"), tmp_path / "t.xml"))


def test_cells_keep_commas_in_quotes_and_empty_cells() -> None:
    assert split_cells('1,\'a, b\' ,,"c\\",d"', "") == ["1", "'a, b'", "", '"c\\",d"']
