"""The network: encoders → fusion → trunk → boundary → heads, and the gather and scatter of present rows."""

from trunkline.model.blending import Blending
from trunkline.model.evaluation import Evaluation, TaskScores, aggregate, gain, losses_of_experts, outputs_of
from trunkline.model.holding import Holder
from trunkline.model.joining import join
from trunkline.model.network import HeadOutput, Network
from trunkline.model.numbers import HeadWatch, Watch
from trunkline.model.spec import MultiTaskModel

__all__ = [
    "Blending",
    "Evaluation",
    "HeadOutput",
    "HeadWatch",
    "Holder",
    "MultiTaskModel",
    "Network",
    "TaskScores",
    "Watch",
    "aggregate",
    "gain",
    "join",
    "losses_of_experts",
    "outputs_of",
]
