"""The boundary between what tasks share and the tasks, in a batch. Shape legend: `B` rows, `T'` tasks present."""

from __future__ import annotations

from collections.abc import Sequence

from trunkline.balancers import index_like
from trunkline.engine import Engine
from trunkline.trunks import Taps
from trunkline.types import Batch


def split(taps: Taps, present: Sequence[str], batch: Batch, engine: Engine) -> Taps | dict[str, Taps]:
    """One copy of every tap per task where the balancer looks at gradients, else the taps themselves.

    Args:
        taps: what the tasks read.
        present: tasks with a label in this step, as the engine said.
        batch: the rows.
        engine: balances.
    """
    values = [tap.values for tap in taps]
    if engine.level == "losses":
        engine.split(values, present)
        return taps
    columns = index_like([batch.labelled.names.index(task) for task in present], values[0])
    labelled = batch.labelled.values if batch.mix is None else batch.labelled.values | batch.mix.labelled
    copies = engine.split(values, present, labelled[:, columns])
    apart = {task: tuple(tap.with_values(v) for tap, v in zip(taps, values)) for task, values in copies.items()}
    cut_off = tuple(tap.with_values(tap.values.detach()) for tap in taps)  # for the absent members of a stack
    return {task: apart.get(task, cut_off) for task in batch.labelled.names}
