"""An exported network from raw cells to plain answers, with NumPy and ONNX Runtime alone.

Nothing here needs PyTorch; Pillow, soundfile and soxr, tokenizers and RDKit are imported where there are pictures,
sounds, subwords and molecules.
"""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trunkline.arrays.boxes import picture_parts
from trunkline.arrays.contract import ArrayCells, Arrays, Cells, made, padded
from trunkline.arrays.subwords import NOWHERE, source_of
from trunkline.arrays.table import pack
from trunkline.cells import as_file, plain_cell, sent_file
from trunkline.contexts import Context, TimeContext, WordsContext
from trunkline.errors import DataError
from trunkline.export.writer import Writer, opened

SHORTEST = 2  # of what has a free length: of one the graph was never told
Contexts = dict[str, list[Context | None]]


@dataclass(frozen=True)
class Prepared:
    """Rows as the graph takes them.

    Attributes:
        arrays: by the names of the graph's inputs.
        present: which row has which input, `[n, inputs]`.
        contexts: by input, what was done to each row's; `None` where it is absent.
    """

    arrays: Arrays
    present: np.ndarray
    contexts: Contexts


class Model:
    """A network that `trunkline export` has written.

    Args:
        path: the ONNX file; its JSON and the other files lie beside it.
        providers: of ONNX Runtime, on which the graphs run.
        batch_size: rows at a time.
        threads: on which ONNX Runtime works; by default as many as it thinks good, which is all cores.
        files: how cells give pictures and sounds. `named`: by their path, or as they lie in memory. `sent`: as base64
            (or a `data:` URL) and in no other way, for rows that others send: no path of this machine is opened.

    Example:
        model = Model("model.onnx")
        model.predict([{"photo": "cat.jpg", "note": "asleep"}, {"note": "barks"}])
    """

    def __init__(
        self,
        path: str | Path,
        *,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        batch_size: int = 32,
        threads: int | None = None,
        files: Literal["named", "sent"] = "named",
    ) -> None:
        if files not in ("named", "sent"):
            raise ValueError(f"files: {files!r} is neither 'named' nor 'sent'")
        self.path, self.batch_size, self._threads, self.files = Path(path), batch_size, threads, files
        self.about: dict[str, Any] = json.loads(self.path.with_suffix(".json").read_text(encoding="utf-8"))
        self._providers = list(providers)
        self._session = self._open(self.path.name)
        self._shapes = {node.name: node.shape for node in self._session.get_inputs()}
        self._names = [node.name for node in self._session.get_outputs()]
        inputs, tasks = self.about["columns"]["inputs"], self.about["columns"]["tasks"]
        self._cells: dict[str, Cells | None] = {n: told["cells"] and made(told["cells"]) for n, told in inputs.items()}
        self._answers = {name: told["answers"] and made(told["answers"]) for name, told in tasks.items()}
        self._writers: dict[str, Writer] = {}
        self._opened: dict[str, Any] = {}  # sessions of steps and voices, by file

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answers for each row, by task, as trunkline's own `predict` gives them.

        Args:
            rows: cells by column; any may be absent (no key, `None` or NaN), but not all. Errors count them from 1.

        Returns:
            Of each row the answers by task; `None` where the input that a task is bound to is absent, or all that
            it was learned from.

        Raises:
            DataError: it is no list of rows, a row has none of the inputs, or a cell cannot be read.
            ValueError: an input, or a task, is of a kind that only the user's own code knows.
        """
        if isinstance(rows, str | Mapping) or not hasattr(rows, "__len__"):
            raise DataError("rows are a list; each of them has cells by column")
        answered: list[dict[str, Any]] = []
        for start in range(0, len(rows), self.batch_size):
            prepared = self.prepare(rows[start : start + self.batch_size], first=start + 1)
            answered += self.answer(self.run(prepared.arrays), prepared)
        return answered

    def prepare(self, rows: Sequence[Mapping[str, Any]], *, first: int = 1) -> Prepared:
        """Rows → what the graph takes; `first`: the number of the first one, in errors. See `predict`."""
        columns = self.about["columns"]["inputs"]
        for row in (number for number, own in enumerate(rows) if not hasattr(own, "get")):
            raise DataError(f"row {first + row}: is no object of columns and values")
        cells = {name: [plain_cell(row.get(columns[name]["column"])) for row in rows] for name in self.about["present"]}
        present = np.array([[cell is not None for cell in cells[name]] for name in self.about["present"]]).T
        for row in np.flatnonzero(~present.any(1)).tolist():
            raise DataError(f"row {first + row}: none of the inputs is present; a row needs at least one")
        arrays, contexts = {"present": present}, dict[str, list[Context | None]]()
        for name, unit in self.about["encoders"].items():
            items = {}
            for own in unit["inputs"]:
                pairs = [self._item(own, cell, first + row) for row, cell in enumerate(cells[own])]
                items[own] = [None if pair is None else pair[0] for pair in pairs]
                contexts[own] = [None if pair is None else pair[1] for pair in pairs]
            values = self._packed(items) if unit["is_block"] else self._collated(name, items[name])
            arrays |= {f"{name}.{key}": value for key, value in values.items()}
        self._warn_cut(contexts)
        return Prepared({**arrays, **self._sources(contexts), **self.insides(contexts)}, present, contexts)

    def run(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """What the graph says, by the names of its outputs."""
        given = {name: value for name, value in arrays.items() if name in self._shapes}
        return dict(zip(self._names, self._session.run(None, given), strict=True))

    def answer(self, said: Mapping[str, np.ndarray], prepared: Prepared) -> list[dict[str, Any]]:
        """What the graph says of rows → their answers; see `predict`."""
        answers: list[dict[str, Any]] = [dict.fromkeys(self._answers) for _ in prepared.present]
        for head, told in self.about["outputs"].items():
            decoder, of = self._answers[head], self.about["columns"]["tasks"][head]["of"]
            if decoder is None:
                raise ValueError(f"task {head!r} is of a kind that only your own code knows: decode it yourself")
            here = range(len(answers)) if of is None else np.flatnonzero(self._flag(prepared, of)).tolist()
            rows = np.array(here, np.int64)
            if not len(rows):
                continue
            contexts = [None if of is None else prepared.contexts[of][row] for row in here]
            states = [self.about["preprocessing"]["tasks"][task] for task in told["tasks"]]
            for task, values in zip(told["tasks"], decoder.decode(self.output(head, said, rows), states, contexts)):
                able = self._answerable(task, prepared)
                for row, value in zip(here, values):
                    answers[row][task] = value if able[row] else None
        return answers

    def output(self, head: str, said: Mapping[str, np.ndarray], rows: np.ndarray) -> Any:
        """What a head says of these rows: a text's ids come out of a loop, a sound perhaps of a network; of boxes those
        that are chosen."""
        told = self.about["outputs"][head]
        if "writes" in told:
            if (writer := self._writers.get(head)) is None:
                writer = self._writers[head] = Writer(self.path, head, session=self._other(told["writes"]["step"]))
            return writer({name: said[name][rows] for name in told["writes"]["read"].values()})
        if "chooses" in told:
            return {name: said[own][rows] for name, own in told["chooses"].items()}
        if "says" not in told:
            return said[head][rows]
        output = {name: said[own][rows] for name, own in told["says"]["read"].items()}
        if (file := told["says"].get("voice")) is not None:
            voice = self._other(file)
            pairs = zip(output["frames"], output["sizes"].tolist())
            output["wave"] = [voice.run(None, {"frames": row[None, :size]})[0][0] for row, size in pairs]
        return output

    def _answerable(self, task: str, prepared: Prepared) -> np.ndarray:
        """Which rows have an input that the task was learned from, `[rows]`."""
        names = self.about["preprocessing"].get("learned_from", {}).get(task, self.about["present"])
        return np.any([self._flag(prepared, name) for name in names], axis=0)

    def _flag(self, prepared: Prepared, name: str) -> np.ndarray:
        return prepared.present[:, self.about["present"].index(name)]

    def _other(self, file: str) -> Any:
        """A graph beside the network's, opened when it is first needed."""
        if (session := self._opened.get(file)) is None:
            session = self._opened[file] = self._open(file)
        return session

    def _open(self, file: str) -> Any:
        return opened(self.path.parent / file, self._providers, self._threads)

    def _item(self, name: str, cell: Any, row: int) -> tuple[Any, Context | None] | None:
        """One cell, prepared."""
        if cell is None:
            return None
        if (kind := self._cells[name]) is None:
            raise ValueError(f"input {name!r} is of a kind that only your own code knows: prepare its arrays yourself")
        try:
            value = kind.read(self._file(cell) if kind.reads_files else cell)
            return kind.prepare(value, self.about["preprocessing"]["inputs"][name])
        except DataError as error:
            raise error.at("rows", row, self.about["columns"]["inputs"][name]["column"]) from None

    def _file(self, cell: Any) -> Any:
        return io.BytesIO(sent_file(cell)) if self.files == "sent" else as_file(cell, None)

    def _packed(self, items: Mapping[str, Sequence[Any]]) -> Arrays:
        return pack({name: self.about["preprocessing"]["inputs"][name] for name in items}, items)

    def _collated(self, name: str, items: Sequence[Any]) -> Arrays:
        """Values of all rows, zeros where an input is absent."""
        rows = [row for row, item in enumerate(items) if item is not None]
        kind = self._cells[name]
        if not rows or kind is None:
            return self.nothing(name, len(items))
        assert isinstance(kind, ArrayCells), "it is in no block"
        values = {}
        whole = [items[row] for row in rows]
        is_heard = "hears" in self.about["encoders"][name]
        for key, value in (self.hear(name, whole) if is_heard else kind.collate(whole)).items():
            longer = _lengthened(self.typed(f"{name}.{key}", value), self._shapes.get(f"{name}.{key}", []), 0)
            values[key] = np.zeros((len(items), *longer.shape[1:]), longer.dtype)
            values[key][rows] = longer
        return values

    def typed(self, node: str, value: np.ndarray) -> np.ndarray:
        """An input of the graph with the graph's type: levels of pixels from 0 to 255 (uint8) or 0 to 1 (float32)."""
        told = self.about["inputs"].get(node, {}).get("dtype")
        if (value.dtype, told) == (np.uint8, "float32"):
            return value / np.float32(255)
        if (value.dtype, told) == (np.float32, "uint8"):
            return (value * np.float32(255)).round().clip(0, 255).astype(np.uint8)
        return value

    def nothing(self, name: str, rows: int) -> Arrays:
        """Values of rows of which none has the input."""
        values = {}
        for node, told in self.about["inputs"].items():
            if node.startswith(f"{name}.") and node in self._shapes:
                sizes = [size if isinstance(size, int) else SHORTEST for size in self._shapes[node][1:]]
                values[node.removeprefix(f"{name}.")] = np.zeros((rows, *sizes), told["dtype"])
        return values

    def hear(self, name: str, waves: Sequence[np.ndarray]) -> Arrays:
        """What a pretrained network says of sounds, each by itself: `{"features": [n, L, F], "count": [n]}`.

        Args:
            name: of the encoder.
            waves: samples of each sound, `[S]`.
        """
        how, heard = self.about["encoders"][name]["hears"], []
        for wave in waves:
            longer = np.pad(wave, (0, max(0, how["least"] - len(wave))))
            (features,) = self._other(how["file"]).run(None, {"wave": longer[None]})[0]
            heard.append(features if how["stride"] is None else features[: _tokens(len(wave), how)])
        return {"features": padded(heard), "count": np.array([len(one) for one in heard])}

    def _sources(self, contexts: Contexts) -> Arrays:
        """What tasks copy from."""
        arrays = {}
        for head in self.about["outputs"]:
            task = self.about["columns"]["tasks"][head]
            if task["copies"]:
                for key, value in source_of(contexts[task["of"]], self.about["preprocessing"]["tasks"][head]).items():
                    name = f"copied.{head}.{key}"
                    arrays[name] = _lengthened(value, self._shapes.get(name, []), NOWHERE)
        return arrays

    def insides(self, contexts: Mapping[str, Sequence[Context | None]]) -> Arrays:
        """Which part of what the network sees is picture, for heads of boxes whose graph must be told; by the names of
        its inputs.

        Args:
            contexts: by input, what was done to each row's.
        """
        tasks = self.about["columns"]["tasks"]
        heads = [head for head in self.about["outputs"] if f"inside.{head}" in self.about["inputs"]]
        return {f"inside.{head}": picture_parts(contexts[tasks[head]["of"]]) for head in heads}

    def _warn_cut(self, contexts: Contexts) -> None:
        for name, own in contexts.items():
            if count := sum(c.is_cut for c in own if isinstance(c, WordsContext | TimeContext)):
                warnings.warn(
                    f"inputs.{name}: {count} of {len(own)} rows have more than the network reads; the rest is not read",
                    stacklevel=4,
                )


def _tokens(samples: int, how: dict[str, Any]) -> int:
    """How many tokens a sound has, of those that its graph says (`PretrainedAudio.hearing`)."""
    strides = samples / how["stride"]
    count = max(1, math.ceil(strides) if how["is_rest_heard"] else math.floor(strides))
    return count if how["places"] is None else min(how["places"], count)


def _lengthened(value: np.ndarray, shape: Sequence[Any], blank: Any) -> np.ndarray:
    """With free lengths of `SHORTEST` at least, as the graph's are."""
    free = [0 if isinstance(size, int) else max(0, SHORTEST - own) for size, own in zip(shape[1:], value.shape[1:])]
    return np.pad(value, [(0, 0), *((0, more) for more in free)], constant_values=blank) if any(free) else value
