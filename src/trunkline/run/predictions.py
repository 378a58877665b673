"""Predictions as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trunkline.data import write_rows


def write_predictions(out: Path, predictions: Sequence[Mapping[str, Any]]) -> None:
    """JSONL in full, else one value a task; a mask becomes a PNG of class indices beside the table."""
    is_full = ".jsonl" in out.suffixes
    pictures = out.with_name(f"{out.name.partition('.')[0]}_files")
    rows = []
    for number, prediction in enumerate(predictions):
        row = {}
        for place, (task, said) in enumerate(prediction.items()):
            value = said["value"] if isinstance(said, dict) and not is_full else said
            is_array = isinstance(value, np.ndarray)
            row[task] = _write_array(value, pictures, f"{place}-{number:06d}.png") if is_array else value
        rows.append(row)
    write_rows(out, rows)


def _write_array(value: np.ndarray, folder: Path, name: str) -> str:
    """Where it was written, relative to the table beside the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(value).save(folder / name)
    return f"{folder.name}/{name}"
