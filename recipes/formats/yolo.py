"""YOLO: pictures in `images/…`, and `labels/….txt` with lines `class centre-x centre-y width height`, in shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from formats.boxes import Box, with_box_columns
from formats.paths import PICTURES, read_lines, relative, require
from trunkline.errors import DataError


def read_yolo(path: Path, base: Path) -> Iterator[dict[str, Any]]:
    """A row for each picture: `picture`, `split`, `boxes` in pixels, `labels`.

    A picture without a file of labels has no boxes, as YOLO's own tools take it.

    Args:
        path: the YAML file that names folders (`path`, `train`, `val`, `test`) and classes (`names`).
        base: of the table to come.

    Raises:
        DataError: a file is missing, or is not as YOLO says; it is named with its line.
    """
    described = read_description(path)
    names = described["names"]
    root = path.parent / str(described.get("path", "."))
    rows = []
    for split in ("train", "val", "test"):
        if split in described:
            rows += [
                {"picture": relative(picture, base), "split": split, "boxes": read_boxes(picture, names)}
                for picture in find_pictures(root / str(described[split]))
            ]
    return with_box_columns(rows)


def read_description(path: Path) -> dict[str, Any]:
    """The YAML file, its `names` as a list."""
    try:
        described = yaml.safe_load(require(path, "YOLO's description of the set").read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not YAML: {error}") from error
    names = described.get("names") if isinstance(described, Mapping) else None
    if isinstance(names, Mapping):
        names = [names.get(number) for number in range(len(names))]
    if not names or None in names:
        raise DataError(f"{path}: `names` lists the classes, or numbers them from 0 on, unlike {names!r}")
    return {**described, "names": [str(name) for name in names]}


def find_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, sorted."""
    found = sorted(path for path in require(folder, "pictures").iterdir() if path.suffix.lower() in PICTURES)
    if not found:
        raise DataError(f"{folder} holds no picture")
    return found


def read_boxes(picture: Path, names: Sequence[str]) -> list[Box]:
    """The boxes of one picture, from the file that lies beside it."""
    folders = list(picture.parent.parts)
    if "images" not in folders:
        raise DataError(f"{picture}: labels are found by `images` in the path, which it does not have")
    place = len(folders) - 1 - folders[::-1].index("images")
    labels = Path(*folders[:place], "labels", *folders[place + 1 :], f"{picture.stem}.txt")
    if not labels.is_file():
        return []
    with Image.open(picture) as opened:
        size = opened.size
    return [
        as_box(line, size, names, f"{labels}, line {number}") for number, line in read_lines(labels) if line.strip()
    ]


def as_box(line: str, size: tuple[int, int], names: Sequence[str], where: str) -> Box:
    """One line → corners in pixels.

    Args:
        line: `class centre-x centre-y width height`.
        size: width and height of the picture.
        names: of the classes.
        where: the line is, for errors.

    Raises:
        DataError: it has not five numbers, or there is no such class.

    Example:
        >>> as_box("1 0.5 0.5 0.5 1", (100, 60), ["cat", "dog"], "a.txt, line 1")
        {'box': [25.0, 0.0, 75.0, 60.0], 'label': 'dog'}
    """
    try:
        number, x, y, width, height = (float(part) for part in line.split())
    except ValueError:
        raise DataError(f"{where}: a class and four numbers are wanted, not {line!r}") from None
    if not (number.is_integer() and 0 <= number < len(names)):
        raise DataError(f"{where}: class {number:g} is not one of the {len(names)} that have names")
    shares = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return {"box": [round(share * side, 2) for share, side in zip(shares, size * 2)], "label": names[int(number)]}
