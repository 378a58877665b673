"""What a column is taken for, and what is found wrong in it."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile
from PIL import Image

from trunkline.cells import as_number, loose_number, numbers_of
from trunkline.data import describe, describe_column, read_table
from trunkline.errors import DataError

WORDS = ["red shoes that fit", "a warm coat for winter", "too small and too thin", "I love it so much", "never again"]


def texts(n: int) -> list[str]:
    return [f"{WORDS[i % 5]} number {i}" for i in range(n)]


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("x", [0.5, 1.25, 3.0, None] * 10, "number"),
        ("x", [str(i * 7 % 31) for i in range(60)], "number"),
        ("x", ["1e-3", "2.5", "-4", "+7"] * 9, "number"),
        ("x", [0, 1, None, 1] * 9, "binary"),
        ("x", ["0", "1"] * 9, "binary"),
        ("x", ["yes", "No", "NO", None] * 9, "binary"),
        ("x", [True, False] * 9, "binary"),
        ("x", ["True", "False"] * 9, "binary"),
        ("x", ["1", "2", "3", "4", "5"] * 9, "ordinal"),
        ("x", [0, 1, 2] * 9, "ordinal"),
        ("x", ["male", "female"] * 9, "category"),
        ("x", ["red", "green", "blue", None] * 9, "category"),
        ("zip", ["01234", "01235", "90210"] * 9, "category"),
        ("x", [f"town {i % 30}" for i in range(300)], "category"),
        ("x", [f"name{i % 150}" for i in range(600)], "category"),
        ("x", texts(60), "text"),
        ("x", [f"{a}{b}" for a in "abcdefg" for b in "hijklmn"], "text"),
        ("x", [f"A-{i:05d}" for i in range(60)], "identifier"),
        ("x", list(range(100, 160)), "identifier"),
        ("patient_id", [str(i * 17) for i in range(60)], "identifier"),
        ("userId", [i // 2 * 13 for i in range(60)], "identifier"),
        ("paid", [i // 2 * 13 for i in range(60)], "number"),
        ("x", ["same"] * 9, "constant"),
        ("x", [3.5] * 9, "constant"),
        ("x", [None] * 9, "empty"),
        ("x", [f"2021-03-{1 + i % 28:02d}" for i in range(60)], "date"),
        ("x", [f"2021-03-{1 + i % 28:02d}T10:00:00Z" for i in range(60)], "date"),
        ("x", [datetime.date(2021, 3, 1 + i % 28) for i in range(60)], "date"),
        ("x", ["red|blue", "green", "red|green", "blue"] * 9, "labels"),
        ("x", [["red", "blue"], [], ["green"]] * 9, "labels"),
        ("x", ['["red", "blue"]', "[]", '["green"]'] * 9, "labels"),
        ("x", ["[1, 2.5]", "[3, 4]", None] * 9, "vector"),
        ("x", [[1, 2.5], [3, 4], None] * 9, "vector"),
        ("x", [np.zeros((4, 4, 3), np.uint8)] * 3, "image"),
        ("x", [Image.new("RGB", (4, 4))] * 3, "image"),
        ("x", [(np.zeros(99, np.float32), 8000)] * 3, "audio"),
        ("x", ["O O B-city", "O", "B-city I-city O"] * 9, "tags"),
        ("x", [f"B-{i:04d}" for i in range(60)], "identifier"),
        ("x", [f"{1 + i % 28}.3.2021" for i in range(60)], "date"),
        ("x", [["O", "B-city"], ["O"]] * 9, "tags"),
        ("x", [{"a": 1}] * 3, "unknown"),
        ("x", [{"nodes": [[1]], "edges": []}] * 3, "graph"),
        ("x", ['{"nodes": [[1], [2]], "edges": [[0, 1]]}', '{"nodes": [[3]]}', None] * 9, "graph"),
        ("x", [[1], [1, 2]] * 3, "unknown"),
    ],
)
def test_kinds(name, cells, kind):
    found = describe_column(name, cells)
    assert found.kind == kind, found
    assert found.reason
    assert (found.rows, found.present) == (len(cells), sum(cell is not None for cell in cells))
    if not any(isinstance(cell, dict | list | tuple | np.ndarray | Image.Image) for cell in cells):
        assert found.distinct == len({cell for cell in cells if cell is not None})


MOLECULES = [f"{'C' * (1 + i // 5)}{end}" for i in range(40) for end in ("(=O)O", "c1ccccc1", "[N+](C)C")]


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("SMILES", ["CCO", "CC", "C", "N", None] * 9, "graph"),
        ("canonical_smiles", ["CCO", "CC", "C", "N", "c1ccccc1C"] * 9, "graph"),
        ("x", MOLECULES, "graph"),
        ("x", ["CCO", "CC", "C", "N"] * 9, "category"),  # letters, and no name that says more
        ("x", [*MOLECULES, "no molecule"], "category"),
        ("smileys", ["CCO", "CC", "C", "N"] * 9, "category"),
        ("smiles", ["often", "never", "rarely"] * 9, "category"),
        ("x", [f"{a}{b}{i}" for a in "CNOPS" for b in "CNOPS" for i in range(9)], "identifier"),  # no rings close
    ],
)
def test_molecules_only_where_that_is_sure(name, cells, kind):
    for module in ("rdkit", "torch_geometric"):
        pytest.importorskip(module, reason="graphs need the extra `graphs`")
    assert describe_column(name, cells).kind == kind


def test_molecules_are_text_where_nothing_reads_them(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert describe_column("x", MOLECULES).kind == "category"


def test_molecules_that_cannot_be_read_are_told():
    pytest.importorskip("rdkit", reason="graphs need the extra `graphs`")
    found = describe_column("x", [*MOLECULES, "C(C"])
    assert (found.kind, found.mess) == ("graph", ("about 4.0% are no molecules, such as 'C(C'",))


def test_the_same_from_every_source(tmp_path):
    frame = pd.DataFrame(
        {"n": [1.5, None, 2.5, 7.0] * 9, "c": ["a", "b", None, "a"] * 9, "t": texts(36), "b": [True, False] * 18}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    sources = [frame, frame.to_dict("records"), pa.Table.from_pandas(frame), *sorted(tmp_path.iterdir())]
    for source in sources:
        found = describe(read_table(source))
        assert {n: d.kind for n, d in found.items()} == {"n": "number", "c": "category", "t": "text", "b": "binary"}
        assert {n: d.present for n, d in found.items()} == {"n": 27, "c": 27, "t": 36, "b": 36}


def test_paths_are_files_only_where_some_are_there(tmp_path):
    for i in range(8):
        Image.new("L", (4, 4)).save(tmp_path / f"{i}.png")
        soundfile.write(tmp_path / f"{i}.wav", np.zeros(80), 8000)
    rows = [{"photo": f"{i}.png", "sound": f"{i}.wav", "gone": f"x{i}.png"} for i in range(10)]
    (tmp_path / "t.csv").write_text("photo,sound,gone\n" + "\n".join(",".join(r.values()) for r in rows))
    found = describe(read_table(tmp_path / "t.csv"))
    assert [d.kind for d in found.values()] == ["image", "audio", "text"]
    assert found["photo"].mess == ("about 20.0% of the files are not there, such as '8.png'",)
    assert "there is no 'x0.png'" in found["gone"].mess[0]


class TestMess:
    def test_what_means_absent(self):
        found = describe_column("x", [str(i) for i in range(60)] + ["?", "NA", "n/a", "-", "unknown", "?"])
        assert found.kind == "identifier"
        assert set(found.na) == {"?", "NA", "n/a", "-", "unknown"}
        assert found.mess[0].startswith("6 cells are taken for absent: '?', ")

    def test_between_names_only_what_always_means_absent(self):
        found = describe_column("x", ["a", "b", "?", "None", "-", "NA"] * 9)
        assert found.kind == "category"
        assert set(found.na) == {"?", "NA"}

    def test_a_sentinel(self):
        found = describe_column("x", [-999, 3, 7, 12, -999, 40, 41, 88])
        assert found.na == ("-999",)
        assert found.low == 3
        assert describe_column("x", [-999, -998, 3, 7, 12]).na == ()

    @pytest.mark.parametrize(
        ("cells", "decimal"),
        [
            (["$1,200.50", "$3.10", "$17", "$1,000"], "."),
            (["12 kg", "13.5kg", "9 kg"], "."),
            (["35 %", "7%", "0.5%"], "."),
            (["1.200,50 €", "3,10 €", "17 €"], ","),
            (["0,5", "12,25", "7", "3,1"], ","),
            (["1 200", "13 500", "900"], "."),
        ],
    )
    def test_numbers_for_people(self, cells, decimal):
        found = describe_column("x", cells * 9)
        assert found.kind == "number"
        assert found.options == {"decimal": decimal}
        assert "written for people" in found.mess[0]

    def test_words_among_numbers(self):
        found = describe_column("x", [f"{i}.5" for i in range(40)] + ["lots", "few"])
        assert found.kind == "number"
        assert found.mess == ("2 cells are no numbers: 'lots', 'few'",)

    def test_what_is_written_for_people_elsewhere_is_no_number_here(self):
        found = describe_column("x", ["8.25", "9.5", "7.75", "8.5"] * 9 + ["8,2", "7,9"])
        assert found.kind == "number"
        assert found.mess == ("2 cells are no numbers: '8,2', '7,9'",)
        assert describe_column("x", ["12 Main Street", "7 High Street", "1 Oak Lane"] * 3).kind == "category"

    def test_white_space_types_and_infinities(self):
        assert "2 cells have white space around them" in describe_column("x", [" a", "b", "a ", "b", "a", "b"]).mess
        assert "cells of several types: int, str" in describe_column("x", [1, 2, "a", 3, 9.5][:4] * 4).mess[-1]
        assert "1 cells are not finite" in describe_column("x", [1.5, 2.5, float("inf"), 9.0]).mess


@pytest.mark.parametrize(
    ("text", "point", "comma"),
    [
        ("1,200.50", 1200.5, None),
        ("1.200,50", None, 1200.5),
        ("$ -5", -5.0, -5.0),
        ("−3,5 °C", None, -3.5),
        ("1,5", None, 1.5),
        ("1 234 567", 1234567.0, 1234567.0),
        ("12,34,567", None, None),
        ("12 kg", 12.0, 12.0),
        ("km 12", None, None),
        ("12 Main Street", None, None),
        ("", None, None),
        ("kg", None, None),
        ("1.2.3", None, None),
    ],
)
def test_loose_numbers(text, point, comma):
    assert (loose_number(text, "."), loose_number(text, ",")) == (point, comma)


@pytest.mark.parametrize(
    "text", ["1", "-2.5", "1e5", "1.", ".5", "nan", "inf", "1e400", "0x10", "1_0", "+1", " 1", "a", ""]
)
def test_a_column_at_once_is_what_its_cells_are(text):
    at_once = numbers_of(pa.array(["3", text]))
    try:
        value = as_number(text)
    except DataError:
        assert at_once is None
    else:
        assert at_once is None or at_once == [3.0, value]


def test_one_cell_is_no_number() -> None:
    for odd in (["forty"], ["forty", "fifty"]):
        table = read_table([{"x": cell} for cell in [*map(str, range(30)), *odd]])
        (told,) = describe(table)["x"].mess
        assert told.startswith("1 cell is no number: 'forty'" if len(odd) == 1 else "2 cells are no numbers: 'forty'")


def test_half_a_surrogate_pair_hinders_no_look() -> None:
    frame = pd.DataFrame({"note": texts(30), "kind": ["a", "b\ud800", "c"] * 10}, dtype=object)
    for source in (frame, frame.to_dict("records"), frame.astype(pd.StringDtype("python"))):
        table = read_table(source)
        assert table.cell(1, "kind") == "b\ud800"
        assert {name: found.kind for name, found in describe(table).items()} == {"note": "text", "kind": "category"}
