"""The boundary between what tasks share and the tasks, in a batch."""

from __future__ import annotations

from collections.abc import Sequence

from trunkline.balancers import index_like
from trunkline.engine import Engine
from trunkline.model.lots import Shared, flat, unflat
from trunkline.types import Batch


def split(shared: Shared, present: Sequence[str], batch: Batch, engine: Engine) -> Shared | dict[str, Shared]:
    """One copy of every tap per task where the balancer looks at gradients, else the taps themselves.

    Args:
        shared: what the tasks read.
        present: tasks with a label in this step, as the engine said.
        batch: the rows.
        engine: balances.
    """
    values = flat(shared)
    if engine.level == "losses":
        engine.split(values, present)
        return shared
    columns = index_like([batch.labelled.names.index(task) for task in present], values[0])
    labelled = batch.labelled.values if batch.mix is None else batch.labelled.values | batch.mix.labelled
    copies = engine.split(values, present, labelled[:, columns])
    cut_off = [value.detach() for value in values]  # for the absent members of a stack
    return {task: unflat(copies.get(task, cut_off), shared) for task in batch.labelled.names}
