"""A table for a config: a few rows of whatever its inputs read and its tasks learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from page_blocks import columns_of
from trunkline.data import write_rows

ROWS = 24
SIDE = 32
WORDS = ("red", "green", "blue", "big", "small", "so")
NAMES = ("north", "south", "east")
MOLECULES = ("CCO", "c1ccccc1", "CC(=O)O", "CCN", "CCCl", "O=C=O")

Maker = Callable[[Path, int, np.random.Generator, Mapping[str, Any]], Any]


def picture(folder: Path, row: int, rng: np.random.Generator, so_far: Mapping[str, Any]) -> str:
    name = f"picture-{len(list(folder.glob('*.png')))}.png"
    Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)).save(folder / name)
    return name


def mask(folder: Path, row: int, rng: np.random.Generator, so_far: Mapping[str, Any]) -> str:
    name = f"mask-{len(list(folder.glob('*.png')))}.png"
    Image.fromarray(rng.integers(0, 3, (SIDE, SIDE)).astype(np.uint8)).save(folder / name)
    return name


def depth(folder: Path, row: int, rng: np.random.Generator, so_far: Mapping[str, Any]) -> str:
    name = f"map-{len(list(folder.glob('*.npy')))}.npy"
    np.save(folder / name, rng.random((SIDE, SIDE)).astype(np.float32) + 1)
    return name


def sound(folder: Path, row: int, rng: np.random.Generator, so_far: Mapping[str, Any]) -> str:
    name = f"wave-{len(list(folder.glob('*.wav')))}.wav"
    soundfile.write(folder / name, 0.1 * rng.standard_normal(8000 + 200 * row), 8000)
    return name


def boxes(folder: Path, row: int, rng: np.random.Generator, so_far: Mapping[str, Any]) -> list[dict[str, Any]]:
    left, top = rng.integers(0, SIDE // 2, 2).tolist()
    return [{"box": [left, top, left + 12, top + 12], "label": NAMES[row % 3]}]


def tags(folder: Path, row: int, rng: np.random.Generator, so_far: Mapping[str, Any]) -> list[str]:
    """One a word of the text that stands in the row already."""
    words = next(cell for cell in so_far.values() if isinstance(cell, str) and cell[0] in "rgbs").split()
    return ["B-x" if i % 2 else "O" for i in range(len(words))]


def text(folder: Path, row: int, rng: np.random.Generator, so_far: Mapping[str, Any]) -> str:
    return " ".join(rng.choice(WORDS, 2 + row % 3))


INPUTS: dict[str, Maker] = {
    "image": picture,
    "audio": sound,
    "text": text,
    "number": lambda f, row, rng, s: float(rng.normal()),
    "category": lambda f, row, rng, s: NAMES[row % 3],
    "vector": lambda f, row, rng, s: rng.normal(size=4).tolist(),
    "graph": lambda f, row, rng, s: MOLECULES[row % len(MOLECULES)],
}
TASKS: dict[str, Maker] = {
    "category": INPUTS["category"],
    "binary": lambda f, row, rng, s: row % 2,
    "labels": lambda f, row, rng, s: [NAMES[row % 3]],
    "number": INPUTS["number"],
    "ordinal": lambda f, row, rng, s: row % 3 + 1,
    "mask": mask,
    "dense": depth,
    "boxes": boxes,
    "tags": tags,
    "text": text,
    "transcript": lambda f, row, rng, s: WORDS[row % 6],
    "speech": sound,
}


def write_table(config: Mapping[str, Any], folder: Path) -> None:
    """The table that a config names, in this folder."""
    rng = np.random.default_rng(0)
    makers = {column: maker for column, maker in _makers(config)}
    rows = []
    for row in range(ROWS):
        cells: dict[str, Any] = {}
        for column, maker in makers.items():
            cells[column] = maker(folder, row, rng, cells)
        for column in columns_of(config):
            cells.setdefault(column, NAMES[row % 3])
        if "split" in config["data"]:
            cells[config["data"]["split"]] = ("train", "train", "train", "val", "test")[row % 5]
        rows.append(cells)
    write_rows(folder / (config["data"].get("train") or config["data"]["table"]), rows)


def _makers(config: Mapping[str, Any]) -> list[tuple[str, Maker]]:
    """By column, in order; an entry with `share:` is of the other's kind."""
    found: list[tuple[str, Maker]] = []
    for section, kinds in (("inputs", INPUTS), ("tasks", TASKS)):
        entries = {n: e if isinstance(e, dict) else {"type": e} for n, e in config[section].items()}
        for name, entry in entries.items():
            kind = entry.get("type") or entries[entry["share"]]["type"]
            one = {"data": {}, "inputs": {name: entry}, "tasks": {}}
            found += [(column, _maker(entry, kinds[kind])) for column in columns_of(one)]
    return found


def _maker(entry: Mapping[str, Any], usual: Maker) -> Maker:
    """Options may say what cells there are."""
    if "decimal" in entry:
        return lambda f, row, rng, s: f"1.{200 + row},50 €" if entry["decimal"] == "," else f"$1,{200 + row}.50"
    if "positive" in entry:
        return lambda f, row, rng, s: entry["positive"] if row % 2 else "another"
    if "levels" in entry:
        return lambda f, row, rng, s: entry["levels"][row % len(entry["levels"])]
    return usual
