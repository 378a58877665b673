"""Training a network, with Lightning. The only room that knows it."""

from trunkline.training.loop import Fitted, Rows, Settings, train
from trunkline.training.processes import from_first_process, is_first_process, meeting

__all__ = ["Fitted", "Rows", "Settings", "from_first_process", "is_first_process", "meeting", "train"]
