"""How the tasks' losses or gradients are combined in a step. One paper, one file.

A balancer of your own subclasses `LossBalancer` or `GramianBalancer` and is passed as an object.
"""

from __future__ import annotations

from trunkline.balancers.contract import Balancer, GramianBalancer, LossBalancer, TaskVector, index_like
from trunkline.balancers.equal import Equal
from trunkline.balancers.uncertainty import Uncertainty
from trunkline.balancers.upgrad import UPGrad

CATALOG: dict[str, type[Balancer]] = {"equal": Equal, "uncertainty": Uncertainty, "upgrad": UPGrad}

__all__ = [
    "CATALOG",
    "Balancer",
    "Equal",
    "GramianBalancer",
    "LossBalancer",
    "TaskVector",
    "UPGrad",
    "Uncertainty",
    "index_like",
]
