"""Pascal VOC's folders (`JPEGImages/`, `Annotations/*.xml`, `ImageSets/Main/*.txt`) → a table: one row a picture."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from trunkline.data.splits import SPLIT_NAMES
from trunkline.data.table import Table
from trunkline.errors import DataError

CORNERS = ("xmin", "ymin", "xmax", "ymax")
FLAG = re.compile(r"\s+-?[01]$")  # of one class: whether it is there
PICTURES, ANNOTATIONS = "JPEGImages", "Annotations"
SHOWN = 5  # names in a warning


def is_voc(folder: Path) -> bool:
    """Whether a folder is laid out so."""
    return (folder / PICTURES).is_dir() and (folder / ANNOTATIONS).is_dir()


def read_voc(folder: Path) -> Table:
    """A row a picture: `picture`, where it lies, `boxes`, and `split` where `ImageSets/Main` has lists.

    With lists, the pictures are those that they name, and a warning tells of annotated ones that none names; else
    those that have an annotation. A picture without one has no label. VOC's boxes name their first and last pixels,
    counted from 1: their left and upper edges are one less. Where some edge of the set is 0, it counts from 0, as many
    tools write it. Boxes of no area stay, and those marked as difficult are boxes like others.

    Raises:
        DataError: a file of annotations cannot be read, or a picture is in two splits; the file and its line.
    """
    annotated = {path.stem: path for path in sorted((folder / ANNOTATIONS).glob("*.xml"))}
    if not annotated:
        raise DataError(f"{folder / ANNOTATIONS} holds no .xml file")
    pictures = {path.stem: path.name for path in sorted((folder / PICTURES).iterdir())}
    splits = _read_lists(folder / "ImageSets" / "Main", {*annotated, *pictures})
    names = sorted(splits) if splits else list(annotated)
    if unnamed := sorted(set(annotated) - set(names)):
        some = ", ".join(unnamed[:SHOWN])
        warnings.warn(f"{folder.name}: {len(unnamed)} annotated pictures are in no list of ImageSets/Main and are left "
                      f"out: {some}{', …' if len(unnamed) > SHOWN else ''}", stacklevel=2)  # fmt: skip
    found = {name: read_objects(annotated[name]) for name in names if name in annotated}
    if min((side for things in found.values() for one in things for side in one["box"][:2]), default=0) >= 1:
        found = {name: as_edges(things) for name, things in found.items()}
    cells: dict[str, list[Any]] = {
        "picture": [str((folder / PICTURES).absolute() / pictures.get(name, f"{name}.jpg")) for name in names],
        "boxes": [found.get(name) for name in names],
    }
    if splits:
        cells["split"] = [splits[name] for name in names]
    return Table(folder.name, cells, folder.absolute(), "split" if splits else None)


def _read_lists(folder: Path, known: Collection[str]) -> dict[str, str]:
    """Name of a picture → its split; empty where there are no lists. A name that is not known may end in a flag."""
    found: dict[str, str] = {}
    lists = [(folder / f"{name}.txt", split) for name, split in SPLIT_NAMES.items()]
    if not (folder / "train.txt").is_file():
        lists.append((folder / "trainval.txt", "train"))
    for path, split in lists:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.is_file() else (), start=1):
            name = line.strip() if line.strip() in known else FLAG.sub("", line.strip())
            if name and found.setdefault(name, split) != split:
                raise DataError(f"{path}, line {number}: {name!r} is in {found[name]!r}, too")
    found.pop("", None)
    return found


def as_edges(things: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """First and last pixels, counted from 1 → edges, counted from 0.

    Example:
        >>> as_edges([{"box": [1.0, 1.0, 40.0, 30.0], "label": "cell"}])
        [{'box': [0.0, 0.0, 40.0, 30.0], 'label': 'cell'}]
    """
    return [{**one, "box": [one["box"][0] - 1, one["box"][1] - 1, *one["box"][2:]]} for one in things]


def read_objects(path: Path) -> list[dict[str, Any]]:
    """The things that one file of annotations names, in order.

    Raises:
        DataError: it is not XML, or an object has no name or no box.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise DataError(f"{path}, line {error.position[0]} is not XML: {error}") from error
    except (ValueError, LookupError) as error:  # of an encoding that there is not
        raise DataError(f"{path} is not XML that can be read: {error}") from error
    return [_read_object(path, number, found) for number, found in enumerate(root.iter("object"), start=1)]


def _read_object(path: Path, number: int, found: ElementTree.Element) -> dict[str, Any]:
    name = (found.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{path}, object {number} has no name")
    corners = [found.findtext(f"bndbox/{corner}") for corner in CORNERS]
    try:
        return {"box": [float(corner or "") for corner in corners], "label": name}
    except ValueError:
        given = dict(zip(CORNERS, corners))
        raise DataError(f"{path}, object {number} ({name}): a box has four numbers, not {given}") from None
