"""Pascal VOC: a folder with `JPEGImages/`, `Annotations/*.xml`, `ImageSets/Main/*.txt`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from formats.boxes import Box, names_of, with_box_columns
from formats.paths import find_picture, read_lines, relative, require
from trunkline.errors import DataError

CORNERS = ("xmin", "ymin", "xmax", "ymax")
SPLITS = ("train", "val", "test")


def read_voc(folder: Path, base: Path) -> Iterator[dict[str, Any]]:
    """A row for each picture: `picture`, `boxes`, what follows from them, and `split` where the set has one.

    Boxes stay as they are written, also those of no area.

    Args:
        folder: of the set.
        base: of the table to come.

    Raises:
        DataError: a file is missing, or is not as VOC says; it is named with its line.
    """
    annotations = sorted(require(folder / "Annotations", "VOC's annotations").glob("*.xml"))
    if not annotations:
        raise DataError(f"{folder / 'Annotations'} holds no .xml file")
    splits = read_image_sets(folder / "ImageSets" / "Main")
    rows = []
    for path in annotations:
        split = {"split": splits[path.stem]} if path.stem in splits else {}
        picture = find_picture(folder / "JPEGImages", path.stem)
        rows.append({"picture": relative(picture, base), **split, "boxes": read_annotation(path)})
    return with_box_columns(rows, names_of(row["boxes"] for row in rows))


def read_image_sets(folder: Path) -> dict[str, str]:
    """Name of a picture → its split; empty where there are no lists."""
    found: dict[str, str] = {}
    for split in SPLITS:
        if (path := folder / f"{split}.txt").is_file():
            for number, line in read_lines(path):
                name = line.split()[0] if line.strip() else None
                if name in found:
                    raise DataError(f"{path}, line {number}: {name!r} is in {found[name]!r}, too")
                if name is not None:
                    found[name] = split
    return found


def read_annotation(path: Path) -> list[Box]:
    """The objects of one file, in order.

    Raises:
        DataError: it is not XML, or an object has no name or no box.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise DataError(f"{path}, line {error.position[0]} is not XML: {error}") from error
    return [_read_object(path, number, found) for number, found in enumerate(root.iter("object"), start=1)]


def _read_object(path: Path, number: int, found: ElementTree.Element) -> Box:
    name = (found.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{path}, object {number} has no name")
    corners = [found.findtext(f"bndbox/{corner}") for corner in CORNERS]
    try:
        return {"box": [float(corner or "") for corner in corners], "label": name}
    except ValueError:
        given = dict(zip(CORNERS, corners))
        raise DataError(f"{path}, object {number} ({name}): a box has four numbers, not {given}") from None
