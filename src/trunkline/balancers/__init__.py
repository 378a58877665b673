"""How the tasks' losses or gradients are combined in a step. One paper, one file.

A balancer of your own subclasses `LossBalancer` or `GramianBalancer` and is passed as an object.
"""

from __future__ import annotations

from trunkline.balancers.contract import Balancer, GramianBalancer, LossBalancer, check_positive
from trunkline.balancers.dwa import DWA
from trunkline.balancers.equal import Equal
from trunkline.balancers.famo import FAMO, FAMOLagged
from trunkline.balancers.gls import GLS
from trunkline.balancers.go4align import GO4Align
from trunkline.balancers.imtl_l import IMTLL
from trunkline.balancers.log_sum import LogSum
from trunkline.balancers.rlw import RLW
from trunkline.balancers.state import StepCount, TaskState, TaskVector, index_like
from trunkline.balancers.stch import STCH
from trunkline.balancers.uncertainty import Uncertainty
from trunkline.balancers.upgrad import UPGrad
from trunkline.balancers.uw_so import UWSO

CATALOG: dict[str, type[Balancer]] = {
    # from losses
    "equal": Equal,
    "uncertainty": Uncertainty,
    "uw_so": UWSO,
    "dwa": DWA,
    "rlw": RLW,
    "gls": GLS,
    "log_sum": LogSum,
    "imtl_l": IMTLL,
    "famo": FAMO,
    "famo_lagged": FAMOLagged,
    "stch": STCH,
    "go4align": GO4Align,
    # from the Gramian
    "upgrad": UPGrad,
}

__all__ = [
    "CATALOG",
    "DWA",
    "FAMO",
    "GLS",
    "IMTLL",
    "RLW",
    "STCH",
    "UWSO",
    "Balancer",
    "Equal",
    "FAMOLagged",
    "GO4Align",
    "GramianBalancer",
    "LogSum",
    "LossBalancer",
    "StepCount",
    "TaskState",
    "TaskVector",
    "UPGrad",
    "Uncertainty",
    "check_positive",
    "index_like",
]
