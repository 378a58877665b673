"""How the tasks' losses or gradients are combined in a step. One paper, one file.

A balancer of your own subclasses `LossBalancer` or `GramianBalancer` and is passed as an object.
"""

from __future__ import annotations

from trunkline.balancers.aligned_mtl import AlignedMTL
from trunkline.balancers.cagrad import CAGrad
from trunkline.balancers.conflict_free import ConFIG
from trunkline.balancers.contract import Balancer, GramianBalancer, LossBalancer, TaskVector, index_like
from trunkline.balancers.dualproj import DualProj
from trunkline.balancers.equal import Equal
from trunkline.balancers.fairgrad import FairGrad
from trunkline.balancers.gradnorm import GradNorm
from trunkline.balancers.gradvac import GradVac
from trunkline.balancers.imtl_g import IMTLG
from trunkline.balancers.mgda import MGDA
from trunkline.balancers.nash_mtl import NashMTL
from trunkline.balancers.pcgrad import PCGrad
from trunkline.balancers.uncertainty import Uncertainty
from trunkline.balancers.upgrad import UPGrad

CATALOG: dict[str, type[Balancer]] = {
    "equal": Equal,
    "uncertainty": Uncertainty,
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
    "IMTLG",
    "MGDA",
    "AlignedMTL",
    "Balancer",
    "CAGrad",
    "ConFIG",
    "DualProj",
    "Equal",
    "FairGrad",
    "GradNorm",
    "GradVac",
    "GramianBalancer",
    "LossBalancer",
    "NashMTL",
    "PCGrad",
    "TaskVector",
    "UPGrad",
    "Uncertainty",
    "index_like",
]
