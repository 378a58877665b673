"""How the tasks' losses or gradients are combined in a step. One paper, one file.

A balancer of your own subclasses `LossBalancer` or `GramianBalancer` and is passed as an object.
"""

from __future__ import annotations

from trunkline.balancers.aligned_mtl import AlignedMTL
from trunkline.balancers.cagrad import CAGrad
from trunkline.balancers.conflict_free import ConFIG
from trunkline.balancers.contract import Balancer, GramianBalancer, LossBalancer, check_positive
from trunkline.balancers.dualproj import DualProj
from trunkline.balancers.dwa import DWA
from trunkline.balancers.equal import Equal
from trunkline.balancers.fairgrad import FairGrad
from trunkline.balancers.famo import FAMO, FAMOLagged
from trunkline.balancers.gls import GLS
from trunkline.balancers.go4align import GO4Align
from trunkline.balancers.gradnorm import GradNorm
from trunkline.balancers.gradvac import GradVac
from trunkline.balancers.imtl_g import IMTLG
from trunkline.balancers.imtl_l import IMTLL
from trunkline.balancers.log_sum import LogSum
from trunkline.balancers.mgda import MGDA
from trunkline.balancers.nash_mtl import NashMTL
from trunkline.balancers.pcgrad import PCGrad
from trunkline.balancers.rlw import RLW
from trunkline.balancers.state import StepCount, TaskState, TaskVector, index_like, numbers_like
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
    "aligned_mtl": AlignedMTL,
    "cagrad": CAGrad,
    "config": ConFIG,
    "dualproj": DualProj,
    "fairgrad": FairGrad,
    "gradnorm": GradNorm,
    "gradvac": GradVac,
    "imtl_g": IMTLG,
    "mgda": MGDA,
    "nash_mtl": NashMTL,
    "pcgrad": PCGrad,
    "upgrad": UPGrad,
}

__all__ = [
    "CATALOG",
    "DWA",
    "FAMO",
    "GLS",
    "IMTLG",
    "IMTLL",
    "MGDA",
    "RLW",
    "STCH",
    "UWSO",
    "AlignedMTL",
    "Balancer",
    "CAGrad",
    "ConFIG",
    "DualProj",
    "Equal",
    "FAMOLagged",
    "FairGrad",
    "GO4Align",
    "GradNorm",
    "GradVac",
    "GramianBalancer",
    "LogSum",
    "LossBalancer",
    "NashMTL",
    "PCGrad",
    "StepCount",
    "TaskState",
    "TaskVector",
    "UPGrad",
    "Uncertainty",
    "check_positive",
    "index_like",
    "numbers_like",
]  # fmt: skip
