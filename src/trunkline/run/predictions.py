"""Predictions as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from trunkline.data import write_rows
from trunkline.files import bare_name
from trunkline.sounds import Sound


def write_predictions(out: Path, predictions: Sequence[Mapping[str, Any]]) -> None:
    """JSONL in full, else one value a task.

    Beside the table a mask becomes a PNG of class indices, a map an `.npy`, a sound a WAV of 16 bits.
    """
    is_full = ".jsonl" in out.suffixes
    folder = out.with_name(f"{bare_name(out)}_files")
    rows = []
    for number, prediction in enumerate(predictions):
        row = {}
        for place, (task, said) in enumerate(prediction.items()):
            value = said["value"] if isinstance(said, dict) and not is_full else said
            is_file = isinstance(value, np.ndarray | Sound)
            row[task] = _write_file(value, folder, f"{place}-{number:06d}") if is_file else value
        rows.append(row)
    write_rows(out, rows)


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
