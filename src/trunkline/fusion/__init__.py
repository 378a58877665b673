"""Ways to bring inputs together, one file each. To add one: a file here, and a line in `CATALOG`."""

from trunkline.fusion.attention import Attention
from trunkline.fusion.concat import Concat
from trunkline.fusion.contract import Fusion, FusionModule, LateModule
from trunkline.fusion.gated import Gated
from trunkline.fusion.late import Late
from trunkline.fusion.mean import Mean

CATALOG: dict[str, type[Fusion]] = {
    "concat": Concat,
    "mean": Mean,
    "gated": Gated,
    "attention": Attention,
    "late": Late,
}

__all__ = ["CATALOG", "Attention", "Concat", "Fusion", "FusionModule", "Gated", "Late", "LateModule", "Mean"]
