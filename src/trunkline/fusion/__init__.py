"""Ways to bring inputs together, one file each. To add one: a file here, and a line in `CATALOG`."""

from trunkline.fusion.attention import Attention
from trunkline.fusion.bottleneck import Bottleneck
from trunkline.fusion.co_attention import CoAttention
from trunkline.fusion.concat import Concat
from trunkline.fusion.contract import Fusion, FusionModule, LateModule
from trunkline.fusion.film import Modulated
from trunkline.fusion.gated import Gated
from trunkline.fusion.late import Late
from trunkline.fusion.low_rank import LowRank
from trunkline.fusion.mean import Mean
from trunkline.fusion.perceiver import Perceiver
from trunkline.fusion.tensor import TensorFusion

CATALOG: dict[str, type[Fusion]] = {
    "concat": Concat,
    "mean": Mean,
    "gated": Gated,
    "low_rank": LowRank,
    "tensor": TensorFusion,
    "film": Modulated,
    "attention": Attention,
    "co_attention": CoAttention,
    "bottleneck": Bottleneck,
    "perceiver": Perceiver,
    "late": Late,
}

__all__ = [
    "CATALOG",
    "Attention",
    "Bottleneck",
    "CoAttention",
    "Concat",
    "Fusion",
    "FusionModule",
    "Gated",
    "Late",
    "LateModule",
    "LowRank",
    "Mean",
    "Modulated",
    "Perceiver",
    "TensorFusion",
]
