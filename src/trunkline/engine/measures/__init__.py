"""How the tasks' gradients of one parameter are compared without forming them, by the operation it enters."""

from __future__ import annotations

from trunkline.engine.measures.choice import measure_kind, measures_of
from trunkline.engine.measures.contract import Measure

__all__ = ["Measure", "measure_kind", "measures_of"]
