"""Columns, lines, sounds: other people's tables and text files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from formats.columns import choose_columns
from formats.lines import read_parallel
from formats.sounds import name_pattern, read_sounds
from trunkline.data import write_rows
from trunkline.errors import DataError

# Columns


def test_columns_are_chosen_renamed_and_derived(tmp_path: Path) -> None:
    path = tmp_path / "adult.csv"
    path.write_text("age,marital-status,income\n25,Never-married,<=50K\n38,,>50K\n44,Divorced,>50K\n")
    rows = list(choose_columns(path, {"years": "age"}, {"never_married": ("marital-status", "Never-married")}))
    assert rows == [
        {"years": "25", "never_married": 1},
        {"years": "38", "never_married": None},
        {"years": "44", "never_married": 0},
    ]


@pytest.mark.parametrize("columns", [{"a": "aeg"}, {}])
def test_a_column_that_is_not_there_is_named(tmp_path: Path, columns: dict[str, str]) -> None:
    write_rows(tmp_path / "t.csv", [{"age": 1}])
    with pytest.raises(DataError, match=r"t\.csv: the table has no column 'aeg'\. Did you mean 'age'"):
        list(choose_columns(tmp_path / "t.csv", columns, {"b": ("aeg", "1")}))


# Lines


def write(folder: Path, **texts: str) -> dict[str, Path]:
    paths = {name: folder / name for name in texts}
    for name, text in texts.items():
        paths[name].write_bytes(text.encode())
    return paths


def test_lines_that_belong_together(tmp_path: Path) -> None:
    files = write(tmp_path, words="fly to boston\r\nhello\r\n", tags="O O B-city\nO\n", label="flight\n\n")
    assert list(read_parallel(files, tags_of={"tags": "words"})) == [
        {"words": "fly to boston", "tags": "O O B-city", "label": "flight"},
        {"words": "hello", "tags": "O", "label": ""},
    ]


def test_packed_lines(tmp_path: Path) -> None:
    path = tmp_path / "train.de.gz"
    path.write_bytes(gzip.compress("Zwei weiße Männer.\n".encode()))
    assert list(read_parallel({"de": path})) == [{"de": "Zwei weiße Männer."}]


def test_files_of_different_lengths(tmp_path: Path) -> None:
    files = write(tmp_path, en="a\nb\n", de="a\nb\nc\n")
    with pytest.raises(DataError, match=r"en ends before line 3, which .*de has"):
        list(read_parallel(files))


def test_too_few_tags(tmp_path: Path) -> None:
    files = write(tmp_path, words="a\nb c\n", tags="O\nO\n")
    with pytest.raises(DataError, match=r"tags, line 2: 1 tags for the 2 words of .*words"):
        list(read_parallel(files, tags_of={"tags": "words"}))


def test_a_line_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "de").write_bytes(b"gut\nsch\xf6n\n")
    with pytest.raises(DataError, match="de, line 2 is not UTF-8"):
        list(read_parallel({"de": tmp_path / "de"}))


# Sounds


def test_names_say_what_sounds_are(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "recordings"
    folder.mkdir(parents=True)
    for name in ("7_theo_12.wav", "0_jackson_3.wav", "README.md"):
        (folder / name).touch()
    assert list(read_sounds(folder, "{digit}_{speaker}_{take}.wav", tmp_path / "out")) == [
        {"sound": "../set/recordings/0_jackson_3.wav", "digit": "0", "speaker": "jackson", "take": "3"},
        {"sound": "../set/recordings/7_theo_12.wav", "digit": "7", "speaker": "theo", "take": "12"},
    ]


def test_a_sound_of_another_name(tmp_path: Path) -> None:
    (tmp_path / "theo.wav").touch()
    with pytest.raises(DataError, match=r"theo\.wav: the name is not like {digit}_{speaker}\.wav"):
        list(read_sounds(tmp_path, "{digit}_{speaker}.wav", tmp_path))


def test_folders_without_sounds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \.wav file"):
        list(read_sounds(tmp_path, "{digit}.wav", tmp_path))
    with pytest.raises(DataError, match=r"nowhere: there is no such file or folder \(sounds\)"):
        list(read_sounds(tmp_path / "nowhere", "{digit}.wav", tmp_path))


def test_what_a_pattern_does_not_match() -> None:
    pattern = name_pattern("{digit}_{speaker}.wav")
    assert pattern.fullmatch("7_theo_1.wav") is None
    assert pattern.fullmatch("7_theoxwav") is None
