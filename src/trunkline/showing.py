"""What a person sees or hears of a cell, of a prediction and of the truth beside it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Literal

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import soundfile

from trunkline.cells import as_name

LETTERS = 600  # of a text
SIDE = 144  # pixels of a picture's longer side
WHOLE = 512  # the same of a picture that is shown as the network sees it
OUTLINED = 320  # of one with things named in it
NAME = 16  # letters of a name in a picture
SECONDS = 8.0  # of a sound
WAVE = 17  # pixels of its samples' height
# Of a mask's classes after the first, and of boxes, by Okabe and Ito: told apart by all eyes.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
TONES = ((1.0, 0), (0.55, 0), (0.45, 140))  # share of a colour's levels, and what is added to them
# Of numbers from least to most, equally far apart for the eye: viridis, by van der Walt and Smith.
RAMP = ((68, 1, 84), (72, 40, 120), (62, 73, 137), (49, 104, 142), (38, 130, 142),
        (31, 158, 137), (53, 183, 121), (110, 206, 88), (181, 222, 43), (253, 231, 37))  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """One thing to look at or to listen to.

    Attributes:
        kind: what it is.
        text: of a text; of a picture or sound a caption.
        data: of a picture or a sound, the content of a file.
        suffix: of that file.
        drawing: of a sound, a PNG of it.
        tags: words with the tag of each; an empty tag is none.
        spans: of those words `(start, stop, kind)`, where the tags say spans (BIO); else `None`, and each is by itself.
    """

    kind: Literal["text", "picture", "sound", "tags"]
    text: str = ""
    data: bytes = b""
    suffix: str = ""
    drawing: bytes = b""
    tags: tuple[tuple[str, str], ...] = ()
    spans: tuple[tuple[int, int, str], ...] | None = None


@dataclass(frozen=True)
class Outline:
    """A box to be drawn on a picture.

    Attributes:
        box: `[left, top, right, bottom]`, in the picture's pixels.
        colour: a number; equal ones have the same colour.
        name: stands at it.
        score: of what is said, 0 to 1; `None` for what is true.
    """

    box: Sequence[float]
    colour: int
    name: str
    score: float | None = None


@dataclass(frozen=True)
class Attended:
    """What a task read of its view for a text that it wrote.

    Attributes:
        words: of the text, between white space; those behind its longest length are left out.
        weights: `[W, S]`, how much of each token of the view was read for each; a row sums to 1.
        is_alignment: they say which tokens each word is in, not what was looked at.
    """

    words: tuple[str, ...]
    weights: np.ndarray
    is_alignment: bool = False


@dataclass(frozen=True)
class Answer:
    """What a task says about a row, beside the truth.

    Attributes:
        said: the prediction.
        true: the label; `None` where there is none.
        confidence: of the prediction, 0 to 1; `None` where the task has none.
        error: how wrong it is, 0 for right; rows of one task are sorted by it. `None` without a label.
        scores: of this row alone, by metric, for kinds whose metric can be told of one row.
    """

    said: Shown
    true: Shown | None = None
    confidence: float | None = None
    error: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


def shown_text(value: Any) -> Shown:
    """Plain values as text: numbers in four figures, lists with commas, long texts cut."""
    text = plain(value)
    return Shown("text", text if len(text) <= LETTERS else f"{text[:LETTERS]} …")


def plain(value: Any) -> str:
    """A value as a person writes it.

    Example:
        >>> [plain(v) for v in (True, 0.123456, 12345.0, ["a", "b"], [])]
        ['yes', '0.1235', '12345', 'a, b', '(none)']
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1e4 and abs(value) < 1e9 else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "(none)"
    return str(value)


def shown_picture(pixels: np.ndarray, *, caption: str = "", side: int = SIDE) -> Shown:
    """`[H, W, 1 or 3]`, uint8 or floats from 0 to 1, made small enough for a page; tiny ones stay sharp.

    Args:
        pixels: of the picture.
        caption: what stands with it.
        side: pixels that its longer side has at most.
    """
    levels = pixels if pixels.dtype == np.uint8 else (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    picture = PIL.Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)
    longer = max(picture.size)
    if longer > side:
        picture.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
    elif 2 * longer <= side:
        times = side // 2 // longer + 1
        picture = picture.resize([times * edge for edge in picture.size], PIL.Image.Resampling.NEAREST)
    file = io.BytesIO()
    is_drawing = 2 * longer <= side or len(picture.getcolors(1 << 16) or ()) in range(1, 257)
    if is_drawing:
        picture.save(file, "PNG", optimize=True)
    else:
        picture.save(file, "JPEG", quality=80)
    return Shown("picture", caption, file.getvalue(), ".png" if is_drawing else ".jpg")


def shown_sound(wave: np.ndarray, rate: int, loudness: np.ndarray) -> Shown:
    """`wave [S]` from -1 to 1, its first seconds, as a file that browsers play, and drawn.

    Args:
        wave: the samples.
        rate: samples a second.
        loudness: of those seconds, how loud each band is in each frame, `[T, M]` from 0 to 1, the lowest band first.
    """
    file = io.BytesIO()
    kind = "MP3" if "MP3" in soundfile.available_formats() and rate in (8000, 16000, 22050, 24000, 44100) else "WAV"
    soundfile.write(file, wave[: int(SECONDS * rate)], rate, format=kind)
    drawing = drawn_sound(wave[: int(SECONDS * rate)], loudness)
    return Shown("sound", f"{len(wave) / rate:.1f} s", file.getvalue(), f".{kind.lower()}", drawing)


def drawn_sound(wave: np.ndarray, loudness: np.ndarray) -> bytes:
    """A PNG, time from left to right: how far the samples of each frame reach, of the farthest, and its bands below.

    Args:
        wave: `[S]` from -1 to 1.
        loudness: `[T, M]`, from 0 to 1; the lowest band comes first, and is drawn at the bottom.
    """
    bands = ramp(loudness[:, ::-1].T)  # [M, T, 3]
    reach = np.array([float(np.abs(part).max(initial=0.0)) for part in np.array_split(wave, len(loudness))])
    height = np.abs(np.arange(WAVE) - (WAVE - 1) / 2)[:, None] / (WAVE / 2)  # [WAVE, 1], from the middle
    is_there = height <= reach[None] / max(float(reach.max()), 1e-9)
    above = np.where(is_there[:, :, None], RAMP[-4], RAMP[0])
    file = io.BytesIO()
    pixels = np.concatenate([above, bands]).round().astype(np.uint8)
    PIL.Image.fromarray(pixels).quantize(64).save(file, "PNG", optimize=True)
    return file.getvalue()


def overlaid(pixels: np.ndarray, mask: np.ndarray, indices: list[int]) -> np.ndarray:
    """A picture `[H, W, 1 or 3]` under the colours of its mask's classes `[H, W]`, uint8; the first class is bare."""
    out = _coloured(pixels).astype(np.float32)
    for place, index in enumerate(indices[1:]):
        here = mask == index
        out[here] = 0.45 * out[here] + 0.55 * np.array(colour_of(place), dtype=np.float32)
    return out.round().astype(np.uint8)


def ramp(shares: np.ndarray) -> np.ndarray:
    """Shares `[H, W]` from 0 to 1 → colours `[H, W, 3]`, floats from 0 to 255; NaN stays NaN."""
    places = np.linspace(0, 1, len(RAMP))
    return np.stack([np.interp(shares, places, levels) for levels in np.array(RAMP).T], axis=-1)


def colour_of(number: int) -> tuple[int, int, int]:
    """Of the class with this number, in pictures and in their legend; then darker ones, then lighter ones."""
    red, green, blue = COLOURS[number % len(COLOURS)]
    share, ground = TONES[number // len(COLOURS) % len(TONES)]
    return round(share * red + ground), round(share * green + ground), round(share * blue + ground)


def outlined(pixels: np.ndarray, outlines: Sequence[Outline], *, side: int = OUTLINED) -> np.ndarray:
    """A picture `[H, W, 1 or 3]` with boxes drawn on it, uint8, as large as a page shows it: names can be read.

    Args:
        pixels: of the picture.
        outlines: the surest first; what is drawn over others is surer.
        side: pixels of the page's picture, its longer side, at most.
    """
    picture = PIL.Image.fromarray(_coloured(pixels))
    scale = side / max(picture.size)
    if scale < 1:
        picture = picture.resize([max(1, round(scale * edge)) for edge in picture.size], PIL.Image.Resampling.LANCZOS)
    elif scale >= 2:
        picture = picture.resize([int(scale) * edge for edge in picture.size], PIL.Image.Resampling.NEAREST)
    zoom = picture.width / pixels.shape[1], picture.height / pixels.shape[0]
    pen, font = PIL.ImageDraw.Draw(picture), PIL.ImageFont.load_default(11)
    edges = [[round(edge * zoom[axis % 2]) for axis, edge in enumerate(one.box)] for one in outlines]
    for one, (left, top, right, bottom) in reversed(list(zip(outlines, edges))):
        corners = (left, top, max(left, right - 1), max(top, bottom - 1))  # an edge lies between two pixels
        pen.rectangle(corners, outline=colour_of(one.colour), width=2)
    for one, (left, top, _, _) in reversed(list(zip(outlines, edges))):
        name = one.name if len(one.name) <= NAME else f"{one.name[: NAME - 1]}…"
        _write(pen, font, name if one.score is None else f"{name} {one.score:.0%}", (left, top), colour_of(one.colour))
    return np.array(picture)


def _write(pen: Any, font: Any, text: str, corner: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """Text on its colour, above a corner, or below where there is no room."""
    wide, high = int(pen.textlength(text, font)) + 4, 13
    left = max(0, min(corner[0], pen.im.size[0] - wide))
    top = corner[1] - high if corner[1] >= high else corner[1]
    pen.rectangle((left, top, left + wide, top + high - 1), fill=colour)
    is_dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 128
    pen.text((left + 2, top), text, fill=(255, 255, 255) if is_dark else (0, 0, 0), font=font)


def _coloured(pixels: np.ndarray) -> np.ndarray:
    """`[H, W, 1 or 3]` → `[H, W, 3]`, uint8."""
    levels = pixels if pixels.dtype == np.uint8 else (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    return np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 else levels


def certainty(said: Any) -> float | None:
    """The chance of what was decoded, where it is one of several answers that have one."""
    if not isinstance(said, dict):
        return None
    value, chances = said["value"], said.get("probabilities")
    if "probability" in said:
        return said["probability"] if value else 1 - said["probability"]
    return None if chances is None or isinstance(value, list) else chances.get(as_name(value))


def plain_answer(said: Any, true: Any, state: Mapping[str, Any]) -> Answer:
    """By what was decoded: the share that goes to the truth where there are probabilities, else the distance."""
    value = said["value"] if isinstance(said, dict) else said
    confidence = certainty(said)
    if isinstance(value, list):  # names, in any order
        value, true = sorted(value), None if true is None else sorted(true)
    shown = None if true is None else shown_text(true)
    return Answer(shown_text(value), shown, confidence, None if true is None else _error(said, value, true, state))


def _error(said: Any, value: Any, true: Any, state: Mapping[str, Any]) -> float:
    if isinstance(said, dict) and "probability" in said:
        return abs(float(true) - said["probability"])
    if isinstance(true, list) and isinstance(said, dict):
        return sum(abs((name in true) - p) for name, p in said["probabilities"].items()) / len(said["probabilities"])
    if isinstance(value, float) and isinstance(true, float):
        return abs(value - true) / state.get("std", 1.0)
    if isinstance(said, dict) and "probabilities" in said:
        return 1.0 - said["probabilities"].get(str(true), 0.0)
    return 1.0 - SequenceMatcher(None, str(value), str(true)).ratio()
