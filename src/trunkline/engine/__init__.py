"""Per-task gradients at the least cost: how the tasks' losses become one update of what they share.

The whole interface, in anybody's loop:

    engine = Engine(UPGrad(), ["digit", "parity"])
    views = engine.split(network(x))                  # the boundary: one copy of the features per task
    losses = {task: loss(heads[task](views[task]), target[task]) for task in labelled_tasks}
    engine.total(losses).backward()                   # weights act here; heads get their own plain gradient
"""

from __future__ import annotations

from trunkline.engine.choice import choose_level, expected_rates, unseen_pairs, warn_unseen
from trunkline.engine.engine import Engine
from trunkline.engine.levels import LEVELS, Level
from trunkline.engine.sketch import Sketch
from trunkline.engine.step import Whole

__all__ = [
    "LEVELS",
    "Engine",
    "Level",
    "Sketch",
    "Whole",
    "choose_level",
    "expected_rates",
    "unseen_pairs",
    "warn_unseen",
]
