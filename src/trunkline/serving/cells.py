"""What a request says of a row → cells of a table.

A file is sent, never named: no path of the server is opened. What would take long to read is refused before it is read.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import soundfile

from trunkline.cells import sent_file, upright_size
from trunkline.errors import DataError, suggest
from trunkline.modalities import Audio, Image, Modality, open_picture
from trunkline.schema import Preprocessing
from trunkline.serving.limits import Limits

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # of pictures: others have decoders that do much more
NAME = 60  # letters of an unknown name that are told


class Reader:
    """Reads the rows of one request, and counts what they hold.

    Args:
        preprocessing: of the run.
        limits: of a request.

    Attributes:
        pixels: of all pictures so far, with what is laid around one to give it the aspect ratio that the network sees.
        samples: of all sounds so far, as they are or at the network's rate, whatever is more.
    """

    def __init__(self, preprocessing: Preprocessing, limits: Limits) -> None:
        self.limits, self.tasks = limits, list(preprocessing.schema.tasks)
        inputs = preprocessing.schema.inputs
        self.kinds: dict[str, Modality] = {column.column: column.modality for column in inputs.values()}
        self.states = {column.column: preprocessing.input_state(name) for name, column in inputs.items()}
        self.pixels = self.samples = 0

    def request(self, body: Any) -> tuple[list[dict[str, Any]], Sequence[str]]:
        """Rows and tasks of a JSON request, `{"rows": [{COLUMN: VALUE}], "tasks": [NAME]}`.

        Raises:
            DataError: it is none, or a row cannot be used.
        """
        if not isinstance(body, dict) or not isinstance(rows := body.get("rows"), list):
            raise DataError(
                'a request is {"rows": [{COLUMN: VALUE, …}, …]}, with "tasks": [NAME, …] where not all are wanted'
            )
        if unknown := [key for key in body if key not in ("rows", "tasks")]:
            raise DataError(f"there is no {unknown[0][:NAME]!r}.{suggest(unknown[0][:NAME], ('rows', 'tasks'))}")
        if not 1 <= len(rows) <= self.limits.rows:
            raise DataError(f"a request has 1 to {self.limits.rows} rows, this one {len(rows)}")
        wanted = self._tasks(body.get("tasks"))
        return [self.row(row, f"row {number}") for number, row in enumerate(rows, 1)], wanted

    def row(self, row: Any, where: str) -> dict[str, Any]:
        """One row with the columns of the run's inputs; what it does not say is absent.

        Raises:
            DataError: it names what is no input, has none, or a cell is too large, or no file where one is wanted.
        """
        if not isinstance(row, Mapping):
            raise DataError(f"{where}: is no object of columns and values")
        if unknown := [name[:NAME] for name in row if name not in self.kinds]:
            raise DataError(f"{where}: there is no input {unknown[0]!r}.{suggest(unknown[0], self.kinds)}")
        if all(row.get(name) is None for name in self.kinds):
            raise DataError(f"{where}: has none of the inputs {', '.join(map(repr, sorted(self.kinds)))}")
        return {name: self._cell(row.get(name), name, f"{where}, {name!r}") for name in self.kinds}

    def reads_file(self, column: str) -> bool:
        """Whether its cells are files."""
        return column in self.kinds and self.kinds[column].reads_files

    def _tasks(self, wanted: Any) -> Sequence[str]:
        if wanted is None:
            return self.tasks
        if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
            raise DataError("`tasks` is a list of names")
        for name in (name[:NAME] for name in wanted if name not in self.tasks):
            raise DataError(f"there is no task {name!r}.{suggest(name, self.tasks)}")
        return wanted

    def _cell(self, cell: Any, column: str, where: str) -> Any:
        if cell is None:
            return None
        if not self.reads_file(column):
            if parts_of(cell, self.limits.letters) > self.limits.letters:
                raise DataError(f"{where}: has more than {self.limits.letters} letters or parts")
            return cell
        try:
            content = cell if isinstance(cell, bytes) else sent_file(cell)
            self._count(column, content)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        return {"bytes": content, "path": None}

    def _count(self, column: str, content: bytes) -> None:
        """How much a file holds, as its header says, before anything of it is decoded."""
        kind = self.kinds[column]
        if isinstance(kind, Image):
            size = open_picture(io.BytesIO(content), upright_size, formats=FORMATS)
            self.pixels += math.prod(kind.cells.context(size, self.states[column]).crop[2:])
        if isinstance(kind, Audio):
            self.samples += _samples(content, kind)
        for held, most, what in (
            (self.pixels, self.limits.megapixels, "pixels"),
            (self.samples, self.limits.megasamples, "samples"),
        ):
            if held > most * 1e6:
                raise DataError(f"with it the request has {held / 1e6:.0f} million {what}, over {most:g} million")


def parts_of(cell: Any, most: int) -> int:
    """Letters, and parts of lists and objects, of a cell of JSON; it is not counted on beyond `most`.

    Example:
        >>> parts_of({"nodes": [[1], [2]], "name": "ab"}, 100)
        17
    """
    total, left = 0, [cell]
    while left and total <= most:
        one = left.pop()
        total += len(one) if isinstance(one, str) else 1
        if isinstance(one, Mapping):
            left += [*one, *one.values()]
        elif isinstance(one, list):
            left += one
    return total


def _samples(content: bytes, kind: Audio) -> int:
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as sound:
            seconds = min(sound.frames / sound.samplerate, kind.max_seconds)
            return max(sound.frames * sound.channels, math.ceil(seconds * kind.cells.rate))
    except soundfile.SoundFileError as error:
        raise DataError(f"the sound cannot be read: {getattr(error, 'error_string', error)}") from None
