"""How the tasks' gradients of one parameter are compared without forming them, by the operation it enters."""

from __future__ import annotations

from trunkline.engine.measures.choice import Kind, measure_kind, measures_of
from trunkline.engine.measures.contract import Measure

__all__ = ["Kind", "Measure", "measure_kind", "measures_of"]
