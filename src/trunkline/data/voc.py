"""Pascal VOC's folders (`JPEGImages/`, `Annotations/*.xml`, `ImageSets/Main/*.txt`) → a table: one row a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from trunkline.data.table import Table
from trunkline.errors import DataError

CORNERS = ("xmin", "ymin", "xmax", "ymax")
SPLITS = {"train": ("train", "trainval"), "val": ("val",), "test": ("test",)}  # each with the lists that may say it
PICTURES, ANNOTATIONS = "JPEGImages", "Annotations"


def is_voc(folder: Path) -> bool:
    """Whether a folder is laid out so."""
    return (folder / PICTURES).is_dir() and (folder / ANNOTATIONS).is_dir()


def read_voc(folder: Path) -> Table:
    """A row a picture: `picture`, where it lies, `boxes`, and `split` where `ImageSets/Main` has lists.

    With lists, the pictures are those that they name; else those that have an annotation. A picture without one has
    no label. Boxes stay as they are written (VOC counts pixels from 1), also those of no area, and those marked as
    difficult are boxes like others.

    Raises:
        DataError: a file of annotations cannot be read, or a picture is in two splits; the file and its line.
    """
    splits = _read_lists(folder / "ImageSets" / "Main")
    annotated = {path.stem: path for path in sorted((folder / ANNOTATIONS).glob("*.xml"))}
    if not annotated:
        raise DataError(f"{folder / ANNOTATIONS} holds no .xml file")
    pictures = {path.stem: path.name for path in sorted((folder / PICTURES).iterdir())}
    names = sorted(splits) if splits else list(annotated)
    cells: dict[str, list[Any]] = {
        "picture": [str((folder / PICTURES).absolute() / pictures.get(name, f"{name}.jpg")) for name in names],
        "boxes": [read_objects(annotated[name]) if name in annotated else None for name in names],
    }
    if splits:
        cells["split"] = [splits[name] for name in names]
    return Table(folder.name, cells, folder.absolute(), "split" if splits else None)


def _read_lists(folder: Path) -> dict[str, str]:
    """Name of a picture → its split; empty where there are no lists."""
    found: dict[str, str] = {}
    for split, files in SPLITS.items():
        path = next((folder / f"{file}.txt" for file in files if (folder / f"{file}.txt").is_file()), None)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path else (), start=1):
            name = line.split()[0] if line.strip() else None
            if name in found and found[name] != split:
                raise DataError(f"{path}, line {number}: {name!r} is in {found[name]!r}, too")
            if name is not None:
                found[name] = split
    return found


def read_objects(path: Path) -> list[dict[str, Any]]:
    """The things that one file of annotations names, in order.

    Raises:
        DataError: it is not XML, or an object has no name or no box.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise DataError(f"{path}, line {error.position[0]} is not XML: {error}") from error
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
