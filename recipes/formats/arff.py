"""ARFF, Weka's format of tables, and Mulan's two uses of it: several targets, several labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from formats.paths import read_lines, require
from trunkline.errors import DataError

QUOTED = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\""""
ATTRIBUTE = re.compile(rf"@attribute\s+({QUOTED}|\S+)\s+(.+)", re.IGNORECASE)
CELL = re.compile(rf"(?:{QUOTED}|[^,'\"])*")  # up to a comma that is not in quotes
NUMBERS = ("numeric", "real", "integer")
TEXTS = ("string", "date")


@dataclass(frozen=True)
class Attribute:
    """A column: its name, and what its cells may be; `values` is `None` for numbers and for text."""

    name: str
    is_number: bool
    values: tuple[str, ...] | None

    def read(self, cell: str, where: str) -> Any:
        """A cell as it is meant; `?` is absent.

        Raises:
            DataError: it is not a number, or not one of the values.
        """
        if cell == "?":
            return None
        text = unquote(cell)
        if self.values is not None and text not in self.values:
            raise DataError(f"{where}: {self.name!r} is one of {', '.join(self.values[:20])}, not {text!r}")
        if not self.is_number:
            return text
        try:
            value = float(text)
        except ValueError:
            raise DataError(f"{where}: {self.name!r} is a number, not {text!r}") from None
        return int(value) if value.is_integer() else value

    @property
    def unwritten(self) -> Any:
        """What a sparse row means by saying nothing."""
        if self.is_number:
            return 0
        return self.values[0] if self.values else None


def read_arff(path: Path) -> tuple[list[Attribute], list[dict[str, Any]]]:
    """Columns and rows of a file, dense or sparse.

    Raises:
        DataError: there is no such file, or a line is not as ARFF says; it is named.
    """
    attributes: list[Attribute] = []
    rows: list[dict[str, Any]] = []
    in_data = False
    for number, line in read_lines(path):
        text, where = line.strip(), f"{path}, line {number}"
        if not text or text.startswith("%"):
            continue
        if in_data:
            rows.append(_read_row(text, attributes, where))
        elif text.lower().startswith("@attribute"):
            attributes.append(_read_attribute(text, where))
        elif text.lower().startswith("@data"):
            in_data = True
        elif not text.lower().startswith("@relation"):
            raise DataError(f"{where}: @relation, @attribute or @data is wanted here, not {text[:60]!r}")
    if not (in_data and rows):
        raise DataError(f"{path} has no rows" if in_data else f"{path} has no line @data")
    names = [attribute.name for attribute in attributes]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"{path} has more than one attribute named {', '.join(map(repr, sorted(twice)))}")
    return attributes, rows


def read_targets(path: Path, num_targets: int) -> Iterator[dict[str, Any]]:
    """Mulan's tables of several targets: the last columns become `y.NAME`, all others `x.NAME`.

    Raises:
        DataError: there are not more columns than targets.
    """
    attributes, rows = read_arff(path)
    if not 0 < num_targets < len(attributes):
        raise DataError(f"{path} has {len(attributes)} columns: {num_targets} of them cannot be the targets")
    targets = {attribute.name for attribute in attributes[-num_targets:]}
    for row in rows:
        yield {f"{'y' if name in targets else 'x'}.{name}": cell for name, cell in row.items()}


def read_labels(path: Path, header: Path) -> Iterator[dict[str, Any]]:
    """Mulan's tables of several labels: columns that the XML file names become one list `labels`.

    Raises:
        DataError: the XML file cannot be read, or names a column that there is not.
    """
    attributes, rows = read_arff(path)
    labels = read_label_names(header)
    if unknown := set(labels) - {attribute.name for attribute in attributes}:
        raise DataError(f"{header}: {path} has no column {', '.join(map(repr, sorted(unknown)))}")
    for row in rows:
        inputs = {f"x.{name}": cell for name, cell in row.items() if name not in labels}
        yield {**inputs, "labels": [name for name in labels if str(row[name]) == "1"]}


def read_label_names(path: Path) -> list[str]:
    """The labels of Mulan's XML file, also of one with a hierarchy."""
    try:
        root = ElementTree.parse(require(path, "Mulan's list of labels")).getroot()
    except ElementTree.ParseError as error:
        raise DataError(f"{path}, line {error.position[0]} is not XML: {error}") from error
    except (ValueError, LookupError) as error:  # of an encoding that there is not
        raise DataError(f"{path} is not XML that can be read: {error}") from error
    names = [element.get("name", "") for element in root.iter() if element.tag.rpartition("}")[2] == "label"]
    if not names:
        raise DataError(f"{path} names no label")
    return names


def unquote(text: str) -> str:
    r"""Without its quotes, `\'` as `'`.

    Example:
        >>> unquote("'it\\'s'"), unquote("plain")
        ("it's", 'plain')
    """
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def split_cells(text: str, where: str) -> list[str]:
    """The cells of a line, as they are written.

    Raises:
        DataError: a quote is not closed.

    Example:
        >>> split_cells("1, 'a, b' ,?", "")
        ['1', "'a, b'", '?']
    """
    cells, start = [], 0
    while True:
        found = CELL.match(text, start)
        assert found is not None, "the pattern matches nothing, too"
        cells.append(found[0].strip())
        if found.end() == len(text):
            return cells
        if text[found.end()] != ",":
            raise DataError(f"{where}: a quote is not closed: {text[found.end() :][:40]!r}")
        start = found.end() + 1


def _read_attribute(text: str, where: str) -> Attribute:
    found = ATTRIBUTE.fullmatch(text)
    if found is None:
        raise DataError(f"{where}: an attribute has a name and a kind, unlike {text[:60]!r}")
    name, kind = unquote(found[1]), found[2].strip()
    if kind.startswith("{") and "}" in kind:
        return Attribute(name, False, tuple(unquote(cell) for cell in split_cells(kind[1 : kind.rindex("}")], where)))
    word = kind.split()[0].lower()
    if word not in (*NUMBERS, *TEXTS):
        raise DataError(f"{where}: {kind!r} is not a kind that can be read: {', '.join((*NUMBERS, *TEXTS))}, {{a, b}}")
    return Attribute(name, word in NUMBERS, None)


def _read_row(text: str, attributes: Sequence[Attribute], where: str) -> dict[str, Any]:
    if text.startswith("{"):
        return _read_sparse(text, attributes, where)
    cells = split_cells(text, where)
    if len(cells) != len(attributes):
        raise DataError(f"{where}: {len(cells)} cells for {len(attributes)} attributes")
    return {attribute.name: attribute.read(cell, where) for attribute, cell in zip(attributes, cells)}


def _read_sparse(text: str, attributes: Sequence[Attribute], where: str) -> dict[str, Any]:
    if not text.endswith("}"):
        raise DataError(f"{where}: a sparse row ends with a brace")
    row = {attribute.name: attribute.unwritten for attribute in attributes}
    for cell in split_cells(text[1:-1], where) if text[1:-1].strip() else []:
        place, _, value = cell.strip().partition(" ")
        if not (place.isdigit() and int(place) < len(attributes)):
            raise DataError(f"{where}: {place!r} is not the number of an attribute; there are {len(attributes)}")
        attribute = attributes[int(place)]
        row[attribute.name] = attribute.read(value.strip(), where)
    return row
