"""Reading plain cells: a number, a name, a yes or no, a list. A cell that cannot be read says why."""

from __future__ import annotations

import base64
import binascii
import datetime
import io
import json
import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trunkline.errors import DataError, brief

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL.Image import Image

ORIENTATION, LYING = 0x0112, (5, 6, 7, 8)  # of EXIF: the tag, and its values that exchange height and width

DEEPEST = 100  # levels of a cell of JSON
DATA_URL = re.compile(r"data:[^,]{0,200};base64,")

YES = frozenset({"1", "1.0", "true", "yes", "y"})
NO = frozenset({"0", "0.0", "false", "no", "n"})
ODD = 5  # names that are told
LONGEST = 80  # letters of a number
WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")  # a whole number, written as a float


def plain_cell(value: Any) -> Any:
    """A cell of a row: `None` where it is NaN (or pandas' NaT), a date as ISO text, else as it is.

    Example:
        >>> plain_cell(float("nan")), plain_cell(datetime.date(2024, 5, 1)), plain_cell("nan")
        (None, '2024-05-01', 'nan')
    """
    if isinstance(value, float | np.floating | datetime.date) and value != value:
        return None
    return value.isoformat() if isinstance(value, datetime.date) else value


def as_number(cell: Any) -> float:
    """A finite number, from a number or its text; `1_000` is not the text of a number.

    Raises:
        DataError: it is neither, or it is NaN, infinite, or too large for a float.
    """
    try:
        value = float(cell)
    except (TypeError, ValueError):
        raise DataError(f"{brief(cell)} is not a number") from None
    except OverflowError:
        raise DataError("a whole number is too large: a float ends near 1.8e308") from None
    if isinstance(cell, str) and "_" in cell:
        raise DataError(f"{brief(cell)} is not a number; write it without underscores")
    if not math.isfinite(value):
        raise DataError(f"{brief(cell)} is not finite; leave the cell empty where the value is absent")
    return value


_CURRENCY = r"(?:[$€£¥₹₽₩]|US\$|USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|SEK|NOK|DKK|PLN|BRL)"
_UNIT = r"(?:%|°?[^\W\d_](?:[^\W\d_]|[/²³^.]){0,7}|°|[$€£¥₹₽₩])"
_LOOSE = {
    decimal: re.compile(
        rf"(?P<sign>[-+−]?)\s*(?:{_CURRENCY}\s*)?(?P<sign2>[-+−]?)"
        rf"(?P<whole>\d{{1,3}}(?:[{other}'’ \u00a0\u202f]\d{{3}})+|\d*)"
        rf"(?:{re.escape(decimal)}(?P<part>\d+))?\s*(?:{_UNIT})?"
    )
    for decimal, other in ((".", ","), (",", "."))
}


def loose_number(text: str, decimal: str) -> float | None:
    """A number written for people: `$1,200.50`, `12 kg`, `1.200,50 €`, `35 %`; `None` where it is none.

    Args:
        text: with or without white space around it.
        decimal: the sign before the decimals, `.` or `,`; the other one, spaces and `'` stand between thousands. A
            currency before the number and a currency or unit after it are not looked at.

    Example:
        >>> loose_number("1,200 USD", "."), loose_number("1,2 kg", ","), loose_number("12 Main Street", ".")
        (1200.0, 1.2, None)
    """
    text = " ".join(text.split())
    found = _LOOSE[decimal].fullmatch(text) if len(text) <= LONGEST else None
    if found is None or not (found["whole"] or found["part"]):
        return None
    digits = re.sub(r"\D", "", found["whole"])
    sign = -1.0 if {found["sign"], found["sign2"]} & {"-", "−"} else 1.0
    value = sign * float(f"{digits or '0'}.{found['part'] or '0'}")
    return value if math.isfinite(value) else None


def read_number(cell: Any, decimal: str | None) -> float:
    """`as_number`, or with a decimal sign what `loose_number` makes of a text.

    Raises:
        DataError: it is no number, or not finite.
    """
    if decimal is None or not isinstance(cell, str):
        return as_number(cell)
    value = loose_number(cell, decimal)
    if value is not None:
        return value
    if decimal == ".":
        return as_number(cell)  # 1e-3
    raise DataError(f"{brief(cell)} is not a number with decimals after {decimal!r}")


def numbers_of(cells: pa.Array | pa.ChunkedArray) -> list[float] | None:
    """A whole column of present cells as finite numbers, as `as_number` reads each; `None` where it would refuse one.

    Also `None` where a number is written in a way that only `as_number` knows (`+1`, white space around it).
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = cells.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
            or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):  # fmt: skip
        return None
    try:
        values = pc.cast(cells, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None
    return values.tolist() if bool(np.isfinite(values).all()) else None


def as_file(cell: Any, base: Path | None) -> Any:
    """A cell that names or holds a file, as its reader takes it.

    Raises:
        DataError: it holds something else than bytes.
    """
    if isinstance(cell, Mapping) and "bytes" in cell and "path" in cell:
        held = cell["bytes"]
        if not (held is None or isinstance(held, bytes)):
            raise DataError(f"the bytes of a file are bytes, or absent, not {brief(held)}")
        cell = io.BytesIO(held) if held is not None else cell["path"]
    return str((base or Path()) / cell.strip()) if isinstance(cell, str) else cell


def sent_file(cell: Any) -> bytes:
    """The content of a file that someone else sends, as base64 or a `data:` URL of it. Nothing it says is a path.

    Raises:
        DataError: it is neither.
    """
    if not isinstance(cell, str):
        raise DataError("a file is sent as base64")
    head = DATA_URL.match(cell)
    try:
        return base64.b64decode(cell[head.end() if head else 0 :], validate=True)
    except (binascii.Error, ValueError):
        raise DataError("is not base64; a file's content is sent, not its name") from None


def whole_text(text: str) -> str:
    """The text itself, if files can hold it.

    Raises:
        DataError: a half of a surrogate pair stands alone in it, which is no letter and cannot be written in UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise DataError(
            f"{text!a:.60} is not valid Unicode: {half}, letter {error.start + 1}, is half of a pair; write both "
            "halves or leave it out"
        ) from None
    return text


def as_text(cell: Any) -> str:
    """A text; a number is read as it is written, words in a list with spaces between. The empty text is a text.

    Raises:
        DataError: none of these, half a surrogate pair in it, or a word in the list that is none or more than one.

    Example:
        >>> as_text("so it is"), as_text(["so", "it", "is"]), as_text(7)
        ('so it is', 'so it is', '7')
    """
    words = cell.tolist() if isinstance(cell, np.ndarray) and cell.ndim == 1 else cell
    if isinstance(words, list | tuple) and all(isinstance(word, str) for word in words):
        if odd := [word for word in words if len(word.split()) != 1]:
            raise DataError(f"a list of words is one word an entry, without white space, and {odd[0]!r:.60} is not")
        return whole_text(" ".join(word.strip() for word in words))
    if not isinstance(cell, (str, Real)):
        raise DataError(f"a text is a string, not {type(cell).__name__} ({cell!r:.60})")
    return whole_text(str(cell))


def alike(names: Iterable[str]) -> list[list[str]]:
    """Names that look the same and are not: they differ in white space, or in how a letter with marks is written.

    Example:
        >>> alike(["New York", "New  York", "York"])
        [['New  York', 'New York']]
    """
    looks: dict[str, list[str]] = {}
    for name in sorted(names):
        looks.setdefault(" ".join(unicodedata.normalize("NFC", name).split()), []).append(name)
    return [same for same in looks.values() if len(same) > 1]


def tell_odd_names(names: Collection[str]) -> str | None:
    """What a person should know of names in use: some look the same, or one is the empty text; else `None`."""
    found = alike(names)
    told = [" and ".join(map(ascii, same)) for same in found[:ODD]] + [f"{len(found) - ODD} more"] * (len(found) > ODD)
    odd = (
        [f"{', '.join(told)} look the same, but are names of their own; write them alike in the table"] if told else []
    )
    odd += ["the empty text '' is a name; `na: [\"\"]` under `data:` makes it absent"] if "" in names else []
    return "; ".join(odd) or None


def as_name(cell: Any) -> str:
    """A name as text, the same however a file's format wrote it.

    A whole number is written without its point, whether it comes as a number or as text: 3, 3.0, "3" and "3.0" (so
    does pandas write whole numbers of a column with holes) are all "3". A boolean is "true" or "false", and so is
    its Python text, "True" or "False". White space around a text is no part of it. Any other text stays as it is:
    "007", "007.0", "1e3", "+3.0" and "TRUE" are names of their own.

    Raises:
        DataError: the cell is a list or an object, or half a surrogate pair stands in it.

    Example:
        >>> [as_name(cell) for cell in (3.0, "3.0", "007", True, "red")]
        ['3', '3', '007', 'true', 'red']
    """
    if isinstance(cell, (list, dict, np.ndarray)):
        raise DataError(f"one name is wanted here, not {brief(cell)}")
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    text = whole_text(str(cell).strip())
    if text in ("True", "False"):
        return text.lower()
    whole = WHOLE.fullmatch(text)
    return text if whole is None else "0" if whole[1] == "-0" else whole[1]


def as_truth(cell: Any) -> bool:
    """A yes or no: booleans, 0/1, true/false, yes/no, y/n in any case.

    Raises:
        DataError: it is none of these.
    """
    word = str(cell).strip().lower()
    if word in YES:
        return True
    if word in NO:
        return False
    raise DataError(f"{brief(cell)} is not a yes or no (0/1, true/false, yes/no); name the yes with `positive:`")


def as_list(cell: Any, *, separator: str = "|") -> list[Any]:
    """A list: as it is, from an array (pandas reads lists of Parquet as such), from JSON, or from text with separators.

    Empty text is an empty list.

    Raises:
        DataError: it looks like JSON but is not, or is not a list.
    """
    if isinstance(cell, (list, tuple)):
        return list(cell)
    if isinstance(cell, np.ndarray) and cell.ndim == 1:
        return cell.tolist()
    if not isinstance(cell, str):
        raise DataError(f"a list is wanted here, not {brief(cell)}")
    if not cell.lstrip().startswith("["):
        return [part.strip() for part in cell.split(separator) if part.strip()]
    try:
        return parse_json(cell)
    except ValueError as error:
        raise DataError(f"{cell[:80]!r} starts like a JSON list but is none: {error}") from None


def parse_json(text: str | bytes) -> Any:
    """JSON → plain values.

    Raises:
        ValueError: it is none, a number of it has thousands of digits, or it is nested more than `DEEPEST` levels deep.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep") from None
    opened = text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")
    if opened > DEEPEST and is_deep(value):
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    return value


def is_deep(value: Any) -> bool:
    """Whether lists and objects are nested more than `DEEPEST` levels deep."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        inner = [one.values() if isinstance(one, dict) else one for one in level]
        level = [one for each in inner for one in each if isinstance(one, dict | list)]
        if not level:
            break
    return bool(level)


def mean_and_scale(values: Iterable[float]) -> tuple[float, float]:
    """Mean and standard deviation of at least one number; the latter is 1 where all are equal up to rounding."""
    column = np.fromiter(values, dtype=np.float64)
    mean, std = float(column.mean()), float(column.std())
    is_constant = std <= 1e-12 * max(abs(mean), np.finfo(np.float64).tiny)
    return mean, 1.0 if is_constant else std


def upright_size(picture: Image) -> tuple[int, int]:
    """`(height, width)` of a picture once it is turned as its EXIF says; its pixels need not be decoded."""
    from PIL.Image import Image

    # Not the PNG's own method, which decodes all of it to look behind its pixels.
    is_lying = Image.getexif(picture).get(ORIENTATION) in LYING
    return picture.size if is_lying else (picture.size[1], picture.size[0])
