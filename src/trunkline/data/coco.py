"""COCO's annotations of things in pictures (`instances_*.json`) → a table: one row a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.cells import parse_json
from trunkline.data.encodings import open_plain
from trunkline.data.splits import SPLIT_NAMES
from trunkline.data.table import Cells, Reading
from trunkline.errors import DataError, brief
from trunkline.files import is_plain_file

LOOKED_AT = 20  # pictures that say in which folder they lie
SPLIT = re.compile(rf"(?:^|[\W_])({'|'.join(SPLIT_NAMES)})\d*(?:$|[\W_])", re.IGNORECASE)


@dataclass(frozen=True)
class CocoNumbers:
    """How a file of COCO's numbers things.

    Attributes:
        pictures: number of each, in the order of the file.
        classes: number of each category, by its name.
    """

    pictures: tuple[Any, ...]
    classes: Mapping[str, int]


def coco_cells(path: Path, how: Reading) -> Mapping[str, Cells]:
    """One row a picture: `picture`, where it lies, and `boxes`, `None` where the file has no annotations at all.

    Raises:
        DataError: it is no such file, an annotation is of an unknown picture or category, or the pictures are nowhere.
    """
    content = _read(path)
    names = [_text(path, "images", number, one, "file_name") for number, one in enumerate(content["images"])]
    if not names:
        return {}
    folder = _folder_of(path, names, how.pictures)
    boxes = _boxes(path, content) if "annotations" in content else {}
    cells = {image["id"]: boxes.get(image["id"], []) for image in content["images"]}
    has_labels = "annotations" in content
    return {"picture": [str(folder / name) for name in names],
            "boxes": list(cells.values()) if has_labels else [None] * len(names)}  # fmt: skip


def coco_numbers(path: Path) -> CocoNumbers:
    """The numbers that a file of predictions for these pictures needs.

    Raises:
        DataError: it is no file of COCO's.
    """
    content = _read(path)
    classes: dict[str, int] = {}
    for one in content.get("categories", []):
        classes.setdefault(one["name"], one["id"])
    return CocoNumbers(tuple(image["id"] for image in content["images"]), classes)


def split_in_name(path: Path) -> str | None:
    """The split that a file's name tells.

    Example:
        >>> split_in_name(Path("instances_val2017.json")), split_in_name(Path("trainval.json"))
        ('val', None)
    """
    found = SPLIT.search(path.name.partition(".")[0])
    return None if found is None else found[1].lower()


def _read(path: Path) -> dict[str, Any]:
    """The file's content, its lists checked for what every entry must have.

    Raises:
        DataError: it is no JSON, or another kind of it.
    """
    try:
        with open_plain(path) as file:
            content = parse_json(file.read())
    except ValueError as error:
        raise DataError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise DataError(f"{path.name} is no file of COCO's (an object with `images`, `annotations`, `categories`), and "
                        "no other JSON is read; a table is .jsonl, one object a line")  # fmt: skip
    for part in ("annotations", "categories"):
        if not isinstance(content.get(part, []), list):
            raise DataError(f"{path.name}: `{part}` is {brief(content[part])}; it is a list, or is left out")
    numbers = [_number(path, "images", number, one, "id") for number, one in enumerate(content["images"])]
    if len(set(numbers)) < len(numbers):
        twice = next(one for number, one in enumerate(numbers) if one in numbers[:number])
        raise DataError(f"{path.name}: two pictures have the id {twice!r}")
    return content


def _boxes(path: Path, content: Mapping[str, Any]) -> dict[Any, list[dict[str, Any]]]:
    """By picture, in the form of our own cells."""
    names = {
        _number(path, "categories", number, one, "id"): _field(path, "categories", number, one, "name")
        for number, one in enumerate(content.get("categories", []))
    }
    boxes: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for number, one in enumerate(content["annotations"]):
        of, category = (_number(path, "annotations", number, one, key) for key in ("image_id", "category_id"))
        if of not in boxes:
            raise DataError(f"{path.name}, annotation {one.get('id', number)}: no picture has the id {of!r}")
        if category not in names:
            known = ", ".join(f"{key} ({name})" for key, name in list(names.items())[:10]) or "none"
            raise DataError(f"{path.name}, annotation {one.get('id', number)}: no category has the id {category!r}; "
                            f"`categories` names {known}{', …' if len(names) > 10 else ''}")  # fmt: skip
        box = {"box": _edges(path, number, one), "label": names[category]}
        boxes[of].append({**box, "iscrowd": True} if one.get("iscrowd") else box)
    return boxes


def _edges(path: Path, number: int, one: Mapping[str, Any]) -> list[float]:
    given = _field(path, "annotations", number, one, "bbox")
    if not isinstance(given, list) or len(given) != 4 or not all(map(_is_finite, given)):
        raise DataError(f"{path.name}, annotation {one.get('id', number)}: a bbox is [x, y, width, height], "
                        f"not {brief(given)}")  # fmt: skip
    left, top, width, height = given
    if width < 0 or height < 0:
        raise DataError(f"{path.name}, annotation {one.get('id', number)}: the bbox {given} has a negative side; "
                        "it is [x, y, width, height]")  # fmt: skip
    return [left, top, left + width, top + height]


def _is_finite(side: Any) -> bool:
    """Whether it is a number that a float holds."""
    return isinstance(side, int | float) and abs(side) < 1e300


def _text(path: Path, part: str, number: int, one: Any, key: str) -> str:
    value = _field(path, part, number, one, key)
    if not isinstance(value, str):
        raise DataError(f"{path.name}, {part} {number}: {key!r} is {brief(value)}, and no text")
    return value


def _number(path: Path, part: str, number: int, one: Any, key: str) -> int | str:
    value = _field(path, part, number, one, key)
    if not isinstance(value, int | str):
        raise DataError(f"{path.name}, {part} {number}: {key!r} is {brief(value)}, and no number")
    return value


def _field(path: Path, part: str, number: int, one: Any, key: str) -> Any:
    if not isinstance(one, Mapping) or one.get(key) is None:
        hint = "; things in pictures are in `instances_*.json`" if part == "annotations" else ""
        which = one.get("id", number) if isinstance(one, Mapping) else number
        raise DataError(f"{path.name}, {part} {which}: has no {key!r}{hint}")
    return one[key]


def _folder_of(path: Path, names: Sequence[str], given: Path | None) -> Path:
    """Where the pictures lie: in the folder that is given, or beside the file as COCO and its exports lay them out.

    Raises:
        DataError: none of some is there; which folders were looked into, and what would help.
    """
    own = re.sub(r"^(?:instances|person_keypoints|annotations)_", "", path.name.partition(".")[0])
    bases = [path.parent, path.parent.parent] if given is None else [given]
    folders = [base / inner for base in bases for inner in ("", own, "images", f"images/{own}", "data")]
    for folder in folders:
        if any(is_plain_file(folder / name) for name in names[:LOOKED_AT]):
            return folder.absolute()
    looked = ", ".join(str(folder) for folder in folders)
    raise DataError(f"{path.name}: pictures such as {names[0]!r} are in none of {looked}. `pictures:` under `data:` "
                    "names the folder that their file names start from")  # fmt: skip
