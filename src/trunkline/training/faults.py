"""Steps that lost a task, or everything, because something was no number: counted, told, and an end to it.

Shape legend: `T` tasks; one slot more, the last, is of steps that were not taken at all.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor

from trunkline.data import Draw
from trunkline.errors import RunError, counted
from trunkline.model import Network
from trunkline.training.processes import from_all_processes
from trunkline.training.settings import Rows
from trunkline.types import Batch

LIMIT = 10  # steps in a row; of a run shorter than three times that, a third of it, two at least
LOOKED, NAMED = 256, 5  # rows, at most


class Faults:
    """How often what was lost. Counting waits for no device, `tell` does.

    Args:
        tasks: names, `T`.
        device: of the network.

    Attributes:
        total: steps that lost it, `[T + 1]`.
        row: how many of its last steps in a row, `[T + 1]`; a step without a label of a task says nothing of it.
        is_blind: whether the last step lost every task that it had, or was not taken; a bool scalar.
    """

    def __init__(self, tasks: Sequence[str], device: torch.device) -> None:
        self.tasks = tuple(tasks)
        self.total = torch.zeros(len(self.tasks) + 1, dtype=torch.int64, device=device)
        self.row = self.total.clone()
        self.is_blind = torch.zeros((), dtype=torch.bool, device=device)
        self.told: set[str] = set()

    def count(self, lost: Tensor, present: Tensor, is_lost: Tensor) -> None:
        """A step more.

        Args:
            lost: which tasks lost something, `[T]` bool.
            present: which had a label, `[T]` bool.
            is_lost: whether the step was not taken, a bool scalar.
        """
        now = torch.cat([lost, is_lost.reshape(1)])
        self.is_blind = is_lost.reshape(()) | (present.any() & ~(present & ~lost).any())
        seen = torch.cat([present | lost, torch.ones_like(is_lost).reshape(1)])
        self.total += now
        self.row = torch.where(seen, (self.row + 1) * now, self.row)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"total": self.total, "row": self.row}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from there."""
        self.total.copy_(state["total"])
        self.row.copy_(state["row"])

    def tell(self, step: int, steps: int) -> tuple[dict[str, Any], list[str]]:
        """For the log, with a warning for each task the first time. The same in all processes.

        Args:
            step: the last one.
            steps: of the run.

        Returns:
            `dropped`, steps by task, and `skipped`, the steps not taken, as far as there are any; and what has been
            lost so often in a row that it cannot go on: names of tasks, and `""` for whole steps.
        """
        total, row = torch.stack([self.total, self.row]).tolist()
        limit = min(LIMIT, max(2, steps // 3))
        hopeless = [name for name, times in zip((*self.tasks, ""), row) if times >= limit]
        dropped = {task: count for task, count in zip(self.tasks, total) if count}
        for task in [] if hopeless else [task for task in dropped if task not in self.told]:
            self.told.add(task)
            warnings.warn(
                f"step {step}: {task!r} had an infinite or undefined loss or gradient in "
                f"{counted(dropped[task], 'step')} so far, which taught nothing there; "
                "log.jsonl goes on counting (`dropped`)",
                stacklevel=2,
            )
        skipped = {"skipped": total[-1]} if total[-1] else {}
        return ({"dropped": dropped} if dropped else {}) | skipped, hopeless


def refuse(
    step: int,
    hopeless: Sequence[str],
    network: Network,
    rows: Rows,
    parts: Sequence[Batch],
    fabric: Fabric,
    *,
    are_kept: bool,
) -> None:
    """End the run, with what can be said of why.

    Raises:
        RunError: always.
    """
    tasks = [repr(name) for name in hopeless if name]
    what = f"the loss or gradient of {_listed(tasks)}" if tasks else "the gradient of what tasks share"
    where = _rows_at_fault(network, rows, parts, fabric) if tasks else ""
    kept = ". Weights that were best on validation rows are in the run's folder" if are_kept else ""
    raise RunError(
        f"training has diverged: at step {step} {what} is not finite, nor was it before. {where}"
        f"A lower training.lr helps, or a lower training.clip; else look for extreme numbers in the data{kept}"
    )


def _rows_at_fault(network: Network, rows: Rows, parts: Sequence[Batch], fabric: Fabric) -> str:
    """Which rows of the step have such a loss, each by itself; in one sentence, or nothing."""
    numbers = list(dict.fromkeys(row for part in parts for row in part.rows))[:LOOKED]
    as_many = max(from_all_processes(len(numbers)))  # where weights are divided, all look at as many
    looked = [*numbers, *numbers[:1] * (as_many - len(numbers))]
    watch, network.watch = network.watch, None
    network.eval()
    with torch.no_grad(), fabric.autocast():
        batches = ((row, rows.batches[Draw((row,), None)].to(fabric.device)) for row in looked)
        losses = ((row, torch.cat(network.losses(batch, network.share(batch)))) for row, batch in batches)
        found = [row for row, values in losses if not bool(torch.isfinite(values).all())]
    network.train()
    network.watch = watch
    if not found:
        return "No row of that step has an infinite loss by itself. "
    found = list(dict.fromkeys(found))
    if len(found) == len(numbers):
        return f"The loss is infinite in each of the {len(numbers)} rows looked at: it is the weights, not the rows. "
    places = [rows.batches.table.place(row) for row in found]
    return f"The loss is infinite in {_listed([f'{source}, row {number}' for source, number in places])}. "


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
