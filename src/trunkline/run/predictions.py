"""Predictions as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trunkline.data import write_rows
from trunkline.files import bare_name


def write_predictions(out: Path, predictions: Sequence[Mapping[str, Any]]) -> None:
    """JSONL in full, else one value a task; beside the table a mask becomes a PNG of class indices, a map an `.npy`."""
    is_full = ".jsonl" in out.suffixes
    pictures = out.with_name(f"{bare_name(out)}_files")
    rows = []
    for number, prediction in enumerate(predictions):
        row = {}
        for place, (task, said) in enumerate(prediction.items()):
            value = said["value"] if isinstance(said, dict) and not is_full else said
            is_array = isinstance(value, np.ndarray)
            row[task] = _write_array(value, pictures, f"{place}-{number:06d}") if is_array else value
        rows.append(row)
    write_rows(out, rows)


def _write_array(value: np.ndarray, folder: Path, name: str) -> str:
    """Where it was written, relative to the table beside the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if value.dtype.kind == "f":
        np.save(folder / f"{name}.npy", value, allow_pickle=False)
        return f"{folder.name}/{name}.npy"
    Image.fromarray(value).save(folder / f"{name}.png")
    return f"{folder.name}/{name}.png"
