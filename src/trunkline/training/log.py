"""What a run writes down as it goes: `log.jsonl`, and the same as flat curves in `log.csv` and for TensorBoard.

`log.jsonl` has no times in it: the same run writes the same bits.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trunkline.errors import ConfigError
from trunkline.files import plain_json, replacing
from trunkline.training.processes import is_first_process

PAIRED = 16  # tasks whose cosines are curves; more are in `log.jsonl` alone
COLUMNS = ("step", "seconds", "curve", "value")


class Log:
    """Lines of losses, task weights, conflicts and scores. Only the first process writes.

    Args:
        folder: of the run.
        done: steps that were taken before; what was written after them is cut off, as it will come again.
        seconds: that these took.
        with_tensorboard: write curves for TensorBoard too.

    Raises:
        ConfigError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, *, done: int = 0, seconds: float = 0.0, with_tensorboard: bool = False) -> None:
        self.lines, self.curves = folder / "log.jsonl", folder / "log.csv"
        self.board = _open_board(folder / "tensorboard", done) if with_tensorboard else None
        self.start = time.perf_counter() - seconds
        self.last = (done, self.seconds)
        if is_first_process():
            folder.mkdir(parents=True, exist_ok=True)
            _keep_lines(self.lines, done)
            _keep_curves(self.curves, done)

    @property
    def seconds(self) -> float:
        """Of training, all parts of an interrupted run together."""
        return time.perf_counter() - self.start

    def write(self, line: dict[str, Any]) -> None:
        """Append one line, and the curves that go through it."""
        if not is_first_process():
            return
        with self.lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain_json(line), ensure_ascii=False) + "\n")
        step, seconds = line["step"], self.seconds
        points = dict(flat(line))
        if "losses" in line and step > self.last[0]:
            points["steps_per_second"] = (step - self.last[0]) / max(seconds - self.last[1], 1e-9)
            self.last = step, seconds
        with self.curves.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows((step, f"{seconds:.3f}", name, repr(value)) for name, value in points.items())
        if self.board is not None:
            for name, value in points.items():
                self.board.add_scalar(name, value, step)

    def close(self) -> None:
        """Nothing more will come."""
        if self.board is not None:
            self.board.close()


def flat(line: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a line by their path, as in `validation/kind/accuracy`; of cosines each pair once, no affinities.

    Example:
        >>> list(flat({"step": 3, "lr": 0.1, "losses": {"a": 2.0, "b": None}}))
        [('lr', 0.1), ('losses/a', 2.0)]
    """
    for key, value in line.items():
        path = f"{name}/{key}" if name else key
        if key == "cosines" and not name and isinstance(value, Mapping):
            yield from _pairs(value)
        elif isinstance(value, Mapping) and path != "affinity":
            yield from flat(value, path)
        elif isinstance(value, int | float) and path != "step" and math.isfinite(value):
            yield path, value


def _pairs(cosines: Mapping[str, Mapping[str, float | None]]) -> Iterator[tuple[str, float]]:
    tasks = list(cosines) if len(cosines) <= PAIRED else []
    for number, task in enumerate(tasks):
        for other in tasks[number + 1 :]:
            if (value := cosines[task][other]) is not None:
                yield f"cosines/{task}/{other}", value


def _keep_lines(path: Path, done: int) -> None:
    """Those of the first `done` steps. A line that was cut short is none."""
    *lines, _ = path.read_text(encoding="utf-8").split("\n") if path.exists() else [""]
    with replacing(path) as unfinished:
        unfinished.write_text(
            "".join(f"{line}\n" for line in lines if json.loads(line)["step"] <= done), encoding="utf-8"
        )


def _keep_curves(path: Path, done: int) -> None:
    """The same; names of tasks may hold anything."""
    rows: list[list[str]] = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) == len(COLUMNS) and row[0].isdecimal()]
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *(row for row in rows if int(row[0]) <= done)])


def check_tensorboard() -> None:
    """It can be imported.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise ConfigError(
            "training.tensorboard: the package tensorboard is not installed; `pip install 'trunkline[tensorboard]'`, "
            "or leave it out: the same curves are in log.csv"
        ) from None


def _open_board(folder: Path, done: int) -> Any:
    check_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=done + 1) if is_first_process() else None
