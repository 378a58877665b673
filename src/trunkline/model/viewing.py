"""What the tasks of a head read of the taps. Shape legend: `n` rows, `E` experts of late fusion."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from trunkline.model.holding import Holder
from trunkline.schema import HeadUnit
from trunkline.trunks import Taps, TrunkModule
from trunkline.types import Tokens


def views(
    trunk: TrunkModule,
    holder: Holder,
    unit: HeadUnit,
    taps: Taps | Mapping[str, Taps],
    rows: Tensor | None,
    *,
    is_first: bool,
) -> list[Tokens]:
    """One view a task, or one for all of a head where they see the same.

    Args:
        trunk: makes them.
        holder: of its weights.
        unit: the head.
        taps: one for all tasks, or each task's own copies.
        rows: `[n]` or, of late fusion, `[E · n]`; `None` for all.
        is_first: for the first answer, see `TrunkModule.first_weight`.
    """
    look = trunk.first_view if is_first else trunk.view
    if isinstance(taps, Mapping):
        read = {task: tuple(tap.take(rows) for tap in taps[task]) for task in unit.tasks}
    else:
        taken = tuple(tap.take(rows) for tap in taps)
        read = dict.fromkeys(unit.tasks[:1] if trunk.one_view else unit.tasks, taken)
    if trunk.one_view:  # no weights take part
        return [look(task, own) for task, own in read.items()]
    return holder.use(trunk, lambda: [look(task, own) for task, own in read.items()])
