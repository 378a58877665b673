"""Ways to bring inputs together, one file each. To add one: a file here, and a line in `CATALOG`."""

from trunkline.fusion.attention import Attention
from trunkline.fusion.concat import Concat
from trunkline.fusion.contract import Fusion, FusionModule
from trunkline.fusion.gated import Gated
from trunkline.fusion.mean import Mean

CATALOG: dict[str, type[Fusion]] = {"concat": Concat, "mean": Mean, "gated": Gated, "attention": Attention}

__all__ = ["CATALOG", "Attention", "Concat", "Fusion", "FusionModule", "Gated", "Mean"]
