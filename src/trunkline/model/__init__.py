"""The network: encoders → fusion → trunk → boundary → heads, and the gather and scatter of present rows."""

from trunkline.model.evaluation import Evaluation, TaskScores, aggregate, gain
from trunkline.model.network import HeadOutput, Network
from trunkline.model.spec import MultiTaskModel

__all__ = ["Evaluation", "HeadOutput", "MultiTaskModel", "Network", "TaskScores", "aggregate", "gain"]
