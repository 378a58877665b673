"""Predictions as files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from trunkline.data import PIECE, write_rows
from trunkline.files import bare_name
from trunkline.predictor import Prediction, Predictor
from trunkline.schema import RowBatches
from trunkline.sounds import Sound

LOOKED_AT = 20_000  # rows of a split whose predictions are kept for the report, evenly spaced


def predict_split(predictor: Predictor, source: RowBatches, rows: np.ndarray, out: Path) -> dict[int, Prediction]:
    """Predict rows and write all their predictions, piece by piece. Returns those that are looked at, by place.

    Args:
        predictor: trained.
        source: of the rows.
        rows: the row numbers.
        out: a `.jsonl` file.
    """
    kept: dict[int, Prediction] = {}
    cut: Counter[str] = Counter()
    places = np.arange(len(rows)) if len(rows) <= LOOKED_AT else np.linspace(0, len(rows) - 1, LOOKED_AT).astype(int)
    wanted = set(places.tolist())

    def said() -> Iterator[Prediction]:
        for start in range(0, len(rows), PIECE):
            answers, left_out = predictor.answers(source, rows[start : start + PIECE].tolist())
            cut.update(left_out)
            for place, answer in enumerate(answers, start=start):
                if place in wanted:
                    kept[place] = answer
                yield answer

    write_predictions(out, said())
    predictor.warn_cut(cut, len(rows), stacklevel=3)
    return kept


def write_predictions(out: Path, predictions: Iterable[Mapping[str, Any]]) -> None:
    """JSONL in full, else one value a task.

    Beside the table a mask becomes a PNG of class indices, a map an `.npy`, a sound a WAV of 16 bits.
    """
    is_full = ".jsonl" in out.suffixes
    folder = out.with_name(f"{bare_name(out)}_files")

    def as_row(number: int, prediction: Mapping[str, Any]) -> dict[str, Any]:
        row = {}
        for place, (task, said) in enumerate(prediction.items()):
            value = said["value"] if isinstance(said, dict) and not is_full else said
            is_file = isinstance(value, np.ndarray | Sound)
            row[task] = _write_file(value, folder, f"{place}-{number:06d}") if is_file else value
        return row

    write_rows(out, (as_row(number, prediction) for number, prediction in enumerate(predictions)))


def _write_file(value: np.ndarray | Sound, folder: Path, name: str) -> str:
    """Where it was written, relative to the table beside the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(value, Sound):
        path = folder / f"{name}.wav"
        soundfile.write(path, value.wave, value.rate)
    elif value.dtype.kind == "f":
        path = folder / f"{name}.npy"
        np.save(path, value, allow_pickle=False)
    else:
        path = folder / f"{name}.png"
        Image.fromarray(value).save(path)
    return f"{folder.name}/{path.name}"
