"""Training a network, on Lightning Fabric. The only room that knows it."""

from trunkline.training.blending import check_blending
from trunkline.training.checkpoint import LAST, WriteError, checkpoints
from trunkline.training.judge import BEST_BEFORE
from trunkline.training.log import check_tensorboard
from trunkline.training.loop import launch, train
from trunkline.training.memory import give_back
from trunkline.training.processes import from_all_processes, from_first_process, is_first_process, meeting
from trunkline.training.settings import Fitted, Joint, OnValidation, Rows, Settings, Validation
from trunkline.training.timing import Pace, measure_pace

__all__ = [
    "BEST_BEFORE",
    "LAST",
    "Fitted",
    "Joint",
    "OnValidation",
    "Pace",
    "Rows",
    "Settings",
    "Validation",
    "WriteError",
    "check_blending",
    "check_tensorboard",
    "checkpoints",
    "from_all_processes",
    "from_first_process",
    "give_back",
    "is_first_process",
    "launch",
    "measure_pace",
    "meeting",
    "train",
]
