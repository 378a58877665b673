"""Where a demo's table lies: in the user's cache, or wherever it is to be kept; whole, or not there at all."""

from __future__ import annotations

import csv
import hashlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from trunkline.data import cache_folder
from trunkline.demos.espeak import Utterance
from trunkline.demos.holes import hide_labels
from trunkline.demos.recording import write_sounds
from trunkline.errors import ConfigError


def cached(name: str, write: Callable[..., Path], *, rows: int, seed: int, keep: Path | None) -> Path:
    """A table from the user's cache, where it is written the first time it is asked for.

    Args:
        name: of the demo and of what it writes now; another name, another folder.
        write: the demo's own.
        rows: how many rows.
        seed: another seed, another table.
        keep: a new folder to copy the table to.

    Returns:
        The path of the config, in `keep` where that is given, else in the cache
        (`$TRUNKLINE_CACHE`, `$XDG_CACHE_HOME/trunkline` or `~/.cache/trunkline`).
    """
    parameters = hashlib.sha256(f"rows={rows} seed={seed}".encode()).hexdigest()[:12]
    folder = cache_folder() / f"{name}-{parameters}"
    if not folder.is_dir():
        try:
            write(folder, rows=rows, seed=seed)
        except ConfigError:
            if not folder.is_dir():  # else another process was first, with the same bytes
                raise
    if keep is None:
        return folder / "config.yaml"
    with whole_or_not_at_all(keep) as draft:
        shutil.copytree(folder, draft, dirs_exist_ok=True)
    return keep / "config.yaml"


class Planned(Protocol):
    """A row of a demo before it is written: its split, what is heard (`None` is absent), every label it could have."""

    @property
    def split(self) -> str: ...
    @property
    def utterance(self) -> Utterance | None: ...
    @property
    def truth(self) -> dict[str, str]: ...


Row = TypeVar("Row", bound=Planned)


def write_demo(
    folder: Path,
    *,
    seed: int,
    plan: Callable[[np.random.Generator], Sequence[Row]],
    paint: Callable[[Path, Sequence[Row], np.random.Generator], None],
    cells: Callable[[int, Row, dict[str, str]], Mapping[str, str]],
    columns: tuple[Sequence[str], Sequence[str]],
    hidden: float,
    config: str,
) -> Path:
    """Write `config.yaml`, `rows.csv`, `pictures/*.png` and `sounds/*.wav`; the folder appears only when complete.

    Args:
        folder: does not exist yet, or is empty.
        seed: another seed, another table.
        plan: draws the rows.
        paint: writes their pictures into a new folder.
        cells: of the row with this number, with these labels.
        columns: inputs, and tasks.
        hidden: share of the labels that are left out of those that could be known.
        config: text of the config.

    Returns:
        The path of the config.

    Raises:
        ConfigError: a package of the extra `demo` is missing, or the folder is not empty.
        ValueError: the rows cannot be divided as the demo wants them.
    """
    inputs, tasks = columns
    planning, hiding, drawing, speaking = np.random.default_rng(seed).spawn(4)
    with whole_or_not_at_all(folder) as draft:
        rows = plan(planning)
        paint(draft / "pictures", rows, drawing)
        heard = {index: row.utterance for index, row in enumerate(rows) if row.utterance is not None}
        write_sounds(draft / "sounds", heard, speaking)
        told = hide_labels(tasks, [row.split for row in rows], [row.truth for row in rows], hidden, hiding)
        write_table(draft / "rows.csv", ["split", *inputs, *tasks], map(cells, itertools.count(), rows, told))
        (draft / "config.yaml").write_bytes(config.encode())
    return folder / "config.yaml"


@contextmanager
def whole_or_not_at_all(folder: Path) -> Iterator[Path]:
    """A draft that takes the folder's place when everything in it is written."""
    _check_empty(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as parent:
        draft = Path(parent) / folder.name
        draft.mkdir()
        yield draft
        _check_empty(folder)
        if folder.exists():  # an empty folder gives way to a full one on some systems only
            folder.rmdir()
        draft.rename(folder)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Rows as CSV; a key that is missing is an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty: give a folder that is new or empty")
