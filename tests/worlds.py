"""Small tables with holes, made in memory: one with every kind of input and task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image as Picture

from trunkline.data import Table, read_table
from trunkline.modalities import Audio, Category, Image, Number, Text
from trunkline.schema import InputColumn, Schema, TaskColumn
from trunkline.tasks import Binary, Dense, Labels, Mask, Tags
from trunkline.tasks import Category as CategoryTask
from trunkline.tasks import Number as NumberTask
from trunkline.tasks import Text as TextTask

COLOURS = ("red", "green", "blue")
WORDS = {"red": "rot", "green": "gruen", "blue": "blau", "big": "gross", "small": "klein"}


def write_world(folder: Path, rows: int = 48, *, seed: int = 0, holes: float = 0.3) -> Path:
    """A JSONL table: a coloured square on a dark picture, a tone, a sentence, a number and a category; every target
    follows from them. A share of the cells is absent, never all inputs of a row."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    table = [_row(folder, i, rng) for i in range(rows)]
    inputs = ("photo", "sound", "note", "size", "shop")
    targets = ("kind", "loud", "price", "weight", "marks", "area", "slots", "german")
    for row in table:
        for name in (*rng.permutation(inputs)[:-1], *targets):
            if rng.random() < holes:
                row[name] = None
    maps = np.random.default_rng(seed + 1).random(rows) < holes
    for row, is_absent in zip(table, maps):
        row["height"] = None if is_absent else row["height"]
    from trunkline.data import write_rows

    write_rows(folder / "rows.jsonl", table)
    return folder / "rows.jsonl"


def _row(folder: Path, i: int, rng: np.random.Generator) -> dict[str, Any]:
    colour, is_big, loud = int(rng.integers(3)), bool(rng.integers(2)), bool(rng.integers(2))
    side = 8 if is_big else 4
    top, left = rng.integers(0, 16 - side, 2)
    mask = np.zeros((16, 16), np.uint8)
    mask[top : top + side, left : left + side] = colour + 1
    pixels = rng.integers(0, 40, (16, 16, 3)).astype(np.uint8)
    pixels[..., colour][mask > 0] = 220
    Picture.fromarray(pixels).save(folder / f"{i}.png")
    Picture.fromarray(mask).save(folder / f"{i}-mask.png")
    height = 100 + 10 * np.arange(16)[:, None] + 50 * mask.astype(np.uint16)
    height[0, ::3] = 0  # not measured
    Picture.fromarray(height.astype(np.uint16)).save(folder / f"{i}-height.png")
    time = np.arange(int(rng.integers(1600, 2400))) / 8000
    wave = (0.5 if loud else 0.05) * np.sin(2 * np.pi * (300 + 400 * colour) * time) + 0.01 * rng.standard_normal(
        len(time)
    )
    soundfile.write(folder / f"{i}.wav", wave, 8000)
    words = ["big" if is_big else "small", COLOURS[colour]]
    words = words if rng.random() < 0.5 else ["a", *words]
    size = float(side + rng.normal(0, 0.1))
    return {
        "photo": f"{i}.png",
        "sound": f"{i}.wav",
        "note": " ".join(words),
        "size": size,
        "shop": COLOURS[colour] if rng.random() < 0.8 else "other",
        "kind": COLOURS[colour],
        "loud": loud,
        "price": size * 2 + colour,
        "weight": size * 3 - colour,
        "marks": [COLOURS[colour]] + (["big"] if is_big else []),
        "area": f"{i}-mask.png",
        "height": f"{i}-height.png",
        "slots": ["O" if w == "a" else "B-size" if w in ("big", "small") else "B-colour" for w in words],
        "german": " ".join(WORDS[w] for w in words if w in WORDS),
    }


def inputs() -> dict[str, Any]:
    """All kinds of input, small."""
    return {
        "photo": Image(size=16),
        "sound": Audio(rate=8000),
        "note": Text(),
        "size": Number(),
        "shop": Category(),
    }


def tasks() -> dict[str, Any]:
    """All kinds of task; `price` and `weight` are a stack."""
    return {
        "kind": CategoryTask(),
        "loud": Binary(),
        "price": NumberTask(),
        "weight": NumberTask(),
        "marks": Labels(),
        "area": TaskColumn(Mask(), "area", of="photo"),
        "height": TaskColumn(Dense(scale=100, missing=0), "height", of="photo"),
        "slots": TaskColumn(Tags(), "slots", of="note"),
        "german": TaskColumn(TextTask(), "german", of="note"),
    }


def schema(only: tuple[str, ...] | None = None, without: tuple[str, ...] = ()) -> Schema:
    """The whole world, or some of its tasks."""
    chosen = {n: t for n, t in tasks().items() if (only is None or n in only) and n not in without}
    bound = {n: i if isinstance(i, InputColumn) else InputColumn(i, n) for n, i in inputs().items()}
    return Schema(bound, chosen)


def world(folder: Path, rows: int = 48, **options: Any) -> Table:
    """The table, written and read."""
    return read_table(write_world(folder, rows, **options))
