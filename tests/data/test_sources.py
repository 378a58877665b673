"""Where rows may come from: encodings, delimiters, several files, folders, frames, Hugging Face datasets."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile
from PIL import Image

from trunkline.data import describe, read_table, write_rows
from trunkline.errors import DataError
from trunkline.modalities import Text
from trunkline.tasks import Tags


def rows_of(table):
    return [table.row(i) for i in range(len(table))]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (200, 0, 0)).save(path)


class TestText:
    @pytest.mark.parametrize(
        ("encoding", "named"),
        [("utf-8", None), ("utf-8-sig", None), ("utf-16", None), ("latin-1", "latin-1"), ("cp1252", "cp1252")],
    )
    @pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
    def test_encodings(self, tmp_path, encoding, named, ending):
        text = {"csv": "größe,b\nä,1\n", "tsv": "größe\tb\nä\t1\n", "jsonl": '{"größe": "ä", "b": "1"}\n'}[ending]
        (tmp_path / f"t.{ending}").write_bytes(text.encode(encoding))
        assert rows_of(read_table(tmp_path / f"t.{ending}", encoding=named)) == [{"größe": "ä", "b": "1"}]

    def test_an_encoding_that_is_none_or_wrong(self, tmp_path):
        (tmp_path / "t.csv").write_bytes(b"a,b\n\xe4,1\n")
        with pytest.raises(DataError, match="there is no encoding 'latn'"):
            read_table(tmp_path / "t.csv", encoding="latn")
        with pytest.raises(DataError, match=r"t\.csv is not ascii"):
            read_table(tmp_path / "t.csv", encoding="ascii")

    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    def test_delimiters_are_found(self, tmp_path, delimiter):
        lines = [["a", "b"], ["1", "2"], ["", "x y"], ["3", "4"]]
        (tmp_path / "t.csv").write_text("\n".join(delimiter.join(line) for line in lines) + "\n")
        found = rows_of(read_table(tmp_path / "t.csv"))
        assert found == [{"a": "1", "b": "2"}, {"a": None, "b": "x y"}, {"a": "3", "b": "4"}]

    def test_a_comma_in_german_numbers_is_no_delimiter(self, tmp_path):
        (tmp_path / "t.csv").write_text('a;b;"c;d"\n1,5;2;x\n3;4,25;"y, z"\n')
        assert read_table(tmp_path / "t.csv").row(0) == {"a": "1,5", "b": "2", "c;d": "x"}

    def test_a_delimiter_that_is_named(self, tmp_path):
        (tmp_path / "t.csv").write_text("a b\n1 2\n")
        assert read_table(tmp_path / "t.csv", delimiter=" ").row(0) == {"a": "1", "b": "2"}
        with pytest.raises(DataError, match="a delimiter is one character"):
            read_table(tmp_path / "t.csv", delimiter="::")

    def test_white_space_in_the_header_and_around_what_is_absent(self, tmp_path):
        (tmp_path / "t.csv").write_text(" a , b\n ? ,1\n  ,2\n x, ?\n")
        table = read_table(tmp_path / "t.csv", na=["?"])
        assert table.columns == ("a", "b")
        assert table.column("a") == [None, None, " x"]
        assert table.column("b") == ["1", "2", None]
        (tmp_path / "t.csv").write_text("a,a \n1,2\n")
        with pytest.raises(DataError, match="more than one column named 'a'"):
            read_table(tmp_path / "t.csv")

    def test_numbers_that_mean_absent(self, tmp_path):
        (tmp_path / "t.csv").write_text("a,b\n-999,1\n-999.0,2\n3,4\n")
        assert read_table(tmp_path / "t.csv", na=[-999]).column("a") == [None, None, "3"]
        table = pa.table({"a": [-999, 3], "b": [-999.0, 0.5], "c": ["-999", "x"]})
        assert rows_of(read_table(table, na=[-999])) == [
            {"a": None, "b": None, "c": "-999"},
            {"a": 3, "b": 0.5, "c": "x"},
        ]


class TestSeveral:
    def test_rows_follow_each_other_and_missing_columns_are_absent(self, tmp_path):
        write_rows(tmp_path / "a.csv", [{"x": "1", "y": "2"}])
        write_rows(tmp_path / "b.jsonl", [{"x": 3, "z": [1]}])
        table = read_table([tmp_path / "a.csv", str(tmp_path / "b.jsonl")])
        assert rows_of(table) == [{"x": "1", "y": "2", "z": None}, {"x": 3, "y": None, "z": [1]}]
        assert table.source == "a.csv, b.jsonl"
        assert isinstance(read_table([tmp_path / "a.csv"] * 2).cells["x"], pa.ChunkedArray)

    def test_paths_keep_their_folders(self, tmp_path):
        for part in ("one", "two"):
            picture(tmp_path / part / "p.png")
            write_rows(tmp_path / part / "t.csv", [{"photo": "p.png", "kind": part}])
        table = read_table([tmp_path / "one" / "t.csv", tmp_path / "two" / "t.csv"])
        assert table.column("photo") == [str(tmp_path / "one" / "p.png"), str(tmp_path / "two" / "p.png")]
        assert table.column("kind") == ["one", "two"]


class TestFolders:
    def test_classes(self, tmp_path):
        for name in ("cat/1.png", "cat/sub/2.JPG", "dog/3.png", "dog/notes.txt", ".hidden/4.png"):
            picture(tmp_path / name) if "txt" not in name else (tmp_path / name).write_text("")
        table = read_table(tmp_path)
        assert rows_of(table) == [
            {"image": "cat/1.png", "label": "cat"},
            {"image": "cat/sub/2.JPG", "label": "cat"},
            {"image": "dog/3.png", "label": "dog"},
        ]
        assert table.base == tmp_path
        assert table.split is None
        assert describe(table)["image"].kind == "image"

    def test_splits(self, tmp_path):
        for name in ("train/a/1.wav", "train/b/2.wav", "Valid/a/3.wav", "test/b/4.wav"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / name, np.zeros(80), 8000)
        table = read_table(tmp_path)
        assert table.split == "split"
        assert set(zip(table.column("audio"), table.column("label"), table.column("split"))) == {
            ("train/a/1.wav", "a", "train"),
            ("train/b/2.wav", "b", "train"),
            ("Valid/a/3.wav", "a", "validation"),
            ("test/b/4.wav", "b", "test"),
        }

    @pytest.mark.parametrize("splits", [(), ("train", "test")])
    def test_metadata(self, tmp_path, splits):
        for split in splits or ("",):
            picture(tmp_path / split / "1.png")
            write_rows(tmp_path / split / "metadata.csv", [{"file_name": "1.png", "age": "3"}])
        table = read_table(tmp_path)
        assert table.base == tmp_path
        if splits:
            assert dict(zip(table.column("image"), table.column("split"))) == {
                "train/1.png": "train",
                "test/1.png": "test",
            }
        else:
            assert rows_of(table) == [{"image": "1.png", "age": "3"}]

    def test_a_flat_folder_and_an_empty_one(self, tmp_path):
        picture(tmp_path / "flat" / "1.png")
        assert read_table(tmp_path / "flat").columns == ("image",)
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match=r"empty holds neither a table's `metadata.csv` nor pictures or sounds"):
            read_table(tmp_path / "empty")


class TestFrames:
    def test_pandas(self):
        frame = pd.DataFrame(
            {
                "n": [1.5, None],
                "i": pd.array([1, None], "Int64"),
                "s": ["a", None],
                "c": pd.Categorical(["x", None]),
                "d": pd.to_datetime(["2021-03-04", None]),
                "o": [[1, 2], None],
                "b": [True, False],
            }
        )
        table = read_table(frame)
        assert table.row(0) == {
            "n": 1.5, "i": 1, "s": "a", "c": "x", "d": "2021-03-04 00:00:00.000000", "o": [1, 2], "b": True,
        } | {"d": table.cell(0, "d")}  # fmt: skip
        assert table.cell(0, "d").startswith("2021-03-04")
        assert table.row(1) == {"n": None, "i": None, "s": None, "c": None, "d": None, "o": None, "b": False}
        assert isinstance(table.cells["n"], pa.ChunkedArray)

    def test_presence_is_what_cells_say(self):
        for table in (
            read_table(pd.DataFrame({"a": [1.0, None, 3.0]})),
            read_table([{"a": 1}, {"a": None}, {"a": []}]),
        ):
            assert table.present("a").tolist() == [cell is not None for cell in table.column("a")]
            assert table.present("b").tolist() == [False] * 3


class TestHuggingFace:
    def dataset(self):
        features = datasets.Features(
            {
                "image": datasets.Image(),
                "label": datasets.ClassLabel(names=["cat", "dog"]),
                "n": datasets.Value("float64"),
            }
        )
        pictures = [Image.new("RGB", (4, 4), (i * 50, 0, 0)) for i in range(4)]
        return datasets.Dataset.from_dict(
            {"image": pictures, "label": [0, 1, 0, -1], "n": [1.0, None, 2.0, 3.0]}, features
        )

    def test_a_dataset_and_a_selection_of_it(self):
        table = read_table(self.dataset())
        assert table.column("label") == ["cat", "dog", "cat", None]
        assert table.column("n") == [1.0, None, 2.0, 3.0]
        assert set(table.cell(0, "image")) == {"bytes", "path"}
        assert describe(table)["image"].kind == "image"
        assert read_table(self.dataset().select([2, 1])).column("label") == ["cat", "dog"]

    def test_splits_and_what_is_saved(self, tmp_path):
        both = datasets.DatasetDict({"train": self.dataset(), "test": self.dataset().select([0])})
        both.save_to_disk(str(tmp_path / "saved"))
        for source in (both, tmp_path / "saved"):
            table = read_table(source)
            assert table.column("split") == ["train"] * 4 + ["test"]
            assert table.split == "split"
            assert len(table) == 5
        self.dataset().save_to_disk(str(tmp_path / "one"))
        assert read_table(tmp_path / "one").column("label") == ["cat", "dog", "cat", None]

    def test_lists_of_class_numbers_are_names(self):
        """As sets of named entities and of several labels a row have them."""
        kinds = datasets.ClassLabel(names=["O", "B-org"])
        features = datasets.Features(
            {"tokens": datasets.Sequence(datasets.Value("string")), "tags": datasets.Sequence(kinds)}
        )
        rows = {"tokens": [["EU", "says"], ["no"], []], "tags": [[1, 0], [0, -1], []]}
        table = read_table(datasets.Dataset.from_dict(rows, features))
        assert table.column("tags") == [["B-org", "O"], None, []]
        assert [Text().read(cell) for cell in table.column("tokens")] == ["EU says", "no", ""]
        task = Tags()
        state = task.fit([task.read(table.cell(0, "tags"))])
        assert state["tags"] == ["B-org", "O"]

    def test_a_stream_has_no_rows_to_go_back_to(self):
        with pytest.raises(DataError, match="has no rows to go back to; use a `Dataset`"):
            read_table(self.dataset().to_iterable_dataset())
